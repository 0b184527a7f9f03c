"""The web server: answers 202 at once, and forwards the events that the worker publishes."""

import os
import secrets

from flask import Flask, jsonify, render_template, request, session
from flask_socketio import SocketIO, join_room
from tasks import REDIS_URL, export

# static/ has Socket.IO's browser client, `dist/socket.io.min.js` of npm's socket.io-client.
app = Flask(__name__, static_folder="../static")
app.secret_key = os.environ.get("SECRET_KEY", "a secret of this example")
socketio = SocketIO(app, message_queue=REDIS_URL)


@app.get("/")
def page():
    session.setdefault("person", secrets.token_hex(8))
    return render_template("page.html")


@socketio.on("connect")
def connect():
    # A room per user: it outlives the session id, which names one connection and changes with each.
    if "person" in session:
        join_room(session["person"])


@app.post("/export/by-sid")
def export_by_sid():
    """Emit to one connection. The route has no `request.sid`, so the browser sends it."""
    body = request.get_json()
    task = export.delay(body["sid"], body.get("steps", 20), body.get("pause", 0.1))
    return jsonify(task_id=task.id), 202


@app.post("/export/by-room")
def export_by_room():
    """Emit to a user, in all tabs."""
    body = request.get_json()
    task = export.delay(session["person"], body.get("steps", 20), body.get("pause", 0.1))
    return jsonify(task_id=task.id), 202
