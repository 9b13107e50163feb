// What is printed as an error, to be imported before the module, which takes
// `console.error` as it finds it.

/** Every line. */
export const printed: string[] = [];

const { error } = console;

console.error = (...args: unknown[]): void => {
  printed.push(args.join(" "));
  error(...args);
};
