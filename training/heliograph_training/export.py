"""Export: any Keras model becomes the next version of a model in a repository.

The SavedModel takes uint8 pixels and gives probabilities; normalisation and activation are inside.
It is written by `keras.export.ExportArchive`, because what `tf.saved_model.save` makes of a Keras 3
model does not load in a session, and a session is what TensorFlow Serving uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from google.protobuf import struct_pb2

from heliograph.errors import (
    ConfigurationError,
    ContractMismatchError,
    InvalidRecipeError,
)
from heliograph.names import check_model_name
from heliograph.preprocessing import Recipe, parse_recipe
from heliograph.repository import Repository
from heliograph.v1.contract_pb2 import OutputSpec, Provenance
from heliograph_training.contract_recording import SignatureNames, complete_version, describe
from heliograph_training.encoded_endpoint import graph_of
from heliograph_training.evaluation import Evaluation
from heliograph_training.golden_recording import LabelledImage, prepare_images
from heliograph_training.tensorflow_storage import tensorflow_storage_errors
from heliograph_training.warmup import BATCH_SIZES, check_batch_sizes

SIGNATURE = "serving_default"
INPUT = "image"
OUTPUT = "probabilities"
ENCODED_SIGNATURE = "serving_encoded"
ENCODED_INPUT = "encoded"

Activation = Literal["none", "softmax", "sigmoid"]
ACTIVATIONS: tuple[Activation, ...] = ("none", "softmax", "sigmoid")


@dataclass(frozen=True)
class ExportedVersion:
    """A version that is now in the repository."""

    model: str
    version: int
    path: Path


def export(
    model: Any,
    *,
    classes: Sequence[str],
    recipe: Recipe | str,
    examples: Iterable[LabelledImage],
    repository: Repository | Path | str,
    name: str,
    activation: Activation = "none",
    normalise: Callable[[Any], Any] | None = None,
    encoded: bool = False,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    evaluation: Evaluation | None = None,
    training: Mapping[str, Any] | None = None,
    data_fingerprint: str = "",
) -> ExportedVersion:
    """Write a Keras model as the next version of a model.

    Args:
        model: Any built Keras model with one input, images `[N, H, W, C]`, and one output, a score
            per class `[N, classes]`.
        classes: Class names in order of index.
        recipe: Turns an encoded image into uint8 pixels of the model's input size.
        examples: Images whose answers the version must reproduce wherever it is served; all of
            them are stored with it. Take 32 or more, of every class.
        repository: Where models are.
        name: Name of the model.
        activation: What turns the model's output into probabilities; `none` when it gives them.
            It becomes part of the graph.
        normalise: Applied in the graph to the pixels as float32 in 0 to 255, for models that do not
            normalise by themselves, for example
            `keras.applications.mobilenet_v2.preprocess_input`.
        encoded: Add a signature `serving_encoded` that takes encoded images and decodes them in the
            graph, with TensorFlow's pixels.
        batch_sizes: Sizes of the warmup requests.
        evaluation: What was measured on the test split.
        training: Configuration of the training, stored with the version.
        data_fingerprint: SHA-256 over the data, where it is known.

    Returns:
        The version, its number and its place.

    Raises:
        ContractMismatchError: Model, classes and recipe do not fit each other.
        InvalidDatasetError: An example cannot be prepared.
        StorageError: The disk is full or the repository cannot be written. Nothing stays behind.
    """
    check_model_name(name)
    check_batch_sizes(batch_sizes)
    if activation not in ACTIVATIONS:
        raise ConfigurationError(f"activation must be one of {', '.join(ACTIVATIONS)}")
    parsed = parse_recipe(recipe) if isinstance(recipe, str) else recipe
    if parsed.output.dtype != "uint8":
        raise InvalidRecipeError(
            f"{parsed} yields {parsed.output.dtype}; an export takes uint8 pixels and normalises "
            "in the graph (see the argument normalise)"
        )
    if len(set(classes)) != len(classes) or not all(classes):
        raise ConfigurationError("class names must be unique and not empty")
    _check_input(model, parsed)
    prepared = prepare_images(examples, parsed)
    provenance = Provenance(data_fingerprint=data_fingerprint)
    provenance.training.CopyFrom(_struct(training or {}))
    contract = describe(
        name,
        SignatureNames(SIGNATURE, INPUT, OUTPUT),
        class_names=classes,
        recipe=parsed,
        activation=OutputSpec.ACTIVATION_NONE,
        evaluation=None if evaluation is None else evaluation.message(),
        provenance=provenance,
        encoded_signature=ENCODED_SIGNATURE if encoded else "",
    )
    place = repository if isinstance(repository, Repository) else Repository(Path(repository))
    predict = _prediction(model, len(classes), activation, normalise)
    with place.publish(name) as staging, tensorflow_storage_errors(staging.path):
        _write_saved_model(model, predict, parsed, staging.path, encoded=encoded)
        complete_version(staging.path, contract, prepared, batch_sizes)
    return ExportedVersion(name, staging.version, staging.path)


def _write_saved_model(
    model: Any,
    predict: Callable[[Any], Any],
    recipe: Recipe,
    directory: Path,
    *,
    encoded: bool,
) -> None:
    import keras
    import tensorflow as tf

    shape = recipe.output.shape
    archive = keras.export.ExportArchive()
    try:
        archive.track(model)
        endpoint = archive.add_endpoint(
            SIGNATURE,
            lambda image: {OUTPUT: predict(image)},
            input_signature=[tf.TensorSpec((None, *shape), tf.uint8, name=INPUT)],
        )
        # Traces now what would else be traced, and fail, among the errors of writing.
        endpoint.get_concrete_function()
        if encoded:
            decode = graph_of(recipe)
            archive.add_endpoint(
                ENCODED_SIGNATURE,
                lambda encoded: {OUTPUT: predict(decode(encoded))},
                input_signature=[tf.TensorSpec((None,), tf.string, name=ENCODED_INPUT)],
            )
    except (ValueError, TypeError) as error:
        raise ContractMismatchError(
            f"the model cannot be traced on images of shape {list(shape)}: {_reason(error)}"
        ) from error
    archive.write_out(str(directory), verbose=False)


def _prediction(
    model: Any,
    classes: int,
    activation: Activation,
    normalise: Callable[[Any], Any] | None,
) -> Callable[[Any], Any]:
    """Return a function from uint8 pixels to float32 probabilities."""

    def predict(image: Any) -> Any:
        import keras
        import tensorflow as tf

        pixels = image
        if normalise is not None:
            pixels = normalise(tf.cast(image, tf.float32))
        elif not _takes_integers(model):
            pixels = tf.cast(image, tf.float32)
        output = model(pixels, training=False)
        if isinstance(output, (dict, list, tuple)):
            raise ContractMismatchError("the model has several outputs; export one that has one")
        if output.shape.rank != 2 or output.shape[1] != classes:
            raise ContractMismatchError(
                f"the model gives {list(output.shape)} and there are {classes} class names; it "
                f"must give [None, {classes}]"
            )
        output = tf.cast(output, tf.float32)
        if activation != "none":
            output = getattr(keras.activations, activation)(output)
        return output

    return predict


def _check_input(model: Any, recipe: Recipe) -> None:
    """Compare the recipe with the model's input; Keras itself lets many a wrong size pass."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        # A model that was built by calling it does not say what it takes.
        return
    if len(inputs) != 1:
        raise ContractMismatchError(
            f"the model has {len(inputs)} inputs; export one that takes images and nothing else"
        )
    wanted = tuple(inputs[0].shape)[1:]
    given = recipe.output.shape
    fits = len(wanted) == len(given) and all(
        want in (None, have) for want, have in zip(wanted, given, strict=True)
    )
    if not fits:
        raise ContractMismatchError(
            f"the model takes images of shape {list(wanted)} and the recipe {recipe} yields "
            f"{list(given)}"
        )


def _reason(error: Exception) -> str:
    """Return the first lines of one of Keras's long messages, without its colours, as one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__


def _takes_integers(model: Any) -> bool:
    inputs = getattr(model, "inputs", None) or []
    return bool(inputs) and "int" in str(inputs[0].dtype)


def _struct(document: Mapping[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(document)
    return message
