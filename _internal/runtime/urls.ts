/**
 * What URLs are to the platform.
 *
 * @module
 */

import { builtin, scope } from "./which.ts";

/**
 * Makes a URL absolute; a page's relative ones are its own.
 *
 * @param url The URL.
 * @returns The absolute one, or `undefined` if it is none.
 */
export function resolveUrl(url: string | URL): string | undefined {
  try {
    return new URL(url, scope.document?.baseURI).href;
  } catch {
    return undefined;
  }
}

/**
 * Finds the path of a file, where the platform takes no URL.
 *
 * @param url A `file:` URL.
 * @returns The path.
 */
export function pathOf(url: URL): string {
  return builtin("node:url").fileURLToPath(url);
}
