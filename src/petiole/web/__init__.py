"""The web side: start tasks, answer 202, and relay their events to browsers."""

from petiole.extras import require

require("Petiole's web side", "web", "flask", "flask_socketio", "itsdangerous")
