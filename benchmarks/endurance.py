"""Whether memory stays flat over a million requests.

    python -m benchmarks.endurance [--requests 1000000] [--concurrency 64] [--json]

A gateway with its model server serves the guide's network for 32 × 32 images; h2load sends it the
same JPEG of 1 kB again and again in calls of one image. The memory of both processes is read after
every twentieth of the requests; the first twentieth warms them up and is left out.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gateway_cost import embedded_gateway, jpeg, publish

from heliograph.v1.classifier_pb2 import ClassifyRequest, Image

PIECES = 20
WARM_UP = PIECES // 5


def send(address: str, body: Path, requests: int, concurrency: int) -> float:
    """Send requests and return the seconds that it took; SystemExit when one has failed."""
    command = ["h2load", f"-n{requests}", f"-c{concurrency}", "-m1", f"-d{body}"]
    command += ["-Hcontent-type: application/grpc", "-Hte: trailers"]
    start = time.perf_counter()
    result = subprocess.run(
        [*command, f"http://{address}/heliograph.v1.Classifier/Classify"],
        capture_output=True,
        text=True,
        check=True,
    )
    done = re.search(r"(\d+) succeeded", result.stdout)
    if done is None or int(done.group(1)) != requests:
        raise SystemExit(f"requests failed:\n{result.stdout}")
    return time.perf_counter() - start


def run(folder: Path, requests: int, concurrency: int) -> dict[str, Any]:
    """Serve, send everything, and look at the memory in between."""
    repository = folder / "models"
    publish(repository)
    message = ClassifyRequest(image=Image(encoded=jpeg(0))).SerializeToString()
    body = folder / "request.bin"
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    with embedded_gateway(repository, folder) as (address, processes):
        sizes: dict[str, list[float]] = {name: [] for name in processes}
        seconds = 0.0
        for piece in range(PIECES):
            seconds += send(address, body, requests // PIECES, concurrency)
            for name, each in processes.items():
                sizes[name].append(each.memory_info().rss / 2**20)
            print(f"{piece + 1} of {PIECES}", *sizes.values(), sep="\t", file=sys.stderr)
    return {
        "requests": requests // PIECES * PIECES,
        "per_second": requests / seconds,
        "memory_mib": sizes,
        "change": {name: values[-1] / values[WARM_UP] - 1 for name, values in sizes.items()},
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    if shutil.which("h2load") is None:
        print("h2load is missing: apt-get install nghttp2-client", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        result = run(Path(name), arguments.requests, arguments.concurrency)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return 0
    print(f"{result['requests']} requests, {result['per_second']:.0f} a second")
    for name, values in result["memory_mib"].items():
        change = result["change"][name]
        print(f"{name:<13} {values[WARM_UP]:.1f} → {values[-1]:.1f} MiB ({change:+.1%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
