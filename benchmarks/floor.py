"""The floor: a loop that does nothing but forward Redis's messages to one browser as WebSocket frames.

`python -m benchmarks.floor REDIS_URL CHANNEL PORT`
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import redis

from petiole.web.engineio.frames import text_frame


def main() -> None:
    url, channel, port = sys.argv[1:]
    with socket.create_server(("127.0.0.1", int(port))) as server:
        print("ready", flush=True)
        browser, _ = server.accept()
    browser.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while b"\r\n\r\n" not in browser.recv(4096):
        pass
    subscriber: Any = redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    subscriber.subscribe(channel)
    subscriber.get_message(timeout=5.0)
    browser.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    for message in subscriber.listen():
        browser.sendall(text_frame(message["data"].decode()))


if __name__ == "__main__":
    main()
