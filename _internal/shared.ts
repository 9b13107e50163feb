/**
 * How events and barriers go to other threads and come back as themselves.
 *
 * @module
 */

import type { CallableWire } from "./callable.ts";
import { Counter, nextNumber, realm } from "./realm.ts";

/** An event on the wire. */
export interface EventWire {
  kind: "event";
  id: number;
  cells: Int32Array;
}

/** A barrier on the wire. */
export interface BarrierWire {
  kind: "barrier";
  id: number;
  cells: Int32Array;
  parties: number;
  timeout: number;
  action: CallableWire | undefined;
}

/** A shared object on the wire. */
export type SharedWire = EventWire | BarrierWire;

let adoptee: SharedWire | undefined;

/**
 * Called by the constructor of a shared object: what it is to be made from, if
 * it is made from the wire.
 *
 * @param kind What the object is.
 * @returns The wire, or `undefined` for an object that is new.
 */
export function adopt<K extends SharedWire["kind"]>(
  kind: K,
): (SharedWire & { kind: K }) | undefined {
  const wire = adoptee;
  adoptee = undefined;
  return wire?.kind === kind ? wire as SharedWire & { kind: K } : undefined;
}

/**
 * Says how the objects of a class are sent.
 *
 * That is one function for the whole class, and no closure for each object: V8 keeps
 * the values of a `WeakMap` until it collects all of its heap, a closure would keep
 * its object, and the shared memory of that V8 does not count. With closures, events
 * and barriers that were made and dropped took gigabytes.
 *
 * @param object One of them.
 * @param toWire Describes each of them.
 */
export function shareable<T extends object>(
  object: T,
  toWire: (object: T) => SharedWire,
): void {
  realm.shared.set(object, toWire as (object: object) => SharedWire);
}

/**
 * Gives an object its id, under which every thread knows it that it is sent to.
 *
 * @param object The object.
 * @returns The id, more than 0.
 */
export function newSharedId(object: object): number {
  const id = nextNumber(Counter.SharedId);
  remember(id, object);
  return id;
}

/**
 * Makes this copy's class the one that objects from the wire are made with.
 *
 * @param kind What the class makes.
 * @param make Constructs one; the constructor calls {@linkcode adopt}.
 */
export function register(kind: SharedWire["kind"], make: () => object): void {
  realm.revivers.set(kind, (wire) => {
    adoptee = wire;
    try {
      return make();
    } finally {
      // If it has failed, the next object that is made is another.
      adoptee = undefined;
    }
  });
}

/**
 * Makes an object from the wire, or finds the one that this thread has.
 *
 * @param wire What was sent.
 * @returns The object.
 */
export function reviveShared(wire: SharedWire): object {
  const known = realm.known.get(wire.id)?.deref();
  if (known !== undefined) return known;
  const object = realm.revivers.get(wire.kind)!(wire);
  remember(wire.id, object);
  return object;
}

const forgotten = new FinalizationRegistry((id: number) => {
  if (realm.known.get(id)?.deref() === undefined) realm.known.delete(id);
});

function remember(id: number, object: object): void {
  realm.known.set(id, new WeakRef(object));
  forgotten.register(object, id);
}
