"""Hostile clients: malformed frames, attachments that never come, silent sockets."""

from __future__ import annotations

import random
import selectors
import socket
import threading
import time
from contextlib import suppress

import websocket

from chaos.resources import MIB, family, resources
from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System

SPAN = 30.0
FULL_SPAN = 600.0
ATTACKERS = 3
SILENT = 300
GROWTH_AT_MOST = 50 * MIB
CLOSED_WITHIN = 10.0
# A process logs a burst of ten of them, and then one every ten seconds.
LINES, LINES_PER_SECOND = 10, 0.1
PAUSE = 0.02
MALFORMED: tuple[str | bytes, ...] = (
    "",
    "9",
    "4x",
    "4" + "[" * 100_000,
    "b!!!!",
    "42/petiole,{",
    "42/petiole,[7]",
    '42/petiole,["disconnect"]',
    '42/petiole,["watch",{},1]',
    "42/petiole," + "[" * 100_000,
    "40/" + "n" * 1000 + ",",
    '451-/petiole,["watch",{"_placeholder":true,"num":0}]',
    '45999999999-/petiole,["watch",{"_placeholder":true,"num":0}]',
    b"\x00\x01\x02",
)
BOMB = '4532-/,["file"]'


def attack(system: System, rng: random.Random) -> str:
    """Attack both web processes for a span while honest browsers follow their tasks."""
    span = FULL_SPAN if system.full else SPAN
    servers = [family(web.popen.pid) for web in system.webs.values()]
    before = [resources(server).memory for server in servers]
    ends = time.monotonic() + span
    counts = {"packets": 0, "bombs": 0}
    lock = threading.Lock()
    threads = [
        threading.Thread(target=_send_nonsense, args=(system, random.Random(rng.random()), ends, counts, lock))
        for _ in range(ATTACKERS)
    ]
    for thread in threads:
        thread.start()
    silent = Silent([int(port) for port in system.webs])
    most = [0, 0]
    while time.monotonic() < ends:
        silent.fill()
        silent.look(0.5)
        most = [max(most[n], resources(server).memory - before[n]) for n, server in enumerate(servers)]
    silent.drain()
    for thread in threads:
        thread.join()
    lines = sum(entry["log"] == "connection_closed" for entry in system.history("web"))
    system.noted |= {"grown": most, "silent": silent, "lines": lines, "span": time.monotonic() - ends + span}
    return (
        f"{counts['packets']} malformed packets and {counts['bombs']} bombs in {span:.0f} s, "
        f"{len(silent.lives)} silent sockets closed after at most {max(silent.lives, default=0):.1f} s, "
        f"{silent.left} stayed; a web process grew by {max(most) / MIB:.0f} MiB, {lines} lines said"
    )


def _send_nonsense(
    system: System, rng: random.Random, ends: float, counts: dict[str, int], lock: threading.Lock
) -> None:
    while time.monotonic() < ends:
        sent = bombs = 0
        with suppress(OSError, websocket.WebSocketException):
            connection = _open(rng.choice(list(system.webs)))
            try:
                connection.send("40," if rng.random() < 0.5 else "40/petiole,")
                for packet in rng.sample(MALFORMED, 4):
                    if isinstance(packet, bytes):
                        connection.send_binary(packet)
                    else:
                        connection.send(packet)
                    sent += 1
                    time.sleep(PAUSE)
                    if rng.random() < 0.2:
                        connection.send(BOMB)
                        connection.send_binary(b"x" * 900_000)
                        bombs += 1
            finally:
                connection.shutdown()  # type: ignore[no-untyped-call]
        with lock:
            counts["packets"] += sent
            counts["bombs"] += bombs


def _open(port: int) -> websocket.WebSocket:
    return websocket.create_connection(
        f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket",
        timeout=10,
        suppress_origin=True,
        http_no_proxy=["*"],
    )


class Silent:
    """Keeps many sockets open that send nothing after their handshake, and measures how long the server keeps each."""

    def __init__(self, ports: list[int]) -> None:
        self.lives: list[float] = []
        self.left = 0
        self._ports = ports
        self._selector = selectors.DefaultSelector()
        self._opened = 0

    def fill(self) -> None:
        """Replace the closed ones, at most fifty at a time."""
        for _ in range(min(SILENT - len(self._selector.get_map()), 50)):
            with suppress(OSError, websocket.WebSocketException):
                opened = _open(self._ports[self._opened % len(self._ports)]).sock
                self._opened += 1
                assert opened is not None
                self._selector.register(opened, selectors.EVENT_READ, (opened, time.monotonic()))

    def look(self, seconds: float) -> None:
        """Receive for so long; record the end of each connection."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                opened, since = key.data
                if not _still_open(opened):
                    self._selector.unregister(opened)
                    opened.close()
                    self.lives.append(time.monotonic() - since)

    def drain(self) -> None:
        """Wait until all remaining ones are closed."""
        deadline = time.monotonic() + CLOSED_WITHIN + 2
        while self._selector.get_map() and time.monotonic() < deadline:
            self.look(0.2)
        self.left = len(self._selector.get_map())
        for key in list(self._selector.get_map().values()):
            key.data[0].close()


def _still_open(connection: socket.socket) -> bool:
    with suppress(OSError):
        return bool(connection.recv(65536))
    return False


def bounded(system: System) -> list[str]:
    found = []
    noted = system.noted
    silent: Silent = noted["silent"]
    if max(noted["grown"]) > GROWTH_AT_MOST:
        found.append(f"I11 a web process grew by {max(noted['grown']) / MIB:.0f} MiB")
    if silent.left:
        found.append(f"I11 {silent.left} silent sockets stayed open")
    late = [life for life in silent.lives if life > CLOSED_WITHIN]
    if late:
        found.append(f"I11 {len(late)} silent sockets were closed after up to {max(late):.1f} s")
    most = len(system.webs) * (LINES + 1 + LINES_PER_SECOND * noted["span"])
    if noted["lines"] > most:
        found.append(f"I11 {noted['lines']} lines in the log, {most:.0f} are allowed")
    if not silent.lives and not system.without:
        found.append("no silent socket was closed")
    return found


SCENARIOS = (
    Scenario(
        36,
        "malformed frames, silent sockets",
        attack,
        "guard",
        required="at most 50 MiB more, silent ones closed within 10 s, few lines in the log",
        check=bounded,
        load=Load(tasks=4, facts=300, interval=0.1, browsers=2),
    ),
)
