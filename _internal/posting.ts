/**
 * What both kinds of channel do with messages: functions, payloads and answers that
 * are posted, and a worker's last ones.
 *
 * @module
 */

import { type Call, type Outcome, takesBuffers, UnsentError } from "./call.ts";
import {
  type AnyFunction,
  type CallableWire,
  describeToRun,
  keyOf,
  nameOf,
} from "./callable.ts";
import {
  hasShared,
  isCloneError,
  located,
  unreadableError,
  unsendableError,
} from "./codec.ts";
import type { ChannelEvents } from "./channel.ts";
import type { Definitions } from "./definitions.ts";
import { fromThrownWire } from "./error_wire.ts";
import { blame, pack, type Parcel, unpack } from "./payload.ts";
import {
  type FromServer,
  MAX_DEFINITIONS,
  type OutcomeWire,
  type ToServer,
} from "./protocol.ts";
import { realm } from "./realm.ts";
import { nextTurn, timers } from "./runtime/loop.ts";
import type { Port } from "./runtime/threads.ts";
import type { Transferable } from "./runtime/values.ts";
import { hearsOn } from "./runtime/which.ts";

/** How long a message may be on its way from a worker that has ended. */
const PATIENCE_MS = 100;
/** How many turns of the event loop, likewise. */
const PATIENCE_TURNS = 50;

/** An answer that came as a message, perhaps one that cannot be read. */
export type PostedWire = OutcomeWire | "unreadable";

/** What both kinds of channel do with messages. */
export abstract class Posting {
  protected readonly events: ChannelEvents;
  protected port: Port | undefined;
  failure: { error: unknown } | undefined;
  readonly #definitions: Definitions | undefined;
  /** The numbers of functions that the worker knows. */
  #numbers = new WeakMap<AnyFunction, number>();
  /** How many functions were marked when these were given. */
  #marked = realm.marked;
  /** Those of which it was told by a message, by what was sent. */
  readonly #posted = new Map<string, number>();
  /** Someone waits for the last messages of a worker that has ended. */
  #last: { promise: Promise<void>; end: () => void } | undefined;

  /** As of {@linkcode Channel.unanswered}. */
  abstract readonly unanswered: number;

  /**
   * @param events Who is told.
   * @param definitions The pool's functions, where memory can be shared.
   */
  constructor(events: ChannelEvents, definitions?: Definitions) {
    this.events = events;
    this.#definitions = definitions;
  }

  open(port: Port): void {
    this.port = port;
    port.onmessage = ({ data }) => {
      const message: FromServer = data;
      switch (message.kind) {
        case "ready":
          return this.onReady();
        case "broken":
          return this.events.onBroken(fromThrownWire(message.error));
        case "failed":
          this.failure = { error: fromThrownWire(message.error) };
          return this.allCame();
        case "answer":
          return this.onPosted(message.outcome);
        default:
          message satisfies never;
      }
    };
    // The worker sends nothing else that may be so.
    port.onmessageerror = () => {
      this.onPosted("unreadable");
      if (hearsOn) return;
      this.events.onSpoilt(new Error("it sent what cannot be read"));
    };
    port.unref?.();
  }

  /** Where memory is shared, that tells it. */
  protected onReady(): void {}

  protected abstract onPosted(outcome: PostedWire): void;

  /** Resolves at {@linkcode Posting.allCame}, or when the last message must have come. */
  protected async untilAllCame(): Promise<void> {
    this.#last ??= this.#waitForLast();
    await this.#last.promise;
  }

  /** The last message of the worker has come, if there was any. */
  protected allCame(): void {
    this.#last?.end();
  }

  #waitForLast(): { promise: Promise<void>; end: () => void } {
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = () => {
      timers.clearTimeout(timer);
      turns = Infinity;
      this.#last = undefined;
      resolve();
    };
    let turns = 0;
    const wait = () => {
      // Where the loop is slow, a timer comes before messages that are there.
      if (turns++ < PATIENCE_TURNS) nextTurn(wait);
      else if (turns < Infinity) end();
    };
    const timer = timers.setTimeout(wait, PATIENCE_MS);
    return { promise, end };
  }

  protected post(message: ToServer, transfer?: Transferable[]): void {
    this.port!.postMessage(message, transfer);
  }

  /** The number of a function, which the worker is told before it is used. */
  protected define(fn: AnyFunction): number {
    if (this.#marked !== realm.marked) {
      this.#marked = realm.marked;
      this.#numbers = new WeakMap(); // some may be other functions now
    }
    const known = this.#numbers.get(fn);
    if (known !== undefined) return known;
    const wire = describeToRun(fn);
    const key = keyOf(wire); // a closure made anew for each call has the same
    const number = this.#definitions?.number(key, wire) ??
      this.#postDefinition(key, wire);
    this.#numbers.set(fn, number);
    return number;
  }

  /** Tells the worker of a function by a message, if it was not told before. */
  #postDefinition(key: string, wire: CallableWire): number {
    let number = this.#posted.get(key);
    if (number === undefined) {
      number = MAX_DEFINITIONS + this.#posted.size;
      this.post({ kind: "define", number, fn: wire });
      this.#posted.set(key, number);
    }
    return number;
  }

  /** Posts a message with the payload of a call; as of {@linkcode Channel.send}. */
  protected postPayload(
    call: Call,
    isOnly: boolean,
    message: (parcel: Parcel) => ToServer,
  ): boolean {
    const { fn, kind, payload } = call.request;
    const transfer = takesBuffers(call) ? call.request.transfer! : [];
    const owner = nameOf(fn);
    let packed = false;
    try {
      const parcel = pack(payload, "args", owner);
      packed = true;
      call.mayWait ||= hasShared(parcel.wire.value);
      if (call.mayWait && !isOnly && this.unanswered > 0) return false;
      this.post(message(parcel), [...transfer, ...parcel.transfer]);
      return true;
    } catch (error) {
      const gone = payload.findIndex(isDetached);
      const path = gone < 0 ? "args" : `args[${gone}]`;
      if (packed && transfer.length > 0 && error instanceof TypeError) {
        // So some platforms say that an item may not be transferred.
        throw unsendableError(path, owner, error.message);
      }
      if (!isCloneError(error)) throw error;
      if (transfer.length > 0) throw located(error, undefined, path, owner);
      if (kind === "apply") {
        for (let i = 0; i < payload.length; i++) {
          const found = blame(error, [payload[i]], `args[${i}]`, owner);
          if (found.index >= 0) throw found.error;
        }
        throw error;
      }
      const root = kind === "map" ? "args[0]" : "args";
      const found = blame(error, payload, root, owner);
      throw new UnsentError(found.error, Math.max(0, found.index));
    }
  }

  /** How a call ended; a promise if a module must be loaded to know it. */
  protected outcome(
    { request: { kind, fn } }: Call,
    wire: PostedWire,
  ): Outcome | Promise<Outcome> {
    if (wire === "unreadable") {
      return { ok: false, error: unreadableError("result", nameOf(fn)) };
    }
    const finish = (values: ArrayLike<unknown> | undefined): Outcome => {
      if (wire.ok) {
        return { ok: true, value: kind === "apply" ? values![0] : values };
      }
      const { late, second } = wire;
      const error = fromThrownWire(wire.error);
      return { ok: false, error, late, second, before: values };
    };
    const fail = (error: unknown): Outcome => ({ ok: false, error });
    try {
      const values = wire.ok
        ? unpack(wire.payload)
        : wire.before && unpack(wire.before);
      return values instanceof Promise
        ? values.then(finish).then(undefined, fail)
        : finish(values);
    } catch (error) {
      return fail(error);
    }
  }
}

/** Whether a buffer, or that of a view, has gone elsewhere. */
function isDetached(value: unknown): boolean {
  const buffer = ArrayBuffer.isView(value) ? value.buffer : value;
  return buffer instanceof ArrayBuffer && buffer.detached;
}
