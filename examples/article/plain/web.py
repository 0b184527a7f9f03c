"""The web server: answers 202 at once, and passes on what the worker publishes."""

import os
import secrets

from flask import Flask, jsonify, render_template, request, session
from flask_socketio import SocketIO, join_room
from tasks import REDIS_URL, export

# static/ has the browser's side of Socket.IO, `dist/socket.io.min.js` of npm's socket.io-client.
app = Flask(__name__, static_folder="../static")
app.secret_key = os.environ.get("SECRET_KEY", "a secret of this example")
socketio = SocketIO(app, message_queue=REDIS_URL)


@app.get("/")
def page():
    session.setdefault("person", secrets.token_hex(8))
    return render_template("page.html")


@socketio.on("connect")
def connect():
    # A room per person: it outlives the session id, which is a connection's name and changes with each.
    if "person" in session:
        join_room(session["person"])


@app.post("/export/by-sid")
def export_by_sid():
    """Address one connection. The route has no `request.sid`; the browser tells it."""
    body = request.get_json()
    task = export.delay(body["sid"], body.get("steps", 20), body.get("pause", 0.1))
    return jsonify(task_id=task.id), 202


@app.post("/export/by-room")
def export_by_room():
    """Address a person, in all tabs."""
    body = request.get_json()
    task = export.delay(session["person"], body.get("steps", 20), body.get("pause", 0.1))
    return jsonify(task_id=task.id), 202
