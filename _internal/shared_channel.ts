/**
 * The channel to a worker with which memory is shared.
 *
 * Small plain values go as frames through shared memory, everything else as
 * messages of which a frame tells, so that order is kept across both lanes.
 *
 * @module
 */

import { isLater, timeOf } from "./answer_clock.ts";
import { type Call, DROPPED, takesBuffers, UnsentError } from "./call.ts";
import type { AnyFunction } from "./callable.ts";
import type { Channel, ChannelEvents, Lag } from "./channel.ts";
import * as claims from "./claim.ts";
import { announce } from "./consumer.ts";
import type { Definitions } from "./definitions.ts";
import { readValue, writeValue } from "./frame.ts";
import {
  AnswerFrame,
  CallFrame,
  LANE_CELLS,
  LaneCell,
  type LaneMemory,
  MAX_DEFINITIONS,
  Stage,
} from "./protocol.ts";
import { toWallClock } from "./limits.ts";
import { type PostedWire, Posting } from "./posting.ts";
import { Queue } from "./queue.ts";
import { follow, HEADER, link, type Ring, ringOf, roomAt } from "./ring.ts";
import { now, wallClock } from "./runtime/loop.ts";
import { later } from "./wait.ts";

/** A call whose frame is in the ring. */
interface Entry {
  readonly call: Call;
  /** Where the frame before it ends. */
  readonly from: number;
  /** The number of its message, if it has one. */
  readonly number: number | undefined;
}

/** An answer that is not in the ring any more, of which nobody was told. */
interface Answer {
  readonly call: Call;
  /** One of `AnswerFrame`. */
  readonly kind: number;
  /** When it was given, by the clock of answer_clock.ts. */
  readonly time: number;
  /** What came in the frame. */
  readonly value: unknown;
}

/** What all workers of a pool share. */
export interface SharedByWorkers {
  /** The words of `BellCell`. */
  bell: Int32Array;
  /** The functions that they know. */
  definitions: Definitions;
}

/** Sizes of the memory for frames, in bytes; a power of two each. */
export interface LaneSizes {
  calls: number;
  answers: number;
  /** Shared by all workers of a pool. */
  definitions: number;
}

/** How many times as long as it was written a message may be read, at most. */
const READING_SHARE = 8;

/** When a worker that may hear no messages is rung for. */
const RING_AGAIN_MS = 1000;

/** Both lanes. */
export class SharedChannel extends Posting implements Channel {
  readonly memory: LaneMemory;
  readonly #cells: Int32Array;
  readonly #calls: Ring;
  readonly #answers: Ring;
  /** The last time that was seen at which an answer found no other unread. */
  #answeredAt = 0;
  /** Where the last call ends. */
  #at = 0;
  /** The function of the last call, and its number. */
  #lastFunction: AnyFunction | undefined;
  #lastNumber = MAX_DEFINITIONS;
  /** Where the last answer that was read ends. */
  #read = 0;
  /** The calls that were sent and not answered, oldest first. */
  readonly #entries = new Queue<Entry>();
  /** Answers that were read, oldest first, of which somebody is to be told. */
  readonly #answered = new Queue<Answer>();
  /** What is wrong with the frame after these, and when that was seen. */
  #spoilt: { error: unknown; time: number } | undefined;
  /** How many payloads were posted, mod 2^32. */
  #payloadsPosted = 0;
  /** How many answers came as messages, and how many of their frames were read, likewise. */
  #heard = 0;
  #postedRead = 0;
  /** Of those that came as messages, the ones of which nobody was told. */
  readonly #messages: PostedWire[] = [];
  #ringing = false;
  #isAbandoned = false;
  #reading = 0;

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
    return Atomics.load(this.#cells, LaneCell.Stage) >= Stage.Ready;
  }

  get started(): boolean {
    return Atomics.load(this.#cells, LaneCell.Stage) !== Stage.Starting;
  }

  get ending(): boolean {
    return Atomics.load(this.#cells, LaneCell.Stage) === Stage.Ending;
  }

  get inFlight(): number {
    return this.#entries.length + this.#answered.length;
  }

  get waiting(): number {
    return claims.unclaimed(this.#cells, LaneCell.Claim);
  }

  get hasRoom(): boolean {
    return this.#entries.length < claims.MAX_SENT && this.#room() >= 0;
  }

  get unanswered(): number {
    return this.#entries.length;
  }

  get isComplete(): boolean {
    this.look();
    return this.unanswered === 0 && this.#heard === this.#postedRead;
  }

  get guarded(): boolean {
    return Atomics.load(this.#cells, LaneCell.Guarded) === 1;
  }

  get claimed(): number {
    return claims.claimed(this.#cells, LaneCell.Claim);
  }

  get pace(): number {
    return this.#paceBy(this.#lastNumber);
  }

  paceOf(fn: AnyFunction): number {
    return this.#paceBy(
      fn === this.#lastFunction ? this.#lastNumber : this.define(fn),
    );
  }

  /** What the worker tells of the pace of a function. */
  #paceBy(number: number): number {
    if (number >= MAX_DEFINITIONS) return Infinity;
    return this.#cells[LaneCell.Paces + number] || Infinity;
  }

  get reading(): number {
    return this.#reading;
  }

  lag(): Lag | undefined {
    const at = this.#cells[LaneCell.AnsweredAt]!;
    if (at === this.#answeredAt) return undefined;
    this.#answeredAt = at;
    // Less than a millisecond counts as none, and clocks may be set back.
    const late = Math.max(0, (wallClock() - at - 1) | 0);
    return { took: this.#cells[LaneCell.Took]!, late };
  }

  favour(isNext: boolean): void {
    this.#cells[LaneCell.Favoured] = isNext ? 1 : 0;
  }

  send(call: Call, isOnly = false): boolean {
    const { request, kept } = call;
    if (kept?.by === this) {
      this.#sendAgain(call, kept.number);
      return true;
    }
    const ring = this.#calls;
    const fn = this.define(request.fn);
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
      this.#ring();
      return true;
    }
    let isSent = false;
    const began = now();
    try {
      return this.postPayload(call, isOnly, ({ wire }) => {
        // The frame first: the message wakes the worker, which finds it then.
        this.#publish(call, at, values, fn, this.#payloadsPosted, true);
        this.#payloadsPosted = (this.#payloadsPosted + 1) | 0;
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
      Atomics.store(this.#cells, LaneCell.PayloadsPosted, this.#payloadsPosted);
      this.#reading = (now() - began) * READING_SHARE;
    }
  }

  /** Takes back the frame that was published last; tells whether it could. */
  #unsend(): boolean {
    // None is in flight if a getter of the payload has ended the worker.
    if (this.#entries.length === 0) return false;
    if (!claims.takeBackLast(this.#cells, LaneCell.Claim)) return false;
    this.#at = this.#entries.takeLast(1)[0]!.from;
    this.#payloadsPosted = (this.#payloadsPosted - 1) | 0;
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
    if (call.kept !== undefined) call.forgetPayload(); // another worker has it
    const ring = this.#calls;
    const word = at >> 2;
    link(ring, this.#at, at);
    ring.words[word] = end - at;
    ring.words[word + 1] = CallFrame.Kinds.indexOf(request.kind) |
      (posted ? CallFrame.Posted : 0) |
      (request.transferResult ? CallFrame.TransferResult : 0) |
      (request.group ?? 0) << CallFrame.GroupShift;
    ring.words[word + CallFrame.Function] = fn;
    ring.words[word + CallFrame.Count] = count;
    ring.numbers[(at + CallFrame.Deadline) >> 3] = toWallClock(
      request.deadline,
    );
    this.#lastFunction = request.fn;
    this.#lastNumber = fn;
    const number = posted ? count : undefined;
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
    later(RING_AGAIN_MS, () => {
      this.#ringing = false;
      if (this.waiting === 0) return;
      this.#ring();
      this.#ringLater();
    });
    this.#ringing = true; // not before, as the stack may be at its end
  }

  has(calls: ReadonlySet<Call>): boolean {
    for (let i = 0; i < this.#entries.length; i++) {
      if (calls.has(this.#entries.at(i)!.call)) return true;
    }
    return false;
  }

  begun(): Call | undefined {
    // The worker runs one at a time, so it is the last one that was claimed,
    // and it has answered those before it.
    this.look();
    const claimed = this.unanswered - this.waiting;
    return claimed > 0 ? this.#entries.at(claimed - 1)!.call : undefined;
  }

  takeBack(): Call[] {
    const count = claims.takeBack(this.#cells, LaneCell.Claim);
    if (count === 0) return [];
    const entries = this.#entries.takeLast(count);
    this.#at = entries[0]!.from;
    const calls: Call[] = [];
    const numbers: number[] = [];
    for (const { call, number } of entries) {
      // Nobody waits for one that is settled: what it took is lost anyway.
      if (!takesBuffers(call) || call.settled) {
        calls.push(call);
        if (number === undefined) continue;
        if (call.settled) numbers.push(number);
        else call.kept = { by: this, number };
      } else this.#sendAgain(call, number!); // there was room for it before
    }
    this.forget(numbers);
    return calls;
  }

  /** Tells the worker, if there is one, which payloads it need not keep. */
  forget(numbers: number[]): void {
    if (numbers.length === 0 || this.#isAbandoned) return;
    this.post({ kind: "forget", numbers });
  }

  /** Sends a frame again whose message the worker has, or will have. */
  #sendAgain(call: Call, number: number): void {
    const at = this.#room();
    const fn = this.define(call.request.fn);
    call.kept = undefined;
    this.#publish(call, at, at + CallFrame.Values, fn, number, true);
    this.#ring();
  }

  abandon(): Call[] {
    this.#isAbandoned = true;
    this.allCame();
    claims.takeBack(this.#cells, LaneCell.Claim);
    return [...this.#answered.clear(), ...this.#entries.clear()].map(
      ({ call }) => call,
    );
  }

  look(): void {
    const written = Atomics.load(this.#cells, LaneCell.Written);
    const before = this.#read;
    if (before === written || this.#spoilt !== undefined) return;
    try {
      while (this.#read !== written && this.#take());
    } catch (error) {
      this.#spoilt = { error, time: timeOf(this.memory.bell) };
    }
    if (this.#read === before) return;
    Atomics.store(this.#cells, LaneCell.Read, this.#read);
    announce(this.#cells, LaneCell.Read, LaneCell.WorkerBlocked);
  }

  /** Reads the next frame; tells whether it could. */
  #take(): boolean {
    if (this.#entries.length === 0) return false;
    const ring = this.#answers;
    const at = follow(ring, this.#read);
    const end = at + ring.words[at >> 2]!;
    const word = ring.words[(at >> 2) + 1]!;
    const kind = word & AnswerFrame.KindMask;
    let value;
    if (kind === AnswerFrame.Posted) {
      if (!this.#isPosted()) return false; // it is being written, its call runs
      this.#postedRead = (this.#postedRead + 1) | 0;
    } else if (kind !== AnswerFrame.Dropped) {
      value = readValue(ring, { at: at + HEADER }, end);
    }
    this.#read = end;
    const { call } = this.#entries.shift()!;
    this.#answered.push({ call, kind, time: word - kind, value });
    return true;
  }

  /** Whether the next message with an answer is here, or on its way. */
  #isPosted(): boolean {
    if (((this.#heard - this.#postedRead) | 0) > 0) return true;
    const posted = Atomics.load(this.#cells, LaneCell.AnswersPosted);
    return ((posted - this.#postedRead) | 0) > 0;
  }

  get next(): number | undefined {
    const answer = this.#answered.at(0);
    if (answer === undefined) return this.#spoilt?.time; // tell() says why
    const { kind, time } = answer;
    const isMissing = kind === AnswerFrame.Posted &&
      this.#messages.length === 0;
    return isMissing ? undefined : time; // its message will come
  }

  tell(until?: number): boolean {
    let any = false;
    for (
      let answer;
      (answer = this.#answered.at(0)) !== undefined;
      any = true
    ) {
      const { call, kind, time, value } = answer;
      if (any && until !== undefined && isLater(time, until)) return true;
      let wire;
      if (kind === AnswerFrame.Posted) {
        wire = this.#messages.shift();
        if (wire === undefined) return any; // it will come
      }
      this.#answered.shift();
      this.events.onAnswer(
        call,
        wire
          ? this.outcome(call, wire)
          : kind === AnswerFrame.Dropped
          ? DROPPED
          : { ok: true, value },
      );
    }
    if (this.#spoilt !== undefined && !this.#isAbandoned) {
      this.events.onSpoilt(this.#spoilt.error);
      return true; // nothing more is read, nor written
    }
    if (this.#hasAll) this.allCame();
    return any;
  }

  drain(): boolean {
    this.look();
    return this.tell();
  }

  async settled(): Promise<void> {
    this.drain();
    if (!this.#hasAll) await this.untilAllCame();
  }

  /** Whether every answer was read, and somebody was told of it; and the last words. */
  get #hasAll(): boolean {
    return this.#answered.length === 0 &&
      this.#read === Atomics.load(this.#cells, LaneCell.Written) &&
      (this.failure !== undefined ||
        Atomics.load(this.#cells, LaneCell.Failed) === 0);
  }

  protected onPosted(outcome: PostedWire): void {
    this.#heard = (this.#heard + 1) | 0;
    this.#messages.push(outcome);
    this.events.onHeard();
  }

  #room(): number {
    const oldest = this.#entries.at(0)?.from ?? -1;
    return roomAt(this.#calls, this.#at, oldest);
  }
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
