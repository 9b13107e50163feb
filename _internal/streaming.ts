/**
 * What `imap` and `imapUnordered` ask of an executor: a bounded look-ahead,
 * order, and an end at any time.
 *
 * @module
 */

import {
  type Call,
  callBack,
  CallbackCall,
  type Host,
  type ItemsOptions,
  type Outcome,
} from "./call.ts";
import { type AnyFunction, nameOf } from "./callable.ts";
import {
  END,
  isArray,
  type Items,
  knownLength,
  readAhead,
  Source,
} from "./chunks.ts";
import { timeoutError } from "./errors.ts";
import { deadlineOf, onAbort, watchLimits } from "./limits.ts";
import { afterwards, ignoreRejections } from "./promises.ts";
import { Queue } from "./queue.ts";
import { realm } from "./realm.ts";
import { hold, release } from "./runtime/loop.ts";
import { afterTurn, isTurnOverdue } from "./turn.ts";

/** What is to be streamed, and how. */
export interface StreamRequest extends ItemsOptions {
  ordered: boolean;
  fn: AnyFunction;
  items: Items;
  chunkSize: number;
}

/** How a chunk ended. */
type StreamOutcome =
  | { ok: true; value: ArrayLike<unknown> }
  | Exclude<Outcome, { ok: true }>;

/**
 * How a stream ends: all was given, or the consumer has left; with an error, and what
 * has begun runs on; or with one that stops it, as the time is up or the signal aborts.
 */
type End = "done" | "failed" | "given up";

/** A consumer that waits for a result. */
interface Taker {
  resolve(result: IteratorResult<unknown, undefined>): void;
  reject(error: unknown): void;
  /** Called once, when it has waited. */
  unwatch(): void;
  /** When its worker is to give up. */
  readonly deadline: number | undefined;
}

// deno-lint-ignore no-explicit-any
type Any = any;

const doNothing = () => {};
const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** The iterator that `imap` returns. */
export class Stream implements AsyncIterableIterator<unknown> {
  readonly #host: Host;
  readonly #request: StreamRequest;
  readonly #ahead: number;
  #source: Source | undefined;
  /** Whether the source is waited for. */
  #reading = false;
  #sourceEnd: { error?: { error: unknown } } | undefined;
  /** Tells the pool that no more chunks will come. */
  #allRead = () => {};
  #total: number | undefined;
  /** Items read, and items whose chunk is done. */
  #read = 0;
  #done = 0;
  /** Items given to the consumer, and those that it surely has: it asked for more. */
  #given = 0;
  #taken = 0;
  #chunk: unknown[] = [];
  readonly #open = new Set<Call>();
  /** Outcomes of chunks; in order, with holes, if the stream is ordered. */
  readonly #outcomes = new Map<number, StreamOutcome>();
  #nextOutcome = 0;
  #submitted = 0;
  /** The chunks that run, if the stream is not ordered. */
  readonly #running = new Set<number>();
  /** A failure that comes after what runs before it, likewise. */
  #late: { index: number; outcome: StreamOutcome } | undefined;
  #finished = 0;
  /** Results of the chunk that is being given. */
  #results: ArrayLike<unknown> = [];
  #nextResult = 0;
  /** Comes after {@linkcode Stream.#results}. */
  #failure: { error: unknown } | undefined;
  /** An error that the stream ended with when nobody waited. */
  #owed: { error: unknown } | undefined;
  readonly #takers = new Queue<Taker>();
  #state: "new" | "running" | "over" = "new";
  #unwatch = doNothing;

  /**
   * @param host The pool.
   * @param request What to stream.
   */
  constructor(host: Host, request: StreamRequest) {
    this.#host = host;
    this.#request = request;
    this.#ahead = readAhead(request.chunkSize, host.processes);
    realm.unsendable.set(this, "an iterator");
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    return new Promise((resolve, reject) => {
      const { limits } = this.#request;
      if (this.#state === "new") {
        try {
          limits.signal?.throwIfAborted();
          this.#allRead = this.#host.register((error) =>
            this.#fail(error, "failed")
          );
        } catch (error) {
          this.#state = "over";
          const { items } = this.#request;
          if (isArray(items)) ignoreRejections(items); // nobody will await them
          return reject(error);
        }
        this.#state = "running";
        const { signal } = limits;
        if (signal !== undefined) {
          this.#unwatch = onAbort(
            signal,
            () => this.#fail(signal.reason, "given up"),
          );
        }
        try {
          this.#start();
        } catch (error) {
          this.#endSource({ error });
        }
      }
      if (this.#state === "over") {
        const owed = this.#owed;
        this.#owed = undefined;
        return owed ? reject(owed.error) : resolve(DONE);
      }
      this.#taken = this.#given;
      const deadline = deadlineOf(limits);
      let waits = true;
      const unwatch = () => waits = false;
      const taker: Taker = { resolve, reject, unwatch, deadline };
      this.#takers.push(taker);
      this.#step();
      if (!waits) return;
      if (limits.timeout === 0) return this.#timeOut();
      hold();
      taker.unwatch = release;
      if (limits.timeout === Infinity) return;
      const unwatchTime = watchLimits(
        { timeout: limits.timeout },
        this.#action,
        (error) => this.#fail(error, "given up"),
      );
      taker.unwatch = () => {
        unwatchTime();
        release();
      };
    });
  }

  async return(
    value?: unknown,
  ): Promise<IteratorReturnResult<Any>> {
    this.#end("done");
    return { done: true, value: await value };
  }

  #start(): void {
    const items: Items = Object(this.#request.items); // a string is iterable too
    this.#total = knownLength(items);
    this.#source = new Source(items);
    if (this.#state === "over") this.#source.close(true); // it has ended the pool
  }

  /** Does whatever can be done now. */
  #step(): void {
    this.#readOn();
    this.#give();
  }

  /** Reads until it is far enough ahead, or has to wait. */
  #readOn(): void {
    const { chunkSize } = this.#request;
    while (
      this.#state === "running" && !this.#reading && !this.#sourceEnd &&
      (this.#chunk.length > 0 ||
        this.#read + chunkSize <= this.#taken + this.#ahead)
    ) {
      let item;
      this.#reading = true; // what it calls may bring answers, and read on
      try {
        item = this.#source!.next();
      } catch (error) {
        return this.#endSource({ error });
      } finally {
        this.#reading = false;
      }
      if (item instanceof Promise) this.#await(item);
      else this.#add(item);
    }
  }

  #await(item: Promise<unknown>): void {
    this.#reading = true;
    const goOn = (use: (it: unknown) => void) => (it: unknown) => {
      const go = () => {
        this.#reading = false;
        use(it);
        this.#step();
      };
      // What never waits would go on in microtasks for ever.
      if (isTurnOverdue()) afterTurn(go);
      else go();
    };
    afterwards(
      item,
      goOn((item) => this.#add(item)),
      goOn((error) => this.#endSource({ error })),
    );
  }

  #add(item: unknown): void {
    if (item === END) return this.#endSource();
    if (this.#state !== "running" || this.#sourceEnd) return;
    this.#read++;
    this.#chunk.push(item);
    if (this.#chunk.length === this.#request.chunkSize) this.#submit();
  }

  /** Nothing more is read, and what was read is submitted. */
  #endSource(error?: { error: unknown }): void {
    if (this.#state !== "running" || this.#sourceEnd) return;
    this.#sourceEnd = error ? { error } : {};
    if (this.#chunk.length > 0) this.#submit();
    this.#source?.close(true); // there is more of it if something has failed
    this.#allRead();
  }

  #submit(): void {
    const payload = this.#chunk;
    this.#chunk = [];
    const index = this.#submitted++;
    if (!this.#request.ordered) this.#running.add(index);
    // A worker is given the time of who waits for this chunk, and no other.
    const isNext = this.#request.ordered
      ? index === this.#nextOutcome
      : this.#running.size === 1 &&
        (this.#host.processes === 1 || this.#read === this.#total);
    const waits = isNext && !this.#hasNext;
    const deadline = waits ? this.#takers.at(0)?.deadline : undefined;
    this.#run(payload, deadline, (outcome) => {
      if (outcome.ok || !outcome.unsent) return this.#keep(index, outcome);
      // The items before the one that could not be sent come first.
      const { error } = outcome;
      this.#run(
        payload.slice(0, outcome.unsent),
        deadline,
        (outcome) =>
          this.#keep(
            index,
            outcome.ok ? { ok: false, error, before: outcome.value } : outcome,
          ),
      );
    });
  }

  #run(
    payload: unknown[],
    deadline: number | undefined,
    then: (outcome: StreamOutcome) => void,
  ): void {
    const { fn, transferResult } = this.#request;
    const call = new CallbackCall(
      { kind: "map", fn, payload, deadline, transferResult },
      (outcome) => {
        this.#open.delete(call);
        if (this.#state !== "running") return;
        if (!outcome.ok && outcome.late) this.#timeOut();
        else then(outcome as StreamOutcome);
      },
    );
    this.#open.add(call);
    this.#host.executor.submit(call);
  }

  #keep(index: number, outcome: StreamOutcome): void {
    const { ordered, onProgress } = this.#request;
    if (ordered) this.#outcomes.set(index, outcome);
    else this.#keepUnordered(index, outcome);
    if (outcome.ok) {
      this.#done += outcome.value.length;
      callBack(onProgress, { done: this.#done, total: this.#total });
    } else {
      // Nothing after it will be given.
      this.#chunk = [];
      this.#endSource();
    }
    this.#step();
  }

  #keepUnordered(index: number, outcome: StreamOutcome): void {
    this.#running.delete(index);
    // What comes after a failure nobody is given.
    if (this.#late === undefined || index < this.#late.index) {
      if (outcome.ok) this.#outcomes.set(this.#finished++, outcome);
      else this.#late = { index, outcome };
    }
    const late = this.#late;
    if (late === undefined) return;
    for (const index of this.#running) if (index < late.index) return;
    this.#outcomes.set(this.#finished, late.outcome);
  }

  /** Whether a result is here for the first who waits. */
  get #hasNext(): boolean {
    return this.#nextResult < this.#results.length ||
      this.#outcomes.has(this.#nextOutcome);
  }

  /** Gives results to those who wait for them. */
  #give(): void {
    while (this.#takers.length > 0 && this.#state === "running") {
      if (this.#nextResult < this.#results.length) {
        this.#given++;
        const value = this.#results[this.#nextResult++];
        const taker = this.#takers.shift()!;
        taker.unwatch();
        taker.resolve({ done: false, value });
        if (this.#takers.length > 0) {
          this.#taken = this.#given; // some were asked for beforehand
          this.#readOn();
        }
        continue;
      }
      if (this.#failure) return this.#fail(this.#failure.error, "failed");
      const outcome = this.#outcomes.get(this.#nextOutcome);
      if (outcome !== undefined) {
        this.#outcomes.delete(this.#nextOutcome++);
        this.#nextResult = 0;
        if (outcome.ok) this.#results = outcome.value;
        else {
          this.#results = outcome.before ?? [];
          this.#failure = { error: outcome.error };
        }
        continue;
      }
      if (!this.#sourceEnd || this.#nextOutcome < this.#submitted) return;
      const { error } = this.#sourceEnd;
      if (error) return this.#fail(error.error, "failed");
      return this.#end("done");
    }
  }

  readonly #action = () => `get the next result of ${nameOf(this.#request.fn)}`;

  #timeOut(): void {
    const { timeout } = this.#request.limits;
    this.#fail(timeoutError(this.#action(), timeout), "given up");
  }

  /** Ends with an error for the first who waits. */
  #fail(error: unknown, how: Exclude<End, "done">): void {
    if (this.#state !== "running") return;
    const taker = this.#takers.shift();
    if (taker === undefined) {
      this.#owed = { error }; // nobody waits: the next who comes is told
    } else {
      taker.unwatch();
      taker.reject(error);
    }
    this.#end(how);
  }

  #end(how: End): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#unwatch();
    const open = new Set(this.#open);
    this.#open.clear();
    if (open.size > 0) this.#host.executor.giveUp(open, how === "given up");
    for (const taker of this.#takers.clear()) {
      taker.unwatch();
      taker.resolve(DONE);
    }
    this.#allRead();
    this.#source?.close(how !== "done");
  }
}
