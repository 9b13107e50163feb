/**
 * The part of `node:test` that the tests use, for a browser: tests are
 * collected while their files are imported, and run by {@linkcode runTests}.
 *
 * @module
 */

interface Test {
  name: string;
  timeout: number;
  run: () => unknown;
}

/** How a test ended. */
export interface Result {
  name: string;
  milliseconds: number;
  /** What went wrong. */
  error?: string;
  /** Why the test does not apply here: a key of the table in ARCHITECTURE.md. */
  beside?: string;
}

/** Thrown where a test needs what a browser does not have. */
export class DoesNotApply extends Error {
  readonly reason: string;

  /** @param reason A key of the table in ARCHITECTURE.md. */
  constructor(reason: string) {
    super(`does not apply: ${reason}`);
    this.reason = reason;
  }
}

const tests: Test[] = [];

/** Collects a test. */
export function test(
  name: string,
  options: { timeout?: number } | (() => unknown),
  run?: () => unknown,
): void {
  if (typeof options === "function") [options, run] = [{}, options];
  tests.push({ name, timeout: options.timeout ?? 20_000, run: run! });
}

/**
 * Runs the tests that were collected, one after the other.
 *
 * @param beside Parts of the names of tests that are not run, and why.
 * @returns How each ended.
 */
export async function* runTests(
  beside: Record<string, string>,
): AsyncGenerator<Result> {
  const reasons = Object.entries(beside);
  for (const { name, timeout, run } of tests.splice(0)) {
    const [, reason] = reasons.find(([part]) => name.includes(part)) ?? [];
    if (reason !== undefined) {
      yield { name, milliseconds: 0, beside: reason };
      continue;
    }
    const began = performance.now();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise((_, reject) =>
      timer = setTimeout(
        () => reject(new Error(`the test took longer than ${timeout} ms`)),
        timeout,
      )
    );
    const result: Result = { name, milliseconds: 0 };
    try {
      await Promise.race([run(), late]);
    } catch (error) {
      const reason = reasonOf(error);
      if (reason !== undefined) result.beside = reason;
      else result.error = shown(error);
    }
    clearTimeout(timer);
    result.milliseconds = Math.round(performance.now() - began);
    yield result;
  }
}

function reasonOf(error: unknown): string | undefined {
  if (error instanceof DoesNotApply) return error.reason;
  if (
    error instanceof Error &&
    /main thread may not block|Atomics.wait cannot|waiting is not allowed/
      .test(error.message)
  ) return "blocking";
  return undefined;
}

function shown(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message, stack = "", cause } = error;
  const text = stack.includes(message) ? stack : `${error}\n${stack}`;
  return cause === undefined ? text : `${text}\ncaused by ${shown(cause)}`;
}
