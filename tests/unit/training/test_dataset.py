from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from heliograph_training.datasets.dataset import (
    fingerprint,
    spread_evenly,
    spread_over_classes,
)


def test_examples_are_taken_class_by_class() -> None:
    assert spread_over_classes([0, 0, 0, 1, 1, 2], 5) == [0, 3, 5, 1, 4]


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(0, 80))
def test_a_spread_is_as_even_as_the_classes_allow(classes: list[int], count: int) -> None:
    chosen = spread_over_classes(classes, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(classes))
    taken = Counter(classes[index] for index in chosen)
    available = Counter(classes)
    most = max(taken.values(), default=0)
    for class_index in available:
        # A class has fewer than another only where it has no more.
        assert taken[class_index] >= min(available[class_index], most - 1)


@given(st.integers(0, 200), st.none() | st.integers(0, 250))
def test_an_even_spread_has_equal_distances(size: int, count: int | None) -> None:
    chosen = spread_evenly(size, count)
    assert len(chosen) == (size if count is None else min(size, count))
    gaps = {after - before for before, after in pairwise(chosen)}
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert all(0 <= index < size for index in chosen)


def test_the_fingerprint_changes_with_classes_contents_and_splits() -> None:
    base = fingerprint(["cat", "dog"], {"train": ["0 aa", "1 bb"], "test": ["0 cc"]})
    assert len(base) == 64
    assert base == fingerprint(["cat", "dog"], {"test": ["0 cc"], "train": ["0 aa", "1 bb"]})
    others = [
        fingerprint(["cat", "cow"], {"train": ["0 aa", "1 bb"], "test": ["0 cc"]}),
        fingerprint(["cat", "dog"], {"train": ["0 aa", "0 bb"], "test": ["0 cc"]}),
        fingerprint(["cat", "dog"], {"train": ["0 aa"], "test": ["0 cc", "1 bb"]}),
    ]
    assert len({base, *others}) == 4
