"""The contract of an exported version: what is refused, and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from heliograph.contract import (
    CONTRACT_PATH,
    check_signature,
    read_contract,
    recipe_of,
    validate_contract,
    write_contract,
)
from heliograph.errors import (
    ContractError,
    ContractMismatchError,
    ContractMissingError,
    StorageError,
)
from heliograph.tfserving.v1.prediction_pb2 import SignatureDef
from heliograph.tfserving.v1.tensor_pb2 import DataType
from heliograph.v1.contract_pb2 import Dtype, InputSpec, ModelContract, OutputSpec

if TYPE_CHECKING:
    from tests.conftest import Brightness


@pytest.fixture
def contract(brightness: Brightness) -> ModelContract:
    """A valid contract: uint8 [4, 4, 1] in, two classes out."""
    return brightness.contract()


def write_json(version: Path, content: Any) -> None:
    path = version / CONTRACT_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


# Reading and writing.


def test_a_contract_is_read_as_it_was_written(contract: ModelContract, tmp_path: Path) -> None:
    write_contract(tmp_path, contract)

    assert read_contract(tmp_path) == contract


def test_the_file_has_the_names_of_the_proto(contract: ModelContract, tmp_path: Path) -> None:
    write_contract(tmp_path, contract)

    content = json.loads((tmp_path / CONTRACT_PATH).read_text())
    assert (content["schema_major"], content["class_names"]) == (1, ["dark", "bright"])


def test_fields_of_newer_releases_are_ignored(contract: ModelContract, tmp_path: Path) -> None:
    write_contract(tmp_path, contract)
    content = json.loads((tmp_path / CONTRACT_PATH).read_text())
    content["explain_signature"] = "gradients"
    content["input"]["colour_space"] = {"name": "sRGB"}
    write_json(tmp_path, content)

    assert read_contract(tmp_path) == contract


def test_a_version_without_a_contract_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ContractMissingError, match="`heliograph contract attach` writes one"):
        read_contract(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "7", '"text"', "[" * 100_000, '{"class_names": 7}',
     '{"input": {"shape": ["wide"]}}', '{"class_names": ["a"], "class_names": ["b"]}'],
)  # fmt: skip
def test_what_is_no_contract_is_refused(text: str, tmp_path: Path) -> None:
    write_json(tmp_path, text)

    with pytest.raises(ContractError):
        read_contract(tmp_path)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path, "")
    (tmp_path / CONTRACT_PATH).write_bytes(b"\xff\xfe")

    with pytest.raises(ContractError, match="is no contract"):
        read_contract(tmp_path)


def test_a_folder_in_place_of_the_contract_is_refused(tmp_path: Path) -> None:
    (tmp_path / CONTRACT_PATH).mkdir(parents=True)

    with pytest.raises(ContractError, match="cannot read"):
        read_contract(tmp_path)


@pytest.mark.parametrize(
    "rest", [{}, {"class_names": {"0": "dark"}}], ids=["that_parses", "that_does_not_parse"]
)
def test_a_newer_schema_says_to_upgrade(rest: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path, {"schema_major": 2, **rest})

    with pytest.raises(ContractError, match=r"has schema 2 .* knows 1; upgrade Heliograph"):
        read_contract(tmp_path)


def test_an_invalid_contract_is_not_written(contract: ModelContract, tmp_path: Path) -> None:
    del contract.class_names[:]

    with pytest.raises(ContractError):
        write_contract(tmp_path, contract)

    assert list(tmp_path.iterdir()) == []


def test_a_contract_that_cannot_be_written_is_a_storage_error(
    contract: ModelContract, tmp_path: Path
) -> None:
    (tmp_path / "assets.extra").write_text("a file where the folder should be")

    with pytest.raises(StorageError, match="cannot write"):
        write_contract(tmp_path, contract)


# Validation.


def _set(path: str, value: Any) -> Callable[[ModelContract], None]:
    """Change one field: `input.kind` and a value."""

    def change(contract: ModelContract) -> None:
        *parents, name = path.split(".")
        message: Any = contract
        for parent in parents:
            message = getattr(message, parent)
        if isinstance(value, list):
            del getattr(message, name)[:]
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("schema_major", 0), "no schema_major"),
        (_set("schema_major", -1), "no schema_major"),
        (_set("schema_major", 2), "upgrade Heliograph"),
        (_set("class_names", []), "no class names"),
        (_set("class_names", ["dark", "dark"]), "not unique"),
        (_set("class_names", ["dark", ""]), "one is empty"),
        (_set("input.signature", ""), "does not name its signature"),
        (_set("input.tensor", ""), "does not name its signature"),
        (_set("output.tensor", ""), "does not name its signature"),
        (_set("output.activation", OutputSpec.ACTIVATION_UNSPECIFIED), "no activation"),
        (_set("output.activation", 77), "no activation"),
        (_set("input.kind", InputSpec.KIND_UNSPECIFIED), "no kind of input"),
        (_set("input.kind", 77), "no kind of input"),
        (_set("input.kind", InputSpec.KIND_ENCODED), "goes with DTYPE_STRING"),
        (_set("input.dtype", Dtype.DTYPE_FLOAT32), "goes with DTYPE_UINT8"),
        (_set("input.dtype", 77), "goes with DTYPE_UINT8"),
        (_set("input.shape", [4, -1, 1]), "is not fixed"),
        (_set("input.shape", [0, 4, 1]), "is not fixed"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(
    change: Callable[[ModelContract], None], message: str, contract: ModelContract
) -> None:
    change(contract)

    with pytest.raises(ContractError, match=message):
        validate_contract(contract)


# The recipe.


def test_the_recipe_yields_the_input(contract: ModelContract) -> None:
    assert recipe_of(contract).output.shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("recipe", ""), "recipe"),
        (_set("recipe", "decode(grey) | shrink(4)"), "recipe: .*shrink"),
        (_set("recipe", "decode(rgb) | resize(4, 4)"), r"yields uint8 \[4, 4, 3\].*\[4, 4, 1\]"),
        (_set("recipe", "bytes"), "yields bytes"),
        (_set("recipe_version", 0), "version 0"),
        (_set("recipe_version", 99), "version 99 .*upgrade Heliograph"),
    ],
)
def test_a_recipe_that_does_not_yield_the_input_is_refused(
    change: Callable[[ModelContract], None], message: str, contract: ModelContract
) -> None:
    change(contract)

    with pytest.raises(ContractError, match=message):
        recipe_of(contract)


# The SavedModel.


def signature(
    *,
    dtype: DataType.ValueType = DataType.DT_UINT8,
    shape: tuple[int, ...] | None = (-1, 4, 4, 1),
    output_dtype: DataType.ValueType = DataType.DT_FLOAT,
    output_shape: tuple[int, ...] | None = (-1, 2),
    inputs: tuple[str, ...] = ("image",),
    output: str = "scores",
) -> SignatureDef:
    """A signature; without arguments it fits the contract."""
    found = SignatureDef()
    tensors = [(found.inputs[name], dtype, shape) for name in inputs]
    for info, kind, sizes in [*tensors, (found.outputs[output], output_dtype, output_shape)]:
        info.dtype = kind
        info.tensor_shape.unknown_rank = sizes is None
        for size in sizes or ():
            info.tensor_shape.dim.add(size=size)
    return found


@pytest.mark.parametrize(
    "found",
    [
        signature(),
        signature(shape=(-1, -1, -1, 1)),
        signature(shape=(-1, -1, -1, -1)),
        signature(shape=None),
        signature(output_shape=None),
        signature(output_shape=(-1, -1)),
    ],
)
def test_a_signature_fits_when_it_takes_and_gives_what_the_contract_says(
    found: SignatureDef, contract: ModelContract
) -> None:
    check_signature(contract, {"serving_default": found, "other": SignatureDef()})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (signature(inputs=("pixels",)), "no input image; it has pixels"),
        (signature(inputs=("image", "mask")), "needs more inputs: mask"),
        (signature(output="logits"), "no output scores; it has logits"),
        (signature(dtype=DataType.DT_FLOAT), "input image is DT_FLOAT, and .* DT_UINT8"),
        (signature(dtype=DataType.DT_STRING), "input image is DT_STRING"),
        (signature(output_dtype=DataType.DT_DOUBLE), "output scores is DT_DOUBLE"),
        (signature(shape=(-1, 4, 4, 3)), r"\[-1, 4, 4, 3\], and the contract says \[-1, 4, 4, 1\]"),
        (signature(shape=(-1, 4, 4)), r"has shape \[-1, 4, 4\]"),
        (signature(shape=()), r"has shape \[\]"),
        (signature(output_shape=(-1, 3)), r"\[-1, 3\], and the contract says \[-1, 2\]"),
        (signature(output_shape=(-1,)), r"output scores has shape \[-1\]"),
        (signature(shape=(8, 4, 4, 1)), "fixed batch size of 8"),
    ],
)
def test_a_signature_that_does_not_fit_is_a_mismatch(
    found: SignatureDef, message: str, contract: ModelContract
) -> None:
    with pytest.raises(ContractMismatchError, match=message):
        check_signature(contract, {"serving_default": found})


def test_a_missing_signature_names_those_there_are(contract: ModelContract) -> None:
    with pytest.raises(ContractMismatchError, match="no signature serving_default; it has a, b"):
        check_signature(contract, {"b": SignatureDef(), "a": SignatureDef()})
    with pytest.raises(ContractMismatchError, match="it has none"):
        check_signature(contract, {})
