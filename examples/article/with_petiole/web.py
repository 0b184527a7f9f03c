"""The web server: answers 202 at once; the user who started the task sees it in every tab, whatever happens in between."""

import os

from flask import Flask, render_template, request
from flask_socketio import SocketIO
from tasks import celery_app, export

from petiole import Petiole

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "a secret of this example")
socketio = SocketIO(app)
petiole = Petiole(app, socketio, celery_app=celery_app)


@app.get("/")
def page():
    petiole.user()
    return render_template("page.html")


@app.post("/export")
def start_export():
    body = request.get_json()
    handle = petiole.start(export, [body.get("steps", 20), body.get("pause", 0.1)], title="Export")
    return petiole.accepted(handle)
