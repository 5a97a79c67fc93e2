"""The repository holds what a stranger can use: no data, nothing large, nothing of one machine."""

from __future__ import annotations

import re
from pathlib import Path

LARGEST = 1_000_000
"""Bytes of a file; a larger one belongs elsewhere, or on the list with a reason."""

LARGE_BY_INTENT: dict[str, str] = {}
"""Path of a larger file and why it is here."""

DATA = {
    *(".npy", ".npz", ".h5", ".hdf5", ".keras", ".tflite", ".onnx", ".ckpt", ".pb", ".tfrecord"),
    *(".zip", ".gz", ".tar", ".tgz", ".whl", ".parquet", ".pickle", ".pkl", ".bin"),
}
"""Suffixes of data sets, models and archives, which are made or downloaded, never committed."""

MACHINE = re.compile(
    r"""(?:^|[\s"'`=(:])/(?:root|home|Users|work|tmp/w|opt/wheels|opt/pypi)/"""
    r"|\.\./shared|/shared/(?:data|design)|\.library[/]"
)
"""A path of somebody's machine; none of these patterns matches its own source."""

REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|debian\.org|ubuntu\.com|proxy\.golang\.org"
    r"|--(?:extra-)?index[-]url|--find[-]links"
)
"""The host of a registry, or an option that names one: those are each machine's own business."""


def lines_that_match(pattern: re.Pattern[str], root: Path, files: list[Path]) -> list[str]:
    return [
        f"{file}:{number}: {line.strip()[:120]}"
        for file in files
        for number, line in enumerate((root / file).read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_path_of_one_machine(root: Path, project_files: list[Path]) -> None:
    assert lines_that_match(MACHINE, root, project_files) == []


def test_no_file_names_the_host_of_a_registry(root: Path, project_files: list[Path]) -> None:
    assert lines_that_match(REGISTRY, root, project_files) == []


def test_the_patterns_find_what_they_look_for() -> None:
    assert MACHINE.search(f"open('/{'home'}/someone/cat.jpg')")
    assert MACHINE.search(f"see ../{'shared'}/data")
    assert not MACHINE.search("https://example.org/home/page")
    assert REGISTRY.search(f"https://pypi.{'org'}/simple")


def test_no_data_set_or_model_is_committed(project_files: list[Path]) -> None:
    assert [file for file in project_files if file.suffix.lower() in DATA] == []


def test_no_large_file_is_committed(root: Path, project_files: list[Path]) -> None:
    large = {str(file) for file in project_files if (root / file).stat().st_size > LARGEST}

    assert large == LARGE_BY_INTENT.keys()
