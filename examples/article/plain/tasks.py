"""The worker: it has no application and no sockets, only an emitter that publishes to Redis."""

import os
import time

from celery import Celery
from flask_socketio import SocketIO

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")

celery_app = Celery("article", broker=REDIS_URL)
# The same queue as in web.py, and no app: rooms live in the web processes.
emitter = SocketIO(message_queue=REDIS_URL)


@celery_app.task(bind=True)
def export(self, room, steps=20, pause=0.1):
    """Emit progress to a room: a browser's session id, or a user's own room."""
    for step in range(1, steps + 1):
        time.sleep(pause)
        emitter.emit("task_progress", {"progress": 100 * step // steps, "task_id": self.request.id}, to=room)
    emitter.emit("task_complete", {"message": "Your export is ready.", "task_id": self.request.id}, to=room)
