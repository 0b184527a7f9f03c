"""The send limit of slow browsers, on a real Socket.IO server without a network."""

from __future__ import annotations

from engineio.packet import MESSAGE, Packet
from engineio.socket import Socket
from flask import Flask
from flask_socketio import SocketIO

from petiole.web.engineio.send_limit import SLOW, SendLimit

NAMESPACE, FEED, LIMIT = "/petiole", "task:x", 5


def test_a_browser_that_falls_behind_again_while_it_is_taken_back_is_taken_back_later():
    socketio = SocketIO(Flask("window"), async_mode="threading")
    manager = socketio.server.manager
    connection = socketio.server.eio.sockets["transport"] = Socket(socketio.server.eio, "transport")
    sid = manager.connect("transport", NAMESPACE)
    manager.enter_room(sid, NAMESPACE, FEED)
    limited = SendLimit(socketio, NAMESPACE, limit=LIMIT)

    def fall_behind():
        for _ in range(LIMIT):
            connection.queue.put(Packet(MESSAGE, "x"))
        limited.emit("event", "{}", feed=FEED)

    def drain():
        while not connection.queue.empty():
            connection.queue.get()

    def is_in_the_room():
        return sid in dict(manager.get_participants(NAMESPACE, FEED))

    def position(_feed):
        fall_behind()
        return {"seq": 1}

    fall_behind()
    assert not is_in_the_room()
    drain()
    limited.catch_up(position)
    assert not is_in_the_room()
    drain()
    limited.catch_up(lambda _feed: {"seq": 2})
    assert is_in_the_room()


def test_the_text_goes_out_as_it_is_and_as_the_library_would_send_it():
    socketio = SocketIO(Flask("window"), async_mode="threading")
    manager = socketio.server.manager
    connection = socketio.server.eio.sockets["transport"] = Socket(socketio.server.eio, "transport")
    sid = manager.connect("transport", NAMESPACE)
    manager.enter_room(sid, NAMESPACE, FEED)
    SendLimit(socketio, NAMESPACE, limit=LIMIT).emit("event", '{"v":1,"facts":12}', feed=FEED)
    socketio.emit("event", {"v": 1, "facts": 12}, to=FEED, namespace=NAMESPACE)
    ours, theirs = connection.queue.get(), connection.queue.get()
    assert ours.encode() == theirs.encode() == '42/petiole,["event",{"v":1,"facts":12}]'


def test_where_the_library_is_another_its_own_emit_is_used(caplog):
    socketio = SocketIO(Flask("window"), async_mode="threading")
    manager = socketio.server.manager
    connection = socketio.server.eio.sockets["transport"] = Socket(socketio.server.eio, "transport")
    sid = manager.connect("transport", NAMESPACE)
    manager.enter_room(sid, NAMESPACE, FEED)
    connection.queue.qsize = None
    limited = SendLimit(socketio, NAMESPACE, limit=LIMIT)
    for _ in range(2):
        limited.emit("event", '{"v":1}', feed=FEED)
        assert connection.queue.get().encode() == '42/petiole,["event",{"v":1}]'
    said = [record.getMessage() for record in caplog.records if SLOW in record.getMessage()]
    assert [f"the protection {SLOW} is off" in text for text in said] == [True]
