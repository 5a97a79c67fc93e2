"""What ten times too much load does: goodput, refusals and memory.

    python -m benchmarks.overload [--factor 10] [--seconds 20] [--json]

A gateway with its model server serves a network that is slow enough to be offered ten times its
peak on the same machine: MobileNetV2 with random weights at 224 × 224. First callers that wait for
their answers find the peak; then calls come at ten times that rate, whatever becomes of them, each
with a deadline of two seconds. Goodput is what was answered within the deadline. Memory is that of
the gateway's own process, and of the model server, while the load lasts.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from benchmarks.gateway_cost import embedded_gateway
from PIL import Image

SIDE = 224
DEADLINE = 2.0
"""Seconds that every call has."""
CALLERS = 32
"""Callers of the closed loop that finds the peak."""
SAMPLE = 0.25
"""Seconds between two looks at the memory."""

PUBLISH = """
import sys
from pathlib import Path
import keras
from heliograph_training import LabelledImage, export
images = sorted(Path(sys.argv[2]).iterdir())
network = keras.applications.MobileNetV2(weights=None, classes=10)
pixels = keras.Input((224, 224, 3))
model = keras.Model(pixels, network(keras.layers.Rescaling(1 / 127.5, -1)(pixels)))
export(
    model,
    classes=[str(index) for index in range(10)],
    recipe="decode(rgb) | resize(224, 224)",
    examples=[LabelledImage(image.read_bytes(), str(int(image.stem) % 10)) for image in images],
    repository=Path(sys.argv[1]),
    name="mobilenet",
)
"""


class Memory:
    """Looks at the memory of processes until it is told to stop."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self._processes = processes
        self._end = threading.Event()
        self.samples: dict[str, list[float]] = {name: [] for name in processes}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(SAMPLE):
            for name, process in self._processes.items():
                self.samples[name].append(process.memory_info().rss / 2**20)

    def stop(self) -> dict[str, dict[str, float]]:
        """Return first, highest and last size of each, in MiB."""
        self._end.set()
        self._thread.join()
        return {
            name: {"first": sizes[0], "highest": max(sizes), "last": sizes[-1]}
            for name, sizes in self.samples.items()
        }


def make_images(folder: Path) -> None:
    """Write 32 JPEGs of 224 × 224."""
    folder.mkdir()
    for seed in range(32):
        coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((SIDE, SIDE)).save(file, "JPEG", quality=80)
        (folder / f"{seed:02}.jpg").write_bytes(file.getvalue())


def load(address: str, images: Path, *flags: str) -> dict[str, Any]:
    """Run `heliograph loadtest`; return its only step."""
    command = [sys.executable, "-m", "heliograph.cli", "loadtest", f"--target={address}"]
    command += [f"--images={images}", f"--timeout={DEADLINE}", "--quiet", "--json=-", *flags]
    # It ends with 1 where the objective was missed, as it should be under overload.
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    [step] = json.loads(result.stdout)["steps"]
    return dict(step)


def run(folder: Path, factor: float, seconds: float) -> dict[str, Any]:
    """Measure the peak, then the overload."""
    images, repository = folder / "images", folder / "models"
    make_images(images)
    subprocess.run([sys.executable, "-c", PUBLISH, str(repository), str(images)], check=True)
    with embedded_gateway(repository, folder) as (address, processes):
        slo = f"--slo=p99={DEADLINE}s"
        duration = f"--duration={seconds}s"
        closed = load(address, images, f"--concurrency={CALLERS}", "--warmup=5s", duration, slo)
        peak = closed["per_second"]["goodput"]
        memory = Memory(processes)
        rate = factor * peak
        held = f"--max-in-flight={max(1000, round(rate * DEADLINE * 2))}"
        overload = load(address, images, f"--rate={rate:.0f}", "--warmup=5s", duration, slo, held)
        return {
            "peak_per_second": peak,
            "offered_per_second": overload["per_second"]["due"],
            "goodput_per_second": overload["per_second"]["goodput"],
            "goodput_share_of_peak": overload["per_second"]["goodput"] / peak,
            "latency_of_answers_seconds": {
                name: overload["latencies"]["OK"][name] for name in ("p50", "p99")
            },
            "errors": [
                {key: error[key] for key in ("status", "reason", "calls")}
                for error in overload["errors"]
            ],
            "not_sent": overload["calls"]["not_sent"],
            "generator": overload["generator"]["limits"],
            "generator_busy": overload["generator"]["busy"],
            "memory_mib": memory.stop(),
        }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--factor", type=float, default=10.0, help="of the peak")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the two loads")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = run(Path(name), arguments.factor, arguments.seconds)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return 0
    print(f"peak            {result['peak_per_second']:8.1f} images/s")
    print(f"offered         {result['offered_per_second']:8.1f} images/s")
    share = result["goodput_share_of_peak"]
    print(f"goodput         {result['goodput_per_second']:8.1f} images/s, {share:.0%} of the peak")
    latency = result["latency_of_answers_seconds"]
    print(f"answers         p50 {latency['p50'] * 1000:.0f} ms, p99 {latency['p99'] * 1000:.0f} ms")
    for error in result["errors"]:
        print(f"refused         {error['calls']:8} calls: {error['status']} {error['reason']}")
    for process, size in result["memory_mib"].items():
        sizes = ", ".join(f"{name} {mib:.0f}" for name, mib in size.items())
        print(f"{process:<15} {sizes} MiB")
    for limit in [*result["generator"], f"not sent: {result['not_sent']}"]:
        print(f"generator       {limit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
