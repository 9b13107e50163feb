/**
 * Stacks that people can read.
 *
 * @module
 */

/** A line of a stack that says where, and one of the worker's program. */
const FRAME = /^(?:\s+at |\S*@).*:\d+:\d+\)?$/;
const OWN_FRAME =
  /^(?:\s+at |\S*@).*multiprocessing:worker(?:, <anonymous>)?:\d+:\d+\)?$/;

/**
 * Shortens the name of the worker's program, which is all of its source text
 * percent-encoded or a number, wherever a stack has it, and leaves its frames
 * out, unless there are no others.
 *
 * @param text A stack, or what has one inside.
 * @returns The readable text.
 */
export function tidyStack(text: string): string {
  const tidy = text.replace(
    /data:text\/javascript,(?:[^\s:]{200,}|[^\s:]*\.{6}[^\s:]*)|blob:[\da-f-]{36}/g,
    "multiprocessing:worker",
  );
  const lines = tidy.split("\n").filter((line) => !OWN_FRAME.test(line));
  return lines.some((line) => FRAME.test(line)) ? lines.join("\n") : tidy;
}
