/**
 * How calls get to a worker and answers back: the pool's end.
 *
 * @module
 */

import type { Call, Outcome } from "./call.ts";
import type { AnyFunction } from "./callable.ts";
import type { LaneMemory } from "./protocol.ts";
import type { Port } from "./runtime/threads.ts";

/** The pool's end of the way to one worker. */
export interface Channel {
  /** What the worker is told of it, where memory can be shared. */
  readonly memory: LaneMemory | undefined;
  /** Whether the worker's program has begun. */
  readonly started: boolean;
  /** Whether the worker has run its initializer. */
  readonly ready: boolean;
  /** The error outside its calls by which the worker says that it ends, if it does. */
  readonly failure: { error: unknown } | undefined;
  /** Whether the worker is known to end by itself. */
  readonly ending: boolean;
  /** How many calls were sent, of those whose answers nobody has been told of. */
  readonly inFlight: number;
  /** How many of them the worker had not answered at the last look. */
  readonly unanswered: number;
  /** How many of these have not begun. */
  readonly waiting: number;
  /** Whether every answer has come, told or not: the worker is needed no more. */
  readonly isComplete: boolean;
  /** Whether another call can be sent now. */
  readonly hasRoom: boolean;
  /** How many calls the worker has begun, mod 2^16: a change tells that it goes on. */
  readonly claimed: number;
  /**
   * How many microseconds a call of the function took lately that was sent last;
   * `Infinity` if that is not known.
   */
  readonly pace: number;
  /**
   * For how many milliseconds the worker may be reading the last message with a call,
   * before it can begin that call.
   */
  readonly reading: number;
  /** Whether a watchdog in the worker will end what runs there. */
  readonly guarded: boolean;
  /** What {@linkcode Channel.pace} would be if a call of this function were sent. */
  paceOf(fn: AnyFunction): number;
  /** Starts to use the wire. */
  open(port: Port): void;
  /**
   * How late this thread is with the answers that it reads now.
   *
   * @returns What is known of that, and was not told before.
   */
  lag(): Lag | undefined;
  /** Tells the worker whether it may expect the next call. */
  favour(isNext: boolean): void;
  /**
   * Sends a call.
   *
   * @param call The call.
   * @param isOnly Whether this is the only worker: no other could have what it waits for.
   * @returns Whether it was sent: not if it turns out that it may wait for others, and
   * the worker has some, but is not the only one.
   * @throws If the call cannot be sent; nothing was sent then, or, if it is an
   * {@linkcode UnsentError} that says so, it is in flight and will not begin.
   */
  send(call: Call, isOnly?: boolean): boolean;
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
  /** Reads the answers that are there, so that there is room for others; tells nobody. */
  look(): void;
  /**
   * When the next answer that can be told was given, by the clock of answer_clock.ts;
   * `undefined` if there is none.
   */
  readonly next: number | undefined;
  /**
   * Tells of the answers that were read.
   *
   * @param until Those that were given later are left, but for the next one.
   * @returns Whether there were any.
   */
  tell(until?: number): boolean;
  /** Looks, and tells. */
  drain(): boolean;
  /**
   * Resolves when every answer that was sent has been read, and the error that has
   * ended the worker or its initializer, if one has.
   */
  settled(): Promise<void>;
}

/** How late answers are read, in milliseconds. */
export interface Lag {
  /** For how long the first of them has waited. */
  late: number;
  /** How long its call took. */
  took: number;
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
