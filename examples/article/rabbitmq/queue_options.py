"""Flask-SocketIO's message queue on RabbitMQ, with workarounds for two of its pitfalls.

`SocketIO(message_queue="amqp://…")` creates the same manager, but passes no options to it.
"""

from socketio import KombuManager

# The channel's name in SocketIO(message_queue=…). python-socketio's own default is another, to which nobody would listen.
CHANNEL = "flask-socketio"
ONE_RETRY_AT_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class BoundedManager(KombuManager):
    """A `KombuManager` whose emit returns when RabbitMQ is down, and whose queue every RabbitMQ accepts."""

    def __init__(self, url, *, write_only=False):
        super().__init__(
            url,
            channel=CHANNEL,
            write_only=write_only,
            # The queue's default is neither durable nor exclusive, which RabbitMQ refuses from 4.3 on.
            queue_options={"exclusive": True},
            # A durable exchange survives a restart of the broker, so an emitter still finds it.
            exchange_options={"durable": True},
            connection_options={
                "connect_timeout": 1,
                # For a broker that is up and accepts nothing: a memory alarm, or a frozen machine.
                "transport_options": ONE_RETRY_AT_ONCE | ({"read_timeout": 1, "write_timeout": 1} if write_only else {}),
            },
        )

    def _producer_publish(self, connection):
        # The manager's own call has no `max_retries`: it retries for ever, and the task hangs.
        producer = connection.Producer(exchange=self._exchange())
        return connection.ensure(producer, producer.publish, **ONE_RETRY_AT_ONCE)
