"""gunicorn's configuration for the demo: gevent with gevent-websocket's worker (docs/dependencies.md says why)."""

worker_class = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
workers = 1
# By default gunicorn's control socket is in the home directory.
control_socket_disable = True
worker_connections = 2000
# Open sockets don't end by themselves; browsers reconnect to the next process and go on from their cursors.
graceful_timeout = 1
