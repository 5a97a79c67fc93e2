"""An environment for each contestant, made with uv so that equal packages are stored once.

TensorFlow alone is 2 GB unpacked. uv keeps one copy in its cache and links the files into each
environment: every contestant has a complete environment of its own, without its own copy on disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).parent / "requirements"
BUILD = ROOT / "build" / "benchmarks"
INSTALLER = "installer"


def python(name: str) -> Path:
    """Return the interpreter of an environment."""
    return BUILD / name / "bin" / "python"


def provide(name: str, report: Callable[[str], None]) -> None:
    """Create the environment, or bring it up to date with its requirements."""
    requirements = REQUIREMENTS / f"{name}.txt"
    installer = BUILD / INSTALLER
    uv = installer / "bin" / "uv"
    if not uv.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", installer], check=True)
        pip = [str(python(INSTALLER)), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--requirement", REQUIREMENTS / f"{INSTALLER}.txt"], check=True)
    stamp = BUILD / name / "requirements.txt"
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return
    report(f"making the environment of {name}")
    subprocess.run(
        [sys.executable, "-m", "venv", "--clear", "--without-pip", BUILD / name], check=True
    )
    install = [str(uv), "pip", "install", "--quiet", "--python", str(python(name))]
    subprocess.run(
        [*install, "--cache-dir", BUILD / "cache", "--requirement", requirements],
        cwd=ROOT,
        check=True,
    )
    stamp.write_text(requirements.read_text())


def versions(name: str) -> dict[str, str]:
    """Return every package of an environment with its version."""
    program = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
    )
    listing = subprocess.run([python(name), "-c", program], check=True, capture_output=True)
    found: dict[str, str] = json.loads(listing.stdout)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))
