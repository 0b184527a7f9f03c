/** What a person reads about the link to the server. Pure. */

import type { LinkState } from "../link/link.js";

/** Return what to say about the link, which has been in this state for `seconds`; null if nothing. */
export function describeLink(link: LinkState, seconds: number): string | null {
  switch (link) {
    case "live":
      return null;
    case "reconnecting":
      return seconds < 2 ? null : "Reconnecting… the task continues";
    case "polling":
      return "Live updates are blocked here; checking every 3 s";
    case "offline":
      return "You are offline; we will catch up";
  }
}
