import time

from celery import shared_task


@shared_task(ignore_result=False)
def add(a, b):
    return a + b


@shared_task(bind=True, ignore_result=False)
def process(self, total):
    for number in range(total):
        self.update_state(state="PROGRESS", meta={"current": number + 1, "total": total})
        time.sleep(0.2)
    return {"current": total, "total": total}
