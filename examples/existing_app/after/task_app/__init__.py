from celery import Celery, Task
from flask import Flask, render_template
from flask_socketio import SocketIO
from petiole import Petiole, init_celery


def create_app():
    app = Flask(__name__)
    app.config.from_mapping(
        CELERY={
            "broker_url": "redis://localhost",
            "result_backend": "redis://localhost",
            "task_ignore_result": True,
            "petiole_adopt_update_state": True,
        },
    )
    app.config.from_prefixed_env()
    init_celery(celery_init_app(app))
    Petiole(app, SocketIO(app))

    @app.get("/")
    def index():
        return render_template("index.html")

    from task_app import views

    app.register_blueprint(views.bp)
    return app


def celery_init_app(app):
    class FlaskTask(Task):
        def __call__(self, *args, **kwargs):
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app
