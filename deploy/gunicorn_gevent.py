"""gunicorn with gevent, for many open pages: one process on one port, as many processes as the machine has cores.

gunicorn --config deploy/gunicorn_gevent.py --bind 127.0.0.1:8001 web:app
"""

# It brings its own WebSocket server. gunicorn's plain `gevent` class with gevent-websocket installed ends each WebSocket in a
# RuntimeError; without it simple-websocket breaks the stream of a client that reads slowly (docs/dependencies.md).
worker_class = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"

# One process behind one port. Several behind one port would share its connections by chance, and long polling needs each
# request in the process that it began with: nginx chooses the port.
workers = 1

# Open connections of this process, WebSockets included; past it the kernel lets new ones wait. Each takes a file descriptor
# here and two in nginx: the unit's LimitNOFILE and nginx's worker_connections have to be above.
worker_connections = 2000

# How long a request may go on after SIGTERM. WebSockets don't wait for it: Petiole tells each page when to come back (within
# PETIOLE_RECONNECT_SPREAD) and closes its socket a third of a second later. It is for downloads and event streams.
graceful_timeout = 10

# A worker whose event loop doesn't turn for so long is killed. WebSockets are not requests that could take too long.
timeout = 30

# Seconds that a connection between requests stays open. nginx makes one for each request, so it is for those without nginx.
keepalive = 2

# Never: a worker that is replaced after so many requests cuts all of its sockets.
max_requests = 0

# The application is imported in the worker, after gevent has patched the standard library, and hears SIGTERM there.
preload_app = False

# Whose X-Forwarded-For and X-Forwarded-Proto are believed: nginx's.
forwarded_allow_ips = "127.0.0.1"

# gunicorn would put its control socket into the home directory, which a service may not have.
control_socket_disable = True
