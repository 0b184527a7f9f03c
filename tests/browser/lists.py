"""Draws `<petiole-tasks>` with five tasks, without a server: `python -m tests.browser.lists` writes docs/tasks-*.png."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page

from tests.browser.conftest import chromium
from tests.browser.states import DAY, FILE, NOW, RETRY, SCHEMES, SECOND, WORKING, open_page, rows
from tests.support.system import ROOT

WIDTH: Final = 900
MINUTE: Final = 60 * SECOND

TASKS: Final[tuple[dict[str, Any], ...]] = (
    {"title": "Flights of 2013", "state": "queued", "queued_at": NOW - 4 * SECOND},
    {"title": "Flights, 19 columns", "state": "running", "run": 1, "progress": WORKING},
    {
        "title": "Sync accounts",
        "state": "retrying",
        "run": 1,
        "reason": "database unavailable",
        "retry_at": NOW + 12 * SECOND,
        "progress": rows(310, 500),
    },
    {
        "title": "Monthly report",
        "state": "failed",
        "run": 1,
        "progress": rows(120, 500),
        "finished_at": NOW - 7 * MINUTE,
        "error": {"message": "The template has no page 3. Add it and retry.", "reference": "7F3A-2C1D"},
    },
    {
        "title": "Airports",
        "state": "succeeded",
        "run": 1,
        "progress": rows(1458, 1458),
        "artifacts": [{**FILE, "name": "airports.csv", "rows": 1458, "size": 124_000, "expires_at": NOW + 5 * DAY}],
        "started_at": NOW - 26 * MINUTE,
        "finished_at": NOW - 26 * MINUTE + 3 * SECOND,
    },
)

# A list and views with the interface that the elements use, and constant content.
SHOW: Final = """
([documents, now, retry]) => {
  const view = (document) => ({
    document, link: "live", problem: null, ended: "finished_at" in document, closed: false, reading: false,
    receipt: { facts: 12, shown: 12, complete: true, texts: {} },
    texts: [],
    moment: { now, progressAt: now, heardAt: now },
    on: () => () => undefined,
    links: async () => retry,
    acknowledge: async () => undefined,
    close: () => undefined,
  });
  const tasks = documents.map((document, index) => ({ id: String(index), feed: `task:${index}`, document, links: retry }));
  const list = {
    tasks, known: true, hasMore: true, failing: false, problem: null,
    on: () => () => undefined, changed: () => undefined, refresh: () => undefined, close: () => undefined,
  };
  const element = document.createElement("petiole-tasks");
  element.client = { link: "live", on: () => () => undefined, tasks: () => list, resume: ({ document }) => view(document) };
  element.setAttribute("filter", "");
  element.setAttribute("label", "Your tasks");
  document.body.replaceChildren(element);
}
"""
# Endless animations are paused at a recognisable frame.
STILL: Final = """
() => {
  for (const task of document.querySelector("petiole-tasks").shadowRoot.querySelectorAll("petiole-task")) {
    for (const each of task.shadowRoot.querySelectorAll("*")) {
      for (const animation of each.getAnimations()) {
        animation.pause();
        animation.currentTime = 700;
      }
    }
  }
}
"""


def picture(scheme: str) -> Path:
    return ROOT / "docs" / f"tasks-{scheme}.png"


def show(browser: Browser, *, width: int, scheme: str) -> Page:
    """A page with the list, some seconds after it was opened."""
    page = open_page(browser, width=width, scheme=scheme)
    page.evaluate(SHOW, [json.loads(json.dumps(TASKS)), NOW, RETRY])
    page.clock.run_for(2 * SECOND)
    page.evaluate(STILL)
    return page


def draw() -> None:
    """Write both pictures."""
    with chromium() as browser:
        for scheme in SCHEMES:
            page = show(browser, width=WIDTH, scheme=scheme)
            height = page.evaluate("Math.ceil(document.body.getBoundingClientRect().height)")
            page.screenshot(path=picture(scheme), clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
            page.context.close()


if __name__ == "__main__":
    draw()
