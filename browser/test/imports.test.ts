/** The rooms of `src/` and the arrows between them, by the compiler's own graph: type-only imports count too. */

import { execFileSync } from "node:child_process";
import { dirname } from "node:path";
import { expect, test } from "vitest";

/** What each room may import beside itself. Files outside the rooms are the package's entries and may import everything. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  link: ["protocol"],
  tasks: ["protocol", "link"],
  inbox: ["protocol", "link", "tasks"],
  client: ["protocol", "link", "tasks", "inbox"],
  words: ["protocol", "link", "inbox"],
  elements: ["protocol", "link", "tasks", "inbox", "client", "words"],
  react: ["protocol", "link", "tasks", "inbox", "client", "elements"],
};

/** Files by name, each with the files that it imports. */
type Graph = ReadonlyMap<string, readonly string[]>;

const ROOT = dirname(__dirname);

function compilersGraph(): Graph {
  const stdout = execFileSync("npx", ["tsc", "--noEmit", "--explainFiles"], { cwd: ROOT, encoding: "utf8" });
  const graph = new Map<string, string[]>();
  let file = "";
  for (const line of stdout.split("\n")) {
    if (!line.startsWith(" ")) file = line;
    if (!file.startsWith("src/")) continue;
    graph.set(file, graph.get(file) ?? []);
    const importer = /^ +Imported via .* from file '(src\/.*)'/.exec(line)?.[1];
    if (importer !== undefined) graph.set(importer, [...(graph.get(importer) ?? []), file]);
  }
  return graph;
}

/** Return the first circle of files, or null. */
function circle(graph: Graph): readonly string[] | null {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): readonly string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const imported of graph.get(file) ?? []) {
      const found = visit(imported, [...path, file]);
      if (found) return found;
    }
    done.add(file);
    return null;
  };
  for (const file of graph.keys()) {
    const found = visit(file, []);
    if (found) return found;
  }
  return null;
}

const roomOf = (file: string): string | null => /^src\/([^/]+)\//.exec(file)?.[1] ?? null;

/** Return the imports that go against the arrows. */
function againstTheArrows(graph: Graph): readonly string[] {
  return [...graph].flatMap(([file, imports]) => {
    const room = roomOf(file);
    if (room === null) return [];
    const allowed = [room, ...(ARROWS[room] ?? [])];
    return imports.filter((other) => !allowed.includes(roomOf(other) ?? "")).map((other) => `${file} imports ${other}`);
  });
}

const graph = compilersGraph();

test("no file imports itself through others", () => {
  expect(circle(graph)).toBeNull();
});

test("imports between rooms go one way", () => {
  expect(againstTheArrows(graph)).toEqual([]);
});

test("every room has its arrows", () => {
  expect([...new Set([...graph.keys()].map(roomOf))].filter((room) => room !== null).sort()).toEqual(
    Object.keys(ARROWS).sort(),
  );
});

test("the compiler's graph has imports of types and of values", () => {
  expect(graph.get("src/tasks/view.ts")).toContain("src/link/link.ts");
  expect(graph.get("src/tasks/view.ts")).toContain("src/protocol/reader.ts");
});

test("a circle and an import against the arrows are found", () => {
  const wrong: Graph = new Map([
    ["src/words/task.ts", ["src/protocol/events.ts"]],
    ["src/protocol/events.ts", ["src/protocol/states.ts"]],
    ["src/protocol/states.ts", ["src/protocol/events.ts", "src/words/task.ts", "src/index.ts"]],
  ]);
  const [events, states] = ["src/protocol/events.ts", "src/protocol/states.ts"];
  expect(circle(wrong)).toEqual([events, states, events]);
  expect(againstTheArrows(wrong)).toEqual([
    "src/protocol/states.ts imports src/words/task.ts",
    "src/protocol/states.ts imports src/index.ts",
  ]);
});
