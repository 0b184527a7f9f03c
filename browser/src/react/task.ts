/** `<Task>`: `<petiole-task>` as a component. */

import {
  createElement,
  type CSSProperties,
  type ReactElement,
  type ReactNode,
  useEffect,
  useInsertionEffect,
  useLayoutEffect,
  useRef,
} from "react";
import type { TaskClient } from "../client/client.js";
import { defineTask } from "../elements/define.js";
import type { PetioleTask } from "../elements/task/task.js";
import type { Document } from "../protocol/events.js";
import type { Receipt } from "../protocol/reader.js";
import type { Links, Snapshot } from "../protocol/reading.js";
import { isTerminal } from "../protocol/states.js";
import { useGivenClient } from "./client.js";

export interface TaskEnd {
  readonly document: Document;
  readonly receipt: Receipt;
}

export interface TaskRetry {
  readonly document: Document;
  readonly links: Links;
}

export interface TaskProps {
  /** The task's id, or the snapshot that the 202 or the server's page has brought; null: none yet, and nothing is shown. */
  readonly task: string | Snapshot | null | undefined;
  /** Instead of the task's title. */
  readonly label?: string | undefined;
  /** One line, for lists. */
  readonly compact?: boolean | undefined;
  /** The log is open, and a compact card is expanded. */
  readonly logOpen?: boolean | undefined;
  /** What the task writes isn't shown here. */
  readonly noTexts?: boolean | undefined;
  /** Showing the end doesn't remove its notice from the inbox. */
  readonly keepNotice?: boolean | undefined;
  /** The page itself starts the task again, in `onRetry`: the button is there even if the server offers no retry. */
  readonly retry?: boolean | undefined;
  /** Instead of the client of `<PetioleProvider>`, or the one that the page shares. */
  readonly client?: TaskClient | undefined;
  readonly id?: string | undefined;
  readonly className?: string | undefined;
  readonly style?: CSSProperties | undefined;
  /** Shown by a server, and without JavaScript; by default the title and a bar, if there is a snapshot. */
  readonly children?: ReactNode;
  readonly onChange?: ((document: Document) => void) | undefined;
  /** The task has ended; of a group, at the end of each run. */
  readonly onEnd?: ((end: TaskEnd) => void) | undefined;
  /** Retry was pressed. After `preventDefault()` the element does nothing more. */
  readonly onRetry?: ((event: CustomEvent<TaskRetry>) => void) | undefined;
  /** The task has been started again: the new one is shown from then on. */
  readonly onRetried?: ((snapshot: Snapshot) => void) | undefined;
}

// A layout effect warns on React 18's server, where it never runs.
const useBeforePaint = globalThis.document ? useLayoutEffect : useEffect;

/** Show a task as `<petiole-task>` does. Later snapshots of the same task change nothing: the element itself knows more. */
export function Task(props: TaskProps): ReactElement | null {
  const client = useGivenClient(props.client);
  const element = useRef<PetioleTask>(null);
  const handlers = useRef(props);
  useInsertionEffect(defineTask, []);
  useInsertionEffect(() => {
    handlers.current = props;
  });
  const { task } = props;
  const snapshot = task != null && typeof task !== "string" ? task : null;
  const id = typeof task === "string" ? task : undefined;
  const name = snapshot?.feed ?? id;

  useBeforePaint(() => {
    if (element.current) element.current.client = client;
  }, [client, name === undefined]);
  useBeforePaint(() => {
    const card = element.current;
    // What was started again from the card itself is shown already.
    if (card && card.snapshot?.feed !== name && card.snapshot?.id !== name) card.snapshot = snapshot;
  }, [name]);
  useBeforePaint(() => {
    const card = element.current;
    const undo = card && [
      listen<Document>(card, "petiole-change", ({ detail }) => handlers.current.onChange?.(detail)),
      listen<TaskEnd>(card, "petiole-end", ({ detail }) => handlers.current.onEnd?.(detail)),
      listen<TaskRetry>(card, "petiole-retry", (event) => handlers.current.onRetry?.(event)),
      listen<Snapshot>(card, "petiole-retried", ({ detail }) => handlers.current.onRetried?.(detail)),
    ];
    return () => undo?.forEach((each) => each());
  }, [name === undefined]);

  if (name === undefined) return null;
  // In a server's page the element shows the snapshot as soon as it is defined, before React has taken the page over.
  const written = globalThis.document || !snapshot ? undefined : JSON.stringify(snapshot);
  // As React 18 and 19 both write an element's attributes: "" is there, undefined isn't.
  const flag = (set: boolean | undefined): "" | undefined => (set ? "" : undefined);
  const attributes = {
    task: id,
    snapshot: written,
    suppressHydrationWarning: true,
    label: props.label,
    compact: flag(props.compact),
    "log-open": flag(props.logOpen),
    "no-texts": flag(props.noTexts),
    "keep-notice": flag(props.keepNotice),
    retry: flag(props.retry),
    id: props.id,
    class: props.className,
    style: props.style,
  };
  return createElement("petiole-task", { ...attributes, ref: element }, props.children ?? (snapshot && plain(snapshot)));
}

function listen<Detail>(card: PetioleTask, name: string, listener: (event: CustomEvent<Detail>) => void): () => void {
  const own = (event: globalThis.Event): void => listener(event as CustomEvent<Detail>);
  card.addEventListener(name, own);
  return () => card.removeEventListener(name, own);
}

/** What doesn't depend on the clock: the server and the browser render the same. */
function plain({ document }: Snapshot): ReactNode {
  const { title, progress } = document;
  const value = progress?.fraction ?? undefined;
  if (isTerminal(document)) return title;
  return createElement("p", null, title, " ", createElement("progress", { max: 1, value, "aria-label": title }));
}
