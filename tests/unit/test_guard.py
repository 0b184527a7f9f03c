"""The guard's requirements of python-engineio, python-socketio and the WebSocket libraries, and its handling of packets."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterator

import engineio.async_drivers._websocket_wsgi
import engineio.base_server
import engineio.packet
import engineio.payload
import engineio.server
import engineio.socket
import pytest
import simple_websocket.ws
import socketio
import socketio.admin
import socketio.base_manager
import socketio.manager
import socketio.packet
from engineio.exceptions import QueueEmpty
from engineio.packet import PING, PONG, Packet
from geventwebsocket.websocket import Header, WebSocket

from petiole.errors import SetupError
from petiole.web.engineio import pings
from petiole.web.engineio.answer import Answer
from petiole.web.engineio.frames import Unsent
from petiole.web.engineio.guard import Guard
from petiole.web.engineio.packets import Malformed, check_serializer, checked_packet
from petiole.web.engineio.websockets import checked_websocket, unmask

# The guard depends on the source of these. When one changes, read it, correct the code that uses it if necessary, and write
# the new digest here.
READ = {
    socketio.Server._send_eio_packet: "5fa452fb118c",
    socketio.Server.register_namespace: "9aeaaab5a638",
    engineio.server.Server.handle_request: "79302edd007f",
    engineio.server.Server._trigger_event: "bc536417c304",
    engineio.server.Server._service_task: "9492b7b0d652",
    engineio.server.Server.shutdown: "65281c2fdcc2",
    engineio.base_server.BaseServer.on: "7b5457b52dc7",
    engineio.socket.Socket: "275926e45771",
    engineio.payload.Payload: "6b839223a0a7",
    engineio.packet.Packet.decode: "18e27ff7fd56",
    engineio.async_drivers._websocket_wsgi.SimpleWebSocketWSGI: "ef4f852b6726",
    socketio.Server._handle_eio_message: "65f309c138d6",
    socketio.Server._handle_event: "3f64c030f25e",
    socketio.base_manager.BaseManager.get_participants: "7d78ad681c95",
    socketio.manager.Manager.emit: "566510ea2de3",
    socketio.packet.Packet: "e1660ba64e4e",
    socketio.admin.InstrumentedServer.instrument: "13a68a5c75c1",
    simple_websocket.ws.Base: "7789d27313e5",
    WebSocket: "701e2200b328",
    Header: "cc3cd52f5d80",
}


def digest(thing):
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:12]


@pytest.mark.parametrize("thing", READ, ids=lambda thing: f"{thing.__module__}.{thing.__qualname__}")
def test_what_the_guard_was_written_for_has_not_changed(thing):
    assert digest(thing) == READ[thing], f"{thing.__qualname__} is another: read it, then see the top of this file"


@pytest.fixture
def server():
    server = socketio.Server(async_mode="threading", namespaces=["/petiole", "/own"])
    Guard(server, text_only="/petiole", events={"watch"})
    return server


def test_other_servers_of_the_process_are_left_as_they_are(server):
    other = socketio.Server(async_mode="threading")
    assert other.eio._async["websocket"] is not server.eio._async["websocket"]
    assert other.packet_class is socketio.packet.Packet


@pytest.mark.parametrize(
    "packet",
    ["x", "4", "7", "2", "2{}", "2[]", "2[1]", '2["connect"]', '2/own,["disconnect"]', '2/petiole,["other"]', "3{}",
     '2/petiole,["watch",1,2]', '51-/petiole,["watch"]', '50-["x"]', '533-["x"]', "0/" + "n" * 200, "2[[[" * 50_000,
     b"bytes"],
    ids=lambda packet: repr(packet[:20]),
)  # fmt: skip
def test_what_no_client_sends_is_malformed(server, packet):
    with pytest.raises(Malformed):
        server.packet_class(encoded_packet=packet)


@pytest.mark.parametrize(
    "packet",
    ["0", "0/petiole,", '0/petiole,{"token":1}', "1/petiole,", '2["x"]', '2/own,12["x",1,2,3]', '2/petiole,1["watch",{}]',
     "3/own,1[]", '51-/own,["x",{"_placeholder":true,"num":0}]', '61-/own,1[{"_placeholder":true,"num":0}]'],
)  # fmt: skip
def test_what_clients_send_is_taken(server, packet):
    theirs = socketio.packet.Packet(encoded_packet=packet)
    ours = server.packet_class(encoded_packet=packet)
    assert ours._to_dict() == theirs._to_dict()
    assert ours.attachment_count == theirs.attachment_count


def test_what_the_server_sends_is_encoded_as_ever(server):
    for values in (["event", {"feed": "task:1"}], ["event", b"bytes"]):
        ours = server.packet_class(socketio.packet.EVENT, data=values, namespace="/own")
        assert ours.encode() == socketio.packet.Packet(socketio.packet.EVENT, data=values, namespace="/own").encode()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 1000, 1001])
def test_unmasking_gives_what_gevent_websocket_gives(size):
    payload = os.urandom(size)
    header = Header(length=size)
    header.mask = os.urandom(4)
    assert unmask(header, payload) == bytearray(byte ^ header.mask[at % 4] for at, byte in enumerate(payload))


@pytest.mark.parametrize("more", [{}, {"token_expires_in": 3.5}])
def test_an_answer_whose_text_is_at_hand_goes_out_as_the_library_would_send_its_object(server, more):
    assert server.packet_class.encode is not socketio.packet.Packet.encode
    wire = {"feed": "task:a", "document": {"title": "ü"}, "events": []}
    answer = Answer(json.dumps(wire, separators=(",", ":"))).with_fields(more)
    for namespace in ("/petiole", "/"):
        ours, theirs = (
            kind(socketio.packet.ACK, namespace=namespace, id=7, data=[data]).encode()
            for kind, data in ((server.packet_class, answer), (socketio.packet.Packet, {**wire, **more}))
        )
        assert ours == theirs


def test_other_answers_are_the_librarys(server):
    for data in ([{"a": 1}], [], [1, 2], [b"x"], [{"a": b"x"}]):
        ours, theirs = (
            kind(socketio.packet.ACK, namespace="/own", id=7, data=data).encode()
            for kind in (server.packet_class, socketio.packet.Packet)
        )
        assert ours == theirs


class Herd:
    """So many connections of a guarded server, all opened at the same moment; the test sets its time."""

    def __init__(
        self,
        size: int,
        *,
        monitored: bool = True,
        pings: float = 25.0,
        guarded: Callable[[socketio.Server], object] = lambda _server: None,
    ) -> None:
        self.now = 1000.0
        self.server = socketio.Server(
            async_mode="threading",
            namespaces=["/petiole"],
            monitor_clients=monitored,
            ping_interval=pings,
            ping_timeout=pings,
        )
        self.guard = Guard(self.server, text_only="/petiole", events={"watch"}, join_within=1e6, clock=lambda: self.now)
        self.guard._sweeping = True  # without its background task: the test does its work
        guarded(self.server)
        self.sockets = [engineio.socket.Socket(self.server.eio, f"s{number}") for number in range(size)]
        for made in self.sockets:
            self.server.eio.sockets[made.sid] = made
            self.server.eio._trigger_event("connect", made.sid, {}, run_async=False)
            made.schedule_ping()

    def pinged(self) -> int:
        return sum(not made.queue.empty() for made in self.sockets)


def test_a_herd_is_pinged_a_few_at_a_time_and_soon_enough():
    herd = Herd(1000)
    herd.now += herd.server.eio.ping_interval + 0.01
    told = []
    for _ in range(round(pings.WITHIN / pings.TICK) * 6):
        before = herd.pinged()
        herd.guard.pings.send()
        told.append(herd.pinged() - before)
    assert max(told) == 1000 * pings.TICK / pings.WITHIN
    assert sum(told) == 1000


def test_a_herd_spreads_over_the_interval_with_its_first_ping():
    herd = Herd(1000)
    interval = herd.server.eio.ping_interval
    herd.now += interval * pings.EARLIEST - 0.01
    herd.guard.pings.send()
    assert herd.pinged() == 0
    told = []
    for _ in range(8):
        herd.now += interval * (1 - pings.EARLIEST) / 8
        before = herd.pinged()
        send(herd)
        told.append(herd.pinged() - before)
    assert min(told) > 60
    assert sum(told) > 990


def test_nobody_is_pinged_again_before_the_interval_has_passed():
    herd = Herd(3)
    send(herd, after=herd.server.eio.ping_interval)
    for made in herd.sockets:
        made.poll()
        made.receive(Packet(PONG))
    send(herd, after=herd.server.eio.ping_interval - 0.01)
    assert herd.pinged() == 0
    send(herd, after=0.01)
    assert herd.pinged() == 3


def test_events_go_on_between_the_pings_of_many(monkeypatch):
    herd = Herd(3000)
    slept = []
    monkeypatch.setattr(herd.guard.pings, "_sleep", slept.append)
    herd.now += herd.server.eio.ping_interval
    herd.guard.pings.send()
    at_once = 3000 * pings.TICK / pings.WITHIN
    assert herd.pinged() == at_once
    assert slept == [0] * (round(at_once / pings.AT_ONCE) - 1)


def send(herd: Herd, *, after: float = 0.0) -> None:
    herd.now += after
    for _ in herd.sockets:  # as often as needed: a few go out at a time
        herd.guard.pings.send()


def test_a_client_that_answers_no_ping_is_closed_in_time_and_taken_out():
    herd = Herd(3)
    eio = herd.server.eio
    send(herd, after=eio.ping_interval)
    for made in herd.sockets:
        made.last_ping -= eio.ping_timeout + 1  # the guard's clock isn't the wall clock, which Engine.IO uses
    herd.sockets[0].receive(Packet(PONG))
    send(herd, after=eio.ping_timeout)
    assert [made.closed for made in herd.sockets] == [False, False, False]
    send(herd, after=2 * pings.TICK)
    assert [made.closed for made in herd.sockets] == [False, True, True]
    assert [packet.packet_type for packet in herd.sockets[1].poll()] == [PING]
    assert herd.sockets[1].poll() == []  # the end of a WebSocket's writer closes it
    herd.guard.sweep()
    assert list(eio.sockets) == ["s0"]


@pytest.fixture
def admin_ui() -> Iterator[Callable[[socketio.Server], object]]:
    """Give a server Socket.IO's admin UI, which registers handlers with Engine.IO and changes its sockets' class."""
    instrumented = []
    yield lambda server: instrumented.append(server.instrument(auth=False))
    for each in instrumented:
        each.uninstrument()
        each.shutdown()


def test_a_handler_that_is_registered_later_takes_nobody_out_of_the_guards_sight(admin_ui):
    herd = Herd(1, guarded=admin_ui)
    [made] = herd.sockets
    assert made.sid in herd.server.environ
    herd.now += herd.guard._join_within
    herd.guard.sweep()
    assert made.closed
    assert made.sid not in herd.server.environ
    assert not herd.guard._unjoined


def test_a_handler_is_registered_as_with_engine_io(server):
    heard = []

    @server.eio.on("message")
    def hear(_sid, data):
        heard.append(data)

    made = engineio.socket.Socket(server.eio, "here")
    server.eio.sockets["here"] = made
    server.eio._trigger_event("message", "here", '2["x"]', run_async=False)
    assert heard == ['2["x"]']
    with pytest.raises(ValueError, match="Invalid event"):
        server.eio.on("other")


def test_the_servers_shutdown_ends_the_guards_task_and_the_next_connection_starts_it_again():
    server = socketio.Server(async_mode="threading", namespaces=["/petiole"])
    guard = Guard(server, text_only="/petiole", events={"watch"})
    for sid in ("first", "next"):
        server.eio.sockets[sid] = engineio.socket.Socket(server.eio, sid)
        server.eio._trigger_event("connect", sid, {}, run_async=False)
        task = guard.task
        assert task.is_alive()
        server.shutdown()
        assert not task.is_alive()


def test_what_is_left_of_a_frame_says_its_size_as_other_messages_do():
    assert len(Unsent(memoryview(b"left"))) == 4


def test_however_many_are_silent_each_is_closed_in_time():
    herd = Herd(500)
    eio = herd.server.eio
    send(herd, after=eio.ping_interval)
    for made in herd.sockets:
        made.last_ping -= eio.ping_timeout + 1
    herd.now += eio.ping_timeout + 2 * pings.TICK
    herd.guard.pings.send()
    assert all(made.closed for made in herd.sockets)


def test_where_the_clock_was_set_back_a_silent_client_is_looked_at_again():
    herd = Herd(1)
    eio = herd.server.eio
    send(herd, after=eio.ping_interval)
    for _ in range(2):
        send(herd, after=eio.ping_timeout + 2 * pings.TICK)
        assert not herd.sockets[0].closed
    herd.sockets[0].last_ping -= eio.ping_timeout + 1
    send(herd, after=eio.ping_timeout + 2 * pings.TICK)
    assert herd.sockets[0].closed


def test_an_answer_that_comes_while_its_ping_is_looked_at_is_no_fault():
    class Answered(engineio.socket.Socket):
        @property
        def last_ping(self):
            at, self._at = self._at, None  # another thread takes the answer as soon as this one has checked
            return at

        @last_ping.setter
        def last_ping(self, at):
            self._at = at

    assert Answered(Herd(0).server.eio, "answered").check_ping_timeout()


def test_engine_io_goes_on_looking_for_silent_clients_itself():
    class Other(engineio.socket.Socket):
        def __getattribute__(self, name):
            if name == "check_ping_timeout":
                raise AttributeError(name)
            return super().__getattribute__(name)

    herd = Herd(0)
    assert herd.server.eio.start_service_task is True
    herd.server.eio.sockets["other"] = Other(herd.server.eio, "other")
    herd.server.eio._trigger_event("connect", "other", {}, run_async=False)
    assert herd.server.eio.start_service_task is True


class TestHandlersOfOthers:
    """A handler registered with Engine.IO after Petiole, as by a monitor."""

    def test_another_handler_is_called_through_the_guard(self):
        herd = Herd(0)
        eio, seen = herd.server.eio, []
        eio.on("message", lambda eio_sid, data: seen.append(data))
        eio.on("disconnect", lambda eio_sid: seen.insert(1, eio_sid))  # without the reason, as in older versions
        eio.sockets["other"] = engineio.socket.Socket(eio, "other")
        eio._trigger_event("connect", "other", {}, run_async=False)
        eio._trigger_event("message", "other", "2/petiole,[]", run_async=False)
        eio._trigger_event("message", "other", "", run_async=False)
        assert seen == ["2/petiole,[]"]
        assert herd.guard._faults == {"other": 1}
        eio._trigger_event("disconnect", "other", "transport close", run_async=False)
        assert seen[1:] == ["other"]
        assert herd.guard._faults == {}

    def test_one_that_calls_the_handler_before_it_counts_once(self):
        herd = Herd(0)
        eio = herd.server.eio
        for event in ("connect", "message", "disconnect"):
            eio.on(event, lambda *values, before=eio.handlers[event]: before(*values))
        made = eio.sockets["other"] = engineio.socket.Socket(eio, "other")
        eio._trigger_event("connect", "other", {}, run_async=False)
        assert type(made.send.__self__._enqueue.__self__) is engineio.socket.Socket
        eio._trigger_event("message", "other", "4x", run_async=False)
        assert herd.guard._faults == {"other": 1}
        for _ in range(10):
            eio._trigger_event("message", "other", "0/nowhere,", run_async=False)
        assert herd.guard._faults == {"other": 1}

    def test_a_socket_whose_handler_is_a_function_gets_the_librarys_websocket(self):
        made = Herd(0).server.eio._async["websocket"](lambda ws: None, Herd(0).server.eio)
        assert type(made) is engineio.async_drivers._websocket_wsgi.SimpleWebSocketWSGI


class Text(socketio.packet.Packet):
    """An application's own serializer that sends the same as the default."""


class Packed(socketio.packet.Packet):
    """Sends bytes, like msgpack."""

    def encode(self):
        return json.dumps(self._to_dict()).encode()


class Bare(socketio.packet.Packet):
    """Sends text in another format."""

    def encode(self):
        return json.dumps(self._to_dict())


def test_a_serializer_that_sends_anything_but_the_protocols_text_is_refused():
    for taken in (socketio.packet.Packet, Text, checked_packet(Text, text_only="/petiole", events=()), None):
        check_serializer(taken)
    for refused in (Packed, Bare):
        with pytest.raises(SetupError, match=rf"{refused.__name__} here, .* without serializer="):
            check_serializer(refused)


def test_a_wait_has_its_own_end_where_nobody_looks_after_silent_clients():
    [made] = Herd(1, monitored=False, pings=0.01).sockets
    with pytest.raises(QueueEmpty):
        made.poll()


def test_a_gevent_websocket_that_lacks_something_is_served_as_the_library_does_it(server, caplog):
    class Served:
        def __init__(self, handler, server):
            self.handler = handler

        def __call__(self, environ, start_response):
            return ["served"]

    class Engine:
        sid = "sid"

        def handle(self): ...

    guard = Guard(socketio.Server(async_mode="threading"), text_only="/petiole", events=())
    made = checked_websocket(Served, guard)(Engine().handle, server.eio)
    assert made({"wsgi.websocket": object()}, None) == ["served"]
    assert "the protection against large frames and silent sockets is off: websocket.handler.socket" in caplog.text
