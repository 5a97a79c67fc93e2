"""Flask and `model.predict`: the way of the guide, under a server made for production.

The network is loaded as Keras saved it and asked with `predict`, one image at a time.
"""

from __future__ import annotations

import os
import sys

from benchmarks.comparison.servers.network import best, blank_jpeg, decode, read_task
from flask import Flask, Response, jsonify, request


def build() -> Flask:
    """Build the application of one process."""
    import keras

    task = read_task()
    model = keras.models.load_model(task.keras_model)
    model.predict(decode(blank_jpeg(task), task)[None], verbose=0)
    application = Flask(__name__)

    @application.post("/classify")
    def classify() -> Response:
        pixels = decode(request.get_data(), task)
        return jsonify(best(model.predict(pixels[None], verbose=0)[0], task))

    return application


def main() -> None:
    """Serve."""
    task = read_task()
    settings = task.settings
    address = f"127.0.0.1:{task.port}"
    if settings["server"] == "waitress":
        import waitress

        waitress.serve(build(), listen=address, threads=settings["threads"])
        return
    gunicorn = [
        *(sys.executable, "-m", "gunicorn", f"--bind={address}", "--timeout=120"),
        *(f"--workers={settings['workers']}", f"--threads={settings['threads']}"),
        *("--keep-alive=60", "--log-level=warning", "--worker-class=gthread"),
        "benchmarks.comparison.servers.flask_server:build()",
    ]
    os.execv(sys.executable, gunicorn)  # the master takes the place of this process


if __name__ == "__main__":
    main()
