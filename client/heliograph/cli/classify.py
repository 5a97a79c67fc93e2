"""`heliograph classify`: name the classes of images."""

from __future__ import annotations

import argparse
import glob
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from heliograph.cli.connection import add_connection_arguments, connection_options
from heliograph.client import Client
from heliograph.errors import NotFoundError, UnavailableError
from heliograph.results import Failure, Result

STDIN = "-"
SUFFIXES = (".jpeg", ".jpg", ".png")

_EPILOG = """\
examples:
  heliograph classify cat.jpg
  heliograph classify photos/ 'more/*.png' --top-k 1
  heliograph classify photos/ --model pets --version-label canary --json
  curl -s https://example.org/cat.jpg | heliograph classify -

The exit code is 0 when every image was classified, and otherwise that of the first error.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = "Name the classes of images, with a model behind a gateway."
    parser.epilog = _EPILOG
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="file, folder (its JPEG and PNG files, in subfolders too), pattern, or - for stdin",
    )
    parser.add_argument("--model", metavar="NAME", help="model; not needed where there is only one")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="exact version")
    which.add_argument("--version-label", metavar="LABEL", help="name for a version")
    parser.add_argument(
        "--top-k", type=int, default=3, metavar="K", help="classes per image [%(default)s]"
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.0,
        metavar="SCORE",
        help="leave out classes that score less, from 0 to 1 [%(default)g]",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_connection_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Classify the images; return 0, or the exit code of the first image that failed."""
    names = list(expand(arguments.images))
    images = [sys.stdin.buffer if name == STDIN else name for name in names]
    with Client(arguments.target, **connection_options(arguments)) as client:
        outcomes = zip(
            names,
            client.classify_many(
                images,
                model=arguments.model,
                version=arguments.version,
                version_label=arguments.version_label,
                top_k=arguments.top_k,
                min_score=arguments.min_score,
            ),
            strict=True,
        )
        if arguments.json:
            return _print_json(outcomes)
        return _print_table(outcomes, max(map(len, names)))


def expand(words: Iterable[str]) -> Iterator[str]:
    """Return the images that words stand for: files, those in folders, and matches of patterns.

    Raises:
        NotFoundError: A folder has no images, or a pattern no matches.
    """
    for word in words:
        if word == STDIN:
            yield word
        elif Path(word).is_dir():
            yield from _images_below(Path(word))
        elif not Path(word).exists() and glob.has_magic(word):
            # Path.glob takes no absolute patterns.
            matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207
            if not matches:
                raise NotFoundError(f"no file matches {word}")
            yield from matches
        else:
            yield word


def _images_below(folder: Path) -> list[str]:
    found = sorted(
        str(path)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not found:
        raise NotFoundError(f"the folder {folder} has no JPEG or PNG files")
    return found


def _print_table(outcomes: Iterable[tuple[str, Result | Failure]], width: int) -> int:
    exit_code = 0
    print(f"{'IMAGE':<{width}}  {'VERSION':>7}  {'SCORE':>6}  CLASS")
    for name, outcome in outcomes:
        if isinstance(outcome, Failure):
            failed = _tell(name, outcome)
            exit_code = exit_code or failed
            continue
        rows = [(f"{item.score:.4f}", item.class_name) for item in outcome.classes]
        for number, (score, class_name) in enumerate(rows or [("-", "-")]):
            # The image is named on the first of its lines.
            image, version = (name, outcome.version) if number == 0 else ("", "")
            print(f"{image:<{width}}  {version:>7}  {score:>6}  {class_name}")
        sys.stdout.flush()
    return exit_code


def _print_json(outcomes: Iterable[tuple[str, Result | Failure]]) -> int:
    exit_code = 0
    results: list[dict[str, Any]] = []
    for name, outcome in outcomes:
        if isinstance(outcome, Failure):
            failed = _tell(name, outcome)
            exit_code = exit_code or failed
            results.append({"image": name, "error": _error_document(outcome)})
        else:
            results.append({"image": name, **_result_document(outcome)})
    json.dump({"results": results}, sys.stdout, indent=2)
    print()
    return exit_code


def _tell(name: str, failure: Failure) -> int:
    """Report an image that failed, and return the exit code of its error.

    Raises:
        UnavailableError: There is no gateway; the next image would fail likewise.
    """
    if isinstance(failure.error, UnavailableError):
        raise failure.error
    message = failure.error.message
    shown = message if name in message else f"{name}: {message}"
    request = f" (request {failure.error.request_id})" if failure.error.request_id else ""
    print(f"heliograph classify: {shown}{request}", file=sys.stderr, flush=True)
    return failure.error.exit_code


def _result_document(result: Result) -> dict[str, Any]:
    return {
        "model": result.model,
        "version": result.version,
        "routing_revision": result.routing_revision,
        "classes": [
            {"index": item.index, "class_name": item.class_name, "score": item.score}
            for item in result.classes
        ],
    }


def _error_document(failure: Failure) -> dict[str, Any]:
    error = failure.error
    return {
        "status": error.status,
        "reason": error.reason,
        "message": error.message,
        "request_id": error.request_id,
    }
