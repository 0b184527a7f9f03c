/** The package: its entry points, what each of them needs, and how large it is on the way. */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { describe, expect, test } from "vitest";

const ROOT = dirname(__dirname);
const PACKAGE = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  exports: Record<string, { types: string; default: string } | string>;
  dependencies: Record<string, string>;
  peerDependenciesMeta: Record<string, { optional: boolean }>;
};

interface Bundle {
  readonly size: number;
  readonly packages: readonly string[];
}

/** Bundle what a page imports, as its own bundler does; React is the page's. */
async function bundle(code: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: code, resolveDir: join(ROOT, "src"), loader: "ts" },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    legalComments: "none",
    external: ["react"],
    metafile: true,
    write: false,
    logLevel: "silent",
  });
  const [output] = Object.values(metafile.outputs);
  const inlined = Object.keys(metafile.inputs).flatMap((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? []);
  const external = output!.imports.map(({ path }) => path);
  return { size: gzipSync(outputFiles[0]!.contents, { level: 9 }).length, packages: [...new Set([...inlined, ...external])].sort() };
}

const SOCKET_IO = ["@socket.io/component-emitter", "engine.io-client", "engine.io-parser", "socket.io-client", "socket.io-parser"];
const WITH_REACT = [...SOCKET_IO, "react"].sort();

describe("what a page imports is small on the way, with Socket.IO's client, which is 13,000 bytes of it", () => {
  test.each([
    ["the client alone", 'export { TaskClient, sharedClient, Refused } from "./index.js"', 26_300, SOCKET_IO],
    ["all of petiole", 'export * from "./index.js"', 30_600, SOCKET_IO],
    ["petiole/element", 'import "./element.js"', 49_900, SOCKET_IO],
    ["React's hooks", 'export { useTask, useText, useInbox, useStartTask } from "./react.js"', 28_500, WITH_REACT],
    ["all of petiole/react", 'export * from "./react.js"', 52_700, WITH_REACT],
  ])("%s", async (_name, code, most, packages) => {
    const bundled = await bundle(code);
    expect(bundled.size).toBeLessThanOrEqual(most);
    expect(bundled.packages).toEqual(packages);
  });
});

test("every entry point is built from a source, has types, and needs one package; React is optional", () => {
  const entries = Object.entries(PACKAGE.exports).filter(([name]) => name !== "./package.json");
  expect(entries.map(([name]) => name)).toEqual([".", "./element", "./react"]);
  for (const [, entry] of entries) {
    const { types, default: file } = entry as { types: string; default: string };
    expect(types.replace(/\.d\.ts$/, ".js")).toBe(file);
    expect(() => readFileSync(join(ROOT, file.replace("./dist/", "src/").replace(/\.js$/, ".ts")))).not.toThrow();
  }
  expect(Object.keys(PACKAGE.dependencies)).toEqual(["socket.io-client"]);
  expect(PACKAGE.peerDependenciesMeta).toEqual({ react: { optional: true } });
});

test("a server can import every entry point", async () => {
  const loaded = await Promise.all([import("../src/index.js"), import("../src/element.js"), import("../src/react.js")]);
  expect(loaded.map((entry) => Object.keys(entry).length > 0)).toEqual([true, true, true]);
});
