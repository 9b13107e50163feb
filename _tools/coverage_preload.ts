/**
 * Lets the workers of a test start from `worker.ts` and not from the generated
 * program, so that coverage sees the files that they run.
 *
 * @module
 */

import { realm } from "../_internal/realm.ts";

realm.workerUrl = new URL("../worker.ts", import.meta.url).href;
