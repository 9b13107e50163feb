/**
 * Runs the test files that its address names, in the page itself or in a
 * worker of it, and posts what came of each test to the server.
 *
 * The page and the worker are this same module.
 *
 * @module
 */

import { runTests } from "./stand_ins/test.ts";

/** What a page is to do. */
export interface Orders {
  /** Where the tests run. */
  in: "page" | "worker";
  /** Paths of test files, from the root of the project. */
  files: string[];
  /** Parts of the names of tests that do not apply, and why. */
  beside: Record<string, string>;
}

async function post(message: unknown): Promise<void> {
  await fetch("/report", { method: "POST", body: JSON.stringify(message) });
}

/** Runs the first file, and comes again in a new page for the others. */
async function main(): Promise<void> {
  const hash = location.hash;
  const orders: Orders = JSON.parse(decodeURIComponent(hash.slice(1)));
  const isPage = "document" in globalThis;
  const [file, ...files] = orders.files;
  const next = () => {
    if (files.length === 0) return post({ done: true });
    location.hash = encodeURIComponent(JSON.stringify({ ...orders, files }));
    location.reload();
  };
  if (isPage && orders.in === "worker") {
    const worker = new Worker(new URL(import.meta.url).pathname + hash, {
      type: "module",
    });
    worker.onmessage = ({ data }) => {
      if (data === "next") next();
    };
    worker.onerror = async ({ message }) => {
      await post({ error: `the worker failed: ${message}` });
      await next();
    };
    return;
  }
  await post({ file });
  try {
    await import(new URL(`../../${file}`, import.meta.url).href);
    for await (const result of runTests(orders.beside)) await post(result);
  } catch (error) {
    await post({ error: String((error as Error)?.stack) });
  }
  if (isPage) await next();
  else (globalThis as unknown as Worker).postMessage("next");
}

main().catch((error) => post({ error: String(error?.stack), done: true }));
