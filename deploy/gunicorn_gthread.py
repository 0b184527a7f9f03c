"""gunicorn with threads, for few open pages: for applications whose libraries would block gevent's loop.

gunicorn --config deploy/gunicorn_gthread.py --bind 127.0.0.1:8001 web:app

The application sets `SocketIO(async_mode="threading")`: without it Flask-SocketIO uses gevent if that is installed.
"""

worker_class = "gthread"

# One process per port, as in gunicorn_gevent.py.
workers = 1

# Each open page and each event stream occupies one thread as long as it is open, even if idle; the others serve the
# calls. So this allows 80 pages, and 20 threads for everything else. With more pages than threads the site hangs without an
# error. A page costs three threads in all: this one, one that writes and one that reads (simple-websocket).
threads = 100

# All connections that are accepted, WebSockets included: those above `threads` are idle between two requests, or wait for a
# thread. At or below `threads` no idle connection could be kept.
worker_connections = 200

# After SIGTERM, as in gunicorn_gevent.py.
graceful_timeout = 10

# A worker without a heartbeat for so long is killed; an open WebSocket doesn't block the heartbeat.
timeout = 30

keepalive = 2
max_requests = 0
forwarded_allow_ips = "127.0.0.1"
control_socket_disable = True
