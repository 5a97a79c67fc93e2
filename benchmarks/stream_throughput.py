"""Images of 1 kB through a gateway one by one, in batches, and on streams: how many, at what cost.

    python benchmarks/stream_throughput.py [--rounds 7] [--seconds 1.5] [--image-bytes N] [--json]

The gateway is real and runs in a process of its own; its backend is not: it answers at once, so
that the figures are those of gRPC, decoding, batching and ranking. Every way of sending gets a turn
in each round, so that all meet the same machine; the figures are medians over the rounds, with the
lowest and the highest. Processor time is that of the whole process, per image.

    unary     AsyncClient.classify, 64 at a time
    batches   BatchClassify of 64, 2 at a time
    messages  StreamClassify with one image per message, 128 under way
    asyncio   AsyncClient.classify_many
    threads   Client.classify_many
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from PIL import Image

from heliograph import AsyncClient, Client
from heliograph import classifier_calls as calls
from heliograph.contract import write_contract
from heliograph.golden import GoldenExample, write_golden
from heliograph.images import load_image
from heliograph.manifest import write_manifest
from heliograph.preprocessing import parse_recipe, pixels_sha256
from heliograph.repository import Repository
from heliograph.results import Failure, Result
from heliograph.v1.classifier_pb2 import BatchClassifyResponse, StreamClassifyResponse
from heliograph.v1.contract_pb2 import Dtype, InputSpec, ModelContract, OutputSpec
from heliograph_gateway.application import Gateway
from heliograph_gateway.backends import Arrays
from heliograph_gateway.backends.fake import FakeBackend
from heliograph_gateway.servables import Servable
from heliograph_gateway.settings import Settings

CLASSES = 10
RECIPE = "decode(rgb) | resize(32, 32)"
BATCH = 64
UNDER_WAY = 128


def make_images(count: int) -> list[bytes]:
    """JPEG files of 32 × 32 pixels and about 1 kB."""
    random = np.random.default_rng(0)
    images = []
    for _ in range(count):
        coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((32, 32)).save(file, "JPEG", quality=90)
        images.append(file.getvalue())
    return images


# The gateway.


def compute(rows: np.ndarray) -> np.ndarray:
    """Probabilities that are the same for every image."""
    ramp = np.arange(1, CLASSES + 1, dtype=np.float32)
    return np.tile(ramp / ramp.sum(), (len(rows), 1))


def publish(root: Path) -> None:
    """Write the version of a model that the fake backend stands for."""
    contract = ModelContract(
        schema_major=1,
        model_name="constant",
        class_names=[f"class {number}" for number in range(CLASSES)],
        input=InputSpec(
            signature="serving_default",
            tensor="image",
            kind=InputSpec.KIND_PIXELS_UINT8,
            dtype=Dtype.DTYPE_UINT8,
            shape=(32, 32, 3),
        ),
        recipe=RECIPE,
        recipe_version=1,
        output=OutputSpec(tensor="scores", activation=OutputSpec.ACTIVATION_NONE),
    )
    recipe = parse_recipe(RECIPE)
    [encoded] = make_images(1)
    golden = GoldenExample(
        file="000.jpg",
        encoded=encoded,
        class_name="class 9",
        pixels_sha256=pixels_sha256(recipe.prepare(encoded)),
        probabilities=tuple(compute(np.zeros(1))[0].tolist()),
    )
    with Repository(root).publish("constant") as staging:
        (staging.path / "saved_model.pb").write_bytes(b"stands for a graph")
        write_contract(staging.path, contract)
        write_golden(staging.path, [golden])
        write_manifest(staging.path)


class Instant(FakeBackend):
    """A backend that answers at once, and keeps nothing."""

    async def predict(
        self, servable: Servable, inputs: Arrays, *, signature: str, timeout: float
    ) -> Arrays:
        """See Backend."""
        self.batches.clear()
        return await super().predict(servable, inputs, signature=signature, timeout=timeout)


async def serve() -> None:
    """Run the gateway until stdin ends, and say where it listens."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        publish(root)
        options: dict[str, Any] = {"listen": "127.0.0.1:0", "metrics_listen": ""}
        backend = Instant(Repository(root), compute)
        gateway = Gateway(Settings(repository=root, **options), backend=backend)
        await gateway.start()
        print(f"listening on {gateway.address}", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await gateway.stop()


# The ways to send.


async def unary(target: str, images: Iterator[bytes], end: float) -> int:
    """Classify one image per call."""
    done = 0
    async with AsyncClient(target) as client:

        async def ask() -> None:
            nonlocal done
            while time.perf_counter() < end:
                check(await client.classify(next(images)))
                done += 1

        await asyncio.gather(*(ask() for _ in range(64)))
    return done


async def batches(target: str, images: Iterator[bytes], end: float) -> int:
    """Classify 64 images per call."""
    done = 0
    question = calls.question("constant", None, None, 5, 0.0)
    async with grpc.aio.insecure_channel(target) as channel:
        classify: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            calls.BATCH_CLASSIFY
        )

        async def ask() -> None:
            nonlocal done
            while time.perf_counter() < end:
                loaded = [load_image(next(images)) for _ in range(BATCH)]
                data = await classify(calls.batch_request(question, loaded))
                for result in calls.results(BatchClassifyResponse.FromString(data), BATCH):
                    check(result)
                done += BATCH

        await asyncio.gather(ask(), ask())
    return done


async def messages(target: str, images: Iterator[bytes], end: float) -> int:
    """Send one image per message of a stream."""
    done = 0
    question = calls.stream_question("constant", None, None, 5, 0.0)
    room = asyncio.Semaphore(UNDER_WAY)
    async with grpc.aio.insecure_channel(target) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
            calls.STREAM_CLASSIFY, None, None
        )()

        async def write() -> None:
            number = 0
            while time.perf_counter() < end:
                await room.acquire()
                number += 1
                await call.write(calls.stream_request(question, number, [load_image(next(images))]))
            await call.done_writing()

        writing = asyncio.create_task(write())
        while isinstance(data := await call.read(), bytes):
            check(*calls.stream_results(StreamClassifyResponse.FromString(data), 1))
            room.release()
            done += 1
        await writing
    return done


async def asynchronous(target: str, images: Iterator[bytes], end: float) -> int:
    """Use the client for asyncio."""
    done = 0
    async with AsyncClient(target) as client:
        async for result in client.classify_many(until(images, end)):
            check(result)
            done += 1
    return done


def threads(target: str, images: Iterator[bytes], end: float) -> int:
    """Use the client for threads."""
    done = 0
    with Client(target) as client:
        for result in client.classify_many(until(images, end)):
            check(result)
            done += 1
    return done


def until(images: Iterator[bytes], end: float) -> Iterator[bytes]:
    """Yield images until a time."""
    while time.perf_counter() < end:
        yield next(images)


def check(result: Result | Failure) -> None:
    """Fail on anything but the answer that is right."""
    if isinstance(result, Failure):
        raise result.error
    assert result.class_name == "class 9"


WAYS: dict[str, Callable[[str, Iterator[bytes], float], Awaitable[int] | int]] = {
    "unary": unary,
    "batches": batches,
    "messages": messages,
    "asyncio": asynchronous,
    "threads": threads,
}


# The measurement.


@dataclass(frozen=True)
class Round:
    """One turn of one way."""

    images_per_second: float
    client_ms: float
    """Processor milliseconds per image in the client's process."""
    gateway_ms: float
    """Likewise in the gateway's."""


def measure(way: str, target: str, gateway: psutil.Process, seconds: float) -> Round:
    """Send for a time."""

    async def run(awaitable: Awaitable[int]) -> int:
        return await awaitable

    images = cycle(make_images(256))
    before = gateway.cpu_times()
    cpu, start = time.process_time(), time.perf_counter()
    done = WAYS[way](target, images, start + seconds)
    count = done if isinstance(done, int) else asyncio.run(run(done))
    elapsed = time.perf_counter() - start
    cpu = time.process_time() - cpu
    after = gateway.cpu_times()
    used = after.user + after.system - before.user - before.system
    return Round(count / elapsed, cpu / count * 1e3, used / count * 1e3)


def summary(rounds: list[Round]) -> dict[str, Any]:
    """Medians, with the lowest and the highest rate."""
    rates = [each.images_per_second for each in rounds]
    return {
        "images_per_second": round(statistics.median(rates)),
        "lowest": round(min(rates)),
        "highest": round(max(rates)),
        "client_cpu_ms": round(statistics.median(each.client_ms for each in rounds), 4),
        "gateway_cpu_ms": round(statistics.median(each.gateway_ms for each in rounds), 4),
    }


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each turn [%(default)s]")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
        return
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        target = next(line for line in server.stdout if line.startswith("listening on")).split()[-1]
        gateway = psutil.Process(server.pid)
        for way in WAYS:
            measure(way, target, gateway, 0.3)
        rounds: dict[str, list[Round]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way in WAYS:
                rounds[way].append(measure(way, target, gateway, arguments.seconds))
    finally:
        assert server.stdin is not None
        server.stdin.close()
        server.wait(30)
    figures = {way: summary(done) for way, done in rounds.items()}
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(
        f"{'WAY':<10} {'IMAGES/S':>9} {'LOWEST':>8} {'HIGHEST':>8} {'CLIENT':>10} {'GATEWAY':>10}"
    )
    for way, row in figures.items():
        print(
            f"{way:<10} {row['images_per_second']:>9} {row['lowest']:>8} {row['highest']:>8} "
            f"{row['client_cpu_ms']:>7.4f} ms {row['gateway_cpu_ms']:>7.4f} ms"
        )


if __name__ == "__main__":
    main()
