from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph_training.datasets import open_dataset


@pytest.fixture
def recipe_for(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., str]:
    """Return a function from sizes (width, height) of images to the recipe chosen for them."""

    def choose(*sizes: tuple[int, int]) -> str:
        for class_name in ("cat", "dog"):
            for number in range(2 * len(sizes)):
                size = sizes[number % len(sizes)]
                write_image(f"d/{class_name}/{number}.jpg", size=size)
        return str(open_dataset("folder", tmp_path / "d").recipe)

    return choose


def test_small_images_of_one_size_are_kept_as_they_are(recipe_for: Callable[..., str]) -> None:
    assert recipe_for((28, 20)) == "decode(rgb) | resize(20, 28)"


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(20, 10), (12, 18)], 32),
        ([(60, 40), (40, 50)], 32),
        ([(70, 80), (64, 90)], 64),
        ([(300, 200), (640, 480)], 96),
    ],
)
def test_mixed_sizes_become_squares_that_most_images_reach(
    recipe_for: Callable[..., str], sizes: list[tuple[int, int]], side: int
) -> None:
    assert (
        recipe_for(*sizes) == f"decode(rgb) | resize_shorter({side}) | center_crop({side}, {side})"
    )


def test_large_images_of_one_size_are_made_small(recipe_for: Callable[..., str]) -> None:
    assert recipe_for((200, 150)) == "decode(rgb) | resize_shorter(96) | center_crop(96, 96)"


def test_unreadable_images_do_not_count(
    tmp_path: Path, write_image: Callable[..., Path], recipe_for: Callable[..., str]
) -> None:
    write_image("d/cat/broken.jpg").write_bytes(b"nothing")
    assert recipe_for((28, 28)) == "decode(rgb) | resize(28, 28)"
