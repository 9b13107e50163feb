/**
 * The worker's end of a `SharedChannel`: calls come, and answers go, as frames in
 * shared memory, and as messages of which a frame tells.
 *
 * @module
 */

import { timeOf } from "../answer_clock.ts";
import type { Outcome } from "../call.ts";
import { claim, giveBack, unclaimed } from "../claim.ts";
import { announce, Consumer, interrupt } from "../consumer.ts";
import { readValue, writeValue } from "../frame.ts";
import { afterwards } from "../promises.ts";
import {
  AnswerFrame,
  BellCell,
  CallFrame,
  LaneCell,
  type LaneMemory,
  type PayloadWire,
  Stage,
  type ToServer,
} from "../protocol.ts";
import { follow, HEADER, link, ringOf, roomAt } from "../ring.ts";
import { nextTurn, now, timers, wallClock } from "../runtime/loop.ts";
import { hearsOn } from "../runtime/which.ts";
import { afterTurn, isTurnOverdue } from "../turn.ts";
import { leaveIfTerminated, onChange } from "../wait.ts";
import { Pace } from "./pace.ts";
import { endThread, report } from "./report.ts";
import { type Lane, NONE, type Runner, type Task } from "./runner.ts";

/** Sync calls in a row run for this long before the event loop has its turn. */
const TURN_MS = 2;

/** How long a message may be on its way. */
const LOST_MS = 3000;
/** And how many turns of the event loop, where that was stopped for so long. */
const GRACE_TURNS = 20;

/** Calls back after some turns of the event loop. */
function turns(count: number, callback: () => void): void {
  if (count === 0) callback();
  else nextTurn(() => turns(count - 1, callback));
}

/** A payload that was posted, or what came in its place. */
type Payload = PayloadWire | "unreadable" | "withdrawn";

/** Messages that a call needs before it can begin. */
interface Need {
  /** Looks whether they have come, and goes on then. */
  look(): void;
  /** Whether they were posted. */
  posted(): boolean;
}

/** Takes calls that come as frames, and answers so. */
export class SharedLane implements Lane {
  readonly #runner: Runner;
  readonly #cells: Int32Array;
  readonly #bell: Int32Array;
  readonly #calls;
  readonly #answers;
  /** Where the last frame that was read ends, and the last that was written. */
  #read = 0;
  #at = 0;
  /** Where the frame before the last one that was read ends. */
  #from = 0;
  /** Where the last answer that was read ends, when that was last looked at. */
  #lastRead = 0;
  /** By number; no map, whose methods a task could replace. */
  readonly #payloads: Record<number, Payload> = Object.create(null);
  /** Likewise, those that have not come and are not needed any more. */
  readonly #unwanted: Record<number, true> = Object.create(null);
  /** How many came, mod 2^32. */
  #received = 0;
  /** How many messages of any kind came. */
  #messages = 0;
  /**
   * Something has to happen before the next call can be claimed. Who sets it owes
   * a {@linkcode SharedLane.#go}, which alone lets calls be claimed again.
   */
  #held = true;
  /** When the call that runs was claimed, or about then. */
  #began = 0;
  readonly #pace: Pace;
  /** What the call that was claimed needs. */
  #need: Need | undefined;
  /** Whether somebody sees to it that they are met. */
  #watching = false;
  /** Whether that call was given back, as this thread ends. */
  #isGivenBack = false;
  readonly #consumer: Consumer;

  constructor(runner: Runner, memory: LaneMemory) {
    this.#runner = runner;
    this.#cells = memory.cells;
    this.#pace = new Pace(memory.cells);
    this.#bell = memory.bell;
    this.#calls = ringOf(memory.calls);
    this.#answers = ringOf(memory.answers);
    Atomics.store(this.#cells, LaneCell.Stage, Stage.Initializing);
    this.#consumer = new Consumer({
      cells: memory.cells,
      word: LaneCell.Claim,
      asleep: LaneCell.WorkerAsleep,
      work: () => this.#work(),
      wanted: () => !this.#held,
      patient: () => this.#cells[LaneCell.Favoured] === 1,
    });
  }

  /** In shared memory: there no news of this thread's end can overtake it. */
  begin(): void {
    Atomics.store(this.#cells, LaneCell.Stage, Stage.Ready);
    Atomics.add(this.#bell, BellCell.Answers, 1);
    this.#ring();
    this.#go();
  }

  fail(): void {
    Atomics.store(this.#cells, LaneCell.Failed, 1);
  }

  end(isEnding: boolean): void {
    const stage = isEnding ? Stage.Ending : Stage.Ready;
    Atomics.store(this.#cells, LaneCell.Stage, stage);
    if (isEnding) return this.#giveBack();
    Atomics.add(this.#bell, BellCell.Answers, 1);
    this.#ring(); // calls may wait for it
    if (!this.#isGivenBack) return;
    this.#isGivenBack = false;
    nextTurn(() => this.#go());
  }

  /** Lets another worker have the call that was claimed, if that has yet to begin. */
  #giveBack(): void {
    if (this.#need === undefined) return;
    this.#need = undefined; // it remains held
    this.#read = this.#from;
    this.#isGivenBack = true;
    giveBack(this.#cells, LaneCell.Claim);
  }

  receive(message: ToServer): void {
    this.#messages++;
    if (message.kind === "define") {
      this.#runner.functions.define(message.number, message.fn);
      this.#need?.look();
    } else if (message.kind === "payload") this.#hear(message.payload);
    else if (message.kind === "withdrawn") this.#hear("withdrawn");
    else if (message.kind === "forget") {
      for (const number of message.numbers) delete this.#payloads[number];
    }
  }

  miss(): void {
    this.#hear("unreadable");
  }

  /** Takes the next payload, whose frame came before it and need not have rung. */
  #hear(payload: Payload): void {
    const number = this.#received;
    this.#received = (number + 1) | 0;
    if (number in this.#unwanted) delete this.#unwanted[number];
    else this.#payloads[number] = payload;
    this.#need?.look();
    this.#consumer.rouse();
  }

  /** Takes a payload that has come. */
  #take(number: number): Payload {
    const payload = this.#payloads[number]!;
    delete this.#payloads[number];
    return payload;
  }

  /** Lets calls be claimed again. */
  #go(): void {
    this.#held = false;
    this.#work();
    this.#consumer.start();
  }

  /** Runs the calls that are there; tells whether there were any. */
  #work(): boolean {
    if (this.#held || !this.#claim()) return false;
    const began = this.#began = wallClock();
    this.#pace.begin();
    let time: number;
    do {
      this.#runFrame();
      time = Math.abs(this.#began - began); // the system may set its clock back
    } while (!this.#held && time <= TURN_MS && this.#claim());
    this.#pace.end(time > 0);
    if (this.#held) return true;
    if (time > TURN_MS && unclaimed(this.#cells, LaneCell.Claim) > 0) {
      this.#goNextTurn();
    }
    return true;
  }

  #claim(): boolean {
    // A thread that was given up may still be here, and must begin nothing.
    leaveIfTerminated();
    return claim(this.#cells, LaneCell.Claim);
  }

  #runFrame(): void {
    const ring = this.#calls;
    this.#from = this.#read;
    const at = follow(ring, this.#read);
    const word = at >> 2;
    const flags = ring.words[word + 1]!;
    const kind = CallFrame.Kinds[flags & CallFrame.KindMask]!;
    const fn = ring.words[word + CallFrame.Function]!;
    const count = ring.words[word + CallFrame.Count]!;
    const end = at + ring.words[word]!;
    this.#read = end;
    const group = flags >>> CallFrame.GroupShift;
    if (this.#runner.belongsWithFailed(group)) {
      if (flags & CallFrame.Posted) {
        if (count in this.#payloads) delete this.#payloads[count];
        else this.#unwanted[count] = true;
      }
      return this.#drop();
    }
    this.#pace.count(fn);
    const task: Task = {
      kind,
      fn,
      values: NONE,
      wire: undefined,
      deadline: ring.numbers[(at + CallFrame.Deadline) >> 3]!,
      transferResult: (flags & CallFrame.TransferResult) !== 0,
      group,
    };
    if (flags & CallFrame.Posted) {
      if (this.#ahead(count) > 0) { // at most the next one is being written
        throw new Error(`Cannot read call as its message is unknown: ${count}`);
      }
      return this.#when(
        () => count in this.#payloads && this.#runner.knows(fn),
        () => {
          const payload = this.#take(count);
          if (payload === "withdrawn") return this.#drop();
          if (payload !== "unreadable") {
            task.wire = payload;
            return this.#run(task);
          }
          if (!hearsOn) this.#runner.spoilt = true;
          this.#answer(task, this.#runner.unreadable(task));
        },
        () => this.#ahead(count) < 0,
      );
    }
    const cursor = { at: at + CallFrame.Values };
    if (count !== CallFrame.Whole) {
      const args = new Array(count);
      for (let i = 0; i < count; i++) args[i] = readValue(ring, cursor, end);
      task.values = args;
    } else task.values = readValue(ring, cursor, end) as unknown[];
    if (this.#runner.knows(fn)) this.#run(task);
    else this.#when(() => this.#runner.knows(fn), () => this.#run(task));
  }

  /** How many payloads are to be posted before one with this number is. */
  #ahead(number: number): number {
    return (number - Atomics.load(this.#cells, LaneCell.PayloadsPosted)) | 0;
  }

  /**
   * Does something as soon as the messages it needs have come. Once they were
   * posted they come soon, or a task has broken what brings them, and this thread
   * is of no use any more.
   */
  #when(
    ready: () => boolean,
    then: () => void,
    posted: () => boolean = () => true,
  ): void {
    if (ready()) return then();
    this.#held = true;
    this.#pace.forget();
    const need: Need = {
      posted,
      look: () => {
        if (!ready()) return;
        this.#need = undefined;
        this.#held = false;
        then();
        if (!this.#held) this.#go();
      },
    };
    this.#need = need;
    if (!this.#watching) this.#watch();
  }

  /** Sees to it that what is needed comes; there is no timer for each need. */
  #watch(): void {
    this.#watching = true;
    const need = this.#need!;
    const late = need.posted(); // else it is being written, which takes time
    const messages = this.#messages;
    // As long as others come, it may be behind them.
    const isOver = () => this.#need !== need || this.#messages !== messages;
    const again = () => {
      this.#watching = false;
      if (this.#need !== undefined) this.#watch();
    };
    timers.setTimeout(() => {
      if (!late || isOver()) return again();
      turns(GRACE_TURNS, () => {
        this.#need?.look();
        if (isOver()) return again();
        report(
          new Error(
            `Cannot receive messages any more as a task has changed what they ` +
              `come by: none came within ${LOST_MS} ms`,
          ),
        );
        this.#need = undefined; // that call is not given back: it may be to blame
        endThread(1);
      });
    }, LOST_MS);
  }

  #run(task: Task): void {
    const outcome = this.#runner.run(task);
    if (!(outcome instanceof Promise)) return this.#answer(task, outcome);
    this.#held = true;
    this.#pace.forget();
    const began = now();
    afterwards(outcome, (outcome) => {
      this.#held = false;
      this.#pace.waited(task.fn, now() - began);
      this.#answer(task, outcome);
      if (this.#held) return;
      if (isTurnOverdue()) this.#goNextTurn();
      else this.#go();
    });
  }

  /** Lets others' timers and messages have their turn. */
  #goNextTurn(): void {
    this.#held = true;
    afterTurn(() => this.#go());
  }

  #answer(task: Task, outcome: Outcome): void {
    this.#time();
    const time = timeOf(this.#bell);
    if (outcome.ok) return this.#give(task, outcome, time);
    if (outcome.dropped) return this.#drop(time);
    const second = this.#runner.failsSecond(task.group);
    this.#give(task, { ...outcome, second }, time);
  }

  /** Tells how long a call took, and since when its answer waits for the pool. */
  #time(): void {
    const time = wallClock();
    const took = Math.abs(time - this.#began); // the system may set its clock back
    this.#began = time; // the next call's
    const cells = this.#cells;
    if (took === 0 || Atomics.load(cells, LaneCell.Read) !== this.#at) return;
    cells[LaneCell.Took] = took;
    cells[LaneCell.AnsweredAt] = time;
  }

  #give(task: Task, outcome: Outcome, time: number): void {
    const ring = this.#answers;
    const at = this.#room();
    if (at < 0) return this.#whenRead(() => this.#give(task, outcome, time));
    let end = -1;
    if (outcome.ok && !task.transferResult) {
      const owned = task.kind !== "apply";
      const limit = at + ring.largest;
      try {
        end = writeValue(ring, at + HEADER, limit, outcome.value, owned);
      } catch {
        // A proxy's trap threw; the other lane will say so.
      }
    }
    if (end >= 0) {
      this.#publish(at, end, AnswerFrame.Value, time);
      this.#ring();
    } else {
      // The frame first: the message wakes the pool, which finds it then.
      this.#publish(at, at + HEADER, AnswerFrame.Posted, time);
      this.#runner.answer(task, outcome);
      Atomics.add(this.#cells, LaneCell.AnswersPosted, 1);
    }
    this.#runner.answered();
    if (!this.#runner.spoilt) return;
    this.#held = true; // nothing more begins
    nextTurn(() => endThread(1)); // the answer is on its way then
  }

  /** Answers that a call was not begun. */
  #drop(time = timeOf(this.#bell)): void {
    const at = this.#room();
    if (at < 0) return this.#whenRead(() => this.#drop(time));
    this.#publish(at, at + HEADER, AnswerFrame.Dropped, time);
    this.#ring();
  }

  /** Where the next answer begins, or -1 if there is no room for it. */
  #room(): number {
    const read = this.#lastRead = Atomics.load(this.#cells, LaneCell.Read);
    return roomAt(this.#answers, this.#at, read === this.#at ? -1 : read);
  }

  /** Writes the answer's head and lets the pool see the answer, should it look. */
  #publish(at: number, end: number, kind: number, time: number): void {
    const ring = this.#answers;
    link(ring, this.#at, at);
    ring.words[at >> 2] = end - at;
    ring.words[(at >> 2) + 1] = kind | time;
    this.#at = end;
    Atomics.store(this.#cells, LaneCell.Written, end);
    Atomics.add(this.#bell, BellCell.Answers, 1);
  }

  /** Wakes the pool for an answer that was published. */
  #ring(): void {
    announce(this.#bell, BellCell.Answers, BellCell.PoolAsleep);
  }

  /** Does something when the pool has read on; claims nothing until then. */
  #whenRead(then: () => void): void {
    const cells = this.#cells;
    this.#held = true;
    Atomics.store(cells, LaneCell.WorkerBlocked, 1);
    interrupt(this.#bell, BellCell.Answers);
    onChange(cells, LaneCell.Read, this.#lastRead, () => {
      Atomics.store(cells, LaneCell.WorkerBlocked, 0);
      this.#held = false;
      then();
      if (!this.#held) this.#go();
    });
  }
}
