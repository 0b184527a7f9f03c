"""One `<petiole-task>`, as a test reads it and presses its buttons."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import Locator, Page, expect

from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Card:
    """One task on a page."""

    root: Locator

    def part(self, name: str) -> Locator:
        return self.root.locator(f"[part='{name}']")

    @property
    def sentence(self) -> Locator:
        return self.part("sentence")

    @property
    def bar(self) -> Locator:
        return self.part("bar")

    @property
    def failure(self) -> Locator:
        return self.part("failure")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def value(self) -> int | None:
        """The bar's percentage, if it has one."""
        found = self.bar.get_attribute("aria-valuenow")
        return None if found is None else int(found)

    def moves(self, times: int = 3) -> list[int]:
        """Wait until the bar has shown so many different values, and return them."""
        seen: list[int] = []

        def enough() -> bool:
            value = self.value()
            if value is not None and value not in seen:
                seen.append(value)
            return len(seen) >= times

        wait_until(enough, what=f"the bar has shown {times} values", timeout=20)
        return seen

    def wait_live(self) -> None:
        expect(self.part("link")).to_be_hidden()


def export(page: Page, table: str) -> Card:
    """Choose a table, press the button, and return the new card."""
    choose(page, table)
    before = page.locator("petiole-task").count()
    page.get_by_role("button", name="Export data").click()
    expect(page.locator("petiole-task")).to_have_count(before + 1)
    return first_card(page)


def choose(page: Page, table: str) -> None:
    expect(page.locator("#table option").first).to_be_attached()
    page.locator("#table").select_option(table)


def first_card(page: Page) -> Card:
    """The newest export, by its id: another may come before it."""
    task = page.locator("petiole-task[data-id]").first
    return Card(page.locator(f"petiole-task[data-id='{task.get_attribute('data-id')}']"))
