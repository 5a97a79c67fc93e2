"""Check that a Python can run Heliograph, or find one that can.

    python tools/check_python.py                   # exit code 1 and what to do when it cannot
    python tools/check_python.py --find 3.12 3.11  # print the first of these on this machine

`make` runs this before it creates an environment. It must start on the very versions that it
refuses, so it keeps to the syntax of Python 3.6 and to the standard library.
"""

import re
import subprocess
import sys
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def supported_versions() -> "list[tuple[int, int]]":
    """Return the versions that `requires-python` of pyproject.toml allows, oldest first."""
    match = re.search(
        r'^requires-python = ">=3\.(\d+),<3\.(\d+)"$',
        PYPROJECT.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    if match is None:
        raise SystemExit("pyproject.toml has no requires-python of the form >=3.N,<3.M.")
    return [(3, minor) for minor in range(int(match.group(1)), int(match.group(2)))]


def find(versions: "list[tuple[int, int]]") -> "list[str]":
    """Return the commands that start these versions on this machine, in the given order.

    A command counts only when it runs: version managers put names on the path that start nothing.
    """
    found = []
    for version in versions:
        if version == sys.version_info[:2]:
            found.append(sys.executable)
            continue
        command = "python{}.{}".format(*version)
        try:
            subprocess.run(
                [command, "-c", ""],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        found.append(command)
    return found


def explain_refusal(version: "tuple[int, int]", supported: "list[tuple[int, int]]") -> str:
    """Say why `version` cannot run Heliograph and which command mends it."""
    text = "{}.{}".format
    reason = (
        "older than Heliograph supports"
        if version < supported[0]
        else "newer than TensorFlow has packages for"
    )
    newest_first = sorted(supported, reverse=True)
    found = find(newest_first)
    mend = (
        f"Run: make setup PYTHON={found[0]}"
        if found
        else "Install one of them, then run: make setup PYTHON=python" + text(*newest_first[0])
    )
    return (
        f"This is Python {text(*version)}, which is {reason}. Heliograph needs Python "
        f"{text(*supported[0])} to {text(*supported[-1])}. {mend}"
    )


def main() -> int:
    """Run the command and return its exit code."""
    if sys.argv[1:2] == ["--find"]:
        versions = [tuple(map(int, argument.split("."))) for argument in sys.argv[2:]]
        found = find([(major, minor) for major, minor in versions])
        print("\n".join(found[:1]))
        return 0 if found else 1
    version, supported = sys.version_info[:2], supported_versions()
    if version in supported:
        return 0
    print(explain_refusal(version, supported), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
