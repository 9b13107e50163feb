/**
 * Stacks that people can read.
 *
 * @module
 */

import { PROGRAM_NAME } from "./runtime/threads.ts";

/** A line of a stack that says where, and one of the worker's program. */
const FRAME = /^(?:\s+at |[^\s@]*@).*:\d+:\d+\)?$/;
const OWN_FRAME = new RegExp(
  String
    .raw`^(?:\s+at |[^\s@]*@).*${PROGRAM_NAME}(?:, <anonymous>)?:\d+:\d+\)?$`,
);
/** What it is loaded by, whole or shortened by the platform. */
const OWN_URL =
  /data:text\/javascript,(?:addEventListener|import%20%7B%20workerData)[^\s:]*|blob:[\da-f-]{36}/g;
/** A module in a URL. */
const LONG_URL = /(data:[^\s:,]*,[^\s:]{60})[^\s:]{140,}/g;

/**
 * Leaves the frames of the worker's program out of a stack, unless there are no
 * others, and shortens modules in URLs.
 *
 * @param text A stack, or what has one inside.
 * @returns The readable text.
 */
export function tidyStack(text: string): string {
  const tidy = text
    .replace(OWN_URL, PROGRAM_NAME)
    .replace(LONG_URL, "$1...");
  const lines = tidy.split("\n").filter((line) => !OWN_FRAME.test(line));
  return lines.some((line) => FRAME.test(line)) ? lines.join("\n") : tidy;
}
