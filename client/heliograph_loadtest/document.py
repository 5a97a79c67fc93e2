"""The report as a JSON document, and back. docs/loadtest.md describes every field.

Fields marked as derived there are for readers of the file; reading it back computes them again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from heliograph.errors import InvalidArgumentError, NotFoundError, StorageError
from heliograph_loadtest.histogram import LatencyHistogram
from heliograph_loadtest.load import ClosedLoop, Load, OpenLoop
from heliograph_loadtest.objectives import Objective
from heliograph_loadtest.results import (
    PERCENTILES,
    Configuration,
    ErrorCount,
    GeneratorUse,
    Interval,
    Report,
    SearchResult,
    StepResult,
    VersionCount,
)

KIND: Final = "heliograph.loadtest"
SCHEMA_VERSION: Final = 1
"""Raised when a field changes its meaning or goes; new fields do not raise it."""


def to_document(report: Report) -> dict[str, Any]:
    """Return a report as what JSON can say."""
    objectives = report.configuration.objectives
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "started": report.started,
        "interrupted": report.interrupted,
        "environment": dict(report.environment),
        "configuration": asdict(report.configuration),
        "steps": [_step(step, report.configuration) for step in report.steps],
        "search": None if report.search is None else asdict(report.search),
        "objectives_kept": all(step.keeps(objectives) for step in report.steps),
    }


def from_document(document: Mapping[str, Any]) -> Report:
    """Return the report that a document holds.

    Raises:
        InvalidArgumentError: It is no report, or one of a newer schema.
    """
    if document.get("kind") != KIND:
        raise InvalidArgumentError("this is no report of heliograph loadtest")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise InvalidArgumentError(
            f"this report has schema version {document.get('schema_version')}, and this program "
            f"reads {SCHEMA_VERSION}"
        )
    try:
        return Report(
            started=document["started"],
            environment=document["environment"],
            configuration=_read_configuration(document["configuration"]),
            steps=tuple(_read_step(step) for step in document["steps"]),
            search=None if document["search"] is None else SearchResult(**document["search"]),
            interrupted=document["interrupted"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgumentError(f"this report is damaged: {error!r}") from error


def write_document(report: Report, path: Path) -> None:
    """Write a report.

    Raises:
        StorageError: The file cannot be written.
    """
    write_text(path, json.dumps(to_document(report), indent=1) + "\n")


def check_writable(path: Path) -> None:
    """Notice before a run, and not after it, that its report cannot be written.

    Raises:
        StorageError: The folder does not exist, or is read-only.
    """
    if not path.parent.is_dir():
        raise StorageError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise StorageError(f"cannot write {path}: it is read-only")


def write_text(path: Path, text: str) -> None:
    """Write a file of a report.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def read_document(path: Path) -> Report:
    """Read a report.

    Raises:
        NotFoundError: There is no such file.
        InvalidArgumentError: It is no report.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise InvalidArgumentError("this is no report of heliograph loadtest")
        return from_document(document)
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, InvalidArgumentError) as error:
        message = error.message if isinstance(error, InvalidArgumentError) else f"no JSON: {error}"
        raise InvalidArgumentError(f"{path}: {message}") from error


def _step(step: StepResult, configuration: Configuration) -> dict[str, Any]:
    limits = [objective.limit for objective in configuration.objectives]
    return {
        "load": _load(step.load),
        "warmup_seconds": step.warmup,
        "planned_seconds": step.planned,
        "seconds": step.seconds,
        "images_per_call": step.images_per_call,
        "calls": {
            "due": step.due,
            "ok": step.ok,
            "failed": step.failed,
            "not_sent": step.not_sent,
        },
        "per_second": {
            "due": step.due_rate,
            "answered": step.answered_rate,
            "goodput": step.goodput(max(limits)) if limits else None,
            "images": step.image_rate,
        },
        "objectives": [
            {
                "percentile": item.objective.percentile,
                "limit_seconds": item.objective.limit,
                "share": item.share,
                "kept": item.kept,
            }
            for item in step.attainments(configuration.objectives)
        ],
        "latencies": {status: _latency(histogram) for status, histogram in step.latencies.items()},
        "errors": [asdict(error) for error in step.errors],
        "versions": [asdict(version) for version in step.versions],
        "intervals": [_interval(interval) for interval in step.intervals],
        "generator": {
            "cores": list(step.generator.cores),
            "busy": list(step.generator.busy),
            "cpu_seconds_per_call": step.generator.cpu_per_call,
            "lateness": _latency(step.generator.lateness),
            "late_share": step.generator.late_share,
            "held": step.generator.held,
            "limits": list(step.generator_limits),
            "disturbed": step.disturbed,
        },
    }


def _load(load: Load) -> dict[str, Any]:
    if isinstance(load, OpenLoop):
        return {"loop": "open", "rate": load.rate, "arrivals": load.arrivals}
    return {"loop": "closed", "concurrency": load.concurrency}


def _latency(histogram: LatencyHistogram) -> dict[str, Any]:
    shown = dict(zip(PERCENTILES, histogram.percentiles(PERCENTILES), strict=True))
    return {
        "count": histogram.count,
        "mean": histogram.mean,
        **{f"p{percentile:g}": value for percentile, value in shown.items()},
        "longest": histogram.longest,
        "hdr": histogram.encode(),
    }


def _interval(interval: Interval) -> dict[str, Any]:
    p50, p90, p99 = interval.latency.percentiles((50, 90, 99))
    return {
        "start": interval.start,
        "seconds": interval.seconds,
        "due": interval.due,
        "ok": interval.ok,
        "not_sent": interval.not_sent,
        "answered": interval.answered,
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "longest": interval.latency.longest,
        "hdr": interval.latency.encode(),
    }


def _read_configuration(document: Mapping[str, Any]) -> Configuration:
    objectives = tuple(Objective(**objective) for objective in document["objectives"])
    return Configuration(**{**document, "objectives": objectives})


def _read_step(document: Mapping[str, Any]) -> StepResult:
    generator = document["generator"]
    return StepResult(
        load=_read_load(document["load"]),
        warmup=document["warmup_seconds"],
        planned=document["planned_seconds"],
        seconds=document["seconds"],
        images_per_call=document["images_per_call"],
        intervals=tuple(_read_interval(interval) for interval in document["intervals"]),
        latencies={
            status: LatencyHistogram.decode(latency["hdr"])
            for status, latency in document["latencies"].items()
        },
        errors=tuple(ErrorCount(**error) for error in document["errors"]),
        versions=tuple(VersionCount(**version) for version in document["versions"]),
        generator=GeneratorUse(
            cores=tuple(generator["cores"]),
            busy=tuple(generator["busy"]),
            cpu_per_call=generator["cpu_seconds_per_call"],
            lateness=LatencyHistogram.decode(generator["lateness"]["hdr"]),
            held=generator["held"],
        ),
    )


def _read_load(document: Mapping[str, Any]) -> Load:
    if document["loop"] == "open":
        return OpenLoop(document["rate"], document["arrivals"])
    return ClosedLoop(document["concurrency"])


def _read_interval(document: Mapping[str, Any]) -> Interval:
    return Interval(
        start=document["start"],
        seconds=document["seconds"],
        due=document["due"],
        ok=document["ok"],
        not_sent=document["not_sent"],
        answered=document["answered"],
        latency=LatencyHistogram.decode(document["hdr"]),
    )
