from flask import Flask, abort, redirect, render_template, request
from flask_socketio import SocketIO
from petiole import Petiole

from conversation import Conversation
from tasks import answer, celery_app

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_SECRET_KEY
petiole = Petiole(app, SocketIO(app), celery_app=celery_app)


def conversation():
    return Conversation(petiole.user())  # this browser's; with a login, this user's


@app.get("/")
def page():
    return render_template("chat.html", turns=conversation().turns())


@app.post("/ask")
def ask():
    question = request.form["question"].strip() or abort(400)
    return begin(conversation().ask(question), question)


@app.post("/retry/<int:turn>")
def retry(turn):
    return begin(turn, conversation().question(turn) or abort(404))


def begin(turn, question):
    handle = petiole.start(answer, [petiole.user(), turn], title=question)
    conversation().set_task(turn, handle.id)
    return petiole.accepted(handle)


@app.post("/forget")
def forget():
    conversation().forget()
    return redirect("/")
