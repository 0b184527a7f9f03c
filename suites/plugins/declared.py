"""A pytest plugin: every task is declared with `progress=True`."""

from __future__ import annotations

from celery import Task

Task.progress = True
