/**
 * The channel to a worker with which no memory can be shared: there are only
 * messages, one call at a time.
 *
 * @module
 */

import type { Call } from "./call.ts";
import type { Channel } from "./channel.ts";
import { toWallClock } from "./limits.ts";
import { type PostedWire, Posting } from "./posting.ts";
import { stopsBusyThreads } from "./runtime/which.ts";

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

  get unanswered(): number {
    return this.inFlight;
  }

  get isComplete(): boolean {
    return this.inFlight === 0;
  }

  /** What was sent may have begun: nothing is sent before the worker is ready. */
  readonly waiting = 0;

  readonly memory = undefined;
  readonly started = true; // as far as anyone knows
  readonly ending = false; // that comes as a message
  readonly claimed = 0;
  readonly reading = 0;
  readonly pace = Infinity;
  readonly next = undefined; // no answer waits to be read

  get hasRoom(): boolean {
    return this.ready && this.#call === undefined;
  }

  paceOf(): number {
    return Infinity;
  }

  favour(): void {} // it does not spin
  lag(): undefined {} // it is sent nothing ahead

  protected override onReady(): void {
    this.ready = true;
    this.events.onReady();
  }

  send(call: Call, isOnly = false): boolean {
    const { fn, kind, deadline, transferResult = false, group = 0 } =
      call.request;
    const id = this.define(fn);
    this.postPayload(call, isOnly, ({ wire }) => ({
      kind: "call",
      call: kind,
      fn: id,
      payload: wire,
      deadline: toWallClock(deadline),
      transferResult,
      group,
    }));
    this.#call = call;
    return true;
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
    this.allCame();
    return call === undefined ? [] : [call];
  }

  look(): void {}

  tell(): boolean {
    return false;
  }

  drain(): boolean {
    return false;
  }

  async settled(): Promise<void> {
    if (this.#call !== undefined || !this.ready) await this.untilAllCame();
  }

  protected onPosted(outcome: PostedWire): void {
    const call = this.#call;
    this.#call = undefined;
    this.allCame();
    if (call !== undefined) {
      this.events.onAnswer(call, this.outcome(call, outcome));
    }
  }
}
