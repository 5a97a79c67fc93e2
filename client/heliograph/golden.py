"""Golden examples: images that a version carries with the answers it must give.

They tell two kinds of drift apart: pixels that differ (another decoder, another recipe) and
probabilities that differ for the same pixels (another model, device or runtime).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format

from heliograph.durable_files import storage_errors, write_whole
from heliograph.errors import ContractError, GoldenMismatchError
from heliograph.v1 import contract_pb2

GOLDEN_DIRECTORY = Path("assets.extra/heliograph/golden")
"""Below the version's directory."""
_INDEX = "golden.json"


@dataclass(frozen=True)
class GoldenExample:
    """One image and what it must give."""

    file: str
    """Name of the image file in the golden directory."""
    encoded: bytes
    """The image file."""
    class_name: str
    """True class; empty when not known."""
    pixels_sha256: str
    """SHA-256 of the prepared tensor (of the file when the recipe is `bytes`)."""
    probabilities: tuple[float, ...]
    """Per class, after the activation."""


def read_golden(version_directory: Path) -> tuple[GoldenExample, ...]:
    """Read the golden examples of a version, in their fixed order.

    Raises:
        ContractError: There are none, or a file of theirs cannot be read.
    """
    folder = version_directory / GOLDEN_DIRECTORY
    try:
        text = (folder / _INDEX).read_bytes()
        index = json_format.Parse(text, contract_pb2.GoldenSet(), ignore_unknown_fields=True)
        examples = tuple(_read_example(folder, example) for example in index.examples)
    except (OSError, ValueError, json_format.ParseError) as error:
        raise ContractError(f"cannot read the golden examples in {folder}: {error}") from error
    if not examples:
        raise ContractError(f"{folder} has no golden examples")
    return examples


def write_golden(version_directory: Path, examples: Sequence[GoldenExample]) -> None:
    """Write the golden examples of a version.

    Raises:
        StorageError: They could not be written.
    """
    folder = version_directory / GOLDEN_DIRECTORY
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    index = contract_pb2.GoldenSet()
    for example in examples:
        write_whole(folder / example.file, example.encoded)
        index.examples.add(
            file=example.file,
            class_name=example.class_name,
            pixels_sha256=example.pixels_sha256,
            probabilities=example.probabilities,
        )
    text = json_format.MessageToJson(index, preserving_proto_field_name=True)
    write_whole(folder / _INDEX, text.encode())


def check_pixels(example: GoldenExample, prepared: bytes) -> None:
    """Check the prepared pixels of an example.

    Args:
        example: The golden example.
        prepared: Bytes of the prepared tensor, row-major and little-endian.

    Raises:
        GoldenMismatchError: They differ: the verdict is "decoder differs".
    """
    if hashlib.sha256(prepared).hexdigest() != example.pixels_sha256:
        raise GoldenMismatchError(
            f"decoder differs: the pixels of golden image {example.file} are not those that the "
            "version was exported with"
        )


def check_probabilities(
    example: GoldenExample, probabilities: Sequence[float], tolerance: float
) -> None:
    """Check the probabilities that a model gave for the right pixels.

    Args:
        example: The golden example.
        probabilities: Per class, after the activation.
        tolerance: Largest absolute difference allowed.

    Raises:
        GoldenMismatchError: They differ, or are not numbers: the verdict is "model differs".
    """
    if len(probabilities) != len(example.probabilities):
        raise GoldenMismatchError(
            f"model differs: golden image {example.file} gave {len(probabilities)} probabilities "
            f"instead of {len(example.probabilities)}"
        )
    for given, wanted in zip(probabilities, example.probabilities, strict=True):
        difference = abs(given - wanted)
        # A NaN compares false with everything, so ask for what is right, not for what is wrong.
        if not difference <= tolerance:
            raise GoldenMismatchError(
                f"model differs: golden image {example.file} gave {given:.6g} instead of "
                f"{wanted:.6g}, more than the tolerance of {tolerance:g}"
            )


def _read_example(folder: Path, example: contract_pb2.GoldenExample) -> GoldenExample:
    if Path(example.file).name != example.file:
        raise ContractError(f"golden file {example.file!r} lies outside {folder}")
    return GoldenExample(
        file=example.file,
        encoded=(folder / example.file).read_bytes(),
        class_name=example.class_name,
        pixels_sha256=example.pixels_sha256,
        probabilities=tuple(example.probabilities),
    )
