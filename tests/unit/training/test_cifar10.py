from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from heliograph.errors import InvalidDatasetError
from heliograph_training.datasets import open_dataset
from heliograph_training.datasets.cifar10 import CLASS_NAMES
from heliograph_training.datasets.prepared import prepare_split

BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
PER_BATCH = 4


def batch(seed: int) -> dict[bytes, object]:
    """A batch as CIFAR-10 has it: rows of red, green and blue planes."""
    generator = np.random.default_rng(seed)
    return {
        b"batch_label": f"batch {seed}".encode(),
        b"labels": [(seed + index) % 10 for index in range(PER_BATCH)],
        b"data": generator.integers(0, 256, (PER_BATCH, 3072), dtype=np.uint8),
    }


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """Return a small folder of the original form."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for seed, name in enumerate((*BATCHES, "test_batch")):
        (folder / name).write_bytes(pickle.dumps(batch(seed), protocol=2))
    return folder


def test_the_original_files_give_images_of_32_by_32_pixels(original: Path) -> None:
    dataset = open_dataset("cifar10", original)
    assert dataset.class_names == CLASS_NAMES
    assert len(dataset.splits["train"].class_indices) == len(BATCHES) * PER_BATCH
    test = prepare_split(dataset.splits["test"], dataset.recipe)
    rows = np.asarray(batch(5)[b"data"])
    assert (test.pixels[1, 3, 7] == rows[1].reshape(3, 32, 32)[:, 3, 7]).all()
    assert test.class_indices.tolist() == batch(5)[b"labels"]


def test_the_archive_and_the_folder_above_give_the_same(original: Path, tmp_path: Path) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(original, original.name)
    first = open_dataset("cifar10", original).splits["train"]
    for other in (archive, tmp_path):
        split = open_dataset("cifar10", other).splits["train"]
        assert split.class_indices == first.class_indices
        assert split.read(3) == first.read(3)


def test_images_in_folders_serve_as_well(
    tmp_path: Path, write_images: Callable[[Iterable[str]], None]
) -> None:
    splits = ("train", "test")
    write_images(f"c/{split}/{name}/1.jpg" for split in splits for name in CLASS_NAMES)
    dataset = open_dataset("cifar10", tmp_path / "c")
    assert dataset.name == "cifar10"
    assert dataset.class_names == CLASS_NAMES
    assert str(dataset.recipe) == "decode(rgb) | resize(32, 32)"


def test_other_classes_are_not_cifar10(animals: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="but cat, dog; use --dataset folder"):
        open_dataset("cifar10", animals)


def test_a_missing_batch_is_named(original: Path) -> None:
    (original / "data_batch_3").unlink()
    with pytest.raises(InvalidDatasetError, match="lacks data_batch_3"):
        open_dataset("cifar10", original)


def test_a_truncated_archive_is_refused(original: Path, tmp_path: Path) -> None:
    archive = tmp_path / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(original, original.name)
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(InvalidDatasetError, match=r"cifar\.tar\.gz"):
        open_dataset("cifar10", archive)


def test_a_pickle_that_calls_functions_is_refused_and_calls_none(
    original: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"

    class Attack:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            import os

            return os.mkdir, (str(victim),)

    (original / "data_batch_1").write_bytes(pickle.dumps(Attack(), protocol=2))
    with pytest.raises(InvalidDatasetError, match=r"data_batch_1.*mkdir, which no array needs"):
        open_dataset("cifar10", original)
    assert not victim.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [0, 1]}, protocol=2),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, protocol=2),
        pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, protocol=2),
    ],
    ids=["empty", "noise", "list", "short rows", "missing label", "unknown label"],
)
def test_what_is_no_batch_is_refused(original: Path, content: bytes) -> None:
    (original / "test_batch").write_bytes(content)
    with pytest.raises(InvalidDatasetError, match="test_batch is no batch of CIFAR-10"):
        open_dataset("cifar10", original)


def test_pickles_of_python_2_are_read(original: Path) -> None:
    # Protocol 2 with Python 2's strings, as in the files that are published: opcode U.
    rows = np.zeros((1, 3072), np.uint8)
    file = io.BytesIO()
    pickle.Pickler(file, protocol=2).dump({"data": rows, "labels": [7]})
    content = file.getvalue()
    for key in (b"data", b"labels"):
        unicode, string = b"X" + bytes([len(key), 0, 0, 0]), b"U" + bytes([len(key)])
        assert unicode + key in content
        content = content.replace(unicode + key, string + key)
    (original / "test_batch").write_bytes(content)
    assert open_dataset("cifar10", original).splits["test"].class_indices == (7,)
