"""Sends one image again and again over StreamClassify, which no generator of HTTP requests can.

    python -m benchmarks.comparison.stream_client TARGET IMAGE SECONDS

It is the SDK's `classify_many`. Prints images per second and the client's own processor time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from heliograph import AsyncClient, Failure

WARM_UP = 0.7


def until(image: bytes, end: float) -> Iterator[bytes]:
    """Yield the image until a time."""
    while time.perf_counter() < end:
        yield image


async def send(target: str, image: bytes, seconds: float) -> dict[str, float]:
    """Measure."""
    async with AsyncClient(target) as client:
        async for _ in client.classify_many(until(image, time.perf_counter() + WARM_UP)):
            pass
        done, failed = 0, 0
        used, start = time.process_time(), time.perf_counter()
        async for result in client.classify_many(until(image, start + seconds)):
            done += 1
            failed += isinstance(result, Failure)
        elapsed = time.perf_counter() - start
        used = time.process_time() - used
    return {
        "images": done,
        "failed": failed,
        "images_per_second": round(done / elapsed, 1),
        "generator_cpu_ms": round(used * 1000 / max(1, done), 4),
    }


if __name__ == "__main__":
    measured = asyncio.run(send(sys.argv[1], Path(sys.argv[2]).read_bytes(), float(sys.argv[3])))
    print(json.dumps(measured))
