"""gunicorn's configuration for the demo: gevent with gevent-websocket's worker (docs/dependencies.md says why)."""

worker_class = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
workers = 1
# gunicorn would put its control socket into the home directory.
control_socket_disable = True
worker_connections = 2000
# Open sockets never end by themselves; browsers come back to the next process and go on from their cursors.
graceful_timeout = 1
