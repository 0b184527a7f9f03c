/** The code of the documentation for npm's users is right by its types. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

const ROOT = dirname(__dirname);
const PAGES = ["react.md", "browser.md"];

const blocks = (page: string): string[] =>
  [...readFileSync(join(ROOT, "../docs", page), "utf8").matchAll(/^```tsx\n(.*?)^```$/gms)].map(([, code]) => code!);

/** Return what the compiler says of these files; empty if nothing. */
function complaintsOf(files: Readonly<Record<string, string>>): string {
  // Within the package, so that React's types are found.
  const folder = mkdtempSync(join(ROOT, "test/.docs-"));
  try {
    for (const [name, code] of Object.entries(files)) writeFileSync(join(folder, name), code);
    const paths = { petiole: ["../../src/index.ts"], "petiole/*": ["../../src/*.ts"] };
    const options = { jsx: "react-jsx", noEmit: true, lib: ["ES2022", "DOM"], paths, isolatedDeclarations: false, declaration: false, rootDir: "../.." };
    const config = { extends: "../../tsconfig.json", compilerOptions: options, files: Object.keys(files), include: [] };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    execFileSync("npx", ["tsc", "-p", folder], { cwd: ROOT, encoding: "utf8" });
    return "";
  } catch (error) {
    return (error as { stdout: string }).stdout;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("every block of code in the pages for npm's users has right types, and a wrong one is found", { timeout: 60_000 }, () => {
  const files = PAGES.flatMap((page) => blocks(page).map((code, number) => [`${page.replace(".md", "")}${number}.tsx`, code]));
  expect(files.length).toBeGreaterThanOrEqual(7);
  const wrong = 'import { useTask } from "petiole/react";\nexport const state: number = useTask("1").state;\n';
  const complaints = complaintsOf({ ...(Object.fromEntries(files) as Record<string, string>), "wrong.tsx": wrong });
  expect(complaints.split("\n").filter((line) => line.includes("error"))).toEqual([
    expect.stringMatching(/wrong\.tsx.*TS2322/),
  ]);
});
