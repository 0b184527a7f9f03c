"""What was asked and answered, in Celery's Redis. An application keeps this in its database."""

import os

import redis

REDIS_URL = os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0")
store = redis.Redis.from_url(REDIS_URL, decode_responses=True)


class Conversation:
    """One person's questions, by their turn; each has a task that answers it, and a retry is another task."""

    def __init__(self, owner):
        self._questions, self._tasks, self._answers = (
            f"chat:{owner}:{kind}" for kind in ("questions", "tasks", "answers")
        )

    def ask(self, question):
        return store.rpush(self._questions, question) - 1

    def question(self, turn):
        return store.lindex(self._questions, turn)

    def set_task(self, turn, task_id):
        store.hset(self._tasks, str(turn), task_id)

    def keep_answer(self, task_id, text):
        store.hset(self._answers, task_id, text)

    def turns(self):
        """Return (question, id of its task) of each turn; of a question that could not be sent the id is None."""
        questions, tasks = store.lrange(self._questions, 0, -1), store.hgetall(self._tasks)
        return [(question, tasks.get(str(turn))) for turn, question in enumerate(questions)]

    def messages(self, turn):
        """Return the conversation up to this turn's question, as models expect it."""
        messages, answers = [], store.hgetall(self._answers)
        for question, task_id in self.turns()[: turn + 1]:
            messages += [("user", question), ("assistant", answers.get(task_id))]
        return [{"role": role, "content": content} for role, content in messages[:-1] if content]

    def forget(self):
        store.delete(self._questions, self._tasks, self._answers)
