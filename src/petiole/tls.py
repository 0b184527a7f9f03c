"""TLS options, in any spelling: redis-py's, kombu's and Celery's differ.

Petiole's URLs use redis-py's names (`ssl_ca_certs`), and `ssl_cert_reqs` is `required`, `optional` or `none`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, Final

from petiole.errors import SetupError

PREFIX: Final = "ssl_"
CERT_REQS: Final = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}
_SPELLINGS: Final = {
    **{word: word for word in CERT_REQS},
    **{f"cert_{word}": word for word in CERT_REQS},
    **{str(int(mode)): word for word, mode in CERT_REQS.items()},
}
# An object of Python's, which no URL can carry.
_UNWRITTEN: Final = "ssl_context"
# What the URL says already: that it is TLS, and the host.
_SAID_ALREADY: Final = ("ssl_server_hostname", "ssl_version", "ssl_do_handshake_on_connect", "ssl_server_side")


def cert_reqs_word(value: str, *, key: str) -> str:
    """Return `required`, `optional` or `none` for any spelling of it; `key` is the setting that it comes from.

    Raises:
        SetupError: it is none of them.
    """
    word = _SPELLINGS.get(value.strip().lower())
    if word is None:
        raise SetupError(f"{key} has ssl_cert_reqs={value}, which isn't known. Use required, optional or none.")
    return word


def has_tls_options(options: Mapping[str, str]) -> bool:
    """Say whether a URL has a TLS option."""
    return any(name.startswith(PREFIX) for name in options)


def options_of(use_ssl: object, *, key: str) -> dict[str, str]:
    """Return Celery's `broker_use_ssl` (or `redis_backend_use_ssl`) as options of a URL; `key` is its name.

    Raises:
        SetupError: it has an option that no URL can carry.
    """
    if not isinstance(use_ssl, Mapping):
        return {}
    options = {}
    for name, value in use_ssl.items():
        full = str(name) if str(name).startswith(PREFIX) else f"{PREFIX}{name}"
        if full in _SAID_ALREADY:
            continue
        text = _text(value) if full != _UNWRITTEN else None
        if full == "ssl_cert_reqs":
            options[full] = cert_reqs_word("none" if value is None else str(text), key=key)
        elif text is not None:
            options[full] = text
        elif value is not None:
            raise SetupError(
                f"{key} has {name}, which Petiole can't read from there. Set PETIOLE_JOURNAL_URL, or beside a database "
                "PETIOLE_BUS_URL, with its ssl_ options."
            )
    return options


def _text(value: Any) -> str | None:
    """Return a value as a URL carries it; `None`: it can't be text."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(int(value))  # the number of an enumeration of ssl's
        case str():
            return value
        case PathLike():
            return str(fspath(value))
        case _:
            return None


def read_files(options: Mapping[str, Any], *, key: str) -> ssl.SSLContext:
    """Return a context with the certificates and keys that a connection's options name, read at start.

    Raises:
        SetupError: a file is missing, unreadable or invalid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca_file, ca_path, ca_data = (options.get(f"ssl_{name}") for name in ("ca_certs", "ca_path", "ca_data"))
    certificate, private_key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    name = "ssl_ca_certs"
    try:
        if ca_file or ca_path or ca_data:
            context.load_verify_locations(ca_file, ca_path, ca_data)
        name = "ssl_certfile"
        if certificate:
            context.load_cert_chain(certificate, private_key, options.get("ssl_password"))
        elif private_key:
            raise SetupError(f"{key} has ssl_keyfile without ssl_certfile. Set both, or none of them.")
    except ssl.SSLError as error:
        raise SetupError(f"A file of {name} in {key} can't be used ({error.reason or error}). Correct it.") from error
    except OSError as error:
        raise SetupError(
            f"A file of {name} in {key} can't be read ({error.strerror or error}). Correct its path, or its rights."
        ) from error
    return context


def distrust(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS fault that caused an error, if one did: it is permanent."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return error
        error = error.__cause__ or error.__context__
    return None


def reason_of(error: ssl.SSLError) -> str:
    """Return the reason in OpenSSL's words."""
    verify = getattr(error, "verify_message", "")
    return str(verify or error.reason or error)
