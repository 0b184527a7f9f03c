"""What was asked and answered, in Celery's Redis. An application keeps this in its database."""

import redis


class Conversation:
    """One person's questions, by their turn; each has a task that answers it, and a retry is another task."""

    def __init__(self, celery_app, owner):
        self._redis = redis.Redis.from_url(celery_app.conf.broker_url, decode_responses=True)
        self._questions, self._tasks, self._answers = (
            f"chat:{owner}:{kind}" for kind in ("questions", "tasks", "answers")
        )

    def ask(self, question):
        return self._redis.rpush(self._questions, question) - 1

    def question(self, turn):
        return self._redis.lindex(self._questions, turn)

    def set_task(self, turn, task_id):
        self._redis.hset(self._tasks, str(turn), task_id)

    def keep_answer(self, task_id, text):
        self._redis.hset(self._answers, task_id, text)

    def turns(self):
        """Return (question, id of its task) of each turn; of a question that could not be sent the id is None."""
        questions, tasks = self._redis.lrange(self._questions, 0, -1), self._redis.hgetall(self._tasks)
        return [(question, tasks.get(str(turn))) for turn, question in enumerate(questions)]

    def messages(self, turn):
        """Return the conversation up to this turn's question, as models expect it."""
        messages, answers = [], self._redis.hgetall(self._answers)
        for question, task_id in self.turns()[: turn + 1]:
            messages += [("user", question), ("assistant", answers.get(task_id))]
        return [{"role": role, "content": content} for role, content in messages[:-1] if content]

    def forget(self):
        self._redis.delete(self._questions, self._tasks, self._answers)
