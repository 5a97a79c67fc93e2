"""What a process pays for a client: time, memory, and packages that it does not load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heliograph.testing import FakeGateway

CALL = {
    "threads": """
client = heliograph.Client(sys.argv[1])
ready = time.process_time() - started
client.classify(b"image")
""",
    "asyncio": """
import asyncio
client = heliograph.AsyncClient(sys.argv[1])
ready = time.process_time() - started
async def call():
    await client.classify(b"image")
    await client.close()
asyncio.run(call())
""",
}

MEASURE = """
import time
started = time.process_time()
import heliograph, json, sys
{call}
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps(dict(ready=ready, peak=peak, modules=sorted(sys.modules))))
"""


def run(program: str, *arguments: str) -> Any:
    output = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    ).stdout
    return json.loads(output)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_client_that_has_had_an_answer_is_small(fake_gateway: FakeGateway, kind: str) -> None:
    measured = run(MEASURE.format(call=CALL[kind]), fake_gateway.target)

    # Processor time, which other work on the machine does not stretch; wall time is in
    # benchmarks/client_footprint.py.
    assert measured["ready"] <= 0.4
    assert measured["peak"] <= 50_000_000
    packages = {name.partition(".")[0] for name in measured["modules"]}
    assert not packages & {
        "numpy",
        "tensorflow",
        "PIL",
        "pydantic",
        "rich",
        "structlog",
    }
    assert "google.protobuf.json_format" not in measured["modules"]


def test_importing_heliograph_imports_neither_grpc_nor_protobuf() -> None:
    modules = run(
        "import json, sys, heliograph, heliograph.testing.pytest_plugin\n"
        "print(json.dumps(sorted(sys.modules)))"
    )

    assert "heliograph" in modules
    assert not [name for name in modules if name.startswith(("grpc", "google.protobuf"))]


def test_every_public_name_can_be_imported() -> None:
    missing = run(
        "import json, heliograph\n"
        "listed = [name for name in heliograph.__all__ if name not in dir(heliograph)]\n"
        "print(json.dumps(listed + [n for n in heliograph.__all__ if not hasattr(heliograph, n)]))"
    )

    assert missing == []


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    import heliograph
    import heliograph.testing

    for module in (heliograph, heliograph.testing):
        with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
            _ = module.Nothing


def test_the_client_of_tensorflow_serving_says_that_it_needs_numpy() -> None:
    message = run(
        "import json, sys\n"
        "sys.modules['numpy'] = None\n"
        "import heliograph.tfserving\n"
        "from heliograph.errors import MissingExtraError\n"
        "try:\n"
        "    heliograph.tfserving.PredictionClient\n"
        "except MissingExtraError as error:\n"
        "    print(json.dumps(error.message))"
    )

    assert message.endswith("pip install 'heliograph[image]'")


def test_preparing_images_says_what_it_needs() -> None:
    program = (
        "import json, sys\n"
        "sys.modules['numpy'] = None\n"
        "import heliograph, heliograph.errors\n"
        "for kind in (heliograph.Client, heliograph.AsyncClient):\n"
        "    try:\n"
        "        kind(prepare='client')\n"
        "    except heliograph.errors.MissingExtraError as error:\n"
        "        message = error.message\n"
        "print(json.dumps(message))\n"
    )

    message = run(program)

    assert "preparing images on the client needs" in message
    assert "pip install 'heliograph[image]'" in message
