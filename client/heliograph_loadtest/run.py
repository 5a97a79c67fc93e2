"""A whole run, from the first connection to the report."""

from __future__ import annotations

from datetime import UTC, datetime

from heliograph_loadtest.environment import environment
from heliograph_loadtest.fleet import Fleet
from heliograph_loadtest.interruption import Interruption
from heliograph_loadtest.results import Configuration, Report
from heliograph_loadtest.steps import Plan, Progress, Steps


def run(plan: Plan, progress: Progress) -> Report:
    """Run a plan, and return what there is when it is done or interrupted.

    Raises:
        HeliographError: The target cannot be measured.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    surroundings = environment()
    with Fleet(plan.traffic, plan.processes) as fleet:
        fleet.open()
        with Interruption() as interruption:
            steps = Steps(plan, fleet, interruption, progress)
            search = steps.search() if plan.find_max else None
            if not plan.find_max:
                steps.run_all()
    return Report(
        started=started,
        environment=surroundings,
        configuration=configuration(plan),
        steps=tuple(steps.results),
        search=search,
        interrupted=interruption.requested,
    )


def configuration(plan: Plan) -> Configuration:
    """Return what reports say about a plan."""
    traffic = plan.traffic
    return Configuration(
        target=traffic.endpoint.target,
        tls=traffic.endpoint.tls is not None,
        token=traffic.endpoint.token is not None,
        method=traffic.method,
        batch_size=traffic.batch_size,
        images=len(plan.images.paths),
        image_bytes=plan.images.total_bytes,
        model=traffic.model,
        version=traffic.version,
        version_label=traffic.version_label,
        top_k=traffic.top_k,
        timeout=traffic.endpoint.timeout,
        processes=plan.processes,
        connections=traffic.endpoint.channels,
        attempts=traffic.endpoint.retry.attempts,
        max_in_flight=plan.steps[0].max_in_flight,
        seed=traffic.seed,
        objectives=plan.objectives,
    )
