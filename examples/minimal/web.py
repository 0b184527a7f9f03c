from flask import Flask, render_template
from flask_socketio import SocketIO
from petiole import Petiole

from tasks import celery_app, count

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_SECRET_KEY
petiole = Petiole(app, SocketIO(app), celery_app=celery_app)


@app.get("/")
def page():
    petiole.user()  # names this browser before its first task
    return render_template("index.html")


@app.post("/count")
def start():
    return petiole.accepted(petiole.start(count, [1000], title="Count to 1,000"))
