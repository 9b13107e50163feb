/**
 * How calls get to a worker and answers back: the pool's end.
 *
 * Small plain values go as frames through shared memory, everything else as
 * messages of which a frame tells, so that order is kept across both lanes.
 * Where memory cannot be shared there are only messages, one call at a time.
 *
 * @module
 */

import {
  type Call,
  DROPPED,
  type Outcome,
  takesBuffers,
  UnsentError,
} from "./call.ts";
import {
  type AnyFunction,
  type CallableWire,
  describe,
  nameOf,
} from "./callable.ts";
import * as claims from "./claim.ts";
import {
  isCloneError,
  located,
  unreadableError,
  unsendableError,
} from "./codec.ts";
import { type Definitions, MAX_DEFINITIONS } from "./definitions.ts";
import { fromThrownWire } from "./error_wire.ts";
import { readValue, writeValue } from "./frame.ts";
import { blame, pack, type Parcel, unpack } from "./payload.ts";
import {
  AnswerFrame,
  CallFrame,
  type FromServer,
  LANE_CELLS,
  LaneCell,
  type LaneMemory,
  type OutcomeWire,
  type ToServer,
} from "./protocol.ts";
import { Queue } from "./queue.ts";
import { realm } from "./realm.ts";
import { follow, HEADER, lead, type Ring, ringOf, roomAt } from "./ring.ts";
import { nextTurn, timers } from "./runtime/loop.ts";
import type { Port } from "./runtime/threads.ts";
import { hearsOn, stopsBusyThreads } from "./runtime/which.ts";
import { announce, later } from "./wait.ts";

/** The pool's end of the way to one worker. */
export interface Channel {
  /** Whether the worker has run its initializer. */
  readonly ready: boolean;
  /** How many calls were sent and not answered. */
  readonly inFlight: number;
  /** How many of them have not begun. */
  readonly waiting: number;
  /** Whether another call can be sent now. */
  readonly hasRoom: boolean;
  /** How many calls the worker has begun, mod 2^16: a change tells that it goes on. */
  readonly claimed: number;
  /** The function of the call that was sent last. */
  readonly lastFunction: AnyFunction | undefined;
  /** How many microseconds a call of it took lately; `Infinity` if that is not known. */
  readonly pace: number;
  /** Whether a watchdog in the worker will end what runs there. */
  readonly guarded: boolean;
  /** Starts to use the wire. */
  open(port: Port): void;
  /** Tells the worker whether it may expect the next call. */
  favour(isNext: boolean): void;
  /**
   * Sends a call.
   *
   * @throws If the call cannot be sent; nothing was sent then, or, if it is an
   * {@linkcode UnsentError} that says so, it is in flight and will not begin.
   */
  send(call: Call): void;
  /** Whether any of these calls is in flight. */
  has(calls: ReadonlySet<Call>): boolean;
  /** The call that the worker has begun, if it has not answered it. */
  begun(): Call | undefined;
  /** Takes back the calls that have not begun, but for those whose buffers are gone. */
  takeBack(): Call[];
  /**
   * Forgets every call in flight, as the worker has ended or is to end, and lets
   * no other begin.
   */
  abandon(): Call[];
  /** Looks for answers; those that come later are left for the next look. */
  look(): void;
  /** When the next answer that can be read was given, as {@linkcode isLater} compares. */
  readonly next: number | undefined;
  /**
   * Reads the answers that were seen.
   *
   * @param until Those that were given later are left, but for the next one.
   * @returns Whether there were any.
   */
  read(until?: number): boolean;
  /** Looks, and reads. */
  drain(): boolean;
  /** Resolves when every answer that was sent has been read. */
  settled(): Promise<void>;
}

/** Who is told what comes from a worker. */
export interface ChannelEvents {
  /** An answer; a promise of one if a module must be loaded to know it. */
  onAnswer(call: Call, outcome: Outcome | Promise<Outcome>): void;
  /** A message came with an answer, whose frame need not have rung. */
  onHeard(): void;
  /** The worker has said by a message that it is ready. */
  onReady(): void;
  /** The initializer has failed. */
  onBroken(error: unknown): void;
  /** The worker has sent what cannot be read; nothing more is read. */
  onSpoilt(error: unknown): void;
}

/** An answer that came as a message, perhaps one that cannot be read. */
type PostedWire = OutcomeWire | "unreadable";

/** What both kinds of channel do with messages. */
abstract class Posting {
  protected readonly events: ChannelEvents;
  protected port: Port | undefined;
  readonly #definitions: Definitions | undefined;
  /** The numbers of functions that the worker knows. */
  #numbers = new WeakMap<AnyFunction, number>();
  /** How many functions were marked when these were given. */
  #marked = realm.marked;
  /** Those of which it was told by a message, by what was sent. */
  readonly #told = new Map<string, number>();

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
    const wire = describe(fn);
    // A closure made anew for each call has the same text.
    const key = wire.kind === "source"
      ? `${wire.name}\n${wire.text}`
      : `${wire.module}\n${wire.name}`;
    const number = this.#definitions?.number(key, wire) ??
      this.#tell(key, wire);
    this.#numbers.set(fn, number);
    return number;
  }

  /** Tells the worker of a function by a message, if it was not told before. */
  #tell(key: string, wire: CallableWire): number {
    let number = this.#told.get(key);
    if (number === undefined) {
      number = MAX_DEFINITIONS + this.#told.size;
      this.post({ kind: "define", number, fn: wire });
      this.#told.set(key, number);
    }
    return number;
  }

  /** Posts a message with the payload of a call. */
  protected postPayload(
    call: Call,
    message: (parcel: Parcel) => ToServer,
  ): void {
    const { fn, kind, payload, transfer = [] } = call.request;
    const owner = nameOf(fn);
    let packed = false;
    try {
      const parcel = pack(payload, "args", owner);
      packed = true;
      this.post(message(parcel), [...transfer, ...parcel.transfer]);
    } catch (error) {
      if (packed && transfer.length > 0 && error instanceof TypeError) {
        // So some platforms say that an item may not be transferred.
        throw unsendableError("args", owner, error.message);
      }
      if (!isCloneError(error)) throw error;
      if (transfer.length > 0) throw located(error, undefined, "args", owner);
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
      return values
        ? { ok: false, error, late, second, before: values }
        : { ok: false, error, late, second };
    };
    const fail = (error: unknown): Outcome => ({ ok: false, error });
    try {
      const values = wire.ok
        ? unpack(wire.payload)
        : wire.before && unpack(wire.before);
      return values instanceof Promise
        ? values.then(finish, fail)
        : finish(values);
    } catch (error) {
      return fail(error);
    }
  }
}

/** A call whose frame is in the ring. */
interface Entry {
  readonly call: Call;
  /** Where the frame before it ends. */
  readonly from: number;
  /** The number of its message, or -1. */
  readonly number: number;
}

/** What all workers of a pool share. */
export interface SharedByWorkers {
  /** The words of `BellCell`. */
  bell: Int32Array;
  /** The functions that they know. */
  definitions: Definitions;
}

/** Sizes of the fast lane's memory, in bytes; a power of two each. */
export interface LaneSizes {
  calls: number;
  answers: number;
  /** Shared by all workers of a pool. */
  definitions: number;
}

/** How long a message may be on its way from a worker that has ended. */
const PATIENCE_MS = 100;
/** How many turns of the event loop, likewise. */
const PATIENCE_TURNS = 50;

/** When a worker that may hear no messages is rung for. */
const DEAF_MS = 1000;

/** Both lanes. */
export class SharedChannel extends Posting implements Channel {
  /** What the worker needs to know of it. */
  readonly memory: LaneMemory;
  readonly #cells: Int32Array;
  readonly #calls: Ring;
  readonly #answers: Ring;
  /** Where the last call ends. */
  #at = 0;
  lastFunction: AnyFunction | undefined;
  /** Its number. */
  #lastNumber = 0;
  /** What the worker told of its pace when its answers were read last. */
  #pace = 0;
  /** Where the last answer that was read ends, and the last one that was seen. */
  #read = 0;
  #seen = 0;
  /** The calls in flight, oldest first. */
  readonly #entries = new Queue<Entry>();
  /** How many payloads were posted, and how many posted answers were read, mod 2^32. */
  #messages = 0;
  #heard = 0;
  #ringing = false;
  /** Answers that came as messages, before their frames were read. */
  readonly #posted: PostedWire[] = [];
  #onSettled: (() => void) | undefined;

  /**
   * @param events Who is told.
   * @param shared What it has in common with the pool's other channels.
   * @param sizes Of the rings.
   */
  constructor(
    events: ChannelEvents,
    { bell, definitions }: SharedByWorkers,
    sizes: LaneSizes,
  ) {
    super(events, definitions);
    const cells = new Int32Array(new SharedArrayBuffer(LANE_CELLS * 4));
    const calls = new SharedArrayBuffer(sizes.calls);
    const answers = new SharedArrayBuffer(sizes.answers);
    this.memory = {
      cells,
      bell,
      calls,
      answers,
      definitions: definitions.buffer,
    };
    this.#cells = cells;
    this.#calls = ringOf(calls);
    this.#answers = ringOf(answers);
  }

  get ready(): boolean {
    return Atomics.load(this.#cells, LaneCell.Ready) === 1;
  }

  get inFlight(): number {
    return this.#entries.length;
  }

  get waiting(): number {
    return claims.unclaimed(this.#cells, LaneCell.Claim);
  }

  get hasRoom(): boolean {
    return this.inFlight < claims.MAX_SENT && this.#room() >= 0;
  }

  get guarded(): boolean {
    return Atomics.load(this.#cells, LaneCell.Guarded) === 1;
  }

  get claimed(): number {
    return claims.claimed(this.#cells, LaneCell.Claim);
  }

  get pace(): number {
    const pace = this.#pace;
    const known = pace !== 0 && pace >>> 16 === this.#lastNumber;
    return known ? pace & 0xffff : Infinity;
  }

  favour(isNext: boolean): void {
    this.#cells[LaneCell.Favoured] = isNext ? 1 : 0;
  }

  send(call: Call): void {
    const { request } = call;
    const ring = this.#calls;
    const fn = this.define(request.fn);
    this.lastFunction = request.fn;
    this.#lastNumber = fn;
    const at = this.#room();
    const values = at + CallFrame.Values;
    const limit = at + ring.largest;
    let end = values;
    let count = 0;
    if (takesBuffers(call)) end = -1;
    else if (request.kind !== "apply" || mayShare(request.payload)) {
      end = writeValue(ring, values, limit, request.payload, true);
      count = CallFrame.Whole;
    } else {
      const { payload } = request;
      for (; count < payload.length && end >= 0; count++) {
        end = writeValue(ring, end, limit, payload[count]);
      }
    }
    if (end >= 0) {
      this.#publish(call, at, end, fn, count, false);
      return this.#ring();
    }
    let isSent = false;
    try {
      this.postPayload(call, ({ wire }) => {
        // The frame first: the message wakes the worker, which finds it then.
        this.#publish(call, at, values, fn, this.#messages, true);
        this.#messages = (this.#messages + 1) | 0;
        this.#ringLater();
        isSent = true;
        return { kind: "payload", payload: wire };
      });
    } catch (error) {
      if (!isSent || this.#unsend()) throw error;
      this.post({ kind: "withdrawn" });
      throw error instanceof UnsentError
        ? new UnsentError(error.reason, error.index, true)
        : new UnsentError(error, undefined, true);
    } finally {
      Atomics.store(this.#cells, LaneCell.Posted, this.#messages);
    }
  }

  /** Takes back the frame that was published last; tells whether it could. */
  #unsend(): boolean {
    // None is in flight if a getter of the payload has ended the worker.
    if (this.inFlight === 0) return false;
    if (!claims.takeBackLast(this.#cells, LaneCell.Claim)) return false;
    this.#at = this.#entries.takeLast(1)[0]!.from;
    this.#messages = (this.#messages - 1) | 0;
    return true;
  }

  /**
   * Writes the frame's head and lets the worker see the frame, should it look;
   * `count` is that of its values, or the number of the message with them.
   */
  #publish(
    call: Call,
    at: number,
    end: number,
    fn: number,
    count: number,
    posted: boolean,
  ): void {
    const { request } = call;
    const ring = this.#calls;
    const word = at >> 2;
    lead(ring, this.#at, at);
    ring.words[word] = end - at;
    ring.words[word + 1] = CallFrame.Kinds.indexOf(request.kind) |
      (posted ? CallFrame.Posted : 0) |
      (request.transferResult ? CallFrame.TransferResult : 0) |
      (request.group ?? 0) << CallFrame.GroupShift;
    ring.words[word + CallFrame.Function] = fn;
    ring.words[word + CallFrame.Count] = count;
    ring.numbers[(at + CallFrame.Deadline) >> 3] = request.deadline ?? 0;
    const number = posted ? count : -1;
    this.#entries.push({ call, from: this.#at, number });
    this.#at = end;
    claims.send(this.#cells, LaneCell.Claim);
  }

  /** Wakes the worker for a frame that was published. */
  #ring(): void {
    announce(this.#cells, LaneCell.Claim, LaneCell.WorkerAsleep);
  }

  /**
   * Rings for a frame whose message should have woken the worker. A task may have
   * broken what messages come by: the worker finds out when it waits for one.
   */
  #ringLater(): void {
    if (this.#ringing) return;
    this.#ringing = true;
    later(DEAF_MS, () => {
      this.#ringing = false;
      if (this.inFlight === 0 || this.waiting === 0) return;
      this.#ring();
      this.#ringLater();
    });
  }

  has(calls: ReadonlySet<Call>): boolean {
    for (let i = 0; i < this.inFlight; i++) {
      if (calls.has(this.#entries.at(i)!.call)) return true;
    }
    return false;
  }

  begun(): Call | undefined {
    // The worker runs one at a time, so it is the last one that was claimed,
    // and it has answered those before it.
    const unread = this.#unread();
    const claimed = this.inFlight - this.waiting;
    return claimed > unread ? this.#entries.at(claimed - 1)!.call : undefined;
  }

  takeBack(): Call[] {
    const count = claims.takeBack(this.#cells, LaneCell.Claim);
    if (count === 0) return [];
    const entries = this.#entries.takeLast(count);
    this.#at = entries[0]!.from;
    const calls: Call[] = [];
    for (const entry of entries) {
      const { call } = entry;
      // Nobody waits for one that is settled: what it took is lost anyway.
      if (!takesBuffers(call) || call.settled) {
        calls.push(call);
      } else this.#sendAgain(entry);
    }
    return calls;
  }

  /** Sends a frame again whose message the worker has, or will have. */
  #sendAgain({ call, number }: Entry): void {
    // There was room for it before, and nothing was sent in between.
    const at = this.#room();
    const fn = this.define(call.request.fn);
    this.#publish(call, at, at + CallFrame.Values, fn, number, true);
    this.#ring();
  }

  abandon(): Call[] {
    this.#onSettled?.();
    claims.takeBack(this.#cells, LaneCell.Claim);
    return this.#entries.clear().map(({ call }) => call);
  }

  look(): void {
    this.#seen = Atomics.load(this.#cells, LaneCell.Written);
    if (this.#seen !== this.#read) this.#pace = this.#cells[LaneCell.Pace]!;
  }

  get next(): number | undefined {
    if (this.inFlight === 0 || this.#read === this.#seen) return undefined;
    let word;
    try {
      const at = follow(this.#answers, this.#read);
      word = this.#answers.words[(at >> 2) + 1]!;
    } catch {
      return 0; // read() says why
    }
    const kind = word & AnswerFrame.KindMask;
    if (kind === AnswerFrame.Posted && this.#posted.length === 0) {
      return undefined; // its message will come
    }
    return word - kind;
  }

  read(until?: number): boolean {
    const ring = this.#answers;
    let any = false;
    while (this.#read !== this.#seen && this.inFlight > 0) {
      let end;
      let kind;
      let wire;
      let value;
      try {
        const at = follow(ring, this.#read);
        end = at + ring.words[at >> 2]!;
        const word = ring.words[(at >> 2) + 1]!;
        kind = word & AnswerFrame.KindMask;
        if (any && until !== undefined && isLater(word - kind, until)) break;
        if (kind === AnswerFrame.Posted) {
          if (this.#posted.length === 0) break; // its message will come
          wire = this.#posted.shift()!;
          this.#heard = (this.#heard + 1) | 0;
        } else if (kind !== AnswerFrame.Dropped) {
          value = readValue(ring, { at: at + HEADER }, end);
        }
      } catch (error) {
        this.events.onSpoilt(error);
        return true; // nothing more is read, nor written
      }
      any = true;
      const { call } = this.#entries.shift()!;
      this.#read = end;
      this.events.onAnswer(
        call,
        wire
          ? this.outcome(call, wire)
          : kind === AnswerFrame.Dropped
          ? DROPPED
          : { ok: true, value },
      );
      if (this.#read !== end) break; // a callback has led here again
    }
    if (any) {
      Atomics.store(this.#cells, LaneCell.Read, this.#read);
      announce(this.#cells, LaneCell.Read, LaneCell.WorkerBlocked);
    }
    if (this.#read === Atomics.load(this.#cells, LaneCell.Written)) {
      this.#onSettled?.();
    }
    return any;
  }

  drain(): boolean {
    this.look();
    return this.read();
  }

  async settled(): Promise<void> {
    this.drain();
    if (this.#read === Atomics.load(this.#cells, LaneCell.Written)) return;
    await new Promise<void>((resolve) => {
      let turns = 0;
      const wait = () => {
        // Where the loop is slow, a timer comes before messages that are there.
        if (turns++ >= PATIENCE_TURNS) resolve();
        else nextTurn(wait);
      };
      const timer = timers.setTimeout(wait, PATIENCE_MS);
      this.#onSettled = () => {
        timers.clearTimeout(timer);
        turns = Infinity;
        resolve();
      };
    });
  }

  protected onPosted(outcome: PostedWire): void {
    this.#posted.push(outcome);
    this.events.onHeard();
  }

  /** How many answers were written, and posted where need be, and not read. */
  #unread(): number {
    const ring = this.#answers;
    const written = Atomics.load(this.#cells, LaneCell.Written);
    let count = 0;
    let posted = (Atomics.load(this.#cells, LaneCell.Told) - this.#heard) | 0;
    try {
      let at = this.#read;
      for (; at !== written && count < this.inFlight; count++) {
        at = follow(ring, at);
        const kind = ring.words[(at >> 2) + 1]! & AnswerFrame.KindMask;
        if (kind === AnswerFrame.Posted && posted-- <= 0) break;
        at += ring.words[at >> 2]!;
      }
    } catch {
      // Not read either; drain() says so.
    }
    return count;
  }

  #room(): number {
    const oldest = this.#entries.at(0)?.from ?? -1;
    return roomAt(this.#calls, this.#at, oldest);
  }
}

/**
 * Tells whether an answer was given later than another.
 *
 * @param time {@linkcode Channel.next} of the one.
 * @param other That of the other.
 * @returns Whether it was; of two that were given at the same time neither was.
 */
export function isLater(time: number, other: number): boolean {
  return ((time - other) | 0) > 0;
}

/** Whether two arguments may be, or have inside, the same object. */
function mayShare(args: readonly unknown[]): boolean {
  let objects = 0;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (typeof arg === "object" && arg !== null) objects++;
  }
  return objects > 1;
}

/** Messages only, one call at a time. */
export class PlainChannel extends Posting implements Channel {
  ready = false;
  #call: Call | undefined;

  get inFlight(): number {
    return this.#call === undefined ? 0 : 1;
  }

  /** Only the worker knows whether the call is past its first `await`. */
  get guarded(): boolean {
    return !stopsBusyThreads && this.#call?.request.deadline !== undefined;
  }

  /** What was sent may have begun: nothing is sent before the worker is ready. */
  readonly waiting = 0;

  readonly claimed = 0;
  readonly lastFunction = undefined;
  readonly pace = Infinity;

  get hasRoom(): boolean {
    return this.ready && this.#call === undefined;
  }

  favour(): void {} // it does not spin

  protected override onReady(): void {
    this.ready = true;
    this.events.onReady();
  }

  send(call: Call): void {
    const { fn, kind, deadline = 0, transferResult = false, group = 0 } =
      call.request;
    const id = this.define(fn);
    this.postPayload(call, ({ wire }) => ({
      kind: "call",
      call: kind,
      fn: id,
      payload: wire,
      deadline,
      transferResult,
      group,
    }));
    this.#call = call;
  }

  has(calls: ReadonlySet<Call>): boolean {
    return this.#call !== undefined && calls.has(this.#call);
  }

  begun(): Call | undefined {
    return this.#call;
  }

  takeBack(): Call[] {
    return []; // what was posted cannot be taken back
  }

  abandon(): Call[] {
    const call = this.#call;
    this.#call = undefined;
    return call === undefined ? [] : [call];
  }

  readonly next = undefined;

  look(): void {}

  read(): boolean {
    return false;
  }

  drain(): boolean {
    return false;
  }

  settled(): Promise<void> {
    return Promise.resolve();
  }

  protected onPosted(outcome: PostedWire): void {
    const call = this.#call;
    this.#call = undefined;
    if (call !== undefined) {
      this.events.onAnswer(call, this.outcome(call, outcome));
    }
  }
}
