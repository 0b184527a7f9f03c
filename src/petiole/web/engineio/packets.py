"""Socket.IO packets as clients may send them, and answers whose text is at hand as they go out."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

from petiole.errors import SetupError
from petiole.web.engineio.answer import text_of

ATTACHMENTS: Final = 32
NAMESPACE_LENGTH: Final = 128
RESERVED: Final = ("connect", "disconnect")
# What `checked_packet` needs of the library's class.
NEEDED: Final = ("decode", "encode", "data_is_binary", "add_attachment")

_CONNECT, _DISCONNECT, _EVENT, _ACK, _BINARY_EVENT, _BINARY_ACK = 0, 1, 2, 3, 5, 6


class Malformed(ValueError):
    """A packet that no client of the protocol sends."""


def checked_packet(base: Any, *, text_only: str, events: Collection[str]) -> Any:
    """Return `base` with a decoder that says `Malformed` for everything that no client sends."""

    class CheckedPacket(base):  # type: ignore[misc]
        def decode(self, encoded_packet: Any) -> Any:
            try:
                count = super().decode(encoded_packet)
            except Exception as error:  # noqa: BLE001 (decoders raise what they like)
                raise Malformed(str(error)) from None
            _check_shape(self, count or 0, text_only=text_only, events=events)
            return count

        @classmethod
        def data_is_binary(cls, data: Any) -> bool:
            return text_of(data) is None and bool(super().data_is_binary(data))

        def encode(self) -> Any:
            text = text_of(self.data)
            if text is None:
                return super().encode()
            namespace = "" if self.namespace in (None, "/") else f"{self.namespace},"
            return f"{self.packet_type}{namespace}{'' if self.id is None else self.id}[{text}]"

        def add_attachment(self, attachment: Any) -> Any:
            try:
                return super().add_attachment(attachment)
            except Exception as error:  # noqa: BLE001
                raise Malformed(str(error)) from None

    return CheckedPacket


def check_serializer(packet_class: Any) -> None:
    """Refuse a Socket.IO server whose packets aren't the text of Socket.IO's default serializer.

    Petiole's clients read nothing else, and what goes out to many is encoded once, without the server.

    Raises:
        SetupError: they are something else, as msgpack.
    """
    if packet_class is None:
        return
    values = ["event", {"text": "ü", "number": 1}]
    encoded = packet_class(_EVENT, data=values, namespace="/petiole", id=7).encode()
    begins = "2/petiole,7"
    is_text = isinstance(encoded, str) and encoded.startswith(begins) and json.loads(encoded[len(begins) :]) == values
    if not is_text or not getattr(packet_class, "uses_binary_events", True):
        raise SetupError(
            f"Socket.IO's serializer is {packet_class.__name__} here, whose packets Petiole's clients can't read. "
            "Make the server without serializer=."
        )


def _check_shape(packet: Any, attachments: int, *, text_only: str, events: Collection[str]) -> None:
    kind, data = packet.packet_type, packet.data
    if kind not in (_CONNECT, _DISCONNECT, _EVENT, _ACK, _BINARY_EVENT, _BINARY_ACK):
        raise Malformed("An unknown type.")
    if len(packet.namespace or "") > NAMESPACE_LENGTH:
        raise Malformed("A namespace that is too long.")
    if kind in (_BINARY_EVENT, _BINARY_ACK) and (packet.namespace == text_only or not 1 <= attachments <= ATTACHMENTS):
        raise Malformed("Attachments that aren't taken.")
    if kind in (_EVENT, _ACK, _BINARY_EVENT, _BINARY_ACK) and not isinstance(data, list):
        raise Malformed("An event that isn't a list.")
    if kind in (_EVENT, _BINARY_EVENT):
        # python-socketio would call an application's `connect` and `disconnect` for events of that name.
        if not data or not isinstance(data[0], str) or data[0] in RESERVED:
            raise Malformed("An event without a name of its own.")
        if packet.namespace == text_only and (data[0] not in events or len(data) > 2):
            raise Malformed("An unknown event.")
