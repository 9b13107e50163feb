// Node finds the stand-ins of `@std` by this: node --import ./tests/register.mjs
import { registerHooks } from "node:module";

registerHooks({
  resolve(specifier, context, next) {
    const name = /^@std\/(\w+)$/.exec(specifier)?.[1];
    return name === undefined
      ? next(specifier, context)
      : next(new URL(`./std/${name}.ts`, import.meta.url).href, context);
  },
});
