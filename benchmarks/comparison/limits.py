"""The limits, in the same run: the bare session, bare gRPC, direct Predict, batches and streams."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from subprocess import SubprocessError
from typing import Any

import numpy as np
from benchmarks.comparison.calls import GRPC_HEADERS, Answer, Call, framed, prepare
from benchmarks.comparison.cases import CONCURRENCIES
from benchmarks.comparison.contestants import Contestant
from benchmarks.comparison.environments import BUILD, ROOT, python
from benchmarks.comparison.measurement import (
    HOST,
    Report,
    Turn,
    Workload,
    describe,
    task,
    turn,
    wait_until_ready,
)
from benchmarks.comparison.processes import Server, ServerError, free_port
from benchmarks.comparison.servers.network import VARIABLE
from benchmarks.comparison.workload import MODEL

from heliograph import classifier_calls
from heliograph.images import load_image
from heliograph.preprocessing import parse_recipe
from heliograph.tfserving.prediction import predict_request
from heliograph.tfserving.v1.prediction_pb2 import PredictResponse
from heliograph.v1.classifier_pb2 import BatchClassifyResponse

BATCH_CALLERS = (1, 2)
"""Callers that send batches: the second hides the way of the first's answer."""

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ENVIRONMENT = "heliograph"


@dataclass(frozen=True)
class Limits:
    """Measures the limits of a case."""

    workload: Workload
    heliograph: Contestant
    setting: str
    """The gateway's setting: its best for many callers."""
    seconds: float
    report: Report

    def measure_round(self) -> dict[str, Any]:
        """Measure everything once."""
        figures: dict[str, Any] = {}
        for name, measure in (
            ("bare", self.bare),
            ("echo", self.echo),
            ("predict", self.predict),
            ("gateway", self.gateway),
        ):
            try:
                figures[name] = measure()
            except (ServerError, SubprocessError, ValueError) as error:
                figures[name] = {"failure": str(error).replace(str(ROOT), ".")}
                self.report(f"{name}: failed: {error}")
        return figures

    def bare(self) -> dict[str, Any]:
        """The session and the decoder, without any server."""
        workload = self.workload
        program = "benchmarks.comparison.bare_session"
        figures = self._run(
            program, workload.saved_model, workload.case.recipe, str(workload.folder / "0.jpg")
        )
        best = max(figures["session"].values())
        self.report(f"bare session: at best {best:.0f} images/s")
        return figures

    def echo(self) -> dict[str, Any]:
        """Bare gRPC with the same messages."""
        port = free_port()
        call = prepare("heliograph", self.heliograph.path, self.workload.images[0], MODEL)
        module = "benchmarks.comparison.servers.echo_server"
        program = [str(python(ENVIRONMENT)), "-m", module]
        environment = {VARIABLE: task(self.heliograph, self.setting, self.workload, port)}
        server = Server(program, environment, ROOT, self.workload.folder / "echo.log")
        try:
            size = wait_until_ready(server, call, port)
            server.wait_until_quiet()
            running = Turn(server, call, f"{HOST}:{port}", size, self.workload.folder)
            return {"classify": self._sweep("bare grpc.aio", running)}
        finally:
            server.stop()

    def predict(self) -> dict[str, Any]:
        """Ready tensors straight to the model server, over a unix socket as the gateway does."""
        port = free_port()
        folder = self.workload.folder
        socket = folder / "model-server.sock"
        program = [
            str(BUILD / ENVIRONMENT / "bin" / "heliograph"),
            *("model-server", f"--port={port}"),
            *(f"--grpc_socket_path={socket}", f"--model_name={MODEL}"),
            f"--model_base_path={folder / 'models' / MODEL}",
        ]
        log = folder / "model-server.log"
        server = Server(program, self.workload.environment, ROOT, log)
        try:
            size = wait_until_ready(server, self._predict_call(1), port)
            server.wait_until_quiet()
            running = Turn(server, self._predict_call(1), f"unix:{socket}", size, folder)
            figures = {"predict": self._sweep("direct Predict", running)}
            size_of_batch = self.workload.case.batch
            batch = self._predict_call(size_of_batch)
            _, size = batch.send(HOST, port)
            running = Turn(server, batch, f"unix:{socket}", size, folder)
            figures["batches"] = self._sweep(
                f"direct Predict of {size_of_batch}", running, BATCH_CALLERS, size_of_batch
            )
            return figures
        finally:
            server.stop()

    def gateway(self) -> dict[str, Any]:
        """The gateway: calls of one image, batches, and a stream."""
        with turn(self.heliograph, self.setting, self.workload) as running:
            figures: dict[str, Any] = {"classify": self._sweep("Classify", running)}
            images = self.workload.case.batch
            batch = self._batch_call(images)
            host, _, port = running.target.partition(":")
            _, size = batch.send(host, int(port))
            batches = Turn(running.server, batch, running.target, size, running.folder)
            figures["batches"] = self._sweep(
                f"BatchClassify of {images}", batches, BATCH_CALLERS, images
            )
            before = running.server.processor_seconds()
            stream = self._run(
                "benchmarks.comparison.stream_client",
                *(running.target, str(self.workload.folder / "0.jpg"), str(self.seconds)),
            )
            used = running.server.processor_seconds() - before
            # The warm-up's images are in the processor time as well, at the same rate.
            share = self.seconds / (self.seconds + STREAM_WARM_UP)
            stream["server_cpu_ms"] = round(used * share * 1000 / max(1, stream["images"]), 4)
            if stream["failed"]:
                stream["failure"] = f"{stream['failed']} of {stream['images']} images failed"
            figures["stream"] = stream
            self.report(f"StreamClassify: {stream['images_per_second']:.0f} images/s")
            return figures

    def _sweep(
        self,
        title: str,
        running: Turn,
        concurrencies: tuple[int, ...] = CONCURRENCIES,
        images: int = 1,
    ) -> list[dict[str, Any]]:
        """Measure at several concurrencies; figures per image where a call has several."""
        swept = []
        for concurrency in concurrencies:
            figures = running.measure(concurrency, self.seconds)
            self.report(f"{title}: {describe(figures)}")
            figures["images_per_second"] = round(figures["requests_per_second"] * images, 1)
            figures["server_cpu_ms_per_image"] = round(figures["server_cpu_ms"] / images, 4)
            swept.append(figures)
        return swept

    def _predict_call(self, images: int) -> Call:
        recipe = parse_recipe(self.workload.case.recipe)
        pixels = np.asarray(recipe.prepare(self.workload.images[0]))
        batch = np.repeat(pixels[None], images, axis=0)
        message = predict_request(MODEL, {"image": batch})
        return Call(PREDICT, message, GRPC_HEADERS, True, read_prediction)

    def _batch_call(self, images: int) -> Call:
        question = classifier_calls.question(MODEL, None, None, 5, 0.0)
        loaded = [load_image(self.workload.images[0])] * images
        message = classifier_calls.batch_request(question, loaded)
        return Call(classifier_calls.BATCH_CLASSIFY, message, GRPC_HEADERS, True, read_batch)

    def _run(self, module: str, *arguments: str) -> dict[str, Any]:
        """Run a program of ours beside the servers and read the JSON it prints."""
        output = subprocess.run(
            [python(ENVIRONMENT), "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.workload.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=180,
        ).stdout
        figures: dict[str, Any] = json.loads(output)
        return figures


STREAM_WARM_UP = 0.7
"""Seconds of the stream client's warm-up."""


def read_prediction(data: bytes) -> Answer:
    """Read a PredictResponse: only that it has the probabilities."""
    PredictResponse.FromString(data).outputs["probabilities"]
    return []


def read_batch(data: bytes) -> Answer:
    """Read a BatchClassifyResponse; a batch with an error in it is no answer.

    Raises:
        ValueError: An image failed.
    """
    response = BatchClassifyResponse.FromString(data)
    for result in response.results:
        if result.WhichOneof("result") != "classification":
            raise ValueError(f"an image of a batch failed: {result.error.message}")
    assert len(framed(data)) > len(response.results) > 0
    return []
