import os
import selectors
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from celery import Celery
from petiole import init_celery, progress

from plain import Plain

celery_app = Celery("console", broker="redis://127.0.0.1:6379/0")
init_celery(celery_app)

# A browser chooses one by its name; what is run never comes from a request.
COMMANDS = {
    "Build": [sys.executable, "-u", "build.py"],
    "Broken build": [sys.executable, "-u", "build.py", "--broken"],
    "Installed packages": [sys.executable, "-m", "pip", "list"],
    "Ten minutes of silence": ["sh", "-c", "echo 'Only Cancel ends this.'; sleep 600 | cat"],
}
LOOK = 0.2  # seconds between two looks for a Cancel while the command is silent
PATIENCE = 5.0  # seconds to end by itself after a Cancel


@celery_app.task
def run(name):
    """Run a command, write its output as it comes, and return its exit code."""
    process = subprocess.Popen(
        COMMANDS[name],
        cwd=Path(__file__).parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a process group of its own, so that its children can be ended as well
    )
    try:
        write_output(process)
        return {"exit_code": process.wait()}
    except BaseException:  # petiole.Cancelled among them
        end(process)
        raise
    finally:
        process.stdout.close()
        process.stderr.close()


def write_output(process):
    """Write what comes through both pipes until they are closed."""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, ("stdout", Plain()))
        selector.register(process.stderr, selectors.EVENT_READ, ("stderr", Plain()))
        while selector.get_map():
            progress.update()  # raises petiole.Cancelled when somebody has pressed Cancel
            for key, _ in selector.select(timeout=LOOK):
                name, plain = key.data
                data = os.read(key.fd, 65536)
                progress.write(plain.feed(data, final=not data), name)
                if not data:
                    selector.unregister(key.fileobj)


def end(process):
    """End the command and all that it has started: by SIGTERM, and what is left after a while by SIGKILL."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
