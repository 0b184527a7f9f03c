"""gunicorn with threads, for few open pages: where gevent can't be, because a library of the application blocks its loop.

gunicorn --config deploy/gunicorn_gthread.py --bind 127.0.0.1:8001 web:app

The application says `SocketIO(async_mode="threading")`: without it Flask-SocketIO takes gevent where that is installed.
"""

worker_class = "gthread"

# One process behind one port, as gunicorn_gevent.py has it.
workers = 1

# Each open page and each event stream holds one for as long as it is open, whatever it says; what is left over serves the
# calls. So: 80 pages, and 20 for everything else. With fewer than there are pages the site stands still, without an error.
# A page costs three threads in all: this one, one that writes and one that reads (simple-websocket).
threads = 100

# Connections that are taken at all, WebSockets included: those above `threads` are between two requests, or wait for a
# thread. At or below `threads` none could be kept between two requests.
worker_connections = 200

# After SIGTERM, as in gunicorn_gevent.py.
graceful_timeout = 10

# A worker that can't say for so long that it is alive is killed; a WebSocket doesn't keep it from that.
timeout = 30

keepalive = 2
max_requests = 0
forwarded_allow_ips = "127.0.0.1"
control_socket_disable = True
