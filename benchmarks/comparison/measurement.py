"""Selection and rounds: every contestant started, checked, measured and stopped in turn.

Only the contestant that is measured runs: on a small machine even an idle server that polls would
be felt. So each turn starts its server afresh, waits until it has settled, checks its answers,
warms it up, and measures.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from benchmarks.comparison import h2load
from benchmarks.comparison.calls import Answer, Call, CallError, differences, prepare
from benchmarks.comparison.cases import CONCURRENCIES, Case
from benchmarks.comparison.contestants import Contestant
from benchmarks.comparison.environments import BUILD, ROOT, python
from benchmarks.comparison.figures import best_setting
from benchmarks.comparison.processes import Server, ServerError, free_port, wait_until
from benchmarks.comparison.servers.network import VARIABLE
from benchmarks.comparison.workload import MODEL

HOST = "127.0.0.1"
START_TIMEOUT = 90.0
START_SECONDS = 11.0
"""About what a turn takes beyond its measurements; only for the estimate."""

WARM_UP = 0.7
"""Seconds of load before each measurement."""

ENOUGH = 2
"""Answers per caller in the warm-up, below which a contestant counts as slow."""

LONGEST = 8.0
"""Seconds of a measurement of a slow contestant: a caller may wait seconds for one answer."""

MIXED_CALLS = 64
"""Calls of the check under load, with different images at once: a batch must not mix them up."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Workload:
    """A case with what was made for it."""

    case: Case
    folder: Path
    class_names: list[str]
    saved_model: str
    keras_model: str
    image_bytes: list[int]
    reference: list[Answer]

    @classmethod
    def read(cls, case: Case, folder: Path) -> Workload:
        """Read what `workload.py` wrote."""
        document = json.loads((folder / "workload.json").read_text())
        document["reference"] = [
            [(name, score) for name, score in answer] for answer in document["reference"]
        ]
        return cls(case, folder, **document)

    @property
    def images(self) -> list[bytes]:
        """The images whose answers are known."""
        return [
            (self.folder / f"{number}.jpg").read_bytes() for number in range(len(self.reference))
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every server of the case: the same TensorFlow threads for all."""
        threads = str(self.case.threads)
        chosen = {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
        return {
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": "-1",
            **(chosen if self.case.threads else {}),
        }


@dataclass(frozen=True)
class Turn:
    """A server that has answered rightly."""

    server: Server
    call: Call
    target: str
    answer_bytes: int
    folder: Path

    def measure(self, concurrency: int, seconds: float, call: Call | None = None) -> dict[str, Any]:
        """Warm up, measure, and return the figures, with `failure` where there is one."""
        call = call or self.call
        warm = h2load.run(call, self.target, concurrency, WARM_UP, 0, self.folder)
        if warm.requests < ENOUGH * concurrency:
            # Slow: let it finish what it has accepted, and give it time for enough answers.
            self.server.wait_until_quiet(LONGEST)
            seconds = max(seconds, LONGEST)
        before = self.server.processor_seconds()
        load = h2load.run(call, self.target, concurrency, seconds, self.answer_bytes, self.folder)
        used = self.server.processor_seconds() - before
        self.server.check()
        figures = {
            "concurrency": concurrency,
            **dataclasses.asdict(load),
            "server_cpu_ms": used * 1000 / max(1, load.requests),
            "resident_mb": self.server.resident_bytes() / 1e6,
        }
        if load.failed:
            figures["failure"] = f"{load.failed} of {load.requests} requests failed"
        elif not load.requests:
            figures["failure"] = "no request was answered"
        return {name: tidy(value) for name, value in figures.items()}


def tidy(value: Any) -> Any:
    """Round a figure for the document; NaN, which JSON does not know, becomes None."""
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else round(value, 4)


def command(
    contestant: Contestant, setting: str, workload: Workload, port: int
) -> list[str | Path]:
    """Return the command that serves a case with a setting."""
    if contestant.module:
        module = f"benchmarks.comparison.servers.{contestant.module}"
        return [python(contestant.environment), "-m", module]
    return [
        *(BUILD / contestant.environment / "bin" / "heliograph", "serve"),
        *("--repository", workload.folder / "models", f"--listen={HOST}:{port}"),
        *("--metrics-listen=", "--log-format=json", *contestant.settings[setting]["flags"]),
    ]


def task(contestant: Contestant, setting: str, workload: Workload, port: int) -> str:
    """Return what a server in `servers/` reads from its environment."""
    return json.dumps(
        {
            "port": port,
            "saved_model": workload.saved_model,
            "keras_model": workload.keras_model,
            "class_names": workload.class_names,
            "shorter": workload.case.shorter,
            "crop": workload.case.side,
            "settings": dict(contestant.settings[setting]),
        }
    )


@contextmanager
def turn(contestant: Contestant, setting: str, workload: Workload) -> Iterator[Turn]:
    """Start a server, check its answers, and stop it afterwards.

    Raises:
        ServerError: It ended, did not get ready, or answers wrongly.
    """
    port = free_port()
    transport = contestant.transport_of(setting)
    calls = [
        prepare(transport, contestant.path_of(setting), image, MODEL) for image in workload.images
    ]
    environment = workload.environment | {VARIABLE: task(contestant, setting, workload, port)}
    log = workload.folder / f"{contestant.name}.log"
    server = Server(command(contestant, setting, workload, port), environment, ROOT, log)
    if transport == "triton":
        port += 1  # its gRPC endpoint
    try:
        answer_bytes = wait_until_ready(server, calls[0], port)
        server.wait_until_quiet()
        check_answers(calls, workload.reference, workload.case.tolerance, port)
        yield Turn(server, calls[0], f"{HOST}:{port}", answer_bytes, workload.folder)
    finally:
        server.stop()


def wait_until_ready(server: Server, call: Call, port: int) -> int:
    """Wait for the first answer; return its size on the wire."""
    last = "no answer"

    def ask() -> int | None:
        nonlocal last
        server.check()
        try:
            return call.send(HOST, port)[1]
        except CallError as error:
            last = str(error)
            return None

    size = wait_until(ask, START_TIMEOUT)
    if size is None:
        raise ServerError(f"was not ready after {START_TIMEOUT:.0f} s: {last}")
    return size


def check_answers(calls: list[Call], reference: list[Answer], tolerance: float, port: int) -> None:
    """Compare every answer with the right one, one by one and then many at once.

    Raises:
        ServerError: An answer is wrong.
    """
    numbers = [*range(len(calls)), *(n % len(calls) for n in range(MIXED_CALLS))]

    def check(number: int) -> str:
        try:
            answer, _ = calls[number].send(HOST, port)
        except CallError as error:
            return str(error)
        return differences(answer, reference[number], tolerance)

    wrong = [problem for problem in map(check, numbers[: len(calls)]) if problem]
    if not wrong:
        with ThreadPoolExecutor(16) as threads:
            wrong = [problem for problem in threads.map(check, numbers[len(calls) :]) if problem]
    if wrong:
        raise ServerError(f"answers wrongly: {wrong[0]}")


def measure_turn(
    contestant: Contestant,
    setting: str,
    workload: Workload,
    concurrencies: tuple[int, ...],
    seconds: float,
    report: Report,
) -> list[dict[str, Any]]:
    """Measure one setting at some concurrencies; a failure is a figure, too."""
    measured: list[dict[str, Any]] = []
    try:
        with turn(contestant, setting, workload) as running:
            for concurrency in concurrencies:
                figures = {"setting": setting, **running.measure(concurrency, seconds)}
                measured.append(figures)
                report(f"{contestant.title}, {setting}: {describe(figures)}")
    except (ServerError, SubprocessError, ValueError) as error:
        problem = str(error).replace(str(ROOT), ".")  # the document names no place of a machine
        report(f"{contestant.title}, {setting}: failed: {problem}")
        done = {figures["concurrency"] for figures in measured}
        measured.extend(
            {"setting": setting, "concurrency": concurrency, "failure": problem}
            for concurrency in concurrencies
            if concurrency not in done
        )
    return measured


def describe(figures: dict[str, Any]) -> str:
    """Return figures in a line."""
    at = f"{figures['concurrency']} at once"
    if "failure" in figures:
        return f"{at}: failed: {figures['failure']}"
    return (
        f"{at}: {figures['requests_per_second']:.0f}/s, p50 {figures['p50_ms']:.1f} ms, "
        f"p99 {figures['p99_ms']:.1f} ms"
    )


def select(
    contestant: Contestant, workload: Workload, seconds: float, report: Report
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Measure every setting once, and choose the best for each concurrency.

    Returns:
        All measurements, and the name of the setting with the most requests per second for each
        concurrency. A concurrency that was not tried takes the setting of the highest tried one.
    """
    tried = workload.case.selection
    measured = [
        figures
        for setting in contestant.settings
        for figures in measure_turn(contestant, setting, workload, tried, seconds, report)
    ]
    chosen = {}
    for concurrency in CONCURRENCIES:
        asked = concurrency if concurrency in tried else max(tried)
        rates = {
            figures["setting"]: None if "failure" in figures else figures["requests_per_second"]
            for figures in measured
            if figures["concurrency"] == asked
        }
        best = best_setting(rates)
        if best is not None:
            chosen[concurrency] = best
    return measured, chosen


def measure_round(
    contestant: Contestant,
    chosen: dict[int, str],
    workload: Workload,
    seconds: float,
    report: Report,
) -> list[dict[str, Any]]:
    """Measure a contestant once, each concurrency with its best setting."""
    measured = []
    for setting in dict.fromkeys(chosen.values()):
        concurrencies = tuple(each for each, name in chosen.items() if name == setting)
        measured += measure_turn(contestant, setting, workload, concurrencies, seconds, report)
    return measured


def estimate(
    case: Case, contestants: list[Contestant], rounds: int, selecting: float, seconds: float
) -> float:
    """Return about how many seconds a case takes, its limits left out."""
    settings = sum(len(contestant.settings) for contestant in contestants)
    selection = settings * (START_SECONDS + len(case.selection) * (WARM_UP + selecting))
    # Two of three concurrencies usually share a setting.
    starts = min(2, len(case.selection))
    final = START_SECONDS * starts + len(CONCURRENCIES) * (WARM_UP + seconds)
    return selection + rounds * len(contestants) * final
