"""What the gateway adds to a direct Predict: latency alone, and processor time per image.

    python benchmarks/gateway_cost.py [--rounds 7] [--calls 300] [--json]

One model server on a unix socket holds the guide's network for 32 × 32 images. In turns, a client
sends it a ready tensor (direct), and a gateway a JPEG of 1 kB (unary) and 64 of them (batch). One
caller at a time; figures are medians over the rounds, with the lowest and the highest. Processor
time is that of gateway and model server together, read from the operating system.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from heliograph import Client
from heliograph.cli.background_process import BackgroundProcess
from heliograph.golden import read_golden
from heliograph.repository import Repository
from heliograph.tfserving import PredictionClient
from heliograph_training import LabelledImage, export
from heliograph_training.architectures import guide_cnn

SHAPE = (32, 32, 3)
CLASSES = 10
BATCH = 64
START_TIMEOUT = 120.0


def jpeg(seed: int) -> bytes:
    """Return a JPEG of 32 × 32 and about 1 kB."""
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(SHAPE[:2]).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def publish(repository: Path) -> None:
    """Export the guide's network; what it answers does not matter here."""
    examples = [LabelledImage(jpeg(seed), str(seed % CLASSES)) for seed in range(32)]
    export(
        guide_cnn(SHAPE, CLASSES, augmentation=None, dropout=0.0),
        classes=[str(index) for index in range(CLASSES)],
        recipe="decode(rgb) | resize(32, 32)",
        examples=examples,
        repository=repository,
        name="guide",
    )


def processor_seconds(processes: list[psutil.Process]) -> float:
    """Return the processor time that the processes have had."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measure(
    call: Callable[[], Any], calls: int, images: int, processes: list[psutil.Process]
) -> dict[str, float]:
    """Call again and again; return the median latency and the processor time per image."""
    before = processor_seconds(processes)
    latencies = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        latencies.append(time.perf_counter() - start)
    used = processor_seconds(processes) - before
    return {
        "p50_ms": statistics.median(latencies) * 1000,
        "cpu_ms_per_image": used * 1000 / (calls * images),
    }


def summary(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return median, lowest and highest of each figure."""
    return {
        name: [round(pick(figures[name] for figures in rounds), 3) for pick in PICKS]
        for name in rounds[0]
    }


PICKS: tuple[Callable[[Any], float], ...] = (statistics.median, min, max)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=300, help="per contestant and round")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        results = run(Path(name), arguments.rounds, arguments.calls)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return 0
    print(f"{'':<8} {'p50, ms':>24} {'CPU per image, ms':>26}   median (lowest, highest)")
    for contestant, figures in results.items():
        cells = [f"{mid:.3f} ({low:.3f}, {high:.3f})" for mid, low, high in figures.values()]
        print(f"{contestant:<8} {cells[0]:>24} {cells[1]:>26}")
    return 0


def run(folder: Path, rounds: int, calls: int) -> dict[str, Any]:
    """Start the servers, measure all contestants in turns, stop the servers."""
    repository = folder / "models"
    publish(repository)
    socket = folder / "model-server.sock"
    server = BackgroundProcess(
        "model server",
        [
            *("model-server", "--port=0", f"--grpc_socket_path={socket}"),
            *("--model_name=guide", f"--model_base_path={repository / 'guide'}"),
        ],
        folder / "model-server.log",
    )
    try:
        server.wait_for(lambda line: '"serving"' in line or None, START_TIMEOUT)
        gateway = BackgroundProcess(
            "gateway",
            [
                *("serve", f"--repository={repository}", f"--backend=tfs://{socket}"),
                *("--listen=127.0.0.1:0", "--metrics-listen=", "--log-format=json"),
            ],
            folder / "serve.log",
        )
        try:
            address = gateway.wait_for(find_address, START_TIMEOUT)
            processes = [psutil.Process(gateway.pid), psutil.Process(server.pid)]
            return contend(repository, socket, address, processes, rounds, calls)
        finally:
            gateway.stop()
    finally:
        server.stop()


def contend(
    repository: Path,
    socket: Path,
    address: str,
    processes: list[psutil.Process],
    rounds: int,
    calls: int,
) -> dict[str, Any]:
    """Measure every contestant in every round."""
    image = read_golden(Repository(repository).version_path("guide", 1))[0].encoded
    pixels = np.zeros((1, *SHAPE), np.uint8)
    with Client(address) as client, PredictionClient(f"unix:{socket}") as direct:
        batch = [image] * BATCH
        contestants: dict[str, tuple[Callable[[], Any], int, int]] = {
            "direct": (lambda: direct.predict("guide", {"image": pixels}), calls, 1),
            "unary": (lambda: client.classify(image), calls, 1),
            "batch": (lambda: list(client.classify_many(batch)), max(1, calls // 16), BATCH),
        }
        for call, _, _ in contestants.values():
            measure(call, 20, 1, processes)
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, (call, count, images) in contestants.items():
                measured[name].append(measure(call, count, images, processes))
    return {name: summary(figures) for name, figures in measured.items()}


@contextmanager
def embedded_gateway(
    repository: Path, folder: Path
) -> Iterator[tuple[str, dict[str, psutil.Process]]]:
    """Serve a repository with a model server of the gateway's own; yield address and processes."""
    gateway = BackgroundProcess(
        "gateway",
        [
            *("serve", f"--repository={repository}", "--listen=127.0.0.1:0"),
            *("--metrics-listen=", "--log-format=json"),
        ],
        folder / "serve.log",
    )
    try:
        address = gateway.wait_for(find_address, START_TIMEOUT)
        process = psutil.Process(gateway.pid)
        [model_server] = process.children()
        yield address, {"gateway": process, "model server": model_server}
    finally:
        gateway.stop()


def find_address(line: str) -> str | None:
    """Return the address of a gateway that is ready."""
    event = json.loads(line) if line.startswith("{") else {}
    return event["address"] if event.get("event") == "ready" else None


if __name__ == "__main__":
    sys.exit(main())
