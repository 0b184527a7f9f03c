"""gunicorn with gevent, for many open pages: one process on one port, as many processes as the machine has cores.

gunicorn --config deploy/gunicorn_gevent.py --bind 127.0.0.1:8001 web:app
"""

# It brings its own WebSocket server. gunicorn's plain `gevent` class with gevent-websocket installed ends each WebSocket in a
# RuntimeError; without it simple-websocket breaks the stream of a client that reads slowly (docs/dependencies.md).
worker_class = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"

# One process per port. Several would share the port's connections at random, and long polling needs all requests of a session
# in the same process: nginx chooses the port.
workers = 1

# Open connections of this process, WebSockets included; past this number the kernel queues new ones. Each takes a file
# descriptor here and two in nginx: the unit's LimitNOFILE and nginx's worker_connections must be higher.
worker_connections = 2000

# How long a request may go on after SIGTERM. WebSockets don't wait for it: Petiole tells each page when to come back (within
# PETIOLE_RECONNECT_SPREAD) and closes its socket a third of a second later. It is for downloads and event streams.
graceful_timeout = 10

# A worker whose event loop is blocked for so long is killed. An open WebSocket doesn't count as a request that takes too long.
timeout = 30

# Seconds that an idle connection stays open. nginx opens one for each request, so this matters only without nginx.
keepalive = 2

# Never: a worker that is replaced after a number of requests cuts all of its sockets.
max_requests = 0

# The application is imported in the worker, after gevent has patched the standard library, and handles SIGTERM there.
preload_app = False

# The proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted: nginx.
forwarded_allow_ips = "127.0.0.1"

# gunicorn would put its control socket into the home directory, which a service may not have.
control_socket_disable = True
