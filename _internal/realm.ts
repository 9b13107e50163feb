/**
 * What every copy of this module in one thread shares: the worker's program
 * and the module that a task imports are two copies, and so may be two
 * versions in one program.
 *
 * @module
 */

import type { AnyFunction } from "./callable.ts";
import { sharedCells } from "./runtime/memory.ts";
import { canShareMemory } from "./runtime/which.ts";
import type { SharedWire } from "./shared.ts";

/** Where a function marked with `task` is found. */
export interface TaskReference {
  /** The URL of its module. */
  readonly module: string;
  /** The name it was marked with, or that of an export. */
  readonly name: string;
}

/** Cells of {@linkcode Realm.counters}; any thread adds to them, none takes away. */
export const Counter = {
  /** Ids of processes. */
  ProcessId: 0,
  /** Numbers of default names. */
  ProcessName: 1,
  /** Numbers of pools' default names. */
  PoolName: 2,
  /** Ids of events and barriers that have been sent. */
  SharedId: 3,
} as const;

/** The state of one thread. */
export interface Realm {
  /** Who this thread is. */
  process: { name: string; id: number };
  /** Counters of the whole program, shared by all its threads. */
  counters: Int32Array;
  /** Says whether this thread's parent has ended it: `0` until then. Its ancestors' follow. */
  lives: Int32Array[];
  /**
   * What is to be done before this thread blocks in a wait, and again and again while
   * it does, as what it waits for may need it: nothing else of this thread goes on
   * then. Each is told whether it is done again, and tells for how many milliseconds
   * it need not be.
   */
  readonly whileBlocking: Set<(again: boolean) => number>;
  /** How many threads this one has started that have not ended. */
  children: number;
  /** How many calls the thread pools of this thread have. */
  localCalls: number;
  /** The URL of the worker file that this thread was started from, if it was. */
  workerUrl: string | undefined;
  /** Functions marked in this thread, by module and name. */
  readonly tasks: Map<string, AnyFunction>;
  /** Functions made in this thread that stand for exports, by both. */
  readonly stubs: Map<string, AnyFunction>;
  /** The marks of functions. */
  readonly marks: WeakMap<AnyFunction, TaskReference>;
  /** How many functions were marked so far. */
  marked: number;
  /** The URLs of modules that are being loaded for a task. */
  readonly loading: Set<string>;
  /** Events and barriers, with what tells how such objects look on the wire. */
  readonly shared: WeakMap<object, (object: object) => SharedWire>;
  /** Objects that must not be sent although a clone of them would succeed, with what they are. */
  readonly unsendable: WeakMap<object, string>;
  /** Events and barriers that have an id, so that one comes back as itself. */
  readonly known: Map<number, WeakRef<object>>;
  /** How to make one of them; the copy of the module that was loaded last decides. */
  readonly revivers: Map<string, (wire: SharedWire) => object>;
}

/** To be counted up with each change of {@linkcode Realm}: versions do not share then. */
const KEY = Symbol.for("@multi/processing@4");

function newRealm(): Realm {
  return {
    process: { name: "MainProcess", id: 0 },
    counters: canShareMemory ? sharedCells(4, "counters") : new Int32Array(4),
    lives: [],
    whileBlocking: new Set(),
    children: 0,
    localCalls: 0,
    workerUrl: undefined,
    tasks: new Map(),
    stubs: new Map(),
    marks: new WeakMap(),
    marked: 0,
    loading: new Set(),
    shared: new WeakMap(),
    unsendable: new WeakMap(),
    known: new Map(),
    revivers: new Map(),
  };
}

const globals = globalThis as { [KEY]?: Realm };
if (globals[KEY] === undefined) {
  Object.defineProperty(globals, KEY, { value: newRealm() });
}

/** The state of this thread. */
export const realm: Realm = globals[KEY]!;

/**
 * Takes the next number of a counter.
 *
 * @param counter A cell of {@linkcode Counter}.
 * @returns The number, 1 for the first.
 */
export function nextNumber(counter: number): number {
  return Atomics.add(realm.counters, counter, 1) + 1;
}
