from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from heliograph.errors import InvalidDatasetError, InvalidRecipeError
from heliograph.preprocessing import parse_recipe
from heliograph_training.datasets import open_dataset
from heliograph_training.datasets.prepared import PreparedSplit, prepare_split

RECIPE = parse_recipe("decode(rgb) | resize(4, 4)")


def prepare(location: Path) -> PreparedSplit:
    dataset = open_dataset("folder", location, RECIPE)
    return prepare_split(dataset.splits["train"], RECIPE)


def test_pixels_are_those_of_the_recipe_in_order(animals: Path) -> None:
    split = open_dataset("folder", animals, RECIPE).splits["train"]
    prepared = prepare_split(split, RECIPE)
    assert prepared.pixels.dtype == np.uint8
    assert prepared.pixels.shape == (len(split.class_indices), 4, 4, 3)
    assert prepared.class_indices.tolist() == list(split.class_indices)
    for index, pixels in enumerate(prepared.pixels):
        assert (pixels == RECIPE.prepare(split.read(index).encoded)).all()


def test_some_indices_give_some_examples(animals: Path) -> None:
    split = open_dataset("folder", animals, RECIPE).splits["train"]
    whole = prepare_split(split, RECIPE)
    some = prepare_split(split, RECIPE, indices=[5, 2])
    assert (some.pixels == whole.pixels[[5, 2]]).all()
    assert some.content == (whole.content[5], whole.content[2])


def test_progress_adds_up_to_all_examples(animals: Path) -> None:
    split = open_dataset("folder", animals, RECIPE).splits["train"]
    reports: list[int] = []
    prepare_split(split, RECIPE, on_prepared=reports.append)
    assert sum(reports) == len(split.class_indices)


def test_unreadable_files_are_named_with_what_to_do(animals: Path) -> None:
    split = open_dataset("folder", animals, RECIPE).splits["train"]
    truncated, text = split.read(1), split.read(4)
    (animals / truncated.name).write_bytes(truncated.encoded[:200])
    (animals / text.name).write_text("no image")
    with pytest.raises(InvalidDatasetError) as caught:
        prepare(animals)
    message = caught.value.message
    assert message.startswith(f"2 of {len(split.class_indices)} images cannot be used: ")
    assert f"{truncated.name}: the JPEG is truncated" in message
    assert f"{text.name}: the image is text" in message
    assert message.endswith("Repair or remove them")


def test_only_the_first_of_many_unreadable_files_are_named(animals: Path) -> None:
    for path in animals.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(InvalidDatasetError, match=r"^(\d+) of \1 .*; and \d+ more\.") as caught:
        prepare(animals)
    assert caught.value.message.count(".jpg") == 5


def test_a_damaged_member_of_an_archive_is_named(animals: Path, tmp_path: Path) -> None:
    path = tmp_path / "animals.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(animals.rglob("*.jpg")):
            archive.write(file, file.relative_to(animals))
    content = bytearray(path.read_bytes())
    victim = open_dataset("folder", animals, RECIPE).splits["train"].read(0)
    start = content.find(victim.encoded)
    content[start + 100] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InvalidDatasetError, match=f"{victim.name}: damaged in the archive"):
        prepare(path)


@pytest.mark.parametrize("text", ["decode(rgb) | resize(4, 4) | scale(0.1)", "bytes"])
def test_a_recipe_without_uint8_pixels_cannot_be_trained_with(animals: Path, text: str) -> None:
    recipe = parse_recipe(text)
    with pytest.raises(InvalidRecipeError, match="training needs uint8 pixels"):
        prepare_split(open_dataset("folder", animals, recipe).splits["train"], recipe)


def test_pixels_that_do_not_fit_into_memory_are_refused(animals: Path) -> None:
    recipe = parse_recipe("decode(rgb) | resize(7000, 7000)")
    split = open_dataset("folder", animals, recipe).splits["train"]
    with pytest.raises(InvalidDatasetError, match="smaller size"):
        prepare_split(split, recipe, indices=range(1_000_000_000))
