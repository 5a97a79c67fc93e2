"""NVIDIA's own client, in an environment of its own, gets what it expects of a server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from heliograph.version import __version__
from heliograph_gateway.inference import grpc_service_pb2

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import RunningGateway, StartGateway

ROOT = Path(__file__).resolve().parents[4]
GUIDE = (ROOT / "docs" / "open-inference.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)

Run = Callable[..., Awaitable[bytes]]


@pytest.fixture
def run_there() -> Run:
    """Run Python in the environment of tritonclient, and return what it prints."""
    python = ROOT / ".venv-triton" / "bin" / "python"
    if not python.exists():
        pytest.fail("There is no .venv-triton: run make test-environments.")

    async def run(*arguments: str | Path, folder: Path | None = None) -> bytes:
        process = await asyncio.create_subprocess_exec(
            python, *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output

    return run


@pytest.fixture
def images(brightness: Brightness, tmp_path: Path) -> list[Path]:
    """A dark image and a bright one."""
    paths = [tmp_path / "dark.png", tmp_path / "bright.jpg"]
    for path, level, kind in zip(paths, (51, 255), ("PNG", "JPEG"), strict=True):
        path.write_bytes(brightness.image(level, file_format=kind))
    return paths


async def test_tritonclient_gets_what_it_asks_for(
    gateway: RunningGateway, images: list[Path], run_there: Run
) -> None:
    script = Path(__file__).with_name("triton_calls.py")

    answers = json.loads(await run_there(script, gateway.gateway.address, *images))

    assert (answers["live"], answers["ready"]) == (True, True)
    assert answers["models_ready"] == [True, True, False, False]
    assert answers["server"]["version"] == __version__
    assert answers["metadata"]["versions"] == ["1"]
    assert answers["metadata"]["inputs"] == [
        {"name": "image", "datatype": "BYTES", "shape": ["-1", "1"]}
    ]
    assert answers["config"]["config"]["max_batch_size"] == 256
    assert answers["index"]["models"] == [{"name": "brightness", "version": "1", "state": "READY"}]
    assert answers["both"] == {
        "version": "1",
        "id": "a-7",
        "labels": [["dark", "bright"], ["bright", "dark"]],
        "scores": [pytest.approx([0.8, 0.2]), [1, 0]],
        "dtype": "float32",
    }
    assert answers["best"] == [["dark"]]
    assert answers["later"] == [["dark", "bright"]]
    assert answers["classified"] == [
        ["0.800000:0:dark", "0.200000:1:bright"],
        ["1.000000:1:bright", "0.000000:0:dark"],
    ]
    assert answers["prepared"] == [pytest.approx([0.8, 0.2])]
    assert answers["sdk"] == ["dark", "bright"]


async def test_tritonclient_is_told_what_is_wrong(
    gateway: RunningGateway, images: list[Path], run_there: Run
) -> None:
    script = Path(__file__).with_name("triton_calls.py")

    refusals = json.loads(await run_there(script, gateway.gateway.address, *images))["refusals"]

    assert refusals["model"] == ["StatusCode.NOT_FOUND", "there is no model darkness"]
    status, message = refusals["image"]
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert message.startswith("image 1: ")
    for name in ("load", "memory", "stream"):
        assert refusals[name][0] == "StatusCode.UNIMPLEMENTED"


async def test_tritonclient_reads_statistics(
    gateway: RunningGateway, images: list[Path], run_there: Run
) -> None:
    script = Path(__file__).with_name("triton_calls.py")

    answers = json.loads(await run_there(script, gateway.gateway.address, *images))

    [found] = answers["statistics"]["model_stats"]
    # Five requests that were answered, two of them with two images, and one whose image failed.
    assert found["inference_stats"]["success"]["count"] == "5"
    assert found["inference_stats"]["fail"]["count"] == "1"
    assert found["inference_count"] == "7"


@pytest.mark.parametrize("program", PROGRAMS, ids=["one image", "several images"])
async def test_a_program_of_the_guide_runs(
    program: str,
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
    tmp_path: Path,
    run_there: Run,
) -> None:
    brightness.publish(repository, name="pets")
    gateway = await start_gateway()
    (tmp_path / "cat.jpg").write_bytes(brightness.image(51, file_format="JPEG"))
    (tmp_path / "dog.png").write_bytes(brightness.image(255))
    program = program.replace("localhost:9000", gateway.gateway.address)

    printed = (await run_there("-c", program, folder=tmp_path)).decode().splitlines()

    assert [line.split()[0] for line in printed] == ["dark", "bright"]


# The messages.


async def test_our_messages_are_a_part_of_tritons(run_there: Run) -> None:
    program = """
import sys
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2

files = FileDescriptorSet()
for module in (model_config_pb2, service_pb2):
    module.DESCRIPTOR.CopyToProto(files.file.add())
sys.stdout.buffer.write(files.SerializeToString())
"""
    theirs = FileDescriptorSet.FromString(await run_there("-c", program)).file
    ours = FileDescriptorProto()
    grpc_service_pb2.DESCRIPTOR.CopyToProto(ours)

    for file in (*theirs, ours):
        assert (file.package, file.syntax) == ("inference", "proto3")
    assert fields_of([ours]).items() <= fields_of(theirs).items()
    assert values_of([ours]) <= values_of(theirs)
    assert methods_of([ours]) == methods_of(theirs)
    # What is compared is there.
    assert ("ModelInferRequest.InferInputTensor", "contents") in fields_of([ours])
    assert ("DataType", "TYPE_STRING", 13) in values_of([ours])


Files = Iterable[FileDescriptorProto]


def fields_of(files: Files) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What goes over the wire for each field: number, type, and whether it repeats."""
    found: dict[tuple[str, str], tuple[Any, ...]] = {}

    def add(message: DescriptorProto, name: str) -> None:
        for field in message.field:
            oneof = message.oneof_decl[field.oneof_index].name if _in_oneof(field) else ""
            wire = (field.number, field.type, field.label, field.type_name, oneof)
            found[name, field.name] = wire
        for nested in message.nested_type:
            add(nested, f"{name}.{nested.name}")

    for file in files:
        for message in file.message_type:
            add(message, message.name)
    return found


def _in_oneof(field: FieldDescriptorProto) -> bool:
    return field.HasField("oneof_index")


def values_of(files: Files) -> set[tuple[str, str, int]]:
    """Enumerations of the package: name, value and number."""
    return {
        (enum.name, value.name, value.number)
        for file in files
        for enum in file.enum_type
        for value in enum.value
    }


def methods_of(files: Files) -> set[tuple[Any, ...]]:
    """Methods of the services, with what they take and give."""
    return {
        (
            service.name,
            method.name,
            method.input_type,
            method.output_type,
            method.client_streaming,
            method.server_streaming,
        )
        for file in files
        for service in file.service
        for method in service.method
    }
