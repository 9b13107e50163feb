/**
 * Which worker runs a call, and when that is thought over.
 *
 * The reasons stand in ARCHITECTURE.md, under "Which worker".
 *
 * @module
 */

import { readInOrder } from "./answer_clock.ts";
import { type Call, type Outcome, takesBuffers, UnsentError } from "./call.ts";
import { CallQueue } from "./call_queue.ts";
import type { Channel } from "./channel.ts";
import {
  DEAF_MS,
  type Headway,
  Headways,
  lookAt,
  STUCK_MS,
} from "./headway.ts";
import { Lead } from "./lead.ts";
import { QUICK_US } from "./protocol.ts";
import { now } from "./runtime/loop.ts";
import { cores } from "./runtime/which.ts";
import { later } from "./wait.ts";
import { worthwhile } from "./worthwhile.ts";

/** After so many answers of others, none of its own between, the hot worker gives way. */
const RIVAL_ANSWERS = 4;

/** Once a worker was passed, no more are sent ahead to any: they may have to come back. */
const CALLS_AHEAD = 16;

/** After so many answers with no worker passed again, twice as many are. */
const CALM_ANSWERS = 256;

/** So often answers are read between two looks for workers that were passed. */
const READS_PER_LOOK = 1024;

/**
 * While this thread blocks it looks this often whether a call can begin: after a
 * share of the time for which none did, within bounds.
 */
const ATTEND_SHARE = 0.1;
const MIN_ATTEND_MS = 0.1;
const MAX_ATTEND_MS = 10;

/** A worker, for whoever gives it calls. */
export interface Schedulable {
  readonly channel: Channel;
  /** Calls it may still be sent before it is replaced. */
  left: number;
  /** The call for which it may have to be stopped; it is sent no other until then. */
  stopping?: Call | undefined;
  readonly headway: Headway;
}

/** Who is told what comes of a call. */
export interface SchedulerEvents<W> {
  /** It cannot be sent: for whoever waits for it, that is its end. */
  onUnsent(call: Call, outcome: Outcome): void;
  /** It has left the queue, and went to no worker. */
  onDropped(call: Call): void;
  /** The worker has ended while it was sent a call, which has to be abandoned. */
  onLost(worker: W): void;
  /** All that the worker had was taken back. */
  onEmptied(worker: W): void;
  /** {@linkcode Scheduler.rest} is to be called again before this thread sleeps. */
  onDoubt(): void;
}

/** Gives calls to workers, in the order of their submission. */
export class Scheduler<W extends Schedulable> {
  /**
   * Whether any call may wait for others, as one was given something to wait for,
   * and its worker may have kept it. Then none goes behind another's.
   */
  mayWait = false;
  readonly #events: SchedulerEvents<W>;
  readonly #bell: Int32Array | undefined;
  readonly #clock: () => number;
  readonly #queue = new CallQueue();
  readonly #workers = new Set<W>();
  readonly #headways: Headways;
  /** The number of the next call. */
  #number = 0;
  /** How often answers were read. */
  #reads = 0;
  /** How many short calls a worker has ahead, and how many answers came since. */
  #ahead = Infinity;
  #calm = 0;
  /** How many that take long it has ahead. */
  readonly #lead: Lead;
  /** Whether all workers, or some that may be sent calls, were ready at the last look. */
  #allReady = false;
  #someReady = false;
  /** The worker that answers most of the time: the most likely to be awake. */
  #hot: W | undefined;
  /** How many answers of others came since its last one. */
  #rival = 0;
  /**
   * Whether calls may be sent now: not while a worker is chosen for one, or one is
   * sent, which may run getters of its arguments. What comes meanwhile waits in the
   * queue, or in a microtask.
   */
  #maySend = true;
  /** Whether one is sent: it is not in the queue, and not in flight. */
  #isSending = false;
  /** How many workers get some of the calls that are being dealt out anew. */
  #dealTo: number | undefined;
  /** Whether it will be looked whether calls have begun that were sent. */
  #watching = false;
  /** While this thread blocks: how many calls had begun, and since when no more. */
  #attended = { begun: 0, since: 0 };

  /**
   * @param events Who is told.
   * @param bell The words of `BellCell`, where memory is shared.
   * @param clock Tells milliseconds that never go back.
   */
  constructor(
    events: SchedulerEvents<W>,
    bell: Int32Array | undefined,
    clock = now,
  ) {
    this.#events = events;
    this.#bell = bell;
    this.#clock = clock;
    this.#headways = new Headways(this.#workers, clock);
    this.#lead = new Lead(clock);
  }

  /** The workers that may be sent calls. */
  get workers(): ReadonlySet<W> {
    return this.#workers;
  }

  /** How many calls are in the queue. */
  get queued(): number {
    return this.#queue.length;
  }

  /** Whether calls may be sent and taken back now. */
  get maySend(): boolean {
    return this.#maySend;
  }

  /** Whether there is a call that is neither in the queue nor in flight. */
  get isSending(): boolean {
    return this.#isSending;
  }

  /**
   * Gives calls to another worker too.
   *
   * @param worker The worker.
   */
  add(worker: W): void {
    this.#headways.begin(worker.headway);
    this.#workers.add(worker);
    this.#allReady = false;
  }

  /**
   * Gives a worker no more calls.
   *
   * @param worker The worker.
   */
  remove(worker: W): void {
    this.#workers.delete(worker);
    this.#cool(worker);
  }

  /**
   * Puts a call at the end of the queue.
   *
   * @param call The call.
   */
  push(call: Call): void {
    call.number = this.#number++;
    this.#queue.push(call);
  }

  /**
   * Takes calls out of the queue.
   *
   * @param calls The calls.
   * @returns Those that were there.
   */
  drop(calls: ReadonlySet<Call>): Call[] {
    return this.#queue.remove(calls);
  }

  /**
   * Empties the queue.
   *
   * @returns What was there.
   */
  clear(): Call[] {
    return this.#queue.clear();
  }

  /** Sends what can be sent, and lets no worker be idle while calls wait. */
  dispatch(): void {
    this.#recallUnheard();
    this.send();
    if (this.#balance()) this.#events.onDoubt();
  }

  /** Sends what can be sent. */
  send(): void {
    if (!this.#allReady) this.#lookForReady();
    while (this.#maySend && this.#queue.length > 0) {
      const call = this.#queue.first!;
      if (call.settled) {
        this.#queue.shift();
        this.#events.onDropped(call);
        continue;
      }
      let worker;
      this.#maySend = false;
      try {
        worker = this.#choose(call);
      } finally {
        this.#maySend = true; // also if the stack was at its end
      }
      if (this.#queue.first !== call) continue; // a getter has ended the pool
      if (worker === undefined) return;
      const { channel, headway } = worker;
      const isIdle = channel.unanswered === 0;
      const isOnly = this.#workers.size === 1;
      // It waits for an idle worker: its buffers could not be taken back, or it may
      // wait for others, and what it waits for must not be behind it.
      const mayGoBehind = !takesBuffers(call) && (isOnly || !call.mayWait);
      if (!isIdle && !mayGoBehind) return;
      this.#queue.shift();
      let unsent: UnsentError | undefined;
      try {
        this.#maySend = false;
        this.#isSending = true;
        if (isIdle) headway.fresh = true;
        const isSent = channel.send(call, isOnly);
        this.mayWait ||= call.mayWait;
        if (!isSent) return this.requeue([call]);
        headway.short = channel.pace < Infinity;
      } catch (error) {
        unsent = error instanceof UnsentError ? error : new UnsentError(error);
      } finally {
        this.#isSending = false;
        this.#maySend = true;
      }
      const isInFlight = unsent === undefined || unsent.withdrawn;
      if (isInFlight) worker.left--; // before anyone is told, who may send more
      if (unsent !== undefined) {
        const { reason: error, index } = unsent;
        this.#events.onUnsent(call, { ok: false, error, unsent: index });
      }
      if (!isInFlight) this.#events.onDropped(call);
      else if (!this.#workers.has(worker)) this.#events.onLost(worker);
      // Last, as the stack may be at its end: the call is in flight whatever this does.
      else if (isIdle && unsent === undefined) this.#watch();
    }
  }

  /**
   * Sees to the workers while this thread blocks: it may wait for what a call in the
   * queue does. Nobody is told of an answer, as that may call the user.
   *
   * @param again Whether that was done since it blocks.
   * @returns For how many milliseconds this need not be done again.
   */
  attend(again: boolean): number {
    for (const worker of this.#workers) {
      lookAt(worker);
      this.#recallLong(worker);
    }
    this.dispatch();
    const time = this.#clock();
    const { begun } = this.#headways;
    if (!again || this.#attended.begun !== begun) {
      this.#attended = { begun, since: time };
    }
    if (this.#queue.length === 0) return MAX_ATTEND_MS;
    const pause = (time - this.#attended.since) * ATTEND_SHARE;
    return Math.min(Math.max(pause, MIN_ATTEND_MS), MAX_ATTEND_MS);
  }

  /** Puts all that has not begun back where it came from. */
  #takeAllBack(): void {
    for (const worker of this.#workers) this.requeue(this.takeBack(worker));
  }

  /**
   * Takes back the calls that a worker has not begun.
   *
   * @param worker The worker.
   * @returns The calls.
   */
  takeBack(worker: W): Call[] {
    const calls = worker.channel.takeBack();
    worker.left += calls.length;
    // It was to be stopped for one that it has given back.
    if (worker.stopping && calls.includes(worker.stopping)) {
      worker.stopping = undefined;
    }
    if (calls.length > 0 && worker.channel.inFlight === 0) {
      this.#events.onEmptied(worker);
    }
    return calls;
  }

  /**
   * Puts calls back where they came from: first come, first served.
   *
   * @param calls The calls.
   */
  requeue(calls: Call[]): void {
    const queue = this.#queue;
    const newest = calls.reduce((most, it) => Math.max(most, it.number), -1);
    // What came back before may be older.
    while ((queue.first?.number ?? Infinity) < newest) {
      calls.push(queue.shift()!);
    }
    queue.unshift(calls.sort((a, b) => a.number - b.number));
  }

  /**
   * Reads the answers that are there, in the order in which they were given.
   *
   * @returns Whether there were any.
   */
  drain(): boolean {
    // Another may be ready, or does not end after all.
    if (!this.#allReady || this.#queue.length > 0) this.send();
    if (this.#bell === undefined) return false;
    if (++this.#reads % READS_PER_LOOK === 0 && this.#maySend) this.#dealAnew();
    return readInOrder(this.#workers, this.#bell);
  }

  /**
   * Notes that a worker has answered.
   *
   * @param worker The worker.
   */
  answered(worker: W): void {
    this.#warm(worker);
    worker.headway.passed = false;
    this.#adaptLead(worker.channel);
    this.#recallLong(worker);
    if (this.#ahead !== Infinity && ++this.#calm === CALM_ANSWERS) {
      this.#calm = 0;
      this.#ahead *= 2; // in the end the rings are the limit
    }
  }

  /**
   * Looks, before this thread sleeps, that no worker is idle while calls wait.
   *
   * @returns For how many milliseconds it may sleep.
   */
  rest(): number {
    return this.#balance() ? STUCK_MS : Infinity;
  }

  /**
   * For how many milliseconds the workers have all cores busy with quick calls
   * that they were sent; `0` if a core may be spare.
   *
   * @returns Milliseconds.
   */
  backlog(): number {
    let busy = 0;
    let least = Infinity;
    for (const { channel } of this.#workers) {
      const { pace, waiting } = channel;
      if (waiting === 0 || pace >= QUICK_US) continue;
      busy++;
      least = Math.min(least, waiting * pace);
    }
    if (busy < cores) return 0;
    this.#headways.look();
    for (const { channel, headway } of this.#workers) {
      // One that is not quick after all may have to give its calls to others.
      if (channel.unanswered > 0 && !this.#headways.goesOn(headway)) return 0;
    }
    return least / 1000;
  }

  /**
   * The worker for the next call: an idle one, else of those that may have calls
   * ahead the one with the fewest.
   *
   * Of a function whose calls are quick, the one that answered last, as long as
   * it gets to the call sooner than another could be woken, and after that no
   * more than such calls are worth. That a call is not quick after all is seen
   * before the pool sleeps; see {@linkcode Scheduler.#balance}. One that may wait
   * for others, as it has more than simple values, has a worker of its own if there
   * is one.
   */
  #choose(call: Call): W | undefined {
    const hot = this.#hot;
    let limit = Infinity;
    if (hot !== undefined && mayTake(hot) && !hot.headway.passed) {
      const { channel } = hot;
      if (channel.unanswered === 0) return hot;
      // What is there may be of another function than this call.
      const pace = this.mayWait
        ? Infinity
        : Math.max(channel.pace, paceOf(channel, call));
      if (pace < QUICK_US) {
        this.#events.onDoubt();
        limit = this.#dealTo ?? worthwhile(pace, channel.unanswered + 1, cores);
        if (limit <= 1) return channel.hasRoom ? hot : undefined;
      }
    }
    const isFew = limit !== Infinity; // the hot one and few others
    let others = limit - 1;
    let best: W | undefined;
    let fewest = this.#ahead;
    for (const worker of this.#workers) {
      if (!mayTake(worker)) continue;
      const { channel, headway } = worker;
      const { ready } = channel;
      if (headway.passed || this.#comesTooEarly(call, worker)) continue;
      if (isFew && worker !== hot && (!ready || others-- <= 0)) continue;
      // One that is not ready, or deaf, comes between those that are idle and busy.
      const { deaf } = headway;
      const load = channel.unanswered + (ready ? deaf / (deaf + 1) : 0.5);
      if (load >= fewest || !channel.hasRoom) continue;
      best = worker;
      fewest = load;
    }
    return best;
  }

  /**
   * Whether a call has to wait for a worker to be free, or to be ready, since it
   * takes long, or what is there does: one that waits behind another's would be
   * passed by newer ones.
   */
  #comesTooEarly(call: Call, { channel, headway }: W): boolean {
    if (this.#workers.size === 1) return false;
    const { unanswered, ready } = channel;
    if (!ready && this.#someReady) return true;
    if (unanswered > 0 && this.mayWait) return true; // perhaps for this call
    if (unanswered > 0 && headway.deaf > 0) return true;
    if (unanswered <= this.#lead.calls) return false;
    if (channel.pace === Infinity) return true;
    try {
      return channel.paceOf(call.request.fn) === Infinity;
    } catch {
      return false; // it cannot be sent, and who tries is told why
    }
  }

  /** Lets workers have calls ahead while this thread is late, and only then. */
  #adaptLead(channel: Channel): void {
    const lag = channel.lag();
    if (lag !== undefined && this.#workers.size > 1) {
      this.#lead.note(lag, this.#queue.length > 0);
    }
    if (this.#maySend && this.#lead.end()) this.#takeAllBack();
  }

  /** Takes back what was sent ahead as it seemed to be short, and is not after all. */
  #recallLong(worker: W): void {
    const { channel, headway } = worker;
    if (!headway.short || channel.pace < Infinity) return;
    if (this.#workers.size === 1 || !this.#maySend) return;
    headway.short = false;
    this.requeue(this.takeBack(worker));
  }

  /**
   * Looks who is ready. What was sent to a worker that is not goes to one that is,
   * as soon as that is idle, before anything newer does.
   */
  #lookForReady(): void {
    if (!this.#maySend) return;
    this.#allReady = true;
    this.#someReady = false;
    let isIdle = false;
    for (const worker of this.#workers) {
      const { channel } = worker;
      if (!channel.ready) this.#allReady = false;
      else if (mayTake(worker) && worker.headway.deaf === 0) {
        this.#someReady = true;
        isIdle ||= channel.unanswered === 0;
      }
    }
    if (this.#allReady || !isIdle) return;
    for (const worker of this.#workers) {
      const { ready, waiting } = worker.channel;
      if (!ready && waiting > 0) this.requeue(this.takeBack(worker));
    }
  }

  /** Sees to it that somebody begins what was sent to a worker that was idle. */
  #watch(): void {
    if (this.#watching || this.#bell === undefined) return; // none can be taken back
    later(DEAF_MS, () => {
      this.#watching = false;
      if (!this.#recallUnheard()) return;
      this.#watch();
      this.send();
    });
    this.#watching = true; // not before, as the stack may be at its end
  }

  /**
   * Takes back what deaf workers have if another is idle, so that nothing newer
   * passes it.
   *
   * @returns Whether there are workers that have begun nothing of what they have.
   */
  #recallUnheard(): boolean {
    if (!this.#maySend) return false;
    this.#headways.look();
    const unheard: W[] = [];
    let best = Infinity; // of those who are idle
    for (const worker of this.#workers) {
      const { channel, headway } = worker;
      const { ready, unanswered, waiting } = channel;
      if (!ready) continue;
      if (unanswered > 0 && unanswered === waiting) unheard.push(worker);
      else if (unanswered === 0 && mayTake(worker)) {
        best = Math.min(best, headway.deaf);
      }
    }
    for (const worker of unheard) {
      if (best === Infinity) break; // nobody could have them
      const { headway } = worker;
      const isDeaf = this.#headways.isDeaf(worker);
      if (!isDeaf && best >= headway.deaf) continue;
      if (isDeaf) headway.deaf++;
      this.#cool(worker);
      this.requeue(this.takeBack(worker));
    }
    return unheard.length > 0;
  }

  /** A worker has answered: if no other has for a while, it becomes the hot one. */
  #warm(worker: W): void {
    if (worker === this.#hot) {
      this.#rival = 0;
    } else if (this.#hot === undefined || ++this.#rival === RIVAL_ANSWERS) {
      this.#cool(this.#hot);
      this.#hot = worker;
      this.#rival = 0;
      worker.channel.favour(true);
    }
  }

  /** If it was the hot worker, there is none now. */
  #cool(worker: W | undefined): void {
    if (worker === undefined || worker !== this.#hot) return;
    worker.channel.favour(false);
    this.#hot = undefined;
  }

  /**
   * Lets idle workers have what waits behind a call of another, or for one that
   * is not ready.
   *
   * @returns Whether to look again soon: calls that wait and seem to be quick
   * were left, or sent, to one worker.
   */
  #balance(): boolean {
    if (!this.#maySend) return false;
    const left = new Set<W>();
    let again = false;
    this.#dealAnew();
    for (;;) {
      let idle = false;
      let busy = 0;
      let fullest: W | undefined;
      let most = 0;
      for (const worker of this.#workers) {
        const { unanswered, ready } = worker.channel;
        if (unanswered > 0) busy++;
        else if (mayTake(worker) && ready && worker.headway.deaf === 0) {
          idle = true;
        }
        if (unanswered <= most + (ready ? 1 : 0)) continue;
        if (left.has(worker)) continue;
        const { waiting } = worker.channel;
        if (waiting > most) {
          fullest = worker;
          most = waiting;
        }
      }
      if (!idle || fullest === undefined) return again;
      const hotIsIdle = this.#hot?.channel.unanswered === 0;
      const limit = this.#headways.goesOn(fullest.headway)
        ? worthwhile(fullest.channel.pace, most + 1, cores)
        : Infinity;
      const leave = !hotIsIdle && busy >= limit;
      const calls = leave ? [] : this.takeBack(fullest);
      if (leave || (hotIsIdle && calls.length > 0)) again = true;
      if (calls.length === 0) {
        left.add(fullest);
        continue;
      }
      this.requeue(calls);
      if (!hotIsIdle) this.#dealTo = limit;
      this.send();
      this.#dealTo = undefined;
      if (limit === Infinity) continue;
      left.add(fullest); // no second time
      again = true;
    }
  }

  /**
   * If calls wait behind one that takes so much longer than others that these pass
   * them, which they would for as long as no worker is idle, deals out anew all
   * that has not begun.
   */
  #dealAnew(): void {
    if (!this.#headways.lookForPassed()) return;
    this.#ahead = CALLS_AHEAD;
    this.#calm = 0;
    this.#takeAllBack();
    this.send();
  }
}

/** Whether a worker may be sent another call. */
function mayTake({ left, stopping, channel }: Schedulable): boolean {
  return left > 0 && stopping === undefined && !channel.ending;
}

/** What is known of a call that was not sent yet; `Infinity` if that is nothing. */
function paceOf(channel: Channel, call: Call): number {
  try {
    return isSimple(call) ? channel.paceOf(call.request.fn) : Infinity;
  } catch {
    return Infinity; // it cannot be sent, and who tries is told why
  }
}

/** How many values of a call are looked at. */
const FEW_VALUES = 16;

/** Whether a call is given a few simple values and nothing else. */
function isSimple({ request: { payload, transfer } }: Call): boolean {
  if (transfer !== undefined || payload.length > FEW_VALUES) return false;
  for (let i = 0; i < payload.length; i++) {
    const value = payload[i];
    if (typeof value === "object" && value !== null) return false;
  }
  return true;
}
