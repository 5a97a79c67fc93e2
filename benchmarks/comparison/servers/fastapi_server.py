"""FastAPI under uvicorn: the signature is called for each request by itself.

Documentation: `uvicorn[standard]`'s loop and parser, a process per core by `workers`, blocking work
in the thread pool. `threads: 0` calls the network on the event loop, which saves the hand-over.
"""

from __future__ import annotations

import anyio.to_thread
import uvicorn
from benchmarks.comparison.servers.network import Classifier, blank_jpeg, read_task
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse


def build() -> FastAPI:
    """Build the application of one process."""
    task = read_task()
    classifier = Classifier(task)
    classifier.classify([blank_jpeg(task)])
    threads = task.settings["threads"]
    application = FastAPI()

    @application.post("/classify")
    async def classify(request: Request) -> JSONResponse:
        body = await request.body()
        if not threads:
            return JSONResponse(classifier.classify([body])[0])
        anyio.to_thread.current_default_thread_limiter().total_tokens = threads
        return JSONResponse((await run_in_threadpool(classifier.classify, [body]))[0])

    return application


def main() -> None:
    """Serve."""
    task = read_task()
    uvicorn.run(
        "benchmarks.comparison.servers.fastapi_server:build",
        factory=True,
        host="127.0.0.1",
        port=task.port,
        workers=task.settings["workers"],
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
