"""Attaching a contract to a SavedModel that someone else exported.

The SavedModel is copied as it is into the next version of a model, and what it answers now to some
images becomes its golden examples. It may take uint8 pixels, float pixels, or encoded images.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from heliograph.errors import ConfigurationError, ContractMismatchError, CorruptVersionError
from heliograph.names import check_model_name
from heliograph.preprocessing import Recipe, parse_recipe
from heliograph.repository import Repository
from heliograph.tfserving.v1.prediction_pb2 import SignatureDef, TensorInfo
from heliograph.tfserving.v1.tensor_pb2 import DataType
from heliograph.v1.contract_pb2 import OutputSpec
from heliograph_training.contract_recording import SignatureNames, complete_version, describe
from heliograph_training.export import ACTIVATIONS, SIGNATURE, Activation, ExportedVersion
from heliograph_training.golden_recording import LabelledImage, prepare_images
from heliograph_training.saved_model_session import read_signatures
from heliograph_training.tensorflow_storage import tensorflow_storage_errors
from heliograph_training.warmup import BATCH_SIZES, check_batch_sizes

_OWN_FILES = Path("assets.extra/heliograph")
_DTYPES = {
    "uint8": DataType.DT_UINT8,
    "float32": DataType.DT_FLOAT,
    "bytes": DataType.DT_STRING,
}
_ADVICE = {
    DataType.DT_UINT8: "a recipe that ends in a size, such as decode(rgb) | resize(224, 224)",
    DataType.DT_FLOAT: "a recipe that ends in scale(...) or normalize(...)",
    DataType.DT_STRING: "the recipe `bytes`",
}


def attach(
    saved_model: Path,
    *,
    repository: Repository | Path | str,
    name: str,
    classes: Sequence[str],
    recipe: Recipe | str,
    activation: Activation,
    examples: Iterable[LabelledImage],
    signature: str | None = None,
    input_tensor: str | None = None,
    output_tensor: str | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> ExportedVersion:
    """Write a SavedModel with a contract as the next version of a model.

    Args:
        saved_model: Folder that holds `saved_model.pb`; it is not changed.
        repository: Where models are.
        name: Name of the model.
        classes: Class names in order of index.
        recipe: Turns an encoded image into the input of the signature.
        activation: What turns the output into probabilities; the gateway applies it.
        examples: Images whose answers of today are recorded; take 32 or more, of every class.
        signature: Signature key; `serving_default`, or the only one, when None.
        input_tensor: Name of the input in the signature; the only one when None.
        output_tensor: Name of the output in the signature; the only one when None.
        batch_sizes: Sizes of the warmup requests, unless the SavedModel brings its own.

    Returns:
        The version, its number and its place.

    Raises:
        CorruptVersionError: It is no SavedModel that TensorFlow Serving would load.
        ContractMismatchError: Signature, recipe and classes do not fit each other.
        InvalidDatasetError: An example cannot be prepared.
        StorageError: The repository cannot be written. Nothing stays behind.
    """
    check_model_name(name)
    check_batch_sizes(batch_sizes)
    if activation not in ACTIVATIONS:
        raise ConfigurationError(f"activation must be one of {', '.join(ACTIVATIONS)}")
    parsed = parse_recipe(recipe) if isinstance(recipe, str) else recipe
    names = _find(read_signatures(saved_model), signature, input_tensor, output_tensor, parsed)
    prepared = prepare_images(examples, parsed)
    contract = describe(
        name,
        names,
        class_names=classes,
        recipe=parsed,
        activation=OutputSpec.Activation.Value(f"ACTIVATION_{activation.upper()}"),
    )
    place = repository if isinstance(repository, Repository) else Repository(Path(repository))
    with place.publish(name) as staging, tensorflow_storage_errors(staging.path):
        _copy(saved_model, staging.path)
        complete_version(staging.path, contract, prepared, batch_sizes)
    return ExportedVersion(name, staging.version, staging.path)


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names: a line each, or a JSON list in a file that ends in `.json`.

    Raises:
        ConfigurationError: The file cannot be read, or is not of that form.
    """
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read class names from {path}: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"{path} must be a list of class names")
    stripped = [name.strip() for name in names]
    while stripped and not stripped[-1]:
        stripped.pop()
    if not stripped:
        raise ConfigurationError(f"{path} has no class names; write one on each line")
    if "" in stripped or len(set(stripped)) != len(stripped):
        raise ConfigurationError(f"{path}: class names must be unique and not empty")
    return tuple(stripped)


def _find(
    signatures: Mapping[str, SignatureDef],
    signature: str | None,
    input_tensor: str | None,
    output_tensor: str | None,
    recipe: Recipe,
) -> SignatureNames:
    """Choose signature and tensors, and check what can be said better here than by a contract."""
    if signature is None and SIGNATURE in signatures:
        signature = SIGNATURE
    key = _choose("signature", signature, signatures)
    definition = signatures[key]
    input_name = _choose("input", input_tensor, definition.inputs)
    info = definition.inputs[input_name]
    if info.dtype != _DTYPES[recipe.output.dtype]:
        advice = _ADVICE.get(info.dtype, "a SavedModel that takes uint8, float32 or strings")
        raise ContractMismatchError(
            f"input {input_name} is {DataType.Name(info.dtype)} and the recipe yields "
            f"{recipe.output.dtype}; use {advice}"
        )
    return SignatureNames(key, input_name, _choose("output", output_tensor, definition.outputs))


def _choose(
    what: str, name: str | None, known: Mapping[str, SignatureDef] | Mapping[str, TensorInfo]
) -> str:
    listed = ", ".join(sorted(known)) or "none"
    if name is not None:
        if name not in known:
            raise ContractMismatchError(f"the SavedModel has no {what} {name}; it has {listed}")
        return name
    if len(known) != 1:
        raise ContractMismatchError(
            f"the SavedModel has {len(known)} {what}s ({listed}); choose one with --{what}"
        )
    return next(iter(known))


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a SavedModel, except those of an earlier contract."""
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if relative.is_relative_to(_OWN_FILES):
            continue
        if path.is_dir():
            (target / relative).mkdir(exist_ok=True)
            continue
        try:
            file = path.open("rb")
        except OSError as error:
            raise CorruptVersionError(f"cannot read {path}: {error.strerror}") from error
        with file, (target / relative).open("xb") as copy:
            shutil.copyfileobj(file, copy)
