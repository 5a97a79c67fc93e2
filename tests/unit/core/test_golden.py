"""Golden examples: what a version must answer, and which kind of drift a difference is."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from heliograph.errors import ContractError, GoldenMismatchError, StorageError
from heliograph.golden import (
    GOLDEN_DIRECTORY,
    GoldenExample,
    check_pixels,
    check_probabilities,
    read_golden,
    write_golden,
)

EXAMPLE = GoldenExample(
    file="000.png",
    encoded=b"a file",
    class_name="cat",
    pixels_sha256=hashlib.sha256(b"pixels").hexdigest(),
    probabilities=(0.25, 0.75),
)
ANOTHER = GoldenExample(
    file="001.jpg", encoded=b"", class_name="", pixels_sha256="", probabilities=(1.0, 0.0)
)


def change_index(version: Path, **fields: Any) -> None:
    path = version / GOLDEN_DIRECTORY / "golden.json"
    content = json.loads(path.read_text())
    content["examples"][0].update(fields)
    path.write_text(json.dumps(content))


def test_examples_are_read_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    write_golden(tmp_path, [ANOTHER, EXAMPLE])

    assert read_golden(tmp_path) == (ANOTHER, EXAMPLE)


def test_a_version_without_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="cannot read the golden examples"):
        read_golden(tmp_path)

    write_golden(tmp_path, [])
    with pytest.raises(ContractError, match="has no golden examples"):
        read_golden(tmp_path)


def test_an_image_that_is_missing_is_refused(tmp_path: Path) -> None:
    write_golden(tmp_path, [EXAMPLE])
    (tmp_path / GOLDEN_DIRECTORY / EXAMPLE.file).unlink()

    with pytest.raises(ContractError, match=r"000\.png"):
        read_golden(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "null", '{"examples": 7}', "[" * 100_000])
def test_an_index_that_cannot_be_read_is_refused(text: str, tmp_path: Path) -> None:
    write_golden(tmp_path, [EXAMPLE])
    (tmp_path / GOLDEN_DIRECTORY / "golden.json").write_text(text)

    with pytest.raises(ContractError):
        read_golden(tmp_path)


@pytest.mark.parametrize("file", ["../contract.json", "/etc/hostname", "a/b", "..", "", "a\0b"])
def test_an_index_never_leads_out_of_its_folder(file: str, tmp_path: Path) -> None:
    write_golden(tmp_path, [EXAMPLE])
    change_index(tmp_path, file=file)

    with pytest.raises(ContractError):
        read_golden(tmp_path)


def test_examples_that_cannot_be_written_are_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "assets.extra").write_text("a file where the folder should be")

    with pytest.raises(StorageError, match="cannot write"):
        write_golden(tmp_path, [EXAMPLE])


def test_the_same_pixels_pass() -> None:
    check_pixels(EXAMPLE, b"pixels")


def test_other_pixels_mean_that_the_decoder_differs() -> None:
    with pytest.raises(GoldenMismatchError, match=r"decoder differs: .* golden image 000\.png"):
        check_pixels(EXAMPLE, b"pixelz")


@pytest.mark.parametrize("given", [(0.25, 0.75), (0.2509, 0.7491), (0.251, 0.749)])
def test_probabilities_within_the_tolerance_pass(given: tuple[float, ...]) -> None:
    check_probabilities(EXAMPLE, given, tolerance=1.0000001e-3)


@pytest.mark.parametrize(
    "given",
    [(0.252, 0.748), (0.75, 0.25), (math.nan, 0.75), (0.25, math.inf), (0.25, -math.inf)],
)
def test_other_probabilities_mean_that_the_model_differs(given: tuple[float, ...]) -> None:
    with pytest.raises(GoldenMismatchError, match=r"model differs: golden image 000\.png gave"):
        check_probabilities(EXAMPLE, given, tolerance=1e-3)


def test_a_golden_value_that_is_no_number_never_passes(tmp_path: Path) -> None:
    write_golden(tmp_path, [EXAMPLE])
    change_index(tmp_path, probabilities=["NaN", 0.75])
    [example] = read_golden(tmp_path)

    with pytest.raises(GoldenMismatchError):
        check_probabilities(example, (math.nan, 0.75), tolerance=1.0)


def test_another_number_of_probabilities_means_that_the_model_differs() -> None:
    with pytest.raises(GoldenMismatchError, match="gave 3 probabilities instead of 2"):
        check_probabilities(EXAMPLE, (0.25, 0.75, 0.0), tolerance=1.0)
