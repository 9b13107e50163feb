/**
 * What a console shows of objects whose state is private.
 *
 * @module
 */

/** By this Deno, Bun and Node ask an object how it is to be shown. */
const CUSTOM = Symbol.for("nodejs.util.inspect.custom");

/** How they write a value. */
type Inspect = (value: unknown, options: object) => string;

/**
 * Lets a console show the state of a class's objects.
 *
 * @param type The class.
 * @param stateOf Tells what an object is like: nothing of one that no constructor
 * has made, as the prototype.
 */
export function showState(
  type: { prototype: object },
  stateOf: (it: object) => object,
): void {
  Object.defineProperty(type.prototype, CUSTOM, {
    value(this: object, depth: number, options: object, inspect: Inspect) {
      const { name } = this.constructor;
      return depth < 0
        ? `[${name}]`
        : `${name} ${inspect(stateOf(this), options)}`;
    },
    configurable: true,
    writable: true,
  });
}
