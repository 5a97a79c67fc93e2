"""The code in docs/client.md runs as it is written; only the addresses are those of fakes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from PIL import Image

from heliograph.cli import main
from heliograph.errors import CorruptImageError, OverloadedError
from heliograph.testing import FakeGateway
from heliograph.tfserving.tensors import to_tensor_proto
from heliograph.tfserving.v1.model_pb2 import GetModelStatusResponse
from heliograph.tfserving.v1.prediction_pb2 import (
    GetModelMetadataResponse,
    PredictResponse,
    SignatureDefMap,
)

GUIDE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


class _ModelServer(grpc.GenericRpcHandler):
    """Answers each of TensorFlow Serving's calls in the one way that the guide needs."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        scores = np.full((1, 10), 0.1, np.float32)
        signatures = SignatureDefMap()
        signatures.signature_def["serving_default"].inputs["image"].name = "image:0"
        status = GetModelStatusResponse()
        status.model_version_status.add(version=1, state="AVAILABLE")
        response = {
            "Predict": PredictResponse(outputs={"probabilities": to_tensor_proto(scores)}),
            "GetModelMetadata": GetModelMetadataResponse(
                metadata={"signature_def": AnyMessage(value=signatures.SerializeToString())}
            ),
            "GetModelStatus": status,
        }[handler_call_details.method.rpartition("/")[2]]
        return grpc.unary_unary_rpc_method_handler(lambda *_: response.SerializeToString())


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway(model="pets", versions=(3, 4), version_labels={"canary": 3}) as running:
        yield running


@pytest.fixture
def model_server() -> Iterator[str]:
    with ThreadPoolExecutor(2) as executor:
        server = grpc.server(executor, handlers=[_ModelServer()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the guide's files are, as the working directory."""
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "dog.png", "photos/one.jpg", "photos/two.jpg"):
        Image.new("RGB", (40, 30), (200, 120, 40)).save(tmp_path / name)
    for name in ("ca.pem", "client.pem", "client.key", "token"):
        (tmp_path / name).write_text("content")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def title(program: str) -> str:
    before = GUIDE[: GUIDE.index(program)]
    return str(re.findall(r"^#+ (.*)$", before, re.MULTILINE)[-1])


@pytest.mark.parametrize(
    "program", [program for program in PROGRAMS if "def test_" not in program], ids=title
)
@pytest.mark.usefixtures("folder")
def test_a_program_of_the_guide_runs(gateway: FakeGateway, model_server: str, program: str) -> None:
    program = program.replace("localhost:9000", gateway.target)
    program = program.replace("localhost:8500", model_server)

    exec(compile(program, "docs/client.md", "exec"), {"__name__": "guide"})


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (CorruptImageError("truncated"), "CORRUPT_IMAGE truncated\n"),
        (OverloadedError("busy", retry_after=0.01), "come back in 0.01 seconds\n"),
    ],
)
def test_the_guide_tells_errors_apart(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], error: Any, printed: str
) -> None:
    (program,) = [program for program in PROGRAMS if "except OverloadedError" in program]
    gateway.fail_calls(error, times=None)

    exec(program.replace("localhost:9000", gateway.target), {})

    assert capsys.readouterr().out == printed


def test_the_tests_of_the_guide_pass(folder: Path) -> None:
    (program,) = [program for program in PROGRAMS if "def test_" in program]
    (folder / "test_door.py").write_text(program)

    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "."],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )

    assert finished.returncode == 0, finished.stdout
    assert "2 passed" in finished.stdout


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("folder")
def test_a_command_of_the_guide_runs(gateway: FakeGateway, command: str) -> None:
    program, *words = shlex.split(command)

    assert program == "heliograph"
    assert main([*words, "--target", gateway.target]) == 0


def test_the_guide_has_been_found() -> None:
    assert len(PROGRAMS) >= 10
    assert COMMANDS
