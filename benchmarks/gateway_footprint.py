"""What a gateway costs before it does anything: seconds until it serves, and resident memory.

    python benchmarks/gateway_footprint.py [--rounds 9] [--json]

Each measurement is a fresh `heliograph serve` with one model behind `tfs://`. The clock runs from
the start of the process until it says that it serves the model, golden check included; memory is
read after one answer and one second of rest. TensorFlow Serving is a fake in this process, so that
nothing but the gateway is measured. Figures are medians, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from PIL import Image as PillowImage

from heliograph.contract import write_contract
from heliograph.golden import GoldenExample, write_golden
from heliograph.manifest import write_manifest
from heliograph.preprocessing import parse_recipe, pixels_sha256
from heliograph.repository import Repository
from heliograph.v1.classifier_pb2 import ClassifyRequest, Image
from heliograph.v1.contract_pb2 import Dtype, InputSpec, ModelContract, OutputSpec
from heliograph_gateway.backends.fake import FakeBackend
from heliograph_gateway.backends.fake_server import FakeTensorFlowServing

SIDE = 224
CLASSES = 10
GOLDEN_IMAGES = 32
"""As many as an export writes."""


def compute(rows: np.ndarray) -> np.ndarray:
    """Give every class the same probability."""
    return np.full((len(rows), CLASSES), 1 / CLASSES, np.float32)


def photo(seed: int) -> bytes:
    """Return a JPEG of 320 × 240 with some detail."""
    coarse = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(coarse).resize((320, 240)).save(file, "JPEG")
    return file.getvalue()


def publish(repository: Repository) -> None:
    """Write a version of a model that takes photos."""
    contract = ModelContract(
        schema_major=1,
        model_name="photos",
        class_names=[f"class {index}" for index in range(CLASSES)],
        input=InputSpec(
            signature="serving_default",
            tensor="image",
            kind=InputSpec.KIND_PIXELS_UINT8,
            dtype=Dtype.DTYPE_UINT8,
            shape=[SIDE, SIDE, 3],
        ),
        recipe=f"decode(rgb) | resize_shorter(256) | center_crop({SIDE}, {SIDE})",
        recipe_version=1,
        output=OutputSpec(tensor="probabilities", activation=OutputSpec.ACTIVATION_NONE),
    )
    recipe = parse_recipe(contract.recipe)
    probabilities = tuple(compute(np.zeros(1))[0].tolist())
    examples = []
    for seed in range(GOLDEN_IMAGES):
        encoded = photo(seed)
        pixels = pixels_sha256(recipe.prepare(encoded))
        examples.append(GoldenExample(f"{seed:03}.jpg", encoded, "", pixels, probabilities))
    with repository.publish(contract.model_name) as staging:
        write_contract(staging.path, contract)
        write_golden(staging.path, examples)
        write_manifest(staging.path)


async def measure(repository: Repository, backend: str) -> dict[str, Any]:
    """Start a gateway, ask it once, and end it."""
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "heliograph.cli", "serve", "--repository", str(repository.root)),
        *("--backend", backend, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"),
        *("--log-format", "json"),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        entries: list[dict[str, Any]] = [{}]
        while entries[-1].get("event") != "ready":
            line = await process.stderr.readline()
            if not line:
                raise SystemExit("the gateway ended before it was ready")
            entries.append(json.loads(line))
        ready = time.perf_counter() - started
        entry = entries[-1]
        if entry["models"] != ["photos"]:
            raise SystemExit(f"the gateway does not serve the model: {entries}")
        async with grpc.aio.insecure_channel(entry["address"]) as channel:
            classify: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/heliograph.v1.Classifier/Classify"
            )
            await classify(ClassifyRequest(image=Image(encoded=photo(0))).SerializeToString())
        await asyncio.sleep(1.0)
        folder = Path("/proc") / str(process.pid)
        status = (folder / "status").read_text()
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        maps = (folder / "maps").read_text()
        loaded = [name for name in ("tensorflow", "keras") if f"/{name}/" in maps]
        return {"ready": ready, "resident": int(resident.split()[1]) * 1024, "loaded": loaded}
    finally:
        process.terminate()
        await process.wait()


async def run(rounds: int) -> dict[str, Any]:
    """Measure so many times; return medians and spreads."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Repository(Path(folder))
        publish(repository)
        server = FakeTensorFlowServing(FakeBackend(repository, compute))
        await server.start()
        try:
            await measure(repository, server.address)  # fills the caches of the file system
            runs = [await measure(repository, server.address) for _ in range(rounds)]
        finally:
            await server.stop()
    ready = [each["ready"] for each in runs]
    resident = [each["resident"] / 1e6 for each in runs]
    return {
        "ready_s": round(statistics.median(ready), 3),
        "ready_s_spread": [round(min(ready), 3), round(max(ready), 3)],
        "resident_mb": round(statistics.median(resident), 1),
        "resident_mb_spread": [round(min(resident), 1), round(max(resident), 1)],
        "loaded": sorted({name for each in runs for name in each["loaded"]}),
    }


def main() -> None:
    """Measure, and print a line or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = asyncio.run(run(arguments.rounds))
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    low, high = result["ready_s_spread"]
    least, most = result["resident_mb_spread"]
    print(f"ready     {result['ready_s']:>6} s   ({low} … {high} s)")
    print(f"resident  {result['resident_mb']:>6} MB  ({least} … {most} MB)")
    print(f"loaded    {', '.join(result['loaded']) or 'neither TensorFlow nor Keras'}")


if __name__ == "__main__":
    main()
