/**
 * Serves the project to a browser: TypeScript with its types stripped, and
 * stand-ins for what the tests import from elsewhere. The first part of a path
 * says which headers its answer has.
 *
 * @module
 */

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import type { AddressInfo } from "node:net";

const root = new URL("../../", import.meta.url);

const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};
const POLICY = {
  "Content-Security-Policy": "script-src 'self'; worker-src 'self'",
};

/** The kinds of page: the headers of pages, and of everything else. */
const KINDS: Record<
  string,
  { page: Record<string, string>; other: Record<string, string> }
> = {
  /** Where memory can be shared. */
  isolated: { page: ISOLATED, other: ISOLATED },
  /** Where it cannot. */
  plain: { page: {}, other: {} },
  /** With a policy for the page. */
  policy: { page: { ...ISOLATED, ...POLICY }, other: ISOLATED },
  /** With a policy for the worker's file as well. */
  strict: {
    page: { ...ISOLATED, ...POLICY },
    other: { ...ISOLATED, ...POLICY },
  },
};

/** For every other module of Node. */
const PLATFORM = "tests/browser/stand_ins/platform.ts";

/** Where a specifier leads, from the root of the project. */
const STAND_INS: Record<string, string> = {
  "@std/assert": "tests/std/assert.ts",
  "@std/async": "tests/std/async.ts",
  "node:test": "tests/browser/stand_ins/test.ts",
  "node:assert/strict": "tests/browser/stand_ins/assert.ts",
  "node:timers/promises": "tests/browser/stand_ins/timers.ts",
  "./_program.ts": PLATFORM,
};

const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8",
  ts: "text/javascript; charset=utf-8",
  js: "text/javascript; charset=utf-8",
};

function translate(source: string, kind: string): string {
  return stripTypeScriptTypes(source).replace(
    /(\bfrom\s*|\bimport\s*\(?\s*)"([^"\n]+)"/g,
    (all, before, specifier) => {
      const path = STAND_INS[specifier] ??
        (specifier.startsWith("node:") ? PLATFORM : undefined);
      return path === undefined ? all : `${before}"/${kind}/${path}"`;
    },
  );
}

/** A server that runs. */
export interface Server {
  /** Its origin. */
  origin: string;
  /** Ends it. */
  close(): void;
}

/**
 * Starts the server on a free port.
 *
 * @param report Is given what a page posts.
 * @returns The server.
 */
export async function serve(
  report: (message: Record<string, unknown>) => void,
): Promise<Server> {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url!, "http://localhost");
    if (request.method === "POST") {
      let body = "";
      for await (const chunk of request) body += chunk;
      report(JSON.parse(body));
      response.end();
      return;
    }
    const [, kind = "", path = ""] = /^\/(\w+)\/([\w/.-]+)$/.exec(pathname) ??
      [];
    const extension = /\w+$/.exec(path)?.[0] ?? "";
    try {
      const headers = KINDS[kind]![extension === "html" ? "page" : "other"];
      let text = await readFile(new URL(path, root), "utf8");
      if (extension === "ts") text = translate(text, kind);
      response.writeHead(200, {
        ...headers,
        "Content-Type": TYPES[extension] ?? "text/plain",
        "Cache-Control": "no-store",
      });
      response.end(text);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve())
  );
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://localhost:${port}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
