from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from heliograph.errors import InvalidDatasetError
from heliograph_training.datasets import Dataset, SplitName, open_dataset

WriteImages = Callable[[Iterable[str]], None]


def names_of(dataset: Dataset, split: SplitName) -> list[str]:
    source = dataset.splits[split]
    return [source.read(index).name for index in range(len(source.class_indices))]


def folder(path: Path) -> Dataset:
    return open_dataset("folder", path)


def zipped(path: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(path.rglob("*.jpg")):
            archive.write(file, f"{prefix}{file.relative_to(path)}")
    return target


def test_classes_are_the_folders_in_order_of_their_names(animals: Path) -> None:
    dataset = folder(animals)
    assert dataset.class_names == ("cat", "dog")
    split = dataset.splits["train"]
    for index, class_index in enumerate(split.class_indices):
        assert split.read(index).name.startswith(f"{dataset.class_names[class_index]}/")


def test_every_file_is_in_exactly_one_split(animals: Path) -> None:
    dataset = folder(animals)
    train, test = names_of(dataset, "train"), names_of(dataset, "test")
    files = [path.relative_to(animals).as_posix() for path in animals.rglob("*.jpg")]
    assert sorted(train + test) == sorted(files)
    assert {name.split("/")[0] for name in test} == {"cat", "dog"}


def test_a_file_keeps_its_side_when_others_come(animals: Path, write_images: WriteImages) -> None:
    before = names_of(folder(animals), "test")
    write_images(f"animals/{name}/new{number}.png" for name in ("cat", "dog") for number in (1, 2))
    after = names_of(folder(animals), "test")
    assert [name for name in after if "new" not in name] == before


def test_about_a_fifth_is_held_out(tmp_path: Path) -> None:
    for class_name in ("a", "b"):
        (tmp_path / class_name).mkdir()
        for number in range(150):
            (tmp_path / class_name / f"{number}.png").touch()
    held_out = len(folder(tmp_path).splits["test"].class_indices)
    assert 40 < held_out < 80


def test_an_archive_gives_the_examples_of_the_folder(animals: Path, tmp_path: Path) -> None:
    archive = folder(zipped(animals, tmp_path / "animals.zip"))
    directory = folder(animals)
    for split in ("train", "test"):
        assert names_of(archive, split) == names_of(directory, split)
    assert archive.splits["test"].read(0) == directory.splits["test"].read(0)
    assert archive.name == "animals"


def test_a_folder_around_everything_in_an_archive_changes_nothing(
    animals: Path, tmp_path: Path
) -> None:
    plain = folder(zipped(animals, tmp_path / "plain.zip"))
    wrapped = folder(zipped(animals, tmp_path / "wrapped.zip", prefix="animals-1.0/"))
    assert wrapped.class_names == plain.class_names
    assert names_of(wrapped, "test") == [f"animals-1.0/{name}" for name in names_of(plain, "test")]


def test_folders_train_and_test_are_the_splits(tmp_path: Path, write_images: WriteImages) -> None:
    write_images(["d/train/cat/1.jpg", "d/train/dog/1.jpg", "d/test/cat/2.jpg", "d/test/dog/2.jpg"])
    dataset = folder(tmp_path / "d")
    assert names_of(dataset, "train") == ["train/cat/1.jpg", "train/dog/1.jpg"]
    assert names_of(dataset, "test") == ["test/cat/2.jpg", "test/dog/2.jpg"]


def test_a_validation_folder_stands_in_for_a_missing_test(
    tmp_path: Path, write_images: WriteImages
) -> None:
    write_images(["d/train/cat/1.jpg", "d/train/dog/1.jpg", "d/val/cat/2.jpg", "d/val/dog/2.jpg"])
    dataset = folder(tmp_path / "d")
    assert names_of(dataset, "test") == ["val/cat/2.jpg", "val/dog/2.jpg"]
    assert set(dataset.splits) == {"train", "test"}


def test_a_validation_folder_beside_a_test_is_for_validation(
    tmp_path: Path, write_images: WriteImages
) -> None:
    splits = ("train", "validation", "test")
    write_images(f"d/{split}/{name}/1.jpg" for split in splits for name in ("cat", "dog"))
    assert set(folder(tmp_path / "d").splits) == set(splits)


def test_train_alone_is_split(animals: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    animals.rename(tmp_path / "d" / "train")
    dataset = folder(tmp_path / "d")
    held_out = names_of(dataset, "test")
    assert held_out
    assert len(held_out) + len(names_of(dataset, "train")) == 20


def test_hidden_files_and_files_that_are_no_images_are_ignored(animals: Path) -> None:
    before = names_of(folder(animals), "train")
    (animals / "cat" / ".DS_Store").write_bytes(b"x")
    (animals / "cat" / "notes.txt").write_text("about cats")
    (animals / ".cache").mkdir()
    (animals / ".cache" / "thumb.jpg").write_bytes(b"x")
    assert names_of(folder(animals), "train") == before


def test_linked_class_folders_are_followed_and_loops_end(animals: Path, tmp_path: Path) -> None:
    shutil.move(animals / "dog", tmp_path / "elsewhere")
    (animals / "dog").symlink_to(tmp_path / "elsewhere")
    (animals / "cat" / "again").symlink_to(animals)
    dataset = folder(animals)
    assert len(names_of(dataset, "train")) + len(names_of(dataset, "test")) == 20


def test_one_class_is_refused(tmp_path: Path, write_images: WriteImages) -> None:
    write_images(["d/cat/1.jpg", "d/cat/2.jpg"])
    with pytest.raises(InvalidDatasetError, match=r"one class folder \(cat\).*at least two"):
        folder(tmp_path / "d")


def test_images_outside_class_folders_are_refused(
    tmp_path: Path, write_images: WriteImages
) -> None:
    write_images(["d/1.jpg", "d/2.jpg"])
    with pytest.raises(InvalidDatasetError, match=r"no class folders.*CLASS/IMAGE\.jpg"):
        folder(tmp_path / "d")


def test_a_class_with_one_image_is_refused(tmp_path: Path, write_images: WriteImages) -> None:
    write_images(["d/cat/1.jpg", "d/cat/2.jpg", "d/dog/only.jpg"])
    with pytest.raises(InvalidDatasetError, match=r"class dog has one image \(dog/only\.jpg\)"):
        folder(tmp_path / "d")


def test_images_of_other_formats_are_named_and_refused(animals: Path) -> None:
    (animals / "cat" / "old.gif").write_bytes(b"GIF89a")
    with pytest.raises(InvalidDatasetError, match=r"neither JPEG nor PNG: cat/old\.gif; convert"):
        folder(animals)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="no JPEG or PNG files"):
        folder(tmp_path)


def test_a_test_folder_with_other_classes_is_refused(
    tmp_path: Path, write_images: WriteImages
) -> None:
    write_images(["d/train/cat/1.jpg", "d/train/dog/1.jpg", "d/test/cow/1.jpg", "d/test/cat/1.jpg"])
    with pytest.raises(InvalidDatasetError, match="test has classes that train has not: cow"):
        folder(tmp_path / "d")


def test_a_test_folder_alone_is_refused(tmp_path: Path, write_images: WriteImages) -> None:
    write_images(["d/test/cat/1.jpg", "d/test/dog/1.jpg"])
    with pytest.raises(InvalidDatasetError, match="test but no train folder"):
        folder(tmp_path / "d")


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="does not exist"):
        folder(tmp_path / "nothing")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    path.write_bytes(b"not a zip")
    with pytest.raises(InvalidDatasetError, match="neither a folder nor a zip archive"):
        folder(path)


def test_folder_needs_a_place_and_digits_take_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="--data"):
        open_dataset("folder")
    with pytest.raises(InvalidDatasetError, match="leave out --data"):
        open_dataset("digits", tmp_path)
    with pytest.raises(InvalidDatasetError, match="there are digits, cifar10, folder"):
        open_dataset("mnist")
