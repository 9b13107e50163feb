/**
 * Functions on the wire.
 *
 * @module
 */

import { type Exports, importModule } from "./import_module.ts";
import { realm, type TaskReference } from "./realm.ts";
import { evaluate, isClass, isNative, textOf } from "./source_text.ts";
import { tidyStack } from "./stack.ts";

/** Any function. */
// deno-lint-ignore no-explicit-any
export type AnyFunction = (...args: any[]) => unknown;

/** A function that goes as its source text. */
export interface SourceWire {
  kind: "source";
  text: string;
  name: string;
}

/** A function that goes as the name of a task. */
export interface TaskWire extends TaskReference {
  kind: "task";
}

/** A function on the wire. */
export type CallableWire = SourceWire | TaskWire;

const described = new WeakMap<AnyFunction, CallableWire>();

/**
 * Tells what to call a function in a message.
 *
 * @param fn The function.
 * @returns Its name in quotes, or "anonymous function".
 */
export function nameOf(fn: AnyFunction): string {
  const name = realm.marks.get(fn)?.name || ownName(fn);
  return name ? `function "${name}"` : "anonymous function";
}

/**
 * The name of a function, which may have been redefined as anything.
 *
 * @param fn The function.
 * @returns Its name, or "".
 */
export function ownName(fn: AnyFunction): string {
  try {
    return typeof fn.name === "string" ? fn.name : "";
  } catch {
    return "";
  }
}

/**
 * Describes a function so that another thread can run it.
 *
 * @param fn The function.
 * @returns Its task, or its source text.
 * @throws {TypeError} If it has neither.
 */
export function describe(fn: AnyFunction): CallableWire {
  const task = realm.marks.get(fn);
  if (task !== undefined) return { kind: "task", ...task };
  let wire = described.get(fn);
  if (wire === undefined) {
    const text = textOf(fn);
    if (isNative(text)) {
      throw new TypeError(
        `Cannot send ${nameOf(fn)} as it is bound or native and has no ` +
          `source text: wrap it in a function that calls it, and takes what it ` +
          `is bound to as an argument, or mark a function of a module with task()`,
      );
    }
    if (isClass(text)) {
      throw new TypeError(
        `Cannot send ${nameOf(fn)} as it is a class: send a function that ` +
          `constructs it`,
      );
    }
    wire = { kind: "source", text, name: ownName(fn) };
    described.set(fn, wire);
  }
  return wire;
}

/**
 * Describes a function that another thread is to run.
 *
 * If the top level of a module runs a task of its own elsewhere, that thread loads the
 * module, whose top level runs the task in a third one, and so on without end. So it
 * is refused while the module is being loaded, as in Python.
 *
 * @param fn The function.
 * @returns Its task, or its source text.
 * @throws {TypeError} If it has neither.
 * @throws {Error} If this is a process which loads the task's module right now.
 */
export function describeToRun(fn: AnyFunction): CallableWire {
  const wire = describe(fn);
  const { process: here, loading } = realm;
  if (wire.kind === "source" || here.id === 0) return wire;
  if (!loading.has(wire.module)) return wire;
  throw new Error(
    `Cannot run task "${wire.name}" elsewhere while process "${here.name}" ` +
      `loads its module "${wire.module}", as that would be loaded and run there ` +
      `again, without end: what only the program should do belongs in ` +
      `"if (import.meta.main)" or "if (currentProcess().id === 0)"`,
  );
}

/** Functions that came as text, whose `ReferenceError` needs an explanation: their names. */
const selfContained = new WeakMap<AnyFunction, string>();

/**
 * Finds or makes a function that was sent.
 *
 * @param wire What was sent.
 * @returns The function, or a promise of one whose module must be loaded first.
 */
export function reviveCallable(
  wire: CallableWire,
): AnyFunction | Promise<AnyFunction> {
  return wire.kind === "source"
    ? compile(wire)
    : realm.tasks.get(keyOf(wire)) ?? findTask(wire);
}

/**
 * Makes a function that was sent, without a promise: one of a module is loaded
 * when it is called.
 *
 * @param wire What was sent.
 * @returns The function.
 */
export function reviveSync(wire: CallableWire): AnyFunction {
  const fn = reviveCallable(wire);
  if (typeof fn !== "function") {
    fn.catch(() => {}); // told to whoever calls
    return (...args) => {
      const failure = missing.get(keyOf(wire));
      if (failure) throw failure.error;
      return fn.then((fn) => fn(...args));
    };
  }
  return (...args) => {
    let result;
    try {
      result = fn(...args);
    } catch (error) {
      throw explained(error, fn);
    }
    return result instanceof Promise
      ? result.catch((error) => {
        throw explained(error, fn);
      })
      : result;
  };
}

/**
 * Adds to a ReferenceError of a self-contained function why it came.
 *
 * @param error What the function threw.
 * @param fn The function.
 * @returns The same error.
 */
export function explained(error: unknown, fn: AnyFunction): unknown {
  const name = selfContained.get(fn);
  if (name === undefined) return error;
  try {
    if (error instanceof ReferenceError && !error.message.includes(HINT)) {
      const { message, stack } = error;
      const words = message.split(/[^\w$]+/); // V8 and JavaScriptCore differ
      const ofItself = name !== "" && words.includes(name)
        ? `; to call itself it has to be written as "function ${name}"`
        : "";
      const hint = `${HINT}${ofItself})`;
      error.message = message + hint;
      // The stack was made with the message that was there then.
      if (stack?.includes(message) && !stack.includes(hint)) {
        error.stack = stack.replace(message, () => message + hint);
      }
    }
  } catch {
    // It is frozen, a proxy that was revoked, or odd in another way.
  }
  return error;
}

const HINT = " (a function that is sent to another thread sees its " +
  "arguments and the globals there, not the variables and imports around " +
  "it: pass them as arguments, or mark the function of a module with task()";

function compile({ text, name }: SourceWire): AnyFunction {
  const fn = evaluate(text, name);
  selfContained.set(fn, name);
  return fn;
}

/** Why tasks were not found, for who cannot wait to be told. */
const missing = new Map<string, { error: unknown }>();

async function findTask(task: TaskReference): Promise<AnyFunction> {
  const key = keyOf(task);
  try {
    const fn = await loadTask(task);
    missing.delete(key);
    return fn;
  } catch (error) {
    missing.set(key, { error });
    throw error;
  }
}

async function loadTask(task: TaskReference): Promise<AnyFunction> {
  const { module, name } = task;
  let exported: Exports;
  realm.loading.add(module);
  try {
    exported = await importModule(module);
  } catch (cause) {
    throw new Error(
      `Cannot run task "${name}" as its module "${module}" cannot be loaded: ${
        tidyStack(cause instanceof Error ? cause.message : String(cause))
      }`,
      { cause },
    );
  } finally {
    realm.loading.delete(module);
  }
  const marked = realm.tasks.get(keyOf(task));
  if (marked !== undefined) return marked;
  const found = exported[name];
  if (typeof found === "function") {
    const fn = found as AnyFunction;
    realm.tasks.set(keyOf(task), fn); // the next time without a promise
    if (!realm.marks.has(fn)) mark(fn, { module, name });
    return fn;
  }
  throw new Error(
    `Cannot run task "${name}" as module "${module}" has no such function: ` +
      `export it, or mark it with task() where the module's top level comes ` +
      `when it is imported`,
  );
}

/**
 * Marks a function: from now on it goes by its name.
 *
 * @param fn The function.
 * @param task Where it is found.
 */
export function mark(fn: AnyFunction, task: TaskReference): void {
  realm.marks.set(fn, task);
  realm.marked++;
}

/**
 * Finds a function that was sent as a value: one that stands for an export, and
 * comes back to the thread that made it, is itself and loads nothing.
 *
 * @param wire What was sent.
 * @returns The function, or a promise of one whose module must be loaded first.
 */
export function reviveValue(
  wire: TaskWire,
): AnyFunction | Promise<AnyFunction> {
  const key = keyOf(wire);
  return realm.tasks.get(key) ?? realm.stubs.get(key) ?? findTask(wire);
}

/**
 * What tells functions apart that are sent: tasks, or texts.
 *
 * @param wire The function.
 * @returns The key.
 */
export function keyOf(wire: TaskReference | SourceWire): string {
  return "text" in wire
    ? `${wire.name}\n${wire.text}`
    : `${wire.module}\n${wire.name}`;
}
