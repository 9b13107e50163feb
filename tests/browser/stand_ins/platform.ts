/**
 * What a browser does not have: other programs, files and a process. A test
 * that asks for one of them does not apply there.
 *
 * @module
 */

import { DoesNotApply } from "./test.ts";

function missing(reason: string): () => never {
  return () => {
    throw new DoesNotApply(reason);
  };
}

export const runProgram: () => never = missing("programs");
export const withFolder: () => never = missing("programs");
export const execute: () => never = missing("programs");
export const moduleUrl: string = new URL("../../../mod.ts", import.meta.url)
  .href;
export const memoryUsage: () => never = missing("memory");
export const setFlagsFromString: () => never = missing("memory");
export const runInNewContext: () => never = missing("other globals");
export class AsyncLocalStorage {
  constructor() {
    throw new DoesNotApply("contexts");
  }
}
export const readdir: () => never = missing("programs");
export const readdirSync: () => never = missing("programs");
export const readFile: () => never = missing("programs");
export const writeFile: () => never = missing("programs");

export const join: () => never = missing("programs");
export const dirname: () => never = missing("programs");
export const tmpdir: () => never = missing("programs");
export const fileURLToPath: () => never = missing("programs");
export const pathToFileURL: () => never = missing("programs");

export default {
  get execPath(): never {
    return missing("programs")();
  },
  get env(): never {
    return missing("programs")();
  },
  memoryUsage,
};
