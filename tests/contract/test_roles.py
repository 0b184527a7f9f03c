"""What Redis lets each role do (`petiole.redis.rights`): enough for all that it does, and nothing that it never does."""

from __future__ import annotations

import itertools
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from petiole.bus.redis import RedisBus
from petiole.errors import PetioleError
from petiole.journal.answers import Closed, Counted, Duplicate, Held, Missing, Stored
from petiole.journal.groups import FAILURES_KEPT, Child, Contribution
from petiole.journal.redis.journal import RedisJournal
from petiole.journal.trial import try_write
from petiole.journal.verification import verify
from petiole.protocol.events import COUNTER, Cursor, Draft, group_feed, inbox_feed, mint_epoch, task_feed
from petiole.protocol.texts import Chunk
from petiole.redis.rights import ROLES, Rights
from petiole.settings import Settings
from tests.conftest import VARIANTS
from tests.contract.backends import OWNER, SHORT, WORKER, claimed, line, state
from tests.contract.test_bus import SOON, Listener
from tests.support.redis import RedisServer
from tests.support.system import ROOT
from tests.support.waiting import wait_until

LEASE = 30.0
# Few, so that keeping them to their number is part of what a role does.
KEPT = 3
_CALL = re.compile(r"redis\.p?call\('([A-Z]+)'")
UNREACHED = {"worker": set(), "web": {"append"}, "doctor": {"del"}}
ERROR = {"message": "It failed.", "reference": "r"}

_names = itertools.count(1)
Open = Callable[[Rights], tuple[RedisJournal, RedisJournal]]


@pytest.fixture(scope="module", params=[name for name in VARIANTS if name in ("oldest", "system")])
def server(request: pytest.FixtureRequest, redis_servers: Callable[[str], RedisServer]) -> RedisServer:
    return redis_servers(request.param)


@pytest.fixture
def open_as(server: RedisServer) -> Iterator[Open]:
    """`open_as(rights)`: the journal of a user with these rights, and of one who may do everything; without earlier feeds."""
    made, users = [], []

    def make(rights: Rights) -> tuple[RedisJournal, RedisJournal]:
        name = f"role{os.getpid()}-{next(_names)}"
        users.append(name)
        with server.client() as client:
            # No user of the role has loaded a script yet.
            client.script_flush()
            client.execute_command("ACL", "SETUSER", name, "reset", "on", ">swordfish", *rights.rules(name))
        urls = (f"redis://{name}:swordfish@127.0.0.1:{server.port}/0", server.url)
        journal, full = (RedisJournal(Settings(journal_url=url, key_prefix=name, facts_kept=KEPT)) for url in urls)
        made.extend((journal, full))
        return journal, full

    yield make
    for journal in made:
        journal.close()
    with server.client() as client:
        client.execute_command("ACL", "DELUSER", *users)


def feeds() -> tuple[str, str]:
    return task_feed(str(uuid.uuid4())), group_feed(str(uuid.uuid4()))


def make_task(journal: RedisJournal, feed: str) -> Cursor:
    return journal.open(feed, owner=OWNER, draft=state("queued"), lease=LEASE, message="{}", publication="p")


def make_group(journal: RedisJournal, feed: str) -> Cursor:
    children = [Child(str(uuid.uuid4()), (1, 2)), Child(str(uuid.uuid4())), Child(str(uuid.uuid4()))]
    return journal.open_group(feed, children, owner=OWNER, draft=state("queued"), epoch=mint_epoch(), lease=LEASE)


def counted(journal: RedisJournal, feed: str, *said: Contribution, lease: float = LEASE, **more: bool) -> None:
    assert isinstance(journal.contribute(feed, said, run=0, lease=lease, **more), Counted)


def begun(answer: object) -> int:
    assert isinstance(answer, (Stored, Duplicate)), answer
    return answer.cursor.facts


def write_task(journal: RedisJournal, feed: str) -> int:
    """Claim a task and report every kind of event; returns its run."""
    run = claimed(journal, feed, message='{"again": 1}').run
    for number in range(2, KEPT + 4):
        begun(journal.append(feed, line(), run=run, fact=number))
    begun(journal.append(feed, Draft(COUNTER, progress={"completed": 1}), run=run, fact=number, counter=1))
    for at, text in ((0, "some "), (5, "text")):
        begun(journal.append(feed, Draft.of_text(Chunk("output", at, text)), run=run, fact=number))
    return run


def act_as_worker(worker: RedisJournal, full: RedisJournal, *, soon: float = SOON) -> None:
    """Do what a worker does: run tasks of all kinds, and start others from them."""
    assert [said for said in worker.inspect() if "doesn't let" in said] == []
    feed, group = feeds()
    make_task(worker, feed)
    worker.confirm(feed)
    assert worker.heads([feed])
    run = write_task(worker, feed)
    assert worker.renew(WORKER, [feed], lease=LEASE)[feed].valid
    assert worker.check(feed, run, delivery="delivery-1", lease=LEASE).valid
    before = full.snapshot(feed)
    assert before is not None
    # The journal loses the task, and its next run voids its text.
    full.forget(feed)
    worker.rebase(
        feed, owner=OWNER, run=run, delivery="delivery-1", retries=0, last=before.cursor, fact=9, document=before.document,
        worker=WORKER, lease=LEASE, message="{}", publication="p",
    )  # fmt: skip
    begun(worker.append(feed, state("retrying"), run=run, fact=10))
    worker.confirm(feed, run=run, lease=LEASE)
    again = claimed(worker, feed, delivery="delivery-2", retries=1).run
    begun(worker.append(feed, Draft.of_text(Chunk("output", 0, "all of it")), run=again, fact=1))
    begun(worker.append(feed, state("succeeded", result=1), run=again, fact=2))
    make_group(worker, group)
    counted(worker, group, Contribution(0, "running"), Contribution(2, "running"))
    assert worker.renew_children(group, [0], run=0, lease=LEASE) == Held(True, False)
    counted(
        worker, group, Contribution(0, "failed", stops=True, error=ERROR, message="{}"), Contribution(2, "succeeded")
    )
    # Of very many failures only the first are kept.
    many = group_feed(str(uuid.uuid4()))
    worker.open_group(
        many, [Child(str(uuid.uuid4()))] * (FAILURES_KEPT + 1), owner=OWNER, draft=state("queued"), epoch=mint_epoch()
    )
    for first in range(0, FAILURES_KEPT + 1, 300):
        numbers = range(first, min(first + 300, FAILURES_KEPT + 1))
        counted(worker, many, *(Contribution(number, "failed", error=ERROR, message="{}") for number in numbers))
    gone, other = feeds()
    for name, undo in ((gone, worker.forget), (other, worker.remove)):
        (make_task if name == gone else make_group)(worker, name)
        undo(name)
        assert full.snapshot(name) is None


def act_as_web(web: RedisJournal, full: RedisJournal, *, soon: float = SOON) -> None:
    """Do what a web process does: start, show, cancel, deliver notices, count groups, and speak for the dead."""
    try_write(web)
    feed, group = feeds()
    make_task(web, feed)
    web.confirm(feed)
    with closing(RedisBus(web._settings)) as bus:
        listener = Listener(bus)
        listener._thread.start()
        wait_until(lambda: listener.returns, timeout=soon, what="the bus has connected")
        assert bus.follow(feed, timeout=soon)
        assert bus.probe(timeout=soon)
        write_task(full, feed)
        listener.wait_for(feed, 2)
        begun(web.append(feed, line()))
        bus.unfollow(feed)
        assert bus.probe(timeout=soon)
        assert bus.trouble is None
        assert listener.returns == 1
    reading = web.read(feed, None, limit=10)
    assert reading is not None
    assert "".join(chunk.text for chunk in reading.chunks) == "some text"
    assert web.text(feed, "output") == "some text"
    assert web.heads([feed])
    assert web.changed_heads({feed: None})
    assert web.snapshot(feed)
    assert web.message(feed)
    # The worker dies; its task is resolved, its owner told.
    full.renew(WORKER, [feed], lease=SHORT)
    wait_until(lambda: [one for one in web.expired(limit=10) if one.feed == feed], timeout=soon, what="it has expired")
    begun(web.conclude(feed, 1, state("stalled"), lease=SHORT))
    wait_until(lambda: [one for one in web.expired(limit=10) if one.feed == feed], timeout=soon, what="it has expired")
    begun(web.conclude(feed, 1, state("lost")))
    assert feed in web.pending(limit=10)
    for key in ("task:1", "task:2", feed):
        begun(web.notify(OWNER, key=key, notice={"title": "Export"}))
    web.settle(feed)
    begun(web.acknowledge(OWNER, [feed]))
    begun(web.acknowledge(OWNER, ["task:3"], again=True))
    begun(web.acknowledge(OWNER, None))
    assert web.read(inbox_feed(OWNER), None, limit=10)
    full.forget(feed)
    assert web.list(OWNER, limit=1000)[0] == []
    assert web.note("key", "one", instead_of="", lasts=LEASE) == ""
    assert web.notes(["key"]) == {"key": "one"}
    assert web.note("key", "", instead_of="one", lasts=LEASE) == "one"

    make_group(web, group)
    counted(web, group, Contribution(0, "running"), lease=SHORT)
    wait_until(lambda: web.expired_children(group, limit=9)[1], timeout=soon, what="a child has expired")
    counted(web, group, Contribution(0, "lost", stops=True, message="{}"), verdict=True)
    counted(web, group, Contribution(2, "succeeded"))
    assert web.children(group, limit=10)
    assert web.children(group, state="lost", limit=10)
    assert web.child_messages(group) == {0: "{}"}
    again = web.repeat_children(group, [0], draft=state("queued"), epoch=mint_epoch(), lease=LEASE)
    assert not isinstance(again, (Closed, Missing))
    begun(web.cancel(group, cancelling=state("cancelling"), cancelled=state("cancelled")))
    make_task(full, feed)
    write_task(full, feed)
    web.remove(feed)
    web.remove(group)


def act_as_doctor(doctor: RedisJournal, full: RedisJournal, *, soon: float = SOON) -> None:
    """Look at everything, as `petiole tasks`, `events`, `text` and `verify` do."""
    feed, group = feeds()
    make_task(full, feed)
    write_task(full, feed)
    make_group(full, group)
    counted(full, group, Contribution(0, "failed", error=ERROR, message="{}"))
    begun(full.notify(OWNER, key=feed, notice={"title": "Export"}))
    assert [said for said in doctor.inspect() if "doesn't let" in said] == []
    assert doctor.heads([feed])[feed].lease_left is not None
    assert doctor.heads([group])
    assert doctor.changed_heads({feed: None})
    assert doctor.text(feed, "output") == "some text"
    for one in (feed, group, inbox_feed(OWNER)):
        assert doctor.read(one, None, limit=10)
        assert doctor.snapshot(one)
    assert verify(doctor, group)
    assert doctor.children(group, limit=10)
    assert doctor.message(feed)
    # A task that is gone stays in the index for those who may write.
    full.forget(feed)
    assert [snapshot.feed for snapshot in doctor.list(OWNER, limit=10)[0]] == [group]


ACTS = {"web": act_as_web, "worker": act_as_worker, "doctor": act_as_doctor}


@pytest.mark.parametrize("role", ACTS)
def test_a_roles_rights_are_enough(role: str, open_as: Open) -> None:
    journal, full = open_as(ROLES[role])
    ran: set[str] = set()
    script = journal._script
    journal._script = lambda name: (ran.add(name), script(name))[1]  # type: ignore[method-assign]
    ACTS[role](journal, full)
    # For whatever its scripts come across, too. A web process writes no text, and only writers void one.
    used = {command.lower() for name in ran for command in _CALL.findall(script(name).source)}
    assert used - set(ROLES[role].commands) == UNREACHED[role], ran


@pytest.mark.parametrize("role", ACTS)
def test_without_any_one_of_them_the_role_fails(role: str, open_as: Open) -> None:
    for fewer in ROLES[role].less():
        try:
            # What isn't heard at once would never be.
            ACTS[role](*open_as(fewer), soon=1.0)
        except (PetioleError, AssertionError, TimeoutError):
            continue
        pytest.fail(f"The role needs no more than {fewer}")


def test_the_settings_page_creates_these_users() -> None:
    page = re.sub(r" \\\n +", " ", (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"))
    for role, rights in ROLES.items():
        assert f"\nACL SETUSER petiole-{role} on >password {' '.join(rights.rules('petiole'))}\n" in page
