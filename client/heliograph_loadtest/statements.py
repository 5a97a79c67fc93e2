"""What a report says in sentences, the same in a terminal and on a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from heliograph_loadtest.results import Report, StepResult
from heliograph_loadtest.units import duration, milliseconds, number, percent, size

_METHODS = {"classify": "Classify", "batch": "BatchClassify", "stream": "StreamClassify"}


@dataclass(frozen=True)
class Finding:
    """One sentence, and whether it is good news."""

    kind: Literal["good", "bad", "warning", "note"]
    text: str


def configuration_lines(report: Report) -> list[str]:
    """Return what was asked, of whom, and from where."""
    configuration = report.configuration
    each = configuration.image_bytes / configuration.images if configuration.images else 0
    method = _METHODS.get(configuration.method, configuration.method)
    per_call = f" of {configuration.batch_size} images" if configuration.batch_size > 1 else ""
    model = configuration.model or "the only model"
    if configuration.version is not None:
        model += f" version {configuration.version}"
    elif configuration.version_label is not None:
        model += f" version label {configuration.version_label}"
    security = " with TLS" if configuration.tls else ""
    security += " and a token" if configuration.token and security else ""
    security += " with a token" if configuration.token and not configuration.tls else ""
    lines = [
        f"{configuration.target}{security}, {model}",
        (
            f"{method}{per_call}, {configuration.images} images of {size(each)} on average, "
            f"timeout {duration(configuration.timeout)}"
        ),
        (
            f"{_count(configuration.processes, 'generator process', 'generator processes')} with "
            f"{_count(configuration.connections, 'connection', 'connections')} each, on "
            f"{report.environment.get('cores')} cores"
        ),
    ]
    if len(report.steps) == 1:
        lines.append(_timing(report.steps[0]))
    elif report.steps:
        first = report.steps[0]
        lines.append(
            f"{len(report.steps)} steps of {duration(first.planned)}, each after "
            f"{duration(first.warmup)} of warm-up"
        )
    return lines


def findings(report: Report) -> list[Finding]:
    """Return what the figures mean: objectives, the search, and doubts about the figures."""
    found: list[Finding] = []
    if report.interrupted:
        found.append(Finding("warning", "The run was interrupted; this is what it had measured."))
    found += _search_findings(report)
    if report.search is None:
        found += _objective_findings(report)
    found += _generator_findings(report)
    for step in report.steps:
        found += _shortfalls(report, step)
    return found


def _search_findings(report: Report) -> list[Finding]:
    search = report.search
    if search is None:
        return []
    wanted = " and ".join(map(str, report.configuration.objectives))
    if not search.kept:
        tried = f" The lowest rate tried was {number(search.missed)}/s." if search.missed else ""
        return [Finding("bad", f"No rate kept {wanted}.{tried}")]
    missed = f"{number(search.missed)}/s missed it" if search.missed else "none missed it"
    text = f"Highest rate that kept {wanted}: {number(search.kept)}/s ({missed})."
    if search.generator_limited:
        text += " The generator was the limit there: the target may do more."
    return [Finding("warning" if search.generator_limited else "good", text)]


def _objective_findings(report: Report) -> list[Finding]:
    found = []
    for objective in report.configuration.objectives:
        items = [
            (step, attainment)
            for step in report.steps
            for attainment in step.attainments((objective,))
        ]
        kept = [step.load.amount for step, item in items if item.kept]
        missed = [step.load.amount for step, item in items if not item.kept]
        if len(items) == 1:
            share = percent(items[0][1].share)
            words = (
                f"{'kept' if kept else 'missed'}: {share} of the calls due were answered in time"
            )
        else:
            words = "; ".join(
                f"{verdict} at {', '.join(loads)}"
                for verdict, loads in (("kept", kept), ("missed", missed))
                if loads
            )
        found.append(Finding("bad" if missed else "good", f"{objective} {words}."))
    return found


def _generator_findings(report: Report) -> list[Finding]:
    found = []
    limited = [step for step in report.steps if step.generator_limits]
    if limited:
        reasons = " and ".join(limited[0].generator_limits)
        advice = "Use more --processes, a lower rate, or a machine that does nothing else."
        where, first = "", ""
        if len(report.steps) > 1:
            where = f" in {_steps(len(limited), report)}, marked with !"
            first = f"At {limited[0].load.amount} "
        reasons = f"{where}: {reasons}" if not first else f"{where}. {first}{reasons}"
        found.append(Finding("warning", f"The generator was the limit{reasons}. {advice}"))
    disturbed = [step for step in report.steps if step.disturbed and not step.generator_limits]
    if disturbed and not report.search:
        where = f" in {_steps(len(disturbed), report)}" if len(report.steps) > 1 else ""
        late = max(step.generator.lateness.percentile(99) for step in disturbed)
        found.append(
            Finding(
                "warning",
                f"The machine of the generator was disturbed{where}: its own timers were up to "
                f"{milliseconds(late)} ms late at p99, which the longest latencies contain.",
            )
        )
    return found


def _steps(count: int, report: Report) -> str:
    return f"{count} of {len(report.steps)} steps"


def _shortfalls(report: Report, step: StepResult) -> list[Finding]:
    where = f"{step.title}: " if len(report.steps) > 1 else ""
    found = []
    if step.generator.held and not report.search:
        found.append(
            Finding(
                "warning",
                f"{where}{step.generator.held:,} calls were sent late or never, since as many as "
                f"--max-in-flight allows, {report.configuration.max_in_flight:,}, had no answer.",
            )
        )
    if not report.interrupted and step.seconds < step.planned * 0.999:
        found.append(
            Finding(
                "note",
                f"{where}It ended after {duration(step.seconds)} of {duration(step.planned)}: "
                "the number of calls has a limit (--max-calls).",
            )
        )
    return found


def _timing(step: StepResult) -> str:
    generator = step.generator
    cores = " + ".join(f"{cores:.2f}" for cores in generator.cores)
    late = milliseconds(generator.lateness.percentile(99))
    return (
        f"{step.title} for {duration(round(step.seconds, 3))} after {duration(step.warmup)} of "
        f"warm-up; the generator took {number(generator.cpu_per_call * 1e6)} µs of processor time "
        f"per call ({cores} cores), its {'timers' if step.closed else 'calls'} were {late} ms late "
        "at p99"
    )


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
