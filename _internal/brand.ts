/**
 * Classes that are one to `instanceof`, however many copies of this module there
 * are in a thread: the worker's program is one, and a module that is imported
 * there another.
 *
 * @module
 */

const isOrdinaryInstance = Function.prototype[Symbol.hasInstance];

/**
 * Lets `instanceof` take the objects of every copy's class for those of this one.
 *
 * @param type The class; its subclasses are their own.
 * @param name What the copies call it.
 */
export function brand(type: { prototype: object }, name: string): void {
  const key = Symbol.for(`@multi/processing ${name}`);
  Object.defineProperty(type.prototype, key, { value: true });
  Object.defineProperty(type, Symbol.hasInstance, {
    value(this: unknown, it: unknown): boolean {
      return this === type
        ? typeof it === "object" && it !== null && key in it
        : Reflect.apply(isOrdinaryInstance, this, [it]);
    },
  });
}
