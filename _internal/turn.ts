/**
 * Whether the event loop of this thread is owed a turn. What goes on in microtasks
 * alone would starve timers and messages.
 *
 * @module
 */

import { afterwards } from "./promises.ts";
import { nextTurn, now } from "./runtime/loop.ts";
import { wakesInTurn } from "./runtime/which.ts";

// Taken once, so that a task that replaces the globals harms only itself.
const { notify, waitAsync } = Atomics;

/** Microtasks may follow each other for this long. */
const BURST_MS = 4;

/** Whether no turn has come since somebody asked, and when that was. */
let isBurst = false;
let began = 0;
let marker: Int32Array | undefined;

const end = () => {
  isBurst = false;
};

/**
 * Tells whether the event loop is owed a turn. Who goes on in microtasks for long
 * asks now and then; whoever asks first after a turn starts the clock.
 *
 * @returns Whether it is.
 */
export function isTurnOverdue(): boolean {
  if (isBurst) return now() - began > BURST_MS;
  isBurst = true;
  began = now();
  if (!wakesInTurn) {
    nextTurn(end);
    return false;
  }
  // Settles in a later turn, without a timer or handle that could outlive us.
  marker ??= new Int32Array(new SharedArrayBuffer(4));
  const turn = waitAsync(marker, 0, 0);
  if (turn.async) afterwards(turn.value, end);
  notify(marker, 0);
  return false;
}

let waiting: (() => void)[] = [];
/** Whether the next turn is asked for: known once it is, as a watchdog may strike. */
let isComing = false;

/**
 * Gives the event loop its turn, and goes on after it. All who go on after one turn
 * share the time up to the next, however many there are.
 *
 * @param callback Called once; does not throw.
 */
export function afterTurn(callback: () => void): void {
  waiting[waiting.length] = callback; // no method that a task could replace
  if (isComing) return;
  nextTurn(() => {
    isComing = false;
    const due = waiting;
    waiting = [];
    end();
    for (let i = 0; i < due.length; i++) due[i]!();
  });
  isComing = true;
}
