"""What redis-py raises, as Petiole's errors: what happened, and what to do."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis.exceptions import AuthenticationError, MovedError, NoPermissionError, RedisError, ResponseError

from petiole.errors import MissingRight, PetioleError, Refusal, Unavailable
from petiole.redis.sentinel import UnknownMaster
from petiole.redis.url import address, hosts
from petiole.tls import distrust, reason_of

# The journal's scripts raise this for a feed in another layout (`_fact.lua`).
_OTHER_LAYOUT: Final = re.compile(r"\bLAYOUT (newer|older)\b")

# The user's rights by the categories of Petiole's commands; `cluster` reads a cluster's layout.
RIGHTS: Final = "~petiole:* &petiole* +@read +@write +@scripting +@pubsub +@connection +time +info +cluster"
_COMMAND: Final = re.compile(r"(?:run|execute) the '([\w|]+)' command")
_OF_SCRIPTS: Final = ("user executing the script", "ACL failure in script")


@contextmanager
def translate_errors(url: str) -> Iterator[None]:
    """Raise what redis-py raises as `translated` returns it."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise translated(error, url) from error


def translated(error: Exception, url: str) -> PetioleError:
    """Return an error of redis-py's as `Unavailable`, with the remedy.

    It is a `Refusal` where the server has answered; another `PetioleError` only where the journal's own check refused a feed.
    """
    place = f"Redis at {address(url)}"
    match error:
        case MovedError():
            return Refusal(f"{place} is a node of a cluster. Set PETIOLE_JOURNAL_URL to redis+cluster://{hosts(url)}.")
        case AuthenticationError():
            return Refusal(f"{place} refused the login ({error}). Correct user and password in PETIOLE_JOURNAL_URL.")
        case UnknownMaster():
            return Refusal(str(error))
        case ResponseError():
            return _translated_reply(error, place)
        case _ if (fault := distrust(error)) is not None:
            return Refusal(tls_refused(fault, place))
        case _:
            return Unavailable(f"{place} doesn't answer ({error}). Start it, or set PETIOLE_JOURNAL_URL.")


def _translated_reply(error: ResponseError, place: str) -> PetioleError:
    said = str(error)
    # hiredis's own errors carry the code in the text.
    if isinstance(error, NoPermissionError) or said.startswith("NOPERM") or any(words in said for words in _OF_SCRIPTS):
        return MissingRight(
            f"{place} doesn't let its user do what Petiole needs ({said}). Grant it: ACL SETUSER <user> {RIGHTS}; with "
            "PETIOLE_KEY_PREFIX in place of petiole, if that is set.",
            missing=_missing_right(said),
        )
    if "cluster support disabled" in said:
        return Refusal(f"{place} isn't a cluster. Set PETIOLE_JOURNAL_URL to redis://host:6379/0.")
    if layout := _OTHER_LAYOUT.search(said):
        remedy = "Upgrade this one" if layout[1] == "newer" else "Let its tasks end there"
        return PetioleError(
            f"A feed in {place} was written by a {layout[1]} Petiole. {remedy}, or set another PETIOLE_KEY_PREFIX."
        )
    return Refusal(f"{place} is temporarily unavailable: {error}")


def _missing_right(said: str) -> str:
    """Return in a sentence which right a user lacks, by Redis's or Valkey's text; it names no keys or channels."""
    command = _COMMAND.search(said)
    if command is not None:
        return f"Redis doesn't let Petiole's user run {command[1]}."
    if "channel" in said:
        return "Redis doesn't let Petiole's user use its channels."
    if "key" in said:
        return "Redis doesn't let Petiole's user use its keys."
    return "Redis doesn't let Petiole's user run a command that its scripts need."


def tls_refused(fault: ssl.SSLError, place: str) -> str:
    """Return the sentence about a TLS fault, with OpenSSL's reason."""
    reason = reason_of(fault)
    if isinstance(fault, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {place} isn't trusted ({reason}). Set ssl_ca_certs in PETIOLE_JOURNAL_URL to the file of "
            "the authority that signed it; ssl_check_hostname=false or ssl_cert_reqs=none trust more than that."
        )
    if fault.reason in ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"):
        return no_tls(place)
    if "CERTIFICATE" in reason:
        return f"{place} requires a client certificate ({reason}). Set ssl_certfile and ssl_keyfile in PETIOLE_JOURNAL_URL."
    return f"{place} refuses TLS ({reason}). Correct the ssl_ options in PETIOLE_JOURNAL_URL."


def no_tls(place: str) -> str:
    """Return the sentence about a server that answers without TLS."""
    return f"{place} doesn't speak TLS there. Set the port of its TLS, or redis://, in PETIOLE_JOURNAL_URL."
