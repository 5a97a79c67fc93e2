"""One's own images: a folder or zip archive with one folder per class.

    DATA/cat/1.jpg              DATA/train/cat/1.jpg
    DATA/dog/1.png              DATA/test/cat/2.jpg

Without `test` (or `val`), about a fifth of every class is held out: those files whose relative path
has a hash below 0.2. A file keeps its side when others come or go.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from heliograph.errors import InvalidDatasetError
from heliograph.preprocessing import Recipe
from heliograph_training.datasets.dataset import Dataset, Example, SplitName
from heliograph_training.datasets.file_tree import FileTree, open_tree
from heliograph_training.datasets.recipe_choice import choose_recipe

TEST_FRACTION = 0.2
_SPLIT_FOLDERS: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png"}
_OTHER_IMAGE_SUFFIXES = {".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}
_SHOWN = 5
"""Files named in a message."""

_Classes = Mapping[str, tuple[PurePosixPath, ...]]
_Splits = dict[SplitName, _Classes]


@dataclass(frozen=True)
class FileSplit:
    """Examples that are files."""

    tree: FileTree
    files: tuple[PurePosixPath, ...]
    class_indices: tuple[int, ...]

    def read(self, index: int) -> Example:
        """Read an example.

        Raises:
            InvalidDatasetError: The file cannot be read.
        """
        path = self.files[index]
        try:
            encoded = self.tree.read(path)
        except InvalidDatasetError as error:
            raise InvalidDatasetError(f"{path}: {error.message}") from error
        return Example(
            name=str(path),
            class_index=self.class_indices[index],
            encoded=encoded,
            content_sha256=hashlib.sha256(encoded).hexdigest(),
        )


@dataclass(frozen=True)
class Layout:
    """Where the images of each split and class are."""

    tree: FileTree
    splits: Mapping[SplitName, _Classes]

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the training images, sorted."""
        return tuple(sorted(self.splits["train"]))


def open_folder(
    location: Path, recipe: Recipe | None = None, *, name: str | None = None
) -> Dataset:
    """Open a folder or zip archive of images.

    Args:
        location: The folder or archive.
        recipe: Preprocessing; chosen from the sizes of the images when None.
        name: Name of the data set; that of the folder when None.

    Raises:
        InvalidDatasetError: It has fewer than two classes, a class without images, or images of a
            format that is not served.
    """
    layout = find_layout(open_tree(location))
    splits: dict[SplitName, FileSplit] = {}
    for split, classes in layout.splits.items():
        pairs = [
            (path, layout.class_names.index(class_name))
            for class_name in sorted(classes)
            for path in classes[class_name]
        ]
        splits[split] = FileSplit(
            layout.tree, tuple(path for path, _ in pairs), tuple(index for _, index in pairs)
        )
    return Dataset(
        name=name or location.resolve().stem,
        class_names=layout.class_names,
        recipe=recipe or choose_recipe(splits["train"]),
        splits=splits,
    )


def find_layout(tree: FileTree) -> Layout:
    """Find classes and splits in a tree of files.

    Raises:
        InvalidDatasetError: As `open_folder`.
    """
    paths = tree.paths()
    _refuse_other_formats(tree, paths)
    images = [path for path in paths if path.suffix.lower() in _IMAGE_SUFFIXES]
    if not images:
        raise InvalidDatasetError(
            f"{tree.location} has no JPEG or PNG files; expected CLASS/IMAGE.jpg below it"
        )
    split_folders, depth = _split_folders(images)
    if not split_folders:
        return Layout(tree, _hold_out(_classes(tree, images, depth), depth))
    splits: _Splits = {}
    for split in sorted(set(split_folders.values())):
        members = [path for path in images if split_folders.get(path.parts[depth]) == split]
        splits[split] = _classes(tree, members, depth + 1)
    if "train" not in splits:
        raise InvalidDatasetError(
            f"{tree.location} has {' and '.join(sorted(split_folders))} but no train folder"
        )
    if "test" not in splits:
        if "validation" in splits:
            splits["test"] = splits.pop("validation")
        else:
            splits = _hold_out(splits["train"], depth + 1)
    _check_classes(tree, splits)
    return Layout(tree, splits)


def _split_folders(images: list[PurePosixPath]) -> tuple[dict[str, SplitName], int]:
    """Return the folders that are splits, and how deep they (or the classes) lie."""
    for depth in (0, 1):
        below = [path.parts[depth:] for path in images]
        first = {parts[0] for parts in below if len(parts) > 1}
        if first and first <= _SPLIT_FOLDERS.keys() and all(len(parts) > 2 for parts in below):
            return {name: _SPLIT_FOLDERS[name] for name in first}, depth
        # Archives often hold one folder that holds everything.
        if len(first) != 1 or not all(len(parts) > 2 for parts in below):
            return {}, depth
    return {}, 1


def _classes(tree: FileTree, images: Iterable[PurePosixPath], depth: int) -> _Classes:
    classes: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in images:
        if len(path.parts) > depth + 1:
            classes[path.parts[depth]].append(path)
    if len(classes) < 2:
        found = f"one class folder ({next(iter(classes))})" if classes else "no class folders"
        raise InvalidDatasetError(
            f"{tree.location} has {found}; a classifier needs at least two, each with images: "
            "CLASS/IMAGE.jpg"
        )
    return {class_name: tuple(files) for class_name, files in classes.items()}


def _check_classes(tree: FileTree, splits: _Splits) -> None:
    for split, classes in splits.items():
        if unknown := sorted(classes.keys() - splits["train"].keys()):
            raise InvalidDatasetError(
                f"{tree.location}: {split} has classes that train has not: {_first(unknown)}"
            )


def _hold_out(classes: _Classes, depth: int) -> _Splits:
    """Split every class by the hash of the paths, with at least one image on either side."""
    train: dict[str, tuple[PurePosixPath, ...]] = {}
    test: dict[str, tuple[PurePosixPath, ...]] = {}
    for class_name, files in classes.items():
        if len(files) < 2:
            raise InvalidDatasetError(
                f"class {class_name} has one image ({files[0]}); it needs at least two, one to "
                "train and one to test with"
            )
        ranked = sorted((_position(path, depth), path) for path in files)
        held_out = sum(position < TEST_FRACTION for position, _ in ranked)
        held_out = min(max(held_out, 1), len(files) - 1)
        test[class_name] = tuple(sorted(path for _, path in ranked[:held_out]))
        train[class_name] = tuple(sorted(path for _, path in ranked[held_out:]))
    return {"train": train, "test": test}


def _position(path: PurePosixPath, depth: int) -> float:
    """Return the place of a path in [0, 1), by its class and what lies below it."""
    digest = hashlib.sha256("/".join(path.parts[depth:]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / math.ldexp(1.0, 64)


def _refuse_other_formats(tree: FileTree, paths: Iterable[PurePosixPath]) -> None:
    others = [str(path) for path in paths if path.suffix.lower() in _OTHER_IMAGE_SUFFIXES]
    if others:
        raise InvalidDatasetError(
            f"{tree.location} has images that are neither JPEG nor PNG: {_first(others)}; "
            "convert or remove them"
        )


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
