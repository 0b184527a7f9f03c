"""Workers and web processes as the Redis users of their roles: Redis refuses nothing that they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from petiole.redis.rights import ROLES
from tests.support.system import System, running
from tests.support.waiting import wait_until

# redis-py asks for these when it connects, and does without.
DONE_WITHOUT = {"client|setinfo", "client"}


@pytest.fixture(scope="module")
def system(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with redis.Redis.from_url(redis_url) as client:
        for role, rights in ROLES.items():
            client.execute_command("ACL", "SETUSER", role, "reset", "on", ">swordfish", *rights.rules("petiole"))
        client.acl_log_reset()
    journal = redis_url.replace("redis://", "redis://{}:swordfish@")
    with running(
        tmp_path_factory.mktemp("system"),
        settings={"CELERY_BROKER_URL": redis_url},
        of_workers={"PETIOLE_JOURNAL_URL": journal.format("worker")},
        of_web={"PETIOLE_JOURNAL_URL": journal.format("web")},
    ) as system:
        yield system


def refused(redis_url: str) -> list[tuple[str, str]]:
    with redis.Redis.from_url(redis_url) as client:
        log = client.acl_log()
    found = [(entry["username"], entry["object"]) for entry in log]
    return [(user, what) for user, what in found if what not in DONE_WITHOUT]


def test_tasks_texts_groups_and_their_ends_need_no_other_rights(system: System, redis_url: str, tmp_path: Path) -> None:
    session = system.session("ann")
    client = system.client(session=session)

    def start(path: str, **body: object) -> dict:
        answer = session.post(f"{system.url}{path}", json=body, timeout=5)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def end_of(task: dict) -> str:
        return client.watch(task["feed"]).wait(timeout=30)["state"]

    counted, written = start("/start/count", args=[50]), start("/start/write_texts", args=[50])
    begun = start("/start/start_a_child", args=[3])
    assert [end_of(task) for task in (counted, written, begun)] == ["succeeded"] * 3
    for light in (True, False):
        mixed = start("/canvas/group", tasks=[["silent"], ["raise_unexpected"], ["count", 3]], light=light)
        assert end_of(mixed) == "failed"
        assert session.get(f"{system.url}{mixed['links']['self']}/children", timeout=5).json()["children"]
    stopped = start("/start/count", args=[10, {"5": str(tmp_path / "never")}])
    assert session.post(f"{system.url}{stopped['links']['self']}/cancel", timeout=5).ok
    assert end_of(stopped) == "cancelled"
    notices = f"{system.url}/petiole/inbox"
    wait_until(
        lambda: stopped["feed"] in session.get(notices, timeout=5).json()["document"], what="a notice", timeout=20
    )
    assert session.post(f"{notices}/acknowledge", json={"all": True}, timeout=5).ok
    assert len(session.get(f"{system.url}/petiole/tasks", timeout=5).json()["tasks"]) >= 6
    assert session.delete(f"{system.url}{counted['links']['self']}", timeout=5).ok
    ready = session.get(f"{system.url}/petiole/ready", timeout=5).json()
    assert ready == {"ready": True}
    assert refused(redis_url) == []


def test_what_a_role_may_not_do_is_in_that_list(redis_url: str, system: System) -> None:
    with (
        redis.Redis.from_url(redis_url.replace("redis://", "redis://doctor:swordfish@")) as doctor,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        doctor.set("petiole:x", "1")
    assert ("doctor", "set") in refused(redis_url)
