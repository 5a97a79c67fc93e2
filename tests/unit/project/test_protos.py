"""The generated code is current, and a change that breaks callers is noticed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

FileDescriptorSet = descriptor_pb2.FileDescriptorSet


def generated_files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for packages in ("client", "server")
        for pattern in ("*_pb2*.py", "*_pb2*.pyi")
        for path in (root / packages).rglob(pattern)
    }


def test_generating_again_changes_no_byte(
    root: Path, generator_python: Path, tmp_path: Path
) -> None:
    subprocess.run(
        [generator_python, root / "protos" / "generate.py", "--output", tmp_path], check=True
    )

    committed, generated = generated_files(root), generated_files(tmp_path)

    assert committed.keys() == generated.keys(), "run make gen"
    changed = [name for name, content in committed.items() if generated[name] != content]
    assert changed == [], "run make gen"


def test_the_sdk_does_not_register_the_names_of_the_open_inference_protocol(
    sdk_python: Path,
) -> None:
    program = """
import pkgutil, importlib, heliograph
from google.protobuf import descriptor_pool

for module in pkgutil.walk_packages(heliograph.__path__, "heliograph."):
    if module.name.endswith(("_pb2", "_pb2_grpc")):
        importlib.import_module(module.name)
from heliograph import AsyncClient, Client

pool = descriptor_pool.Default()
print(pool.FindServiceByName("heliograph.v1.Classifier").name)
pool.FindServiceByName("inference.GRPCInferenceService")
"""

    result = subprocess.run([sdk_python, "-c", program], capture_output=True, text=True)

    assert result.stdout == "Classifier\n"
    assert "KeyError" in result.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def image(root: Path, generator_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The descriptors of protos/ as they are now."""
    file = tmp_path_factory.mktemp("protos") / "image.binpb"
    subprocess.run([generator_python, root / "protos" / "generate.py", "--image", file], check=True)
    return file


@pytest.fixture
def compare_with_release(root: Path) -> Callable[[Path], subprocess.CompletedProcess[str]]:
    """Run `buf breaking` as `make lint` does."""

    def run(image: Path) -> subprocess.CompletedProcess[str]:
        released, rules = root / "protos" / "released.yaml", root / "protos" / "buf.yaml"
        buf = Path(sys.executable).with_name("buf")
        return subprocess.run(
            [buf, "breaking", image, "--against", released, "--config", rules],
            capture_output=True,
            text=True,
        )

    return run


def renumber_a_field(descriptors: FileDescriptorSet) -> None:
    find_message(descriptors, "ModelSelector").field[0].number = 99


def remove_a_field(descriptors: FileDescriptorSet) -> None:
    del find_message(descriptors, "ServedBy").field[0]


def change_the_type_of_a_field(descriptors: FileDescriptorSet) -> None:
    field = find_message(descriptors, "ModelSelector").field[0]
    field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES


def remove_a_call(descriptors: FileDescriptorSet) -> None:
    for file in descriptors.file:
        for service in file.service:
            del service.method[0]


def find_message(descriptors: FileDescriptorSet, name: str) -> descriptor_pb2.DescriptorProto:
    return next(
        message
        for file in descriptors.file
        for message in file.message_type
        if message.name == name
    )


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (renumber_a_field, 'Previously present field "1" with name "name"'),
        (remove_a_field, "was deleted"),
        (change_the_type_of_a_field, 'changed type from "string" to "bytes"'),
        (remove_a_call, 'Previously present RPC "Classify" on service "Classifier" was deleted'),
    ],
)
def test_a_change_that_breaks_callers_is_noticed(
    change: Callable[[FileDescriptorSet], None],
    finding: str,
    compare_with_release: Callable[[Path], subprocess.CompletedProcess[str]],
    image: Path,
    tmp_path: Path,
) -> None:
    descriptors = FileDescriptorSet.FromString(image.read_bytes())
    change(descriptors)
    changed = tmp_path / "changed.binpb"
    changed.write_bytes(descriptors.SerializeToString())

    result = compare_with_release(changed)

    assert result.returncode != 0
    assert finding in result.stdout


def test_a_new_field_breaks_nobody(
    compare_with_release: Callable[[Path], subprocess.CompletedProcess[str]],
    image: Path,
    tmp_path: Path,
) -> None:
    descriptors = FileDescriptorSet.FromString(image.read_bytes())
    find_message(descriptors, "ModelSelector").field.add(
        name="new",
        number=99,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        json_name="new",
    )
    extended = tmp_path / "extended.binpb"
    extended.write_bytes(descriptors.SerializeToString())

    result = compare_with_release(extended)

    assert (result.returncode, result.stdout) == (0, "")
