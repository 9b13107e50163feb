/**
 * Stacks that people can read.
 *
 * @module
 */

/**
 * Shortens the name of the worker's program, which is all of its source text
 * percent-encoded or a number, wherever a stack has it.
 *
 * @param text A stack, or what has one inside.
 * @returns The readable text.
 */
export function tidyStack(text: string): string {
  return text.replace(
    /data:text\/javascript,(?:[^\s:]{200,}|[^\s:]*\.{6}[^\s:]*)|blob:[\da-f-]{36}/g,
    "multiprocessing:worker",
  );
}
