/**
 * What only threads have as options: what they may do, and the file that they are
 * started from.
 *
 * @module
 */

import { refuse } from "./check.ts";
import { pathOf, resolveUrl } from "./runtime/urls.ts";
import { canBoundThreads } from "./runtime/which.ts";

/** What a thread may do: `Deno.PermissionOptions`, which only Deno knows. */
export type ThreadPermissions =
  | "inherit"
  | "none"
  | (
    & {
      [name in "env" | "import" | "net" | "sys"]?:
        | "inherit"
        | boolean
        | string[];
    }
    & {
      [name in "ffi" | "read" | "run" | "write"]?:
        | "inherit"
        | boolean
        | (string | URL)[];
    }
  );

/**
 * Checks the URL of a worker file.
 *
 * @param url What the caller passed.
 * @param action What the caller wants.
 * @returns The URL, absolute.
 * @throws {TypeError} If it is not one.
 */
export function checkWorkerUrl(
  url: string | URL | undefined,
  action: string,
): string | undefined {
  if (url === undefined) return undefined;
  const absolute = typeof url === "string" || url instanceof URL
    ? resolveUrl(url)
    : undefined;
  if (absolute !== undefined) return absolute;
  refuse(action, "workerUrl", "a URL", url);
}

/** What is allowed by paths, which may be URLs. */
const PATHS = ["ffi", "read", "run", "write"];

/**
 * Checks what a thread is to be allowed.
 *
 * @param permissions What it may do, if the caller said so.
 * @param action What the caller wants.
 * @returns A copy, with paths instead of URLs, that can be posted.
 * @throws {TypeError} If it cannot be bounded here, or these are no permissions.
 */
export function checkPermissions(
  permissions: unknown,
  action: string,
): ThreadPermissions | undefined {
  if (permissions === undefined) return undefined;
  if (!canBoundThreads) {
    throw new TypeError(
      `Cannot ${action} with permissions as this runtime cannot bound what a ` +
        `thread may do: leave the option out`,
    );
  }
  if (permissions === "none" || permissions === "inherit") return permissions;
  const isObject = typeof permissions === "object" && permissions !== null;
  if (!isObject || Array.isArray(permissions)) {
    const requirement = '"none", "inherit" or an object';
    refuse(action, "permissions", requirement, permissions);
  }
  const copy: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(permissions)) {
    if (value !== undefined) copy[key] = checkPermission(key, value, action);
  }
  return copy;
}

/** One of them; with paths instead of URLs. */
function checkPermission(key: string, value: unknown, action: string): unknown {
  if (value === "inherit" || typeof value === "boolean") return value;
  const name = `permissions.${key}`;
  if (!Array.isArray(value)) {
    refuse(action, name, '"inherit", true, false or an array', value);
  }
  const mayBeUrl = PATHS.includes(key);
  return Array.from(value, (item, i) => {
    if (typeof item === "string") return item;
    const isFile = item instanceof URL && item.protocol === "file:";
    if (mayBeUrl && isFile) return pathOf(item);
    const requirement = mayBeUrl ? "a string or a file: URL" : "a string";
    refuse(action, `${name}[${i}]`, requirement, item);
  });
}
