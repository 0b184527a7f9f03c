/** The package: its entry points, what each of them needs, and how large it is on the way. */

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { build, type Metafile } from "esbuild";
import { createElement as h } from "react";
import { renderToString } from "react-dom/server";
import { describe, expect, test } from "vitest";

const ROOT = dirname(__dirname);
const PACKAGE = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  exports: Record<string, { types: string; default: string }>;
  dependencies: Record<string, string>;
  peerDependenciesMeta: Record<string, { optional: boolean }>;
};

interface Bundle {
  /** The bytes that a page loads at once, and those that wait for the first group. */
  readonly first: number;
  readonly later: number;
  readonly packages: readonly string[];
}

/** Bundle what a page imports as its own bundler does; React is the page's. */
async function bundle(code: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: code, resolveDir: join(ROOT, "src"), loader: "ts" },
    outdir: "out",
    bundle: true,
    splitting: true,
    minify: true,
    format: "esm",
    target: "es2022",
    legalComments: "none",
    external: ["react"],
    metafile: true,
    write: false,
    logLevel: "silent",
  });
  const atOnce = loadedAtOnce(metafile.outputs);
  const sizes = outputFiles.map(({ path, contents }) => ({
    first: atOnce.has(path.slice(process.cwd().length + 1)),
    size: gzipSync(contents, { level: 9 }).length,
  }));
  const sum = (first: boolean): number => sizes.reduce((sum, file) => sum + (file.first === first ? file.size : 0), 0);
  const inlined = Object.keys(metafile.inputs).flatMap((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? []);
  const left = Object.values(metafile.outputs).flatMap(({ imports }) => imports.filter(({ external }) => external));
  const entry = [...atOnce].flatMap((path) => metafile.outputs[path]!.imports);
  // What nothing loads is not a part of the page: its importer was left out.
  const later = entry.some(({ kind }) => kind === "dynamic-import") ? sum(false) : 0;
  return { first: sum(true), later, packages: [...new Set([...inlined, ...left.map(({ path }) => path)])].sort() };
}

/** Return the files that the first one imports, and those that they import, and so on, as long as nothing is done. */
function loadedAtOnce(outputs: Metafile["outputs"]): ReadonlySet<string> {
  const found = new Set(Object.keys(outputs).filter((path) => outputs[path]!.entryPoint === "<stdin>"));
  for (const path of found) {
    for (const each of outputs[path]!.imports) if (each.kind === "import-statement" && !each.external) found.add(each.path);
  }
  return found;
}

const SOCKET_IO = ["@socket.io/component-emitter", "engine.io-client", "engine.io-parser", "socket.io-client", "socket.io-parser"];
const WITH_REACT = [...SOCKET_IO, "react"].sort();

describe("what a page imports is small on the way, with Socket.IO's client, which is 13,000 bytes of it", () => {
  test.each([
    ["the client alone", 'export { TaskClient, sharedClient, Refused } from "./index.js"', 26_100, 0, SOCKET_IO],
    ["all of petiole", 'export * from "./index.js"', 30_400, 0, SOCKET_IO],
    ["petiole/element", 'import "./element.js"', 45_600, 6_100, SOCKET_IO],
    ["React's hooks", 'export { useTask, useText, useInbox, useStartTask } from "./react.js"', 28_400, 0, WITH_REACT],
    ["all of petiole/react", 'export * from "./react.js"', 44_100, 6_100, WITH_REACT],
  ])("%s", async (_name, code, first, later, packages) => {
    const bundled = await bundle(code);
    expect(bundled.packages).toEqual(packages);
    expect(bundled.first).toBeLessThanOrEqual(first);
    expect(bundled.later).toBeLessThanOrEqual(later);
  });
});

test("every entry point is built from a source, has types, and needs one package; React is optional", () => {
  const entries = Object.entries(PACKAGE.exports).filter(([name]) => name !== "./package.json");
  expect(entries.map(([name]) => name)).toEqual([".", "./element", "./react"]);
  for (const [, { types, default: file }] of entries) {
    expect(types.replace(/\.d\.ts$/, ".js")).toBe(file);
    expect(existsSync(join(ROOT, file.replace("./dist/", "src/").replace(/\.js$/, ".ts")))).toBe(true);
  }
  expect(Object.keys(PACKAGE.dependencies)).toEqual(["socket.io-client"]);
  expect(PACKAGE.peerDependenciesMeta).toEqual({ react: { optional: true } });
});

test("a server can import every entry point, and renders a task, its text, the inbox and the card", { timeout: 30_000 }, async () => {
  await import("../src/index.js");
  await import("../src/element.js");
  const { Task, useInbox, useStartTask, useTask, useText } = await import("../src/react.js");
  expect([globalThis.document, globalThis.customElements]).toEqual([undefined, undefined]);
  const progress = { completed: 1, total: 4, fraction: 0.25 };
  const document = { state: "running", title: "Flights", progress } as const;
  const task = { id: "1", feed: "task:1", cursor: "0a0b0c0d.2.1.0123456789abcdef", document };
  const App = () => {
    const { state } = useTask(task);
    const told = `${state} ${useText(task).state} ${useInbox().unread} ${useStartTask("/count").starting};`;
    return h("main", null, told, h(Task, { task }), h(Task, { task: "2" }), h(Task, { task: null }));
  };
  const attribute = JSON.stringify(task).replaceAll('"', "&quot;");
  expect(renderToString(h(App))).toBe(
    `<main>running running 0 false;<petiole-task snapshot="${attribute}">` +
      '<p>Flights<!-- --> <progress max="1" value="0.25" aria-label="Flights"></progress>' +
      '</p></petiole-task><petiole-task task="2"></petiole-task></main>',
  );
});

test("frameworks with server components find that the hooks are for the client", () => {
  expect(readFileSync(join(ROOT, "src/react.ts"), "utf8")).toMatch(/^"use client";\n/);
});
