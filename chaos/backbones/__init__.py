"""What fault runs stand on, by name. `contract.py` says how each can be broken."""

from __future__ import annotations

from chaos.backbones.contract import RABBITMQ, REDIS, Backbone
from chaos.backbones.rabbitmq import RabbitBackbone
from chaos.backbones.redis import RedisBackbone

BACKBONES = (REDIS, RABBITMQ)


def open_backbone(name: str, *, binary: str) -> Backbone:
    """Return a backbone that isn't started yet; `binary`: the redis-server of the backbone redis."""
    return RedisBackbone(binary) if name == REDIS else RabbitBackbone()


__all__ = ["BACKBONES", "RABBITMQ", "REDIS", "Backbone", "RabbitBackbone", "RedisBackbone", "open_backbone"]
