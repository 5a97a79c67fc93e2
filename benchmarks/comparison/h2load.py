"""The load generator: h2load of nghttp2, written in C, for HTTP and for gRPC alike."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.calls import Call
from benchmarks.comparison.figures import percentile

MISSING = "the comparison needs h2load: apt-get install nghttp2-client (brew install nghttp2)"
SLACK = 30
"""Seconds that h2load may take beyond the measurement."""

_TOTALS = re.compile(r"requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored")
_STATUS = re.compile(r"status codes: (\d+) 2xx")
_DATA = re.compile(r"\((\d+)\) data")


@dataclass(frozen=True)
class Load:
    """What one run of the generator saw."""

    requests: int
    """Answered within the time."""
    failed: int
    """Not answered, or with a status other than 2xx, or not with the bytes of a good answer."""
    requests_per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    generator_cpu_ms: float
    """Processor time of the generator, per request."""


def is_installed() -> bool:
    """Say whether there is a generator."""
    return shutil.which("h2load") is not None


def version() -> str:
    """Return the generator's version."""
    return subprocess.run(
        ["h2load", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()


def command(
    call: Call, target: str, concurrency: int, seconds: float, body: Path, log: Path | None
) -> list[str]:
    """Return the command line: every caller has its connection and one request under way."""
    headers = [f"--header={name}: {value}" for name, value in call.headers.items()]
    where = [f"http://{target}{call.path}"]
    if target.startswith("unix:"):
        where = [f"--base-uri={target}", f"http://localhost{call.path}"]
    return [
        *("h2load", f"--duration={round(seconds * 1000)}ms", f"--clients={concurrency}"),
        *("--threads=1", "--max-concurrent-streams=1"),
        *([] if call.is_grpc else ["--h1"]),
        *headers,
        f"--data={body}",
        *([f"--log-file={log}"] if log else []),
        *where,
    ]


def run(
    call: Call, target: str, concurrency: int, seconds: float, answer_bytes: int, folder: Path
) -> Load:
    """Send for a time, each caller its next request as soon as the last is answered.

    Args:
        call: What to send.
        target: `HOST:PORT`, or `unix:PATH`.
        concurrency: Callers.
        seconds: Length of the measurement.
        answer_bytes: Size of a good answer on the wire. gRPC's errors have HTTP status 200 and no
            data, so that the bytes received say how many answers were good; 0 does without.
        folder: For the body and the log.
    """
    body, log = folder / "body.bin", folder / "requests.tsv"
    body.write_bytes(call.body)
    log.unlink(missing_ok=True)  # h2load would append
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run(
        command(call, target, concurrency, seconds, body, log),
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + SLACK,
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    durations = read_log(log.read_text())
    return Load(
        requests=len(durations),
        failed=failures(output, answer_bytes if call.is_grpc else 0, concurrency),
        requests_per_second=len(durations) / seconds,
        p50_ms=percentile(durations, 0.5) / 1000,
        p95_ms=percentile(durations, 0.95) / 1000,
        p99_ms=percentile(durations, 0.99) / 1000,
        generator_cpu_ms=used * 1000 / max(1, len(durations)),
    )


def read_log(text: str) -> list[int]:
    """Return the microseconds of every good request, sorted.

    The columns are the start in microseconds, the status, and the microseconds until the answer had
    ended.
    """
    rows = (line.split("\t") for line in text.splitlines())
    return sorted(int(row[2]) for row in rows if row[1] == "200")


def failures(output: str, answer_bytes: int, concurrency: int) -> int:
    """Count what went wrong in a run, from what h2load printed.

    Requests that are under way when the time is over are no failures.
    """
    totals, status, data = _TOTALS.search(output), _STATUS.search(output), _DATA.search(output)
    if not totals or not status or not data:
        raise ValueError(f"this is not what h2load prints: {output[-300:]!r}")
    done, _, failed, errored = (int(group) for group in totals.groups())
    wrong = max(failed + errored, done - int(status[1]))
    if answer_bytes:
        good, rest = divmod(int(data[1]), answer_bytes)
        missing = abs(done - good)
        if rest or missing > concurrency:
            wrong = max(wrong, missing, 1)
    return wrong
