"""The worker: it has no application and no sockets, only an emitter that publishes to RabbitMQ."""

import os
import time

from celery import Celery
from flask_socketio import SocketIO
from queue_options import BoundedManager

RABBITMQ_URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")

celery_app = Celery("article", broker=RABBITMQ_URL)
# The same manager as in web.py, and no app: rooms live in the web processes.
emitter = SocketIO(client_manager=BoundedManager(RABBITMQ_URL, write_only=True))
emitter.init_app(None)


@celery_app.task(bind=True)
def export(self, room, steps=20, pause=0.1):
    """Emit progress to a room: a browser's session id, or a user's own room."""
    for step in range(1, steps + 1):
        time.sleep(pause)
        emitter.emit("task_progress", {"progress": 100 * step // steps, "task_id": self.request.id}, to=room)
    emitter.emit("task_complete", {"message": "Your export is ready.", "task_id": self.request.id}, to=room)
