"""A user's script: starts a task of the minimal example at this address, follows it to its end and prints what it saw."""

import json
import sys

import requests

import petiole
from petiole.client import TaskClient

address = sys.argv[1]
session = requests.Session()
session.get(address, timeout=5).raise_for_status()
client = TaskClient(address, session=session)
view = client.start("/count", {})
document = view.wait(timeout=60)
script = session.get(f"{address}/petiole/static/petiole.js", timeout=5)
print(
    json.dumps(
        {
            "state": document["state"],
            "completed": document["progress"]["completed"],
            "complete": view.receipt is not None and view.receipt.complete,
            "module": petiole.__file__,
            "version": petiole.__version__,
            "script": script.status_code,
        }
    )
)
client.close()
