from contextlib import closing

from celery import Celery
from petiole import init_celery, progress

from conversation import REDIS_URL, Conversation
from models import tokens

celery_app = Celery("chat", broker=REDIS_URL)
init_celery(celery_app)


@celery_app.task(bind=True)
def answer(self, owner, turn):
    conversation = Conversation(owner)
    answered = []
    try:
        with closing(tokens(conversation.messages(turn))) as stream:
            for token in progress.stream(stream):  # raises petiole.Cancelled when somebody presses Stop
                answered.append(token)
    finally:
        conversation.keep_answer(self.request.id, "".join(answered))
