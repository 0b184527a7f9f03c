/** Copies a text, on pages without the clipboard's API (plain http) as well. */

/** Put the text into the clipboard; false if the browser refuses, and then the text on the page is selected. */
export async function copyText(text: string, shown: Node): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text, shown);
  }
}

function copySelected(text: string, shown: Node): boolean {
  const selection = getSelection();
  let copied = false;
  const give = (event: ClipboardEvent): void => {
    // Not what the selection would bring, in which the browser joins blocks as it likes.
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
    copied = event.clipboardData !== null;
  };
  selection?.selectAllChildren(shown);
  document.addEventListener("copy", give, true);
  document.execCommand?.("copy");
  document.removeEventListener("copy", give, true);
  if (copied) selection?.removeAllRanges();
  return copied;
}
