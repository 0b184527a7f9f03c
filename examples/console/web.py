from flask import Flask, abort, render_template
from flask_socketio import SocketIO
from petiole import Petiole

from tasks import COMMANDS, celery_app, run

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_SECRET_KEY
petiole = Petiole(app, SocketIO(app), celery_app=celery_app)


@app.get("/")
def page():
    petiole.user()  # names this browser before its first task
    return render_template("console.html", commands=COMMANDS)


@app.post("/run/<name>")
def start(name):
    if name not in COMMANDS:
        abort(404)
    return petiole.accepted(petiole.start(run, [name], title=name))
