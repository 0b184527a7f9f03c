"""The backbones of fault runs, by name. `contract.py` says how each can be broken."""

from __future__ import annotations

from chaos.backbones.contract import RABBITMQ, REDIS, SQLITE, WEB, WORKER, Backbone, ServerBackbone
from chaos.backbones.rabbitmq import RabbitBackbone
from chaos.backbones.redis import RedisBackbone
from chaos.backbones.sqlite import SqliteBackbone

BACKBONES = (REDIS, RABBITMQ, SQLITE)
# The ones whose journal is a server.
SERVERS = (REDIS, RABBITMQ)


def open_backbone(name: str, *, binary: str, broker_apart: bool = False) -> Backbone:
    """Return a backbone that isn't started yet; `binary`: the redis-server, for those that use one.

    `broker_apart`: whether Celery's broker is a second Redis, where it would be the journal's.
    """
    match name:
        case "redis":
            return RedisBackbone(binary, broker_apart=broker_apart)
        case "sqlite":
            return SqliteBackbone(binary)
        case _:
            return RabbitBackbone()


__all__ = [
    "BACKBONES",
    "RABBITMQ",
    "REDIS",
    "SERVERS",
    "SQLITE",
    "WEB",
    "WORKER",
    "Backbone",
    "RabbitBackbone",
    "RedisBackbone",
    "ServerBackbone",
    "SqliteBackbone",
    "open_backbone",
]
