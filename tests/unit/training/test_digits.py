from __future__ import annotations

from collections import Counter

import numpy as np
from sklearn.datasets import load_digits

from heliograph_training.datasets import Dataset, open_dataset
from heliograph_training.datasets.prepared import prepare_split


def digits() -> Dataset:
    return open_dataset("digits")


def test_a_fifth_of_every_class_is_held_out() -> None:
    train = Counter(digits().splits["train"].class_indices)
    test = Counter(digits().splits["test"].class_indices)
    assert sum(train.values()) + sum(test.values()) == len(load_digits().target)
    for class_index in range(10):
        assert test[class_index] == (train[class_index] + test[class_index]) // 5


def test_opening_again_gives_the_same_split() -> None:
    first, second = digits().splits["test"], digits().splits["test"]
    assert first.class_indices == second.class_indices
    assert first.read(17) == second.read(17)


def test_examples_are_png_files_of_the_digits_with_values_up_to_255() -> None:
    split = digits().splits["test"]
    example = split.read(0)
    assert example.encoded.startswith(b"\x89PNG")
    assert example.name == f"test/{example.class_index}/00000.png"
    source = load_digits()
    (fifth_zero,) = np.flatnonzero(source.target == example.class_index)[4:5]
    prepared = prepare_split(split, digits().recipe, indices=[0]).pixels[0, :, :, 0]
    assert (prepared == np.rint(source.images[fifth_zero] * 255 / 16)).all()
    assert prepared.max() == 255


def test_train_and_test_share_no_example() -> None:
    splits = digits().splits
    names = {
        name: [splits[name].read(index).content_sha256 for index in range(300)]
        for name in ("train", "test")
    }
    # A few digits of the source are equal to the last pixel; a leak would make them all equal.
    assert len(set(names["train"]) & set(names["test"])) < 3
