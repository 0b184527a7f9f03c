"""Two models: one that needs nothing, and any OpenAI-compatible server, such as `OPENAI_BASE_URL=http://localhost:11434/v1`."""

import json
import os
import re
import time
from http.client import HTTPException
from urllib.request import Request, urlopen

from petiole import TaskFailure

TOKENS_PER_SECOND = float(os.environ.get("CHAT_TOKENS_PER_SECOND", "20"))
SILENCE = 60.0  # seconds without a token after which the server is given up

OFFLINE = """You asked: “{question}” This is your question number {number}. No model is connected, so this answer is the same every \
time. It is long enough to try a few things while it appears.

1. Reload this page in the middle: nothing of the text is missing, and it goes on.
2. Open the page in a second tab: both show the same text, and a question that you ask in one appears in the other.
3. Press Stop: the text stays as far as it came, and says that it is partial. Try again begins it anew.
4. Stop the web server for a moment and start it again: the worker goes on, and the page has the whole text when it is back.

What a model writes is shown as text, whatever it contains: <b>no bold</b>, </script>, naïve façades, 中文, \
עברית and a family of one character: 👩‍👩‍👧‍👦.

To connect a model, set OPENAI_BASE_URL for the worker to the address of any server that speaks OpenAI's protocol, and start the \
worker again. That is the end of this answer.
"""


def tokens(messages):
    """Yield the answer to the last of these messages, piece by piece."""
    url = os.environ.get("OPENAI_BASE_URL")
    return from_server(url, messages) if url else offline(messages)


def offline(messages):
    asked = [message["content"] for message in messages if message["role"] == "user"]
    for token in re.findall(r"\S+\s*", OFFLINE.format(question=asked[-1], number=len(asked))):
        yield token
        time.sleep(1 / TOKENS_PER_SECOND)


def from_server(url, messages):
    try:
        model = os.environ.get("OPENAI_MODEL") or first_model(url)
        with call(url, "chat/completions", {"model": model, "messages": messages, "stream": True}) as lines:
            for line in lines:
                name, _, data = line.decode().strip().partition(":")
                if name != "data":
                    continue
                if data.strip() == "[DONE]":
                    return
                chunk = json.loads(data)
                if "error" in chunk:
                    raise TaskFailure("The model has failed. Try again.")
                for choice in chunk.get("choices", ()):
                    yield choice["delta"].get("content") or ""
    except (OSError, HTTPException) as error:
        raise TaskFailure("The model's server doesn't answer. Try again later.") from error
    raise TaskFailure("The model's server has broken off this answer. Try again.")


def first_model(url):
    with call(url, "models") as answer:
        return json.load(answer)["data"][0]["id"]


def call(url, path, body=None):
    headers = {"Content-Type": "application/json"}
    if os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = f"Bearer {os.environ['OPENAI_API_KEY']}"
    data = None if body is None else json.dumps(body).encode()
    return urlopen(Request(f"{url.rstrip('/')}/{path}", data, headers), timeout=SILENCE)
