"""Flask-SocketIO's message queue on RabbitMQ, with two of its pitfalls worked round.

`SocketIO(message_queue="amqp://…")` makes the same manager, but hands no option on to it.
"""

from socketio import KombuManager

# What SocketIO(message_queue=…) would call it. python-socketio's own default is another one, where nobody would listen.
CHANNEL = "flask-socketio"
ONE_RETRY_AT_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class BoundedManager(KombuManager):
    """A `KombuManager` whose emit comes back when RabbitMQ is gone, and whose queue every RabbitMQ takes."""

    def __init__(self, url, *, write_only=False):
        super().__init__(
            url,
            channel=CHANNEL,
            write_only=write_only,
            # The queue's default is neither durable nor exclusive, which RabbitMQ refuses from 4.3 on.
            queue_options={"exclusive": True},
            # A durable exchange doesn't vanish under an emitter when the broker starts anew.
            exchange_options={"durable": True},
            connection_options={
                "connect_timeout": 1,
                # For a broker that is there and takes nothing: a memory alarm, or a frozen machine.
                "transport_options": ONE_RETRY_AT_ONCE | ({"read_timeout": 1, "write_timeout": 1} if write_only else {}),
            },
        )

    def _producer_publish(self, connection):
        # The manager's own call has no `max_retries`: it tries for ever, and the task stands still.
        producer = connection.Producer(exchange=self._exchange())
        return connection.ensure(producer, producer.publish, **ONE_RETRY_AT_ONCE)
