/** The icons: 20 × 20 outlines in the current colour, hidden from screen readers. */

import type { TaskState } from "../protocol/states.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const CIRCLE = "M10 2.75a7.25 7.25 0 1 1 0 14.5a7.25 7.25 0 0 1 0-14.5z";

export type IconName =
  | "waiting"
  | "running"
  | "stalled"
  | "retrying"
  | "stopped"
  | "failed"
  | "lost"
  | "succeeded"
  | "download"
  | "stopping"
  | "expired"
  | "unplugged"
  | "dismiss"
  | "more";

const OUTLINES: Readonly<Record<IconName, string>> = {
  waiting: `${CIRCLE} M10 6v4.25l2.75 1.75`,
  running: "M10 2.75a7.25 7.25 0 1 1-7.25 7.25",
  stalled: "M10 3.25l7.25 13h-14.5z M10 8.25v3.5 M10 14v.1",
  retrying: "M16.25 6.5a7.25 7.25 0 1 0 1 3.5 M16.75 2.75v4h-4",
  stopped: `${CIRCLE} M7.5 7.5h5v5h-5z`,
  failed: `${CIRCLE} M7.5 7.5l5 5 M12.5 7.5l-5 5`,
  lost: `${CIRCLE} M10 6v5 M10 13.75v.1`,
  succeeded: `${CIRCLE} M6.75 10.25l2.25 2.25l4.25-4.75`,
  stopping: "M10 2.75a7.25 7.25 0 1 1-7.25 7.25 M7.5 7.5h5v5h-5z",
  expired: "M5.25 2.75h6l3.5 3.5v11h-9.5z M11.25 2.75v3.5h3.5 M8 10l4 4 M12 10l-4 4",
  unplugged: "M8.5 5.5l2-2a3.75 3.75 0 0 1 5.5 5.5l-2 2 M11.5 14.5l-2 2a3.75 3.75 0 0 1-5.5-5.5l2-2 M3.5 3.5l13 13",
  download: "M10 3v9.5 M6 8.75l4 4l4-4 M3.5 16.75h13",
  more: "M5.75 8l4.25 4.25l4.25-4.25",
  dismiss: "M5.75 5.75l8.5 8.5 M14.25 5.75l-8.5 8.5",
};

export const STATE_ICONS: Readonly<Record<TaskState, IconName>> = {
  queued: "waiting",
  running: "running",
  stalled: "stalled",
  retrying: "retrying",
  cancelling: "stopping",
  cancelled: "stopped",
  failed: "failed",
  lost: "lost",
  succeeded: "succeeded",
};

/** Return a new icon. Built node by node, so that no page needs to allow markup in strings. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(NAMESPACE, "svg");
  const path = document.createElementNS(NAMESPACE, "path");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("focusable", "false");
  path.setAttribute("d", OUTLINES[name]);
  svg.append(path);
  return svg;
}
