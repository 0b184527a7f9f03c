"""gunicorn's configuration for the demo: gevent with gevent-websocket's worker (docs/dependencies.md says why)."""

worker_class = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
workers = 1
worker_connections = 2000
# Open sockets never end by themselves; browsers come back to the next process and go on from their cursors.
graceful_timeout = 1
