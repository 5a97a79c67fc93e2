"""What the SDK adds to a call: processor time of the caller, against the generated stub.

    python benchmarks/client_call_cost.py [--rounds 15] [--calls 300] [--json]

A fake gateway runs in a process of its own. Rounds of calls through the stub and through the client
take turns, so that both meet the same machine; the figure is the median over rounds of the ratio of
their processor times. The stub gets what any caller would write with it: a request built from the
generated classes, a timeout, and the best class read from the response.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import grpc

from heliograph import AsyncClient, Client
from heliograph.v1.classifier_pb2 import ClassifyOptions, ClassifyRequest, Image
from heliograph.v1.classifier_pb2_grpc import ClassifierStub

SIZES = (1_000, 100_000, 1_000_000)
"""Bytes of the image: an icon, a photo for the web, a photo of a camera."""

SERVE = """
import sys
from heliograph.testing import FakeGateway
with FakeGateway() as gateway:
    print(gateway.target, flush=True)
    sys.stdin.read()
"""


def ask(image: bytes) -> ClassifyRequest:
    """Build what a caller of the stub sends."""
    return ClassifyRequest(image=Image(encoded=image), options=ClassifyOptions(top_k=5))


def compare(
    bare: Callable[[int], None], ours: Callable[[int], None], rounds: int, calls: int
) -> dict[str, float]:
    """Return microseconds of processor time per call of both, and the ratio."""

    def cost(run: Callable[[int], None]) -> float:
        started = time.process_time()
        run(calls)
        return (time.process_time() - started) / calls * 1e6

    cost(bare), cost(ours)
    pairs = [(cost(bare), cost(ours)) for _ in range(rounds)]
    return {
        "stub_us": round(statistics.median(first for first, _ in pairs), 1),
        "client_us": round(statistics.median(second for _, second in pairs), 1),
        "ratio": round(statistics.median(second / first for first, second in pairs), 3),
    }


def threads(target: str, image: bytes, rounds: int, calls: int) -> dict[str, float]:
    """Compare the client for threads with the stub."""
    with grpc.insecure_channel(target) as channel, Client(target) as client:
        stub = ClassifierStub(channel)

        def bare(count: int) -> None:
            for _ in range(count):
                response = stub.Classify(ask(image), timeout=10.0)
                assert response.classification.classes[0].class_name

        def ours(count: int) -> None:
            for _ in range(count):
                assert client.classify(image).class_name

        return compare(bare, ours, rounds, calls)


def asynchronous(target: str, image: bytes, rounds: int, calls: int) -> dict[str, float]:
    """Compare the client for asyncio with the stub, one call at a time."""
    with asyncio.Runner() as runner:

        async def open_both() -> tuple[grpc.aio.Channel, AsyncClient]:
            return grpc.aio.insecure_channel(target), AsyncClient(target)

        channel, client = runner.run(open_both())
        stub = ClassifierStub(channel)

        async def bare(count: int) -> None:
            for _ in range(count):
                response = await stub.Classify(ask(image), timeout=10.0)  # type: ignore[misc]
                assert response.classification.classes[0].class_name

        async def ours(count: int) -> None:
            for _ in range(count):
                assert (await client.classify(image)).class_name

        async def close_both() -> None:
            await client.close()
            await channel.close()

        measured = compare(
            lambda count: runner.run(bare(count)),
            lambda count: runner.run(ours(count)),
            rounds,
            calls,
        )
        runner.run(close_both())
        return measured


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        target = server.stdout.readline().strip()
        results = [
            {"client": name, "image_bytes": size}
            | measure(
                target, bytes(size), arguments.rounds, max(30, arguments.calls * SIZES[0] // size)
            )
            for name, measure in (("threads", threads), ("asyncio", asynchronous))
            for size in SIZES
        ]
    finally:
        server.terminate()
        server.wait()
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'client':<8}  {'image':>9}  {'stub':>9}  {'client':>9}  ratio")
    for row in results:
        print(
            f"{row['client']:<8}  {row['image_bytes']:>7} B  {row['stub_us']:>6} µs  "
            f"{row['client_us']:>6} µs  {row['ratio']:.2f}"
        )


if __name__ == "__main__":
    main()
