/**
 * The source text of functions: what it tells of one, and how it becomes one again.
 *
 * @module
 */

import type { AnyFunction } from "./callable.ts";

/**
 * Reads the text of a function.
 *
 * @param fn The function.
 * @returns Its text, as it stands in its module.
 */
export function textOf(fn: AnyFunction): string {
  return Function.prototype.toString.call(fn);
}

/**
 * Tells whether there is no text: the function is bound, or the platform's own.
 *
 * @param text What {@linkcode textOf} returned.
 * @returns Whether there is none.
 */
export function isNative(text: string): boolean {
  return /\{\s*\[native code\]\s*\}\s*$/.test(text);
}

/**
 * What may stand between two words of a function's text. There is one way to
 * read it, or a text that does not match would take for ever.
 */
const GAP = String
  .raw`(?:\s|/\*(?:(?!\*/)[^])*\*/|//.*(?:[\n\r\u2028\u2029]|$))*`;
/** A class; no method of a name that is, or begins with, "class". */
const CLASS = new RegExp(
  String.raw`^class(?![\p{ID_Continue}$\\\u200c\u200d]|${GAP}\()`,
  "u",
);

/**
 * Tells whether a text is that of a class.
 *
 * @param text The text.
 * @returns Whether it is.
 */
export function isClass(text: string): boolean {
  return CLASS.test(text);
}

/** What an arrow function sees of the function around it, beside `this`. */
const OF_A_FUNCTION = /\barguments\b|\bnew\s*\.\s*target\b/;

/**
 * What esbuild, and so `tsx` and others, puts round the functions in a function to
 * keep their names.
 */
const KEEP_NAME = "=(it,value)=>" +
  "Object.defineProperty(it,'name',{value,configurable:true});";
/** What it is called; in a bundle of a bundle `__name2`, and so on. */
const KEEPS_NAME = /(?<![.\w$])__name\d*(?=\()/g;

/** Indirect: the text sees the globals and nothing of this module. */
const evaluateGlobally = eval;

/**
 * Makes a function from its text.
 *
 * @param text The text.
 * @param name Its name, or "".
 * @returns The function.
 * @throws {SyntaxError} If the text means nothing by itself.
 * @throws {Error} If this thread may not evaluate text.
 */
export function evaluate(text: string, name: string): AnyFunction {
  const label = name.replace(/[^\w$.-]/g, "_") || "anonymous";
  const url = `\n//# sourceURL=multiprocessing:${label}`;
  const helpers = [...new Set(text.match(KEEPS_NAME))];
  const start = `"use strict";${
    helpers.map((it) => `const ${it}${KEEP_NAME}`).join("")
  }`;
  // Inside a function, as `this` of an arrow function would be the global object
  // otherwise; but a function has `arguments`, which an arrow function must not see.
  const attempt = (expression: string) =>
    OF_A_FUNCTION.test(text)
      ? evaluateGlobally(`${start}(${expression}\n)${url}`)
      : evaluateGlobally(
        `(function(){${start}return(${expression}\n)})${url}`,
      )();
  let failure: unknown;
  for (const form of forms(text)) {
    try {
      const value = attempt(form);
      if (typeof value === "function") return value;
      const [key] = Reflect.ownKeys(value);
      const property = Object.getOwnPropertyDescriptor(value, key!)!;
      return property.value ?? property.get ?? property.set;
    } catch (error) {
      failure ??= error;
    }
  }
  const what = name === "" ? "anonymous function" : `function "${name}"`;
  if (failure instanceof EvalError) {
    throw new Error(
      `Cannot compile ${what} from its source text as eval() is forbidden in ` +
        `this thread, by a Content Security Policy or a flag: mark a function ` +
        `of a module with task(), or allow eval() (a worker file of its own ` +
        `has the policy "script-src 'unsafe-eval'", if it is served so)`,
      { cause: failure },
    );
  }
  throw new SyntaxError(
    `Cannot compile ${what} from its source text: ${
      (failure as Error).message
    } (a function that is sent to another thread has no import.meta, super or ` +
      `private names of what is around it: pass what it needs as arguments, or ` +
      `mark the function of a module with task())`,
    { cause: failure },
  );
}

/** What comes before the name of a method, and how that begins. */
const METHOD = new RegExp(
  String.raw`^((?:(?:async|get|set)\b(?!${GAP}\()${GAP})?(?:\*${GAP})?)([#[]?)`,
);

/**
 * The expressions that a function's text may be: itself, or a method, whose
 * private or computed name is replaced as it means nothing elsewhere. Where
 * the brackets of a computed name end, only the parser knows, so each is tried.
 */
function* forms(text: string): Generator<string> {
  yield text;
  const [, prefix = "", name = ""] = METHOD.exec(text) ?? [];
  if (name === "#") {
    yield `{${prefix} ${text.slice(prefix.length + 1)}}`;
  } else if (name === "[") {
    for (let at = -1; (at = text.indexOf("]", at + 1)) >= 0;) {
      yield `{${prefix} _${text.slice(at + 1)}}`; // Bun: async["name"]()
    }
  } else {
    yield `{${text}}`;
    if (text.startsWith("(")) yield `{_${text}}`; // V8: static() of no static method
  }
}
