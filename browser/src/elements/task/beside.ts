/** Loads a file that is served beside the file of this code. */

/** Where the served file is; undefined if a page has it inline, and in the modules of the package. */
const HERE = addressOf(globalThis.document);

/** Run a file from beside this one, if there is a beside, in the same version; `asked`: how often it has been asked for before. */
export async function loadBeside(name: string, asked: number): Promise<void> {
  if (!HERE) return;
  const url = new URL(name, HERE);
  // A page that names the version behind the "?" gets the same one of both.
  url.search = new URL(HERE).search;
  // A browser may keep in mind that an address has failed.
  if (asked > 0) url.searchParams.set("again", String(asked));
  await import(/* @vite-ignore */ /* webpackIgnore: true */ url.href);
}

function addressOf(page: Document | undefined): string | undefined {
  // With `type="module"` no script is the current one.
  const script = page?.currentScript ?? page?.querySelector('script[src*="petiole.js"]');
  return (script as HTMLScriptElement | null | undefined)?.src;
}
