from flask import Flask, send_from_directory
from flask_socketio import SocketIO
from petiole import Petiole

from tasks import celery_app, count

app = Flask(__name__, static_folder="dist/assets", static_url_path="/assets")
app.config.from_prefixed_env()  # FLASK_SECRET_KEY
petiole = Petiole(app, SocketIO(app), celery_app=celery_app)


@app.get("/")
def page():
    petiole.user()  # names this browser before its first task
    return send_from_directory("dist", "index.html")


@app.post("/count")
def start():
    return petiole.accepted(petiole.start(count, [1000], title="Count to 1,000"))
