"""Draws every state of `<petiole-task>`, without a server: `python -m tests.browser.states` writes docs/states.md.

Each state is a document, given to an element by a view that only holds it. The page's words come from the element.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page

from tests.browser.conftest import chromium
from tests.support.system import ROOT

STATIC: Final = ROOT / "src" / "petiole" / "web" / "static"
SCRIPT: Final = STATIC / "petiole.js"
GROUP_SCRIPT: Final = STATIC / "petiole-group.js"
PICTURES: Final = ROOT / "docs" / "states"
PAGE: Final = ROOT / "docs" / "states.md"

WIDTHS: Final = {"wide": 680, "narrow": 360}
SCHEMES: Final = ("light", "dark")
SECOND: Final = 1000
NOW: Final = 1_795_600_000_000  # 25 November 2026
DAY: Final = 86_400 * SECOND

TITLE: Final = {"title": "flights, 19 columns", "task": "petiole.export", "run": 1}
FILE: Final = {
    "name": "flights.csv",
    "url": "https://app.example/exports/1/file",
    "rows": 1_000_000,
    "size": 15_200_000,
    "expires_at": NOW + 5 * DAY,
}
RETRY: Final = {"retry": "/petiole/tasks/1/retry"}


def rows(completed: int | None, total: int | None = 1_000_000, **more: Any) -> dict[str, Any]:
    fraction = None if not total or completed is None else completed / total
    shape = {"completed": completed, "total": total, "unit": "rows", "fraction": fraction}
    return {**shape, "stage": "Writing rows", **more}


WORKING: Final = rows(451_200, rate=12_200, time_left=45)


@dataclass(frozen=True)
class Case:
    """One state: its heading, its meaning, and the element's input."""

    name: str
    heading: str
    meaning: str
    document: dict[str, Any]
    link: str = "live"
    links: dict[str, str] = field(default_factory=dict)
    silent: int = 0
    problem: dict[str, Any] | None = None
    facts: tuple[dict[str, Any], ...] = ()
    # Of a group: the tasks that its drawer, which is open then, shows.
    children: tuple[dict[str, Any], ...] = ()


def fact(second: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "at": NOW - 20_000 + second * SECOND, "run": 1, "patch": {}, "progress": None, **more}


LOG: Final = (
    fact(0, "state", patch={"state": "queued"}),
    fact(1, "state", patch={"state": "running"}),
    fact(1, "stage", progress={"stage": "Counting rows"}),
    fact(2, "stage", progress={"stage": "Writing rows"}),
    fact(4, "log", data={"level": "info", "message": "Reading partition 3 of 12"}),
    fact(9, "log", data={"level": "warning", "message": "Partition 7 answered late; asked again"}),
)

GROUP: Final = {
    "title": "Thumbnails of 10,000 pictures",
    "task": "celery.group",
    "light": True,
    "started_at": NOW - 200 * SECOND,
}
CHAIN: Final = {"steps": ["Fetch", "Resize", "Publish"]}
CHILD_STATES: Final = ("queued", "running", "retrying", "succeeded", "failed", "cancelled", "lost", "skipped")


def tasks(
    *, step: int | None = None, rate: float | None = None, time_left: int | None = None, **counts: int
) -> dict[str, Any]:
    """A group's progress."""
    children = {state: counts.get(state, 0) for state in CHILD_STATES}
    total = sum(children.values())
    completed = total - sum(children[state] for state in ("queued", "running", "retrying"))
    numbers = {"completed": completed, "total": total, "fraction": completed / total, "unit": "tasks"}
    place = {"step": step, "stage": None if step is None else CHAIN["steps"][step - 1]}
    return {**numbers, **place, "rate": rate, "time_left": time_left, "children": children}


def child(number: int, state: str, **more: Any) -> dict[str, Any]:
    fields = {"attempt": 0, "fraction": None, "since": None, "error": None, "links": {}}
    return {"number": number, "id": f"task-{number}", "state": state, **fields, **more}


TIMEOUT: Final = {"message": "The picture server did not answer in 30 s.", "type": "TimeoutError"}
BROKEN: Final = {"message": "cannot identify image file 'IMG_4711.jpg'", "type": "UnidentifiedImageError"}
ERRORS: Final = {
    "error1": {**TIMEOUT, "reference": "7F3A-2C1D"},
    "error2": {**BROKEN, "reference": "11B0-93EE"},
    "error3": {**TIMEOUT, "reference": "A0C4-5D12"},
}
NEARLY: Final = tasks(step=2, rate=480, time_left=125, succeeded=6798, failed=12, lost=2, running=8, queued=3180)

CASES: Final = (
    Case("queued", "Queued", "No worker has received it yet.", {**TITLE, "state": "queued"}),
    Case(
        "counting",
        "Running, the total unknown",
        "The bar moves and has no value.",
        {**TITLE, "state": "running", "progress": rows(48_200, None, stage="Counting rows")},
    ),
    Case(
        "running",
        "Running",
        "Count, total and time left; below them the stage and the rate.",
        {**TITLE, "state": "running", "progress": WORKING},
    ),
    Case(
        "exceeded",
        "More than expected",
        "The bar is full, without a percentage: only a finished task has 100 %.",
        {**TITLE, "state": "running", "progress": rows(1_020_000, rate=91_000)},
    ),
    Case(
        "stalled",
        "Stalled",
        "The worker's lease has ended. Nothing is lost yet.",
        {**TITLE, "state": "stalled", "reason": "No news from the worker worker@host.", "progress": WORKING},
        silent=40,
    ),
    Case(
        "retrying",
        "Waiting for another run",
        "The task asked for a retry, with a reason.",
        {
            **TITLE,
            "state": "retrying",
            "reason": "database unavailable",
            "retry_at": NOW + 12 * SECOND,
            "progress": WORKING,
        },
    ),
    Case(
        "again",
        "Another run",
        "The bar has gone back, and the card says why.",
        {
            **TITLE,
            "state": "running",
            "run": 2,
            "reason": "database unavailable",
            "progress": rows(12_000, rate=88_000),
        },
    ),
    Case(
        "cancelling",
        "Cancelling",
        "The task has been asked to stop.",
        {**TITLE, "state": "cancelling", "progress": WORKING},
    ),
    Case(
        "force",
        "It doesn't stop",
        "The button is shown if its worker can terminate the process, as soon as the server allows it.",
        {**TITLE, "state": "cancelling", "forcible": True, "force_after": NOW - SECOND, "progress": WORKING},
    ),
    Case(
        "cancelled",
        "Cancelled",
        "It has stopped.",
        {**TITLE, "state": "cancelled", "progress": WORKING, "finished_at": NOW},
        links=RETRY,
    ),
    Case(
        "failed",
        "Failed",
        "The sentence says what to do; the reference is also in the worker's log.",
        {
            **TITLE,
            "state": "failed",
            "progress": WORKING,
            "finished_at": NOW,
            "error": {
                "message": "There is no room for the file. Export fewer rows, or try again later.",
                "reference": "7F3A-2C1D",
            },
        },
        links=RETRY,
    ),
    Case(
        "lost",
        "Lost",
        "Its worker has been silent for too long.",
        {
            **TITLE,
            "state": "lost",
            "reason": "The worker disappeared.",
            "progress": WORKING,
            "finished_at": NOW,
        },
        links=RETRY,
    ),
    Case(
        "done",
        "Done",
        "The file has replaced the bar. The receipt is in the log; it is on the card only if events are missing.",
        {
            **TITLE,
            "state": "succeeded",
            "progress": rows(1_000_000),
            "artifacts": [FILE],
            "started_at": NOW - 11 * SECOND,
            "finished_at": NOW,
        },
    ),
    Case(
        "expired",
        "Expired",
        "The file's retention has ended.",
        {
            **TITLE,
            "state": "succeeded",
            "progress": rows(1_000_000),
            "artifacts": [{**FILE, "expires_at": NOW - 2 * DAY}],
            "started_at": NOW - 9 * DAY - 11 * SECOND,
            "finished_at": NOW - 9 * DAY,
        },
        links=RETRY,
    ),
    Case(
        "reconnecting",
        "The link: reconnecting",
        "Shown after two seconds without a connection. The task's own words don't change.",
        {**TITLE, "state": "running", "progress": WORKING},
        link="reconnecting",
    ),
    Case(
        "polling",
        "The link: polling",
        "Sockets are blocked; plain requests get through.",
        {**TITLE, "state": "running", "progress": WORKING},
        link="polling",
    ),
    Case(
        "offline",
        "The link: offline",
        "The browser reports that it has no network.",
        {**TITLE, "state": "running", "progress": WORKING},
        link="offline",
    ),
    Case(
        "refused",
        "Refused",
        "It doesn't exist, or belongs to another user.",
        {},
        problem={"title": "Not found", "status": 404, "detail": "There is no such task here, or it isn't yours."},
    ),
    Case(
        "log",
        "The log",
        "Every fact is a line; the newest 200 are shown. It is read when it is opened.",
        {**TITLE, "state": "running", "progress": WORKING},
        facts=LOG,
    ),
    Case(
        "group-queued",
        "A group: queued",
        "One card for many tasks. A chain, or a chord with its body, has steps.",
        {**GROUP, **CHAIN, "state": "queued", "progress": tasks(queued=10_000)},
    ),
    Case(
        "group-running",
        "A group: running",
        "The bar has a segment for each kind: finished, failed, running. The first errors stand below it.",
        {**GROUP, **CHAIN, **ERRORS, "state": "running", "progress": NEARLY},
    ),
    Case(
        "group-tasks",
        "A group: its tasks",
        "The drawer lists those that run or failed, or all. It is read while it is open and visible.",
        {**GROUP, "state": "running", "progress": NEARLY},
        children=(
            child(6812, "running", since=NOW - 40 * SECOND, fraction=0.45),
            child(6813, "running", since=NOW - 95 * SECOND, links={"self": "https://app.example/petiole/tasks/6813"}),
            child(6815, "running", since=NOW - 3 * SECOND, attempt=1),
            child(6816, "retrying", attempt=1, error=TIMEOUT),
        ),
    ),
    Case(
        "group-cancelling",
        "A group: cancelling",
        "What has not begun is cancelled at once; what runs has been asked to stop.",
        {**GROUP, "state": "cancelling", "progress": tasks(succeeded=6798, failed=14, running=8, cancelled=3180)},
    ),
    Case(
        "group-cancelled",
        "A group: cancelled",
        "What has finished is kept.",
        {
            **GROUP,
            "state": "cancelled",
            "progress": tasks(succeeded=6798, cancelled=3202),
            "finished_at": NOW,
        },
        links=RETRY,
    ),
    Case(
        "group-failed",
        "A group: failed",
        "It ends after its last task. The button starts those that failed again, in the same group.",
        {
            **GROUP,
            **CHAIN,
            **ERRORS,
            "state": "failed",
            "reason": "14 of 10,000 tasks failed.",
            "progress": tasks(step=2, succeeded=9986, failed=12, lost=2),
            "finished_at": NOW,
        },
        links=RETRY,
        children=(
            child(17, "failed", since=NOW - 180 * SECOND, error=ERRORS["error1"]),
            child(4711, "failed", since=NOW - 90 * SECOND, error=ERRORS["error2"], attempt=2),
            child(9001, "lost", since=NOW - 60 * SECOND, error={"message": "The worker disappeared.", "type": "Lost"}),
        ),
    ),
    Case(
        "group-again",
        "A group: another run",
        "The tasks that had failed run again; the others keep their place in the bar.",
        {**GROUP, "state": "running", "run": 1, "progress": tasks(succeeded=9989, running=4, queued=7)},
    ),
    Case(
        "group-done",
        "A group: done",
        "All tasks have finished.",
        {
            **GROUP,
            **CHAIN,
            "state": "succeeded",
            "progress": tasks(step=3, succeeded=10_000),
            "finished_at": NOW,
        },
    ),
)

HTML: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<style>
  :root { color-scheme: light dark; }
  body { margin: 0; padding: 16px; background: #f6f7f8; }
  @media (prefers-color-scheme: dark) { body { background: #101316; } }
  petiole-task, petiole-tasks { margin: 0; }
</style>
<body></body>
</html>"""

# A view with the interface that the element uses, and constant content.
SHOW: Final = """
([{ document: shown, link, links, silent, problem, facts, children, name }, now]) => {
  const view = (more) => ({
    document: shown, link, problem,
    ended: "finished_at" in shown, closed: problem !== null, reading: false,
    receipt: { facts: 12, shown: 12, complete: true, texts: {} },
    texts: [],
    moment: { now, progressAt: now, heardAt: silent ? now - silent * 1000 : null },
    on: () => () => undefined,
    links: async () => links,
    acknowledge: async () => undefined,
    childPage: async () => ({ children, next: null }),
    close: () => undefined,
    ...more,
  });
  const history = () => view({
    on: (event, listener) => {
      if (event === "event") queueMicrotask(() => facts.forEach(listener));
      return () => undefined;
    },
  });
  const element = document.createElement("petiole-task");
  element.view = view({ history });
  document.body.replaceChildren(element);
  if (facts.length > 0) element.shadowRoot.querySelector("details.log").open = true;
  if (children.length > 0) element.shadowRoot.querySelector("details.children").open = true;
}
"""
# Endless animations are paused at a recognisable frame.
STILL: Final = """
() => {
  for (const each of document.querySelector("petiole-task").shadowRoot.querySelectorAll("*")) {
    for (const animation of each.getAnimations()) {
      animation.pause();
      animation.currentTime = 700;
    }
  }
}
"""
READ: Final = """
() => {
  const root = document.querySelector("petiole-task").shadowRoot;
  const visible = (part) => {
    const node = root.querySelector(`[part="${part}"]`);
    return node && node.checkVisibility() ? node.textContent.trim().replaceAll("\\u00a0", " ") : "";
  };
  const parts = ["sentence", "left", "failure", "detail", "download", "action", "percent", "link", "receipt"];
  return {
    ...Object.fromEntries(parts.map((part) => [part, visible(part)])),
    icon: root.querySelector("[part=icon] path").getAttribute("d"),
    bar: root.querySelector("[part=task]").dataset.bar,
    value: root.querySelector("[part=bar]").getAttribute("aria-valuenow"),
  };
}
"""


def open_page(browser: Browser, *, width: int, scheme: str) -> Page:
    """A page with the elements and without a server; its clock advances on request."""
    page = browser.new_context(
        viewport={"width": width, "height": 700}, color_scheme=scheme, locale="en-GB", timezone_id="UTC"
    ).new_page()
    page.clock.install(time=NOW / SECOND)
    page.set_content(HTML)
    page.add_script_tag(content=SCRIPT.read_text(encoding="utf-8"))
    page.add_script_tag(content=GROUP_SCRIPT.read_text(encoding="utf-8"), type="module")
    return page


def show(page: Page, case: Case) -> dict[str, str]:
    """Show this state for some seconds, and return the element's words."""
    names = ("document", "link", "links", "silent", "problem", "facts", "children", "name")
    given = {name: getattr(case, name) for name in names}
    page.evaluate(SHOW, [json.loads(json.dumps(given)), NOW])
    page.clock.run_for(4 * SECOND)
    found: dict[str, str] = page.evaluate(READ)
    return found


def words(found: dict[str, str]) -> list[str]:
    """The words of one state, as docs/states.md lists them."""
    line = " · ".join(found[part] for part in ("sentence", "left") if found[part])
    parts = [line, *(found[part] for part in ("failure", "detail", "link", "receipt"))]
    buttons = [f"[{found[part]}]" for part in ("download", "action") if found[part]]
    return [*(part for part in parts if part), *buttons]


def document(said: dict[str, dict[str, str]]) -> str:
    """Return the text of docs/states.md."""
    lines = [
        "# Every state",
        "",
        "How `<petiole-task>` shows each state, in words and shapes; colour is never the only sign.",
        "`python -m tests.browser.states` draws this page from the elements; a test compares the words.",
        "",
    ]
    for case in CASES:
        lines += [f"## {case.heading}", "", case.meaning, ""]
        lines += [f"* {each}" for each in words(said[case.name])]
        lines.append("")
        for form in WIDTHS:
            light, dark = (f"states/{case.name}-{form}-{scheme}.png" for scheme in SCHEMES)
            lines += [
                "<picture>",
                f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">',
                f'<img src="{light}" width="{WIDTHS[form]}" alt="{case.heading}, {form}">',
                "</picture>",
            ]
        lines.append("")
    return "\n".join(lines)


def picture(case: Case, form: str, scheme: str) -> Path:
    return PICTURES / f"{case.name}-{form}-{scheme}.png"


def draw() -> None:
    """Write all pictures, and docs/states.md."""
    PICTURES.mkdir(exist_ok=True)
    said: dict[str, dict[str, str]] = {}
    with chromium() as browser:
        for form, width in WIDTHS.items():
            for scheme in SCHEMES:
                page = open_page(browser, width=width, scheme=scheme)
                for case in CASES:
                    said[case.name] = show(page, case)
                    page.evaluate(STILL)
                    height = page.evaluate("Math.ceil(document.body.getBoundingClientRect().height)")
                    page.screenshot(
                        path=picture(case, form, scheme), clip={"x": 0, "y": 0, "width": width, "height": height}
                    )
                page.context.close()
    PAGE.write_text(document(said), encoding="utf-8")


if __name__ == "__main__":
    draw()
