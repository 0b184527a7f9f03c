"""Headers of other tools: Petiole finds its own wherever they move it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, Task

from petiole.dispatch.message import Header
from tests.support.publisher import publishing, stub
from tests.support.system import System
from tests.support.waiting import wait_until

TRACE = {"sentry-trace": "4c79f60c11214eb38604f4ae0781bfb2-fa90fdead5f74052-1", "baggage": "a=b"}


class Instrumented(Task):
    """A task published as under `sentry_sdk.init(dsn)`: headers inside the header `headers`, and at the top level too."""

    abstract = True

    def apply_async(self, *args: Any, headers: dict[str, Any] | None = None, **options: Any) -> Any:
        given = {**(headers or {}), **TRACE}
        given.setdefault("headers", {}).update(TRACE)
        return super().apply_async(*args, headers=given, **options)


class Moving(Task):
    """A task whose headers are all moved into the header `headers`."""

    abstract = True

    def apply_async(self, *args: Any, headers: dict[str, Any] | None = None, **options: Any) -> Any:
        return super().apply_async(*args, headers={"headers": {**(headers or {}), **TRACE}}, **options)


@pytest.fixture
def publisher(system: System) -> Iterator[Celery]:
    with publishing(system) as app:
        yield app


@pytest.mark.parametrize("base", [Instrumented, Moving])
def test_what_delay_starts_is_followed_through_an_instrumentations_headers(
    system: System, publisher: Celery, base: type[Task]
) -> None:
    result = stub(publisher, "fail_twice", base=base).delay()
    view = system.client("ann").watch(f"task:{result.id}")
    document = view.wait(timeout=20)
    assert (document["state"], document["result"], document["run"]) == ("succeeded", "attempt 2", 3)
    assert view.receipt.complete


@pytest.mark.parametrize("base", [Instrumented, Moving])
def test_what_is_started_is_followed_and_cancelled_through_an_instrumentations_headers(
    system: System, publisher: Celery, base: type[Task]
) -> None:
    gate = str(system.gate("never"))
    handle = publisher.petiole.start(stub(publisher, "count", base=base), [10, {"5": gate}], owner="user:ann")
    view = system.client("ann").watch(handle.feed)
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 5, timeout=15)
    assert view.cancel()["document"]["state"] == "cancelling"
    assert view.wait(timeout=10)["state"] == "cancelled"


def test_a_dead_pool_child_is_spoken_for_through_an_instrumentations_headers(system: System, publisher: Celery) -> None:
    result = stub(publisher, "end_itself", base=Instrumented).delay("exit")
    document = system.client("ann").watch(f"task:{result.id}").wait(timeout=20)
    assert document["reason"] == "The process that ran the task died."


def test_headers_that_a_task_hands_on_to_another_do_not_make_that_the_same_task(
    system: System, publisher: Celery
) -> None:
    """`child.apply_async(headers=self.request.headers)`: the header in them belongs to the caller's own task."""
    held = Header("task:another", "0badcafe", "user:bob", "Another").to_message()
    result = stub(publisher, "silent").apply_async(headers={**held, "mine": 1})
    assert system.client("ann").watch(f"task:{result.id}").wait(timeout=15)["state"] == "succeeded"


@pytest.mark.parametrize("headers", [123, "text", [1], {"petiole": 5}, {"petiole": {"v": 1}}, {"headers": 7}])
def test_headers_of_any_kind_fail_no_eager_task(publisher: Celery, headers: Any) -> None:
    @publisher.task(name="headers.eager", shared=False)
    def eager() -> str:
        return "done"

    publisher.petiole.publisher.before_eager()
    assert eager.apply(headers=headers).get() == "done"


@pytest.mark.parametrize(
    "headers", [{"petiole": 5}, {"petiole": {"v": 1, "feed": 7}}, {"headers": {"petiole": []}}, {"headers": {"a": 1}}]
)
def test_a_header_that_is_none_fails_no_task(system: System, headers: Any) -> None:
    plain = Celery("plain", broker=system.redis_url, backend=system.redis_url, set_as_current=False)
    sent = plain.send_task("tests.apps.worker_app.silent", headers=headers)
    assert sent.get(timeout=15) == "done"
    wait_until(lambda: any(sent.id in line and "succeeded" in line for line in system.log), what="it ran")
