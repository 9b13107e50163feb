/**
 * Imports of modules that are known by their URL alone.
 *
 * @module
 */

/** What a module exports. */
export type Exports = Record<string, unknown>;

/**
 * Imports a module.
 *
 * `deno publish` warns of each `import()` that it could have to rewrite. One
 * that begins with a scheme shows that there is nothing to rewrite
 * (denoland/deno#22594).
 *
 * @param url The module's absolute URL.
 * @returns What it exports.
 * @throws Whatever its loading throws.
 */
export async function importModule(url: string): Promise<Exports> {
  const [, scheme, rest] = /^(file|https?):\/\/(.*)$/s.exec(url) ?? [];
  switch (scheme) {
    case "file":
      return await import(/* webpackIgnore: true */ `file://${rest}`);
    case "https":
      return await import(/* webpackIgnore: true */ `https://${rest}`);
    case "http":
      return await import(/* webpackIgnore: true */ `http://${rest}`);
    default: {
      // Of any other scheme, such as `data:`: by a module that passes it on.
      const relay = `import * as it from ${JSON.stringify(url)};` +
        `export default it;`;
      const module = await import(
        /* webpackIgnore: true */
        `data:text/${`javascript,${encodeURIComponent(relay)}`}`
      );
      return module.default;
    }
  }
}
