from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heliograph.errors import ConfigurationError, InvalidDatasetError
from heliograph.preprocessing import parse_recipe
from heliograph.v1.contract_pb2 import OutputSpec
from heliograph_training.attach import read_class_names
from heliograph_training.datasets import open_dataset
from heliograph_training.golden_recording import (
    LabelledImage,
    apply_activation,
    images_of_folder,
    images_of_split,
    prepare_images,
)


def test_images_of_a_split_are_of_all_classes() -> None:
    dataset = open_dataset("digits")
    images = images_of_split(dataset.splits["test"], dataset.class_names, 32)
    assert len(images) == 32
    assert {image.class_name for image in images} == set(dataset.class_names)


def test_a_folder_called_like_a_class_tells_the_class(animals: Path) -> None:
    images = images_of_folder(animals, ("cat", "horse"), 10)
    names = [image.class_name for image in images]
    assert names.count("cat") == 5
    assert names.count("") == 5


def test_a_folder_without_images_has_no_examples(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="has no JPEG or PNG files"):
        images_of_folder(tmp_path, ("cat",))


def test_an_example_that_cannot_be_prepared_is_counted() -> None:
    recipe = parse_recipe("decode(grey) | resize(2, 2)")
    with pytest.raises(InvalidDatasetError, match="example image 1 of 1: the image is text"):
        prepare_images([LabelledImage(b"hello")], recipe)
    with pytest.raises(InvalidDatasetError, match="no example images"):
        prepare_images([], recipe)


def test_encoded_images_are_a_batch_of_bytes(animals: Path) -> None:
    images = images_of_folder(animals, (), 3)
    batch = prepare_images(images, parse_recipe("bytes")).batch()
    assert batch.dtype == object
    assert batch.tolist() == [image.encoded for image in images]


def test_softmax_and_sigmoid_do_not_overflow() -> None:
    logits = np.array([[1000.0, 999.0], [-1000.0, 0.0]], np.float32)
    softmax = apply_activation(logits, OutputSpec.ACTIVATION_SOFTMAX)
    assert softmax[0] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])
    assert softmax[1] == pytest.approx([0, 1])
    sigmoid = apply_activation(logits, OutputSpec.ACTIVATION_SIGMOID)
    assert sigmoid == pytest.approx(np.array([[1, 1], [0, 0.5]]))
    assert (apply_activation(logits, OutputSpec.ACTIVATION_NONE) == logits).all()


@pytest.mark.parametrize(
    ("file", "text"),
    [("names.txt", "cat\n dog \nsea horse\n\n"), ("names.json", '["cat", "dog", "sea horse"]')],
)
def test_class_names_come_from_lines_or_json(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    assert read_class_names(tmp_path / file) == ("cat", "dog", "sea horse")


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("names.txt", "\n", "has no class names"),
        ("names.txt", "cat\n\ndog\n", "unique and not empty"),
        ("names.txt", "cat\ncat\n", "unique and not empty"),
        ("names.json", '{"0": "cat"}', "must be a list"),
        ("names.json", "[1, 2]", "must be a list"),
        ("names.json", "cat", "cannot read class names"),
    ],
)
def test_other_class_files_are_refused(tmp_path: Path, file: str, text: str, reason: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        read_class_names(tmp_path / file)
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_class_names(tmp_path / "nothing.txt")
