"""Publishing while processes are killed, disks are full, and others publish too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from heliograph.repository import Repository

PUBLISH = """
import sys
from pathlib import Path
from heliograph.errors import HeliographError
from heliograph.repository import Repository

{before}
try:
    with Repository(Path(sys.argv[1])).publish("digits") as staging:
        (staging.path / "variables").mkdir()
        (staging.path / "variables" / "data").write_bytes(bytes({size}))
        {inside}
except HeliographError as error:
    sys.exit(f"{{type(error).__name__}}: {{error.message}}")
print(staging.version, flush=True)
"""
DROP_PRIVILEGES = "import os; os.geteuid() or os.seteuid(65534)"
"""Root may write anywhere, so the program becomes `nobody`, once all modules are imported."""


def publisher(
    root: Path, *, size: int = 1000, before: str = "", inside: str = ""
) -> subprocess.Popen[str]:
    program = PUBLISH.format(size=size, before=before, inside=inside)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=60)
    return process.returncode, output.strip(), errors.strip()


def entries(root: Path) -> list[str]:
    """What is in the model's folder, but for the claimed numbers."""
    return sorted(entry.name for entry in (root / "digits").iterdir() if entry.name != ".claimed")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_a_publisher_that_is_killed_leaves_no_visible_version(repository: Path) -> None:
    process = publisher(repository, inside="print('halfway', flush=True); sys.stdin.read()")
    assert process.stdout
    assert process.stdout.readline() == "halfway\n"

    process.send_signal(signal.SIGKILL)

    assert outcome(process)[0] == -signal.SIGKILL
    assert Repository(repository).versions("digits") == []
    assert Repository(repository).models() == []
    assert outcome(publisher(repository)) == (0, "1", "")


def test_a_full_disk_is_a_storage_error_that_leaves_nothing_behind(repository: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"

    code, output, errors = outcome(publisher(repository, size=200_000, before=limit))

    assert (code, output) == (1, "")
    assert errors.startswith(f"StorageError: cannot write {repository / 'digits'}: ")
    assert "limit" in errors
    assert entries(repository) == []
    assert outcome(publisher(repository)) == (0, "1", "")


def test_a_full_file_system_is_a_storage_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        code, output, errors = outcome(publisher(tmp_path, size=1_000_000))
        left = entries(tmp_path)
        after = outcome(publisher(tmp_path))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

    assert (code, output) == (1, "")
    assert "the disk is full; free some space and try again" in errors
    assert left == []
    assert after == (0, "1", "")


def test_a_read_only_repository_is_a_storage_error(open_folder: Path) -> None:
    (open_folder / "digits").mkdir()
    (open_folder / "digits").chmod(0o555)

    code, output, errors = outcome(publisher(open_folder, before=DROP_PRIVILEGES))

    assert (code, output) == (1, "")
    assert errors == (
        f"StorageError: cannot write {open_folder / 'digits'}: permission denied; "
        "check the owner and mode of the folder"
    )


def test_publishers_at_once_get_different_numbers(repository: Path) -> None:
    processes = [publisher(repository, inside="sys.stdin.read()") for _ in range(6)]

    outcomes = [outcome(process) for process in processes]

    assert [code for code, _, _ in outcomes] == [0] * 6
    assert sorted(int(version) for _, version, _ in outcomes) == [1, 2, 3, 4, 5, 6]
    assert entries(repository) == ["1", "2", "3", "4", "5", "6"]


def test_of_several_writers_of_a_routing_revision_one_wins(repository: Path) -> None:
    (repository / "digits").mkdir()
    program = """
import sys
from pathlib import Path
from heliograph.errors import RevisionConflictError
from heliograph.routing import RoutingTable, create_routing

sys.stdin.read()
number = int(sys.argv[2])
try:
    create_routing(Path(sys.argv[1]), RoutingTable(revision=1, stable=number, release=f"r{number}"))
except RevisionConflictError:
    sys.exit(73)
"""
    command = [sys.executable, "-c", program, str(repository / "digits")]
    processes = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE) for number in range(1, 7)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.close()

    codes = [process.wait(timeout=60) for process in processes]

    assert sorted(codes) == [0, 73, 73, 73, 73, 73]
    winner = codes.index(0) + 1
    table = json.loads((repository / "digits" / "routing.1.json").read_text())
    assert (table["stable"], table["release"]) == (winner, f"r{winner}")
    assert entries(repository) == ["routing.1.json"]
