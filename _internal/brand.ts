/**
 * Classes that are one to `instanceof`, however many copies of this module there
 * are in a thread: the worker's program is one, and a module that is imported
 * there another.
 *
 * @module
 */

const isOrdinaryInstance = Function.prototype[Symbol.hasInstance];

/**
 * Makes `instanceof` true for the objects of every copy's class, and gives the class
 * its name back, which a minifier has taken away in the worker's program.
 *
 * @param type The class; its subclasses are their own.
 * @param name What the copies call it.
 */
export function brand(type: object, name: string): void {
  const key = keyOf(name);
  Object.defineProperty(type, "name", { value: name, configurable: true });
  Object.defineProperty(type, key, { value: true });
  Object.defineProperty(type, Symbol.hasInstance, {
    value(this: unknown, it: unknown): boolean {
      return this === type
        ? isMadeBy(it, key)
        : Reflect.apply(isOrdinaryInstance, this, [it]);
    },
  });
}

/**
 * Tells whether a class is one of some copy of this module, or a subclass of one.
 *
 * @param type The class, or anything else.
 * @param name What the copies call it.
 * @returns Whether it is.
 */
export function isBranded(type: unknown, name: string): boolean {
  return typeof type === "function" && hasKey(type, keyOf(name));
}

function keyOf(name: string): symbol {
  return Symbol.for(`@multi/processing ${name}`);
}

function hasKey(type: unknown, key: symbol): boolean {
  return (type as Record<symbol, unknown> | undefined)?.[key] === true;
}

/** Whether a class with a key, or a subclass of one, has made an object. */
function isMadeBy(it: unknown, key: symbol): boolean {
  if (typeof it !== "object" || it === null) return false;
  for (let at = it; (at = Object.getPrototypeOf(at)) !== null;) {
    if (hasKey(at.constructor, key)) return true;
  }
  return false;
}
