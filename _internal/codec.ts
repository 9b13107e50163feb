/**
 * Values on the wire: structured clone, with events, barriers and tasks
 * anywhere inside.
 *
 * What is shared cannot be cloned, so an empty object takes its place in the
 * message, and a list beside it says which empty object stands for what:
 * structured clone keeps identity within one message.
 *
 * @module
 */

import {
  type AnyFunction,
  reviveCallable,
  reviveValue,
  type TaskWire,
} from "./callable.ts";
import {
  type Content,
  contentOf,
  isError,
  isMap,
  isOfSharedMemory,
  isOpaque,
  isPlainTagged,
  isSet,
  segmentOf,
  simpleContent,
} from "./content.ts";
import { afterwards } from "./promises.ts";
import { realm } from "./realm.ts";
import { isDisguised, isEmptied, isRuinedInside } from "./runtime/values.ts";
import { MAX_DEPTH } from "./runtime/which.ts";
import { reviveShared, type SharedWire } from "./shared.ts";

/** A value on the wire. */
export interface ValueWire {
  value: unknown;
  /** What stands for what, if anything does. */
  stand?: [placeholder: object, wire: SharedWire | TaskWire][];
  /** Whether memory that threads share is inside. */
  memory?: boolean;
}

/**
 * Prepares a value for structured clone.
 *
 * @param value The value.
 * @param root What the value is called in an error, as in "args".
 * @param owner Whose value it is, as in `function "f"`.
 * @returns A value that can be cloned.
 * @throws {DOMException} A `DataCloneError` if something inside cannot be sent.
 */
export function encode(value: unknown, root: string, owner: string): ValueWire {
  const { stands, memory } = scan(value, root, owner);
  const wire: ValueWire = stands ? substitute(value) : { value };
  if (memory) wire.memory = true;
  return wire;
}

/**
 * Makes the value again. Modules of tasks in it are loaded before its events and
 * barriers are made, so that those are of the classes that the modules know.
 *
 * @param wire What {@linkcode encode} returned, after its clone.
 * @returns The value, or a promise of it if a module must be loaded first.
 */
export function decode(wire: ValueWire): unknown {
  const { stand, value } = wire;
  if (stand === undefined) return value;
  const tasks = stand.map(([, it]) =>
    isShared(it) ? actionOf(it) : reviveValue(it)
  );
  const restore = (tasks: unknown[]) =>
    restoreIn(
      value,
      new Map(stand.map(([placeholder, it], i) => [
        placeholder,
        isShared(it) ? reviveShared(it) : tasks[i],
      ])),
    );
  return tasks.some((it) => it instanceof Promise)
    ? afterwards(Promise.all(tasks), restore)
    : restore(tasks);
}

/**
 * Tells whether there is something in a value by which threads wait for each other:
 * events, barriers or the memory that they share.
 *
 * @param wire What was made of it, if there is one.
 * @returns Whether there is.
 */
export function hasShared(wire: ValueWire | undefined): boolean {
  const { memory = false, stand = [] } = wire ?? {};
  return memory || stand.some(([, it]) => isShared(it));
}

function isShared(wire: SharedWire | TaskWire): wire is SharedWire {
  return wire.kind === "event" || wire.kind === "barrier";
}

/** The module of a barrier's action, for which waitSync() cannot wait. */
function actionOf(wire: SharedWire): unknown {
  if (wire.kind !== "barrier" || wire.action?.kind !== "task") return undefined;
  const action = reviveCallable(wire.action);
  const ignore = () => {}; // whoever waits at the barrier is told
  return action instanceof Promise
    ? afterwards(action, ignore, ignore)
    : action;
}

/**
 * An error for something that structured clone would not take, or would take
 * and ruin.
 *
 * @param what What it is.
 * @param path Where it stands, as in `args[0].list[3]`.
 * @param owner Whose value it is.
 * @returns A `DataCloneError`.
 */
function cloneError(what: string, path: string, owner: string): DOMException {
  return new DOMException(
    `Cannot send ${path} of ${owner} as ${what} cannot be cloned`,
    "DataCloneError",
  );
}

/**
 * An error for a message that was sent and cannot be read.
 *
 * @param what What is in it, as in `result`.
 * @param owner Whose it is.
 * @returns A `DataCloneError`.
 */
export function unreadableError(what: string, owner: string): DOMException {
  return new DOMException(
    `Cannot send ${what} of ${owner} as the other thread cannot read it: it is ` +
      `nested too deeply, or of a kind that is not shared with it`,
    "DataCloneError",
  );
}

/**
 * Says where a value that could not be cloned stands.
 *
 * @param error What the platform threw.
 * @param value The whole value.
 * @param root What the value is called.
 * @param owner Whose value it is.
 * @returns The error to throw: the same, if it is another one.
 */
export function located(
  error: unknown,
  value: unknown,
  root: string,
  owner: string,
): unknown {
  if (!isCloneError(error)) return error;
  const { message } = error;
  if (message.startsWith("Cannot send ")) return error;
  let path = root;
  const onPath = new Set<unknown>(); // a cycle leads back to it
  for (;;) {
    onPath.add(value);
    const inner = contentOf(value);
    const index = inner.values.findIndex((child) =>
      !onPath.has(child) && !clones(child)
    );
    if (index < 0) break;
    path += segmentOf(inner, index);
    value = inner.values[index];
  }
  return unsendableError(path, owner, message);
}

/**
 * An error for what the platform refuses.
 *
 * @param path Where it stands.
 * @param owner Whose value it is.
 * @param message What the platform says.
 * @returns A `DataCloneError`.
 */
export function unsendableError(
  path: string,
  owner: string,
  message: string,
): DOMException {
  return new DOMException(
    `Cannot send ${path} of ${owner}: ${message}`,
    "DataCloneError",
  );
}

/**
 * Tells whether the platform, or this module, could not clone something; what
 * the getters of a value throw is another matter.
 *
 * @param error What was thrown.
 * @returns Whether it is such an error.
 */
export function isCloneError(error: unknown): error is DOMException {
  return error instanceof DOMException && error.name === "DataCloneError";
}

function clones(value: unknown): boolean {
  try {
    structuredClone(encode(value, "", "").value);
    return true;
  } catch {
    return false;
  }
}

/** What an object is that must not be sent, although a clone of it may succeed. */
function refusal(value: object): string | undefined {
  if (isDisguised(value)) return "a proxy or an arguments object";
  if (value instanceof Promise) return "a promise";
  const known = realm.unsendable.get(value);
  if (known !== undefined) return known;
  if (Object.hasOwn(value, Symbol.toStringTag)) return undefined; // a mere name
  switch (Object.prototype.toString.call(value)) {
    case "[object Promise]":
      return "a promise";
    case "[object Generator]":
    case "[object AsyncGenerator]":
      return "a generator";
    case "[object WeakMap]":
    case "[object WeakSet]":
    case "[object WeakRef]":
      return "a weak reference";
  }
  return isRuinedInside(value) ? ofItsClass(value) : undefined;
}

function ofItsClass(value: object): string {
  return `an object of class ${value.constructor?.name ?? "unknown"}`;
}

/**
 * Whether a value holds anything that needs a stand-in, and shared memory; throws
 * for what cannot be sent. It goes the way of structured clone, and so as deep.
 */
function scan(
  root: unknown,
  name: string,
  owner: string,
): { stands: boolean; memory: boolean } {
  let stands = false;
  let memory = false;
  const seen = new Set<object>();
  /** What it is in, and how much of that it has seen. */
  const inside: { content: Content; next: number }[] = [];
  const refuse = (what: string, levels = inside): never => {
    const path = levels.map(({ content, next }) =>
      segmentOf(content, next - 1)
    );
    throw cloneError(what, name + path.join(""), owner);
  };
  const visit = (value: unknown) => {
    if (typeof value === "symbol") refuse("a symbol");
    if (typeof value === "function") {
      if (!realm.marks.has(value as AnyFunction)) {
        refuse("a function that is not marked with task()");
      }
      stands = true;
    } else if (typeof value === "object" && value !== null) {
      if (seen.has(value)) return;
      seen.add(value);
      if (realm.shared.has(value)) {
        if (inside.some(({ content }) => content.isError)) {
          refuse("an event or a barrier in an error");
        }
        stands = true;
        return;
      }
      const simple = simpleContent(value);
      if (simple === undefined) {
        const why = refusal(value);
        if (why !== undefined) refuse(why);
        memory ||= isOfSharedMemory(value);
        if (isOpaque(value) && !isError(value)) return;
      } else if (simple.isArray && simple.isLeaf) return;
      if (inside.length === MAX_DEPTH) {
        const what = `what is nested more than ${MAX_DEPTH} deep`;
        refuse(what, inside.slice(0, 1));
      }
      if (simple?.isLeaf) return;
      const content = simple ?? contentOf(value);
      const { keys } = content;
      if (
        keys.length === 0 && !isPlainTagged(value) && isEmptied(value)
      ) refuse(ofItsClass(value));
      inside.push({ content, next: 0 });
    }
  };
  visit(root);
  for (let last; (last = inside[inside.length - 1]) !== undefined;) {
    const { values } = last.content;
    if (last.next === values.length) inside.length--;
    else visit(values[last.next++]);
  }
  return { stands, memory };
}

/** Copies what structured clone would go through, with stand-ins for what is shared. */
function substitute(root: unknown): ValueWire {
  const stand: [object, SharedWire | TaskWire][] = [];
  const copies = new Map<unknown, unknown>();
  const todo: (() => void)[] = [];
  const copy = (value: unknown): unknown => {
    const isFunction = typeof value === "function";
    if (!isFunction && (typeof value !== "object" || value === null)) {
      return value;
    }
    const known = copies.get(value);
    if (known !== undefined) return known;
    const task = isFunction ? realm.marks.get(value as AnyFunction) : undefined;
    const wire = task
      ? { kind: "task" as const, ...task }
      : realm.shared.get(value)?.(value);
    if (wire !== undefined) {
      const placeholder = {};
      copies.set(value, placeholder);
      stand.push([placeholder, wire]);
      return placeholder;
    }
    const made = isFunction ? undefined : shell(value);
    if (made === undefined) return value;
    copies.set(value, made);
    todo.push(() => fill(made, value, copy));
    return made;
  };
  const value = copy(root);
  for (let work; (work = todo.pop()) !== undefined;) work();
  return { value, stand };
}

/** An empty copy, if the object is one that structured clone goes through. */
function shell(value: object): object | undefined {
  if (isDisguised(value)) return undefined; // it will be refused
  if (isMap(value)) return new Map();
  if (isSet(value)) return new Set();
  if (Array.isArray(value)) return new Array(value.length);
  // What has no properties may be anything of the platform's.
  return isOpaque(value) || Object.keys(value).length === 0 ? undefined : {};
}

function fill(
  made: object,
  value: object,
  copy: (value: unknown) => unknown,
): void {
  if (isMap(value)) {
    for (const [key, item] of value) {
      (made as typeof value).set(copy(key), copy(item));
    }
  } else if (isSet(value)) {
    for (const item of value) (made as typeof value).add(copy(item));
  } else {
    for (const key of Object.keys(value)) {
      assign(made, key, copy((value as Record<string, unknown>)[key]));
    }
  }
}

/** Assigns without calling a setter, for a key such as `__proto__`. */
function assign(object: object, key: string, value: unknown): void {
  Object.defineProperty(object, key, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

/** Puts the objects where their stand-ins are. */
function restoreIn(root: unknown, stands: Map<unknown, unknown>): unknown {
  if (stands.has(root)) return stands.get(root);
  const seen = new Set<object>();
  const todo: object[] = [];
  const visit = (value: unknown): unknown => {
    if (typeof value !== "object" || value === null) return value;
    if (stands.has(value)) return stands.get(value);
    if (!seen.has(value) && !isOpaque(value)) {
      seen.add(value);
      todo.push(value);
    }
    return value;
  };
  visit(root);
  for (let object; (object = todo.pop()) !== undefined;) {
    if (isMap(object)) { // of another global, where a test runner has its own
      const entries = [...object];
      object.clear();
      for (const [key, value] of entries) object.set(visit(key), visit(value));
    } else if (isSet(object)) {
      const items = [...object];
      object.clear();
      for (const item of items) object.add(visit(item));
    } else {
      for (const key of Object.keys(object)) {
        const old = (object as Record<string, unknown>)[key];
        const value = visit(old);
        if (value !== old) assign(object, key, value);
      }
    }
  }
  return root;
}
