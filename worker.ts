/**
 * The worker's program as a file, for where a thread cannot be started from
 * text: a page whose Content Security Policy forbids workers from `blob:` URLs.
 * Serve it from the page's own origin, as it is or bundled, in the same version
 * as the module that the page uses, and pass its URL as the option `workerUrl` of
 * `ProcessPool` and `Process`. It has no exports.
 *
 * @example Usage
 * ```ts
 * import { ProcessPool } from "@multi/processing";
 * import { assertEquals } from "@std/assert";
 *
 * const workerUrl = import.meta.resolve("@multi/processing/worker");
 * await using pool = new ProcessPool(2, { workerUrl });
 * assertEquals(await pool.map((n: number) => n * n, [1, 2, 3]), [1, 4, 9]);
 * ```
 *
 * @module
 */

import "./_internal/worker/main.ts";
