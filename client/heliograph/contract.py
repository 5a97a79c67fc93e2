"""The contract of an exported version: read, written, checked.

The message and the meaning of its fields are in protos/heliograph/v1/contract.proto.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import json_format

from heliograph.durable_files import storage_errors, write_whole
from heliograph.errors import (
    ContractError,
    ContractMismatchError,
    ContractMissingError,
    InvalidRecipeError,
)
from heliograph.tfserving.v1.prediction_pb2 import SignatureDef, TensorInfo
from heliograph.tfserving.v1.tensor_pb2 import DataType
from heliograph.v1.contract_pb2 import Dtype, InputSpec, ModelContract, OutputSpec

if TYPE_CHECKING:
    from heliograph.preprocessing import Recipe

CONTRACT_PATH = Path("assets.extra/heliograph/contract.json")
"""Below the version's directory."""
SCHEMA_MAJOR = 1
"""The highest `schema_major` that this code understands."""
DEFAULT_TOLERANCE = 1e-4
"""Absolute difference of a golden probability that float32 on one class of device explains."""

_DTYPE_OF_KIND = {
    InputSpec.KIND_PIXELS_UINT8: Dtype.DTYPE_UINT8,
    InputSpec.KIND_PIXELS_FLOAT: Dtype.DTYPE_FLOAT32,
    InputSpec.KIND_ENCODED: Dtype.DTYPE_STRING,
}
_ACTIVATIONS = frozenset(OutputSpec.Activation.values()) - {OutputSpec.ACTIVATION_UNSPECIFIED}
_RECIPE_DTYPES = {
    "uint8": Dtype.DTYPE_UINT8,
    "float32": Dtype.DTYPE_FLOAT32,
    "bytes": Dtype.DTYPE_STRING,
}
_TENSOR_DTYPES = {
    Dtype.DTYPE_UINT8: DataType.DT_UINT8,
    Dtype.DTYPE_FLOAT32: DataType.DT_FLOAT,
    Dtype.DTYPE_STRING: DataType.DT_STRING,
}


def read_contract(version_directory: Path) -> ModelContract:
    """Read and validate the contract of a version.

    Raises:
        ContractMissingError: The version has none.
        ContractError: It cannot be read, is from a newer schema, or contradicts itself.
    """
    path = version_directory / CONTRACT_PATH
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise ContractMissingError(
            f"{version_directory} has no contract; `heliograph contract attach` writes one"
        ) from error
    except OSError as error:
        raise ContractError(f"cannot read {path}: {error.strerror}") from error
    try:
        contract = json_format.Parse(text, ModelContract(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        # What a newer schema means by a field need not parse by ours.
        _check_schema_major(_schema_major(text))
        raise ContractError(f"{path} is no contract: {error}") from error
    validate_contract(contract)
    return contract


def write_contract(version_directory: Path, contract: ModelContract) -> None:
    """Write the contract of a version.

    Raises:
        ContractError: It contradicts itself.
        StorageError: It could not be written.
    """
    validate_contract(contract)
    path = version_directory / CONTRACT_PATH
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    text = json_format.MessageToJson(contract, preserving_proto_field_name=True)
    write_whole(path, text.encode())


def validate_contract(contract: ModelContract) -> None:
    """Check what can be checked without the SavedModel.

    Raises:
        ContractError: A field is missing, or two contradict each other.
    """
    _check_schema_major(contract.schema_major)
    if contract.schema_major < 1:
        raise ContractError("the contract has no schema_major")
    names = list(contract.class_names)
    if not names:
        raise ContractError("the contract has no class names")
    if "" in names or len(set(names)) != len(names):
        raise ContractError("the contract's class names are not unique, or one is empty")
    if not (contract.input.signature and contract.input.tensor and contract.output.tensor):
        raise ContractError(
            "the contract does not name its signature, input tensor and output tensor"
        )
    if contract.output.activation not in _ACTIVATIONS:
        raise ContractError("the contract names no activation that this Heliograph knows")
    if contract.input.kind not in _DTYPE_OF_KIND:
        raise ContractError("the contract names no kind of input that this Heliograph knows")
    expected = _DTYPE_OF_KIND[contract.input.kind]
    if contract.input.dtype != expected:
        raise ContractError(
            f"the contract's input kind {InputSpec.Kind.Name(contract.input.kind)} goes with "
            f"{Dtype.Name(expected)} and with no other dtype"
        )
    if not all(size >= 1 for size in contract.input.shape):
        raise ContractError(f"the contract's input shape {list(contract.input.shape)} is not fixed")


def recipe_of(contract: ModelContract) -> Recipe:
    """Parse the recipe of a contract and check that it yields the input. Needs the extra `image`.

    Raises:
        ContractError: The recipe does not parse, is from a newer version, or yields something else.
    """
    from heliograph.preprocessing import RECIPE_VERSION, parse_recipe

    if not 1 <= contract.recipe_version <= RECIPE_VERSION:
        raise ContractError(
            f"the contract's recipe has version {contract.recipe_version} and this Heliograph "
            f"knows {RECIPE_VERSION}; upgrade Heliograph"
        )
    try:
        recipe = parse_recipe(contract.recipe)
    except InvalidRecipeError as error:
        raise ContractError(f"the contract's recipe: {error.message}") from error
    given = (_RECIPE_DTYPES[recipe.output.dtype], tuple(recipe.output.shape))
    wanted = (contract.input.dtype, tuple(contract.input.shape))
    if given != wanted:
        raise ContractError(
            f"the contract's recipe yields {recipe.output.dtype} {list(recipe.output.shape)}, "
            f"and its input is {Dtype.Name(contract.input.dtype)} {list(contract.input.shape)}"
        )
    return recipe


def check_signature(contract: ModelContract, signatures: Mapping[str, SignatureDef]) -> None:
    """Check that a contract fits the signatures of the SavedModel it came with.

    Args:
        contract: What the version promises.
        signatures: What the SavedModel has, by signature key.

    Raises:
        ContractMismatchError: A signature or tensor is missing, or has another dtype or shape.
    """
    key = contract.input.signature
    if key not in signatures:
        known = ", ".join(sorted(signatures)) or "none"
        raise ContractMismatchError(f"the SavedModel has no signature {key}; it has {known}")
    signature = signatures[key]
    _check_tensor(
        "input",
        contract.input.tensor,
        signature.inputs,
        _TENSOR_DTYPES[contract.input.dtype],
        [-1, *contract.input.shape],
    )
    _check_tensor(
        "output",
        contract.output.tensor,
        signature.outputs,
        DataType.DT_FLOAT,
        [-1, len(contract.class_names)],
    )
    others = sorted(set(signature.inputs) - {contract.input.tensor})
    if others:
        raise ContractMismatchError(f"signature {key} needs more inputs: {', '.join(others)}")


def _schema_major(text: bytes) -> object:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content.get("schema_major") if isinstance(content, dict) else None


def _check_schema_major(number: object) -> None:
    if isinstance(number, int) and number > SCHEMA_MAJOR:
        raise ContractError(
            f"the contract has schema {number} and this Heliograph knows {SCHEMA_MAJOR}; "
            "upgrade Heliograph"
        )


def _check_tensor(
    what: str,
    name: str,
    tensors: Mapping[str, TensorInfo],
    dtype: DataType.ValueType,
    shape: list[int],
) -> None:
    if name not in tensors:
        known = ", ".join(sorted(tensors))
        raise ContractMismatchError(f"the signature has no {what} {name}; it has {known}")
    info = tensors[name]
    if info.dtype != dtype:
        raise ContractMismatchError(
            f"the {what} {name} is {DataType.Name(info.dtype)}, and the contract says "
            f"{DataType.Name(dtype)}"
        )
    if info.tensor_shape.unknown_rank:
        return
    actual = [dimension.size for dimension in info.tensor_shape.dim]
    fits = len(actual) == len(shape) and all(
        -1 in (have, want) or have == want for have, want in zip(actual, shape, strict=True)
    )
    if not fits:
        raise ContractMismatchError(
            f"the {what} {name} has shape {actual}, and the contract says {shape}"
        )
    if actual[0] != -1:
        raise ContractMismatchError(
            f"the {what} {name} has a fixed batch size of {actual[0]}; export it with an open one"
        )
