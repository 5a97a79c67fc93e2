"""Golden examples: chosen from images, and recorded from what a SavedModel answers now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliograph.errors import (
    ContractMismatchError,
    InvalidDatasetError,
    InvalidImageError,
)
from heliograph.golden import GoldenExample
from heliograph.preprocessing import Recipe, pixels_sha256, read_header
from heliograph.v1.contract_pb2 import ModelContract, OutputSpec
from heliograph_training.datasets.dataset import Split, spread_over_classes
from heliograph_training.datasets.file_tree import open_tree
from heliograph_training.saved_model_session import SavedModelSession

GOLDEN_COUNT = 32
"""Images recorded unless more are asked for."""
_BATCH = 32
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png"}
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")
# Sums of float32 probabilities that are right by themselves may pass 1 by a rounding error.
_SLACK = 1e-5


@dataclass(frozen=True)
class LabelledImage:
    """An image with its true class."""

    encoded: bytes
    """A whole JPEG or PNG file."""
    class_name: str = ""
    """Empty when it is not known."""


@dataclass(frozen=True)
class PreparedImages:
    """Images and what their recipe made of them."""

    images: tuple[LabelledImage, ...]
    prepared: tuple[Any, ...]
    """An array `[H, W, C]` each, or the encoded image when the recipe is `bytes`."""

    def batch(self, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Return some of them as a batch; encoded images as an array of `object`."""
        part = self.prepared[start:stop]
        return np.array(part, dtype=object) if isinstance(part[0], bytes) else np.stack(part)


def images_of_split(
    split: Split, class_names: Sequence[str], count: int = GOLDEN_COUNT
) -> list[LabelledImage]:
    """Read images of as many classes as possible, as evenly as possible.

    Raises:
        InvalidDatasetError: A file cannot be read.
    """
    chosen = spread_over_classes(split.class_indices, count)
    examples = [split.read(index) for index in sorted(chosen)]
    return [
        LabelledImage(example.encoded, class_names[example.class_index]) for example in examples
    ]


def images_of_folder(
    location: Path, class_names: Sequence[str], count: int = GOLDEN_COUNT
) -> list[LabelledImage]:
    """Read images of a folder or zip archive.

    A file in a folder that is called like a class belongs to that class; the class of others is
    not known. Classes are taken as evenly as possible.

    Raises:
        InvalidDatasetError: There is no image, or a file cannot be read.
    """
    tree = open_tree(location)
    paths = [path for path in tree.paths() if path.suffix.lower() in _IMAGE_SUFFIXES]
    if not paths:
        raise InvalidDatasetError(f"{location} has no JPEG or PNG files; give a folder of images")
    known = set(class_names)
    names = [path.parent.name if path.parent.name in known else "" for path in paths]
    groups = {name: group for group, name in enumerate(sorted(set(names)))}
    chosen = spread_over_classes([groups[name] for name in names], count)
    images = []
    for index in sorted(chosen):
        try:
            images.append(LabelledImage(tree.read(paths[index]), names[index]))
        except InvalidDatasetError as error:
            raise InvalidDatasetError(f"{location}: {paths[index]}: {error.message}") from error
    return images


def prepare_images(images: Iterable[LabelledImage], recipe: Recipe) -> PreparedImages:
    """Prepare images for recording.

    Raises:
        InvalidDatasetError: There is none, or one cannot be prepared.
    """
    fixed = tuple(images)
    if not fixed:
        raise InvalidDatasetError("there are no example images to record golden answers for")
    prepared = []
    for number, image in enumerate(fixed, start=1):
        try:
            prepared.append(recipe.prepare(image.encoded))
        except InvalidImageError as error:
            raise InvalidDatasetError(
                f"example image {number} of {len(fixed)}: {error.message}"
            ) from error
    return PreparedImages(fixed, tuple(prepared))


def record_golden(
    session: SavedModelSession, contract: ModelContract, examples: PreparedImages
) -> tuple[GoldenExample, ...]:
    """Run the contract's signature and record the probabilities.

    Raises:
        ContractMismatchError: The signature refuses the images, or what it gives are no
            probabilities of the contract's classes.
    """
    rows: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(examples.images), _BATCH):
        batch = examples.batch(start, start + _BATCH)
        outputs = session.run(
            contract.input.signature, {contract.input.tensor: batch}, contract.output.tensor
        )
        _check_outputs(contract, outputs, len(batch))
        rows.extend(apply_activation(outputs, contract.output.activation))
    _check_repeatable(session, contract, examples, rows)
    return tuple(
        GoldenExample(
            file=f"{number:04d}{_SUFFIXES[read_header(image.encoded).format]}",
            encoded=image.encoded,
            class_name=image.class_name,
            pixels_sha256=pixels_sha256(prepared),
            probabilities=tuple(map(float, row)),
        )
        for number, (image, prepared, row) in enumerate(
            zip(examples.images, examples.prepared, rows, strict=True), start=1
        )
    )


def apply_activation(
    outputs: npt.NDArray[np.float32], activation: OutputSpec.Activation.ValueType
) -> npt.NDArray[np.float32]:
    """Turn outputs `[N, classes]` into scores in [0, 1], computed in float64."""
    if activation == OutputSpec.ACTIVATION_NONE:
        return outputs
    values = outputs.astype(np.float64)
    if activation == OutputSpec.ACTIVATION_SOFTMAX:
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    else:
        # tanh does not overflow where exp would.
        values = 0.5 * (1 + np.tanh(values / 2))
    return values.astype(np.float32)


def _check_repeatable(
    session: SavedModelSession,
    contract: ModelContract,
    examples: PreparedImages,
    recorded: Sequence[npt.NDArray[np.float32]],
) -> None:
    """Ask once more, for each image alone: golden answers need a model that repeats itself.

    A model that answers by chance gives the same answer twice now and then, so one image is not
    enough.
    """
    tolerance = max(tolerance.absolute for tolerance in contract.golden_tolerances)
    for index, expected in enumerate(recorded):
        outputs = session.run(
            contract.input.signature,
            {contract.input.tensor: examples.batch(index, index + 1)},
            contract.output.tensor,
        )
        alone = apply_activation(outputs, contract.output.activation)[0]
        difference = float(np.abs(alone - expected).max())
        if not difference <= tolerance:
            raise ContractMismatchError(
                f"the model's answer to an image changes by {difference:.3g} when it is asked "
                "again without the others; dropout or batch statistics must be off in the signature"
            )


def _check_outputs(
    contract: ModelContract, outputs: npt.NDArray[np.float32], examples: int
) -> None:
    classes = len(contract.class_names)
    if outputs.shape != (examples, classes):
        raise ContractMismatchError(
            f"{examples} images gave an output of shape {list(outputs.shape)}; {classes} classes "
            f"need [{examples}, {classes}]"
        )
    if not np.isfinite(outputs).all():
        raise ContractMismatchError("the model's output has values that are not finite")
    outside = outputs.min() < -_SLACK or outputs.max() > 1 + _SLACK
    if contract.output.activation == OutputSpec.ACTIVATION_NONE and outside:
        raise ContractMismatchError(
            f"the model's outputs run from {outputs.min():.3g} to {outputs.max():.3g}, so they are "
            "no probabilities; give the activation: softmax for exclusive classes, else sigmoid"
        )
