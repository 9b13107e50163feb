/**
 * The messages between a thread and the worker's program.
 *
 * @module
 */

import type { CallKind } from "./call.ts";
import type { CallableWire } from "./callable.ts";
import type { ValueWire } from "./codec.ts";
import type { ThrownWire } from "./error_wire.ts";
import { GROUP_CELLS } from "./group.ts";

/** What a thread is told first: who it is and what it does. */
export interface Boot {
  /** The process's name. */
  name: string;
  /** The process's id. */
  id: number;
  /** The counters of the whole program. */
  counters: Int32Array;
  /** The thread's own life and those of its ancestors. */
  lives: Int32Array[];
  /** The URL of the worker file, which its children are started from too. */
  workerUrl: string | undefined;
  /** What the thread does. */
  job: Job;
}

/** What a thread does. */
export type Job = ProcessJob | ServerJob;

/** Runs one function and ends. */
export interface ProcessJob {
  kind: "process";
  target: CallableWire;
  args: ValueWire;
}

/** Serves a pool. */
export interface ServerJob {
  kind: "server";
  initializer: { fn: CallableWire; args: ValueWire } | undefined;
  /** The memory for frames, where it can be shared. */
  lane: LaneMemory | undefined;
}

/** The memory that a worker and its pool share. */
export interface LaneMemory {
  /** The words of {@linkcode LaneCell}. */
  cells: Int32Array;
  /** The words of {@linkcode BellCell}, shared by all workers of the pool. */
  bell: Int32Array;
  /** The ring of calls. */
  calls: SharedArrayBuffer;
  /** The ring of answers. */
  answers: SharedArrayBuffer;
  /** The functions of the pool; see definitions.ts. */
  definitions: SharedArrayBuffer;
}

/**
 * Words in a line of the processor's cache. What one side writes again and again
 * has a line for itself, or the other side would wait for it when it reads what
 * lies beside it.
 */
const LINE = 16;

/** The numbers from here on are not those of functions in shared memory. */
export const MAX_DEFINITIONS = 512;

/** The words of one lane, each with those who may change it. */
export const LaneCell = {
  /** [both] Which calls have begun; see claim.ts. */
  Claim: 0,
  /** [worker] `1` before it sleeps until Claim changes, `0` after. */
  WorkerAsleep: 1 * LINE,
  /** [worker] Where the last answer ends. */
  Written: 2 * LINE,
  /** [pool] Where the last answer that was read ends. */
  Read: 3 * LINE,
  /** [worker] `1` before it sleeps until Read changes, `0` after. */
  WorkerBlocked: 4 * LINE,
  /** [worker] `1` from when a watchdog watches what runs to its answer, or an `await`. */
  Guarded: 5 * LINE,
  /** [pool] `1` while the worker is the most likely one to get the next call. */
  Favoured: 6 * LINE,
  /** [pool] How many payloads were posted or withdrawn, mod 2^32; each after its frame. */
  PayloadsPosted: 7 * LINE,
  /** [worker] How many answers were posted, likewise. */
  AnswersPosted: 8 * LINE,
  /** [worker] One of {@linkcode Stage}. */
  Stage: 9 * LINE,
  /** [worker] `1` before its last message, with an error, which may come after its end. */
  Failed: 9 * LINE + 1,
  /** [worker] How many milliseconds the last call took whose answer was the only unread one. */
  Took: 10 * LINE,
  /** [worker] When it was answered, in milliseconds mod 2^32; before the answer. */
  AnsweredAt: 11 * LINE,
  /**
   * [worker] For each function by its number, how many microseconds its calls took
   * lately; `0` if that was {@linkcode LONG_US} or more, or is not known. A hint.
   */
  Paces: 12 * LINE,
} as const;

/** How far a worker has come, in `LaneCell.Stage`. */
export const Stage = {
  /** Its program has not begun yet. */
  Starting: 0,
  /** Its initializer has not run yet. */
  Initializing: 1,
  /** It takes calls. */
  Ready: 2,
  /** It ends, which no message may tell a thread that blocks. */
  Ending: 3,
} as const;

/** How many words a lane has. */
export const LANE_CELLS: number = LaneCell.Paces + MAX_DEFINITIONS;

/**
 * What waking a worker takes, in microseconds: calls that are quicker had better
 * wait for one that is awake.
 */
export const QUICK_US = 50;

/**
 * A call that takes as many microseconds is not sent ahead: others would wait for
 * it, and it for others. To wait for the pool after each costs less than 1/20 then.
 */
export const LONG_US = 1500;

/** The words that all workers of a pool share. */
export const BellCell = {
  /** [workers] Goes up with every answer, and when a worker is ready. */
  Answers: 0,
  /** [pool] `1` before it sleeps until Answers changes, `0` after. */
  PoolAsleep: LINE,
  /** [both] From here on: which groups have failed; see group.ts. */
  Groups: 2 * LINE,
} as const;

/** How many words the bell has. */
export const BELL_CELLS: number = BellCell.Groups + GROUP_CELLS;

/** The word of a call's frame beside its length, and what follows. */
export const CallFrame = {
  /** In the low bits: what is asked. */
  Kinds: ["apply", "map", "starmap"] as readonly CallKind[],
  KindMask: 3,
  /** The payload comes as a message. */
  Posted: 4,
  /** Buffers in the result are to be transferred. */
  TransferResult: 8,
  /** In the bits above these: the call's group, or 0. */
  GroupShift: 4,
  /** Words: the function's number, then how many values follow or the message's number. */
  Function: 2,
  Count: 3,
  /** Instead of how many values follow: one does, with all of the payload. */
  Whole: -1,
  /** Bytes: where a number says when the call is to be over, `0` for never. */
  Deadline: 16,
  /** Bytes: where the values begin. */
  Values: 24,
} as const;

/**
 * The word of an answer's frame beside its length: what it is, and how many answers
 * all workers of the pool had published when it was known, mod 2^30.
 */
export const AnswerFrame = {
  /** What it is. */
  KindMask: 3,
  /** How far the number is shifted. */
  TimeShift: 2,
  /** The result follows. */
  Value: 0,
  /** The answer comes as a message. */
  Posted: 1,
  /** The call was not begun, as one of its group had failed, or it was withdrawn. */
  Dropped: 2,
} as const;

/** An array of numbers. */
export type Numbers = Int32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** What a call is given or gives, as a message. */
export interface PayloadWire {
  value: ValueWire;
  /** The whole payload, if it is many numbers. */
  numbers?: Numbers;
  /** Items of the payload that are arrays of many numbers, and where they belong. */
  lists?: [index: number, numbers: Numbers][];
}

/** From the pool to a worker. */
export type ToServer =
  /** A function that is not in shared memory, before the first call of it. */
  | { kind: "define"; number: number; fn: CallableWire }
  /** The payload of the next call whose frame says that it is posted. */
  | { kind: "payload"; payload: PayloadWire }
  /** Instead of one that cannot be sent: its call is not to begin. */
  | { kind: "withdrawn" }
  /** Payloads that are not needed any more: their calls were taken back. */
  | { kind: "forget"; numbers: number[] }
  /** A whole call, where no memory is shared. */
  | ({ kind: "call" } & PostedCall);

/** A whole call as a message. */
export interface PostedCall {
  call: CallKind;
  fn: number;
  payload: PayloadWire;
  /** Milliseconds of the wall clock; `0` for never. */
  deadline: number;
  transferResult: boolean;
  group: number;
}

/** From a worker to the pool. */
export type FromServer =
  /** The initializer is done; said where no memory is shared. */
  | { kind: "ready" }
  /** The initializer has failed. */
  | { kind: "broken"; error: ThrownWire }
  /** An error outside its calls ends the worker. */
  | { kind: "failed"; error: ThrownWire }
  /** The answer to the oldest call that has none, or whose frame says that it is posted. */
  | { kind: "answer"; outcome: OutcomeWire };

/** How a call ended, as a message. */
export type OutcomeWire =
  | { ok: true; payload: PayloadWire }
  | {
    ok: false;
    error: ThrownWire;
    before?: PayloadWire | undefined;
    /** The worker has seen the deadline pass. */
    late?: boolean | undefined;
    /** Another call of its group had failed before it. */
    second?: boolean | undefined;
  };
