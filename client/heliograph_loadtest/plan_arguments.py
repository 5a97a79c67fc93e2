"""The arguments that say what to send, how much of it, and for how long."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final, TypeVar

from heliograph.classifier_calls import DEFAULT_TOP_K, SERVICE
from heliograph.cli.classify import STDIN, expand
from heliograph.cli.connection import connection_options
from heliograph.endpoint import Endpoint
from heliograph.errors import ConfigurationError
from heliograph.options import MAX_ATTEMPTS, RetryOptions
from heliograph_loadtest.load import Arrivals, ClosedLoop, Load, Method, OpenLoop, Step, Traffic
from heliograph_loadtest.objectives import parse_objectives
from heliograph_loadtest.requests import MAX_BYTES, select_images
from heliograph_loadtest.steps import Plan
from heliograph_loadtest.units import duration, parse_seconds, parse_share, size

MAX_STEPS: Final = 100
"""Most steps of a run."""

FIRST_RATE: Final = 50.0
"""Calls per second that a search starts with unless it is told."""

_Number = TypeVar("_Number", int, float)


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments, in groups."""
    load = parser.add_argument_group("load (one of --rate, --concurrency, --ramp, --find-max)")
    load.add_argument(
        "--rate",
        type=_several(_rate),
        metavar="N[,N…]",
        help="open loop: calls per second; several make steps",
    )
    load.add_argument(
        "--concurrency",
        type=_several(_count),
        metavar="N[,N…]",
        help="closed loop: callers that wait for their answers; several make steps",
    )
    load.add_argument(
        "--ramp", type=_ramp, metavar="FROM:TO:STEPS", help="open loop: a step for each rate"
    )
    load.add_argument(
        "--find-max",
        action="store_true",
        help="search for the highest rate that keeps --slo, from --rate or 50 per second on",
    )
    load.add_argument(
        "--precision",
        type=parse_share,
        default=0.05,
        metavar="SHARE",
        help="of --find-max: how close to the limit it gets [5%%]",
    )
    load.add_argument(
        "--arrivals",
        choices=["constant", "poisson"],
        default="constant",
        help="open loop: even or random intervals [%(default)s]",
    )
    load.add_argument(
        "--slo",
        type=parse_objectives,
        default=(),
        metavar="pN=TIME[,…]",
        help="objectives: p99=50ms asks that 99 %% of the calls due are answered within 50 ms",
    )
    load.add_argument(
        "--duration",
        type=parse_seconds,
        metavar="TIME",
        help="of each step, without the warm-up [30s; 10s where there are several steps]",
    )
    load.add_argument(
        "--warmup",
        type=parse_seconds,
        metavar="TIME",
        help="left out at the start of each step [5s; 2s where there are several steps]",
    )
    load.add_argument(
        "--max-calls",
        type=_count,
        default=10_000_000,
        metavar="N",
        help="calls after which a step ends early [%(default)s]",
    )
    load.add_argument(
        "--max-in-flight",
        type=_count,
        default=1000,
        metavar="N",
        help="open loop: calls that wait for answers at a time; more are sent late [%(default)s]",
    )
    load.add_argument(
        "--processes", type=_count, default=1, metavar="N", help="generator processes [%(default)s]"
    )
    load.add_argument(
        "--connections",
        type=_count,
        default=1,
        metavar="N",
        help="connections of each process, used in turn [%(default)s]",
    )
    load.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of random order and arrivals [0]"
    )
    calls = parser.add_argument_group("calls")
    calls.add_argument(
        "--images",
        nargs="+",
        metavar="PATH",
        help="files, folders (their JPEG and PNG files, in subfolders too) or patterns",
    )
    calls.add_argument(
        "--max-images",
        type=_count,
        default=1000,
        metavar="N",
        help=(
            "images used, spread evenly over those given; never more than "
            f"{size(MAX_BYTES)} [%(default)s]"
        ),
    )
    calls.add_argument(
        "--batch", type=_count, default=1, metavar="N", help="images of each call [%(default)s]"
    )
    calls.add_argument(
        "--stream",
        action="store_true",
        help="send messages on a StreamClassify for each connection, instead of calls",
    )
    calls.add_argument("--model", metavar="NAME", help="model; not needed where there is only one")
    which = calls.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="exact version")
    which.add_argument("--version-label", metavar="LABEL", help="name for a version")
    calls.add_argument(
        "--top-k",
        type=_count,
        default=DEFAULT_TOP_K,
        metavar="K",
        help="classes per image [%(default)s]",
    )
    calls.add_argument(
        "--attempts",
        type=_count,
        default=1,
        metavar="N",
        help="attempts of a call; more than 1 hides failures, as retries do [%(default)s]",
    )


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return the plan that arguments ask for.

    Raises:
        ConfigurationError: They contradict each other.
        NotFoundError: There are no images.
    """
    if not arguments.images:
        raise ConfigurationError("say what to send: --images DIR")
    if STDIN in arguments.images:
        raise ConfigurationError("images come from files, not from stdin")
    loads = _loads(arguments)
    several = len(loads) > 1 or arguments.find_max
    selection = select_images(expand(arguments.images), arguments.max_images)
    return Plan(
        traffic=Traffic(
            endpoint=_endpoint(arguments),
            images=selection.paths,
            method=_method(arguments),
            batch_size=arguments.batch,
            model=arguments.model,
            version=arguments.version,
            version_label=arguments.version_label,
            top_k=arguments.top_k,
            seed=arguments.seed,
        ),
        images=selection,
        steps=tuple(
            Step(
                load=load,
                warmup=_or(arguments.warmup, 2.0 if several else 5.0),
                duration=_duration(_or(arguments.duration, 10.0 if several else 30.0)),
                max_calls=arguments.max_calls,
                max_in_flight=arguments.max_in_flight,
            )
            for load in loads
        ),
        processes=arguments.processes,
        objectives=arguments.slo,
        find_max=arguments.find_max,
        precision=arguments.precision,
    )


def _loads(arguments: argparse.Namespace) -> list[Load]:
    given = [
        name for name in ("rate", "concurrency", "ramp") if getattr(arguments, name) is not None
    ]
    if len(given) > 1:
        raise ConfigurationError(f"use one of --{' and --'.join(given)}")
    if arguments.find_max:
        return [_first_of_a_search(arguments, given)]
    if not given:
        raise ConfigurationError("say how much: --rate, --concurrency, --ramp or --find-max")
    if arguments.concurrency is not None:
        if min(arguments.concurrency) < arguments.processes:
            raise ConfigurationError("--concurrency is below --processes, which all need a caller")
        return [ClosedLoop(concurrency) for concurrency in arguments.concurrency]
    rates = arguments.rate if arguments.ramp is None else arguments.ramp
    return [OpenLoop(rate, arguments.arrivals) for rate in rates]


def _first_of_a_search(arguments: argparse.Namespace, given: list[str]) -> OpenLoop:
    if not arguments.slo:
        raise ConfigurationError("--find-max needs an objective to keep: --slo p99=50ms")
    if arguments.precision <= 0:
        raise ConfigurationError("--precision is 0: no search would end")
    rates = arguments.rate or [FIRST_RATE]
    if given not in ([], ["rate"]) or len(rates) > 1:
        raise ConfigurationError("--find-max starts with one --rate, and takes no other load")
    arrivals: Arrivals = arguments.arrivals
    return OpenLoop(rates[0], arrivals)


def _endpoint(arguments: argparse.Namespace) -> Endpoint:
    if arguments.attempts > MAX_ATTEMPTS:
        raise ConfigurationError(f"--attempts is {arguments.attempts}; use 1 to {MAX_ATTEMPTS}")
    return Endpoint(
        arguments.target,
        (SERVICE,),
        retry=RetryOptions(attempts=arguments.attempts),
        channels=arguments.connections,
        **connection_options(arguments),
    )


def _method(arguments: argparse.Namespace) -> Method:
    if arguments.stream:
        return "stream"
    return "batch" if arguments.batch > 1 else "classify"


def _duration(seconds: float) -> float:
    if not 0 < seconds <= 86400:
        raise ConfigurationError(f"--duration is {duration(seconds)}; use up to 24 h")
    return seconds


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _several(parse: Callable[[str], _Number]) -> Callable[[str], list[_Number]]:
    def parse_all(text: str) -> list[_Number]:
        values = [parse(part) for part in text.split(",")]
        if len(values) > MAX_STEPS:
            raise argparse.ArgumentTypeError(f"these are more than {MAX_STEPS} steps")
        return values

    return parse_all


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate; write calls per second, as in 500")
    return rate


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _ramp(text: str) -> list[float]:
    parts = text.split(":")
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is no ramp; write FROM:TO:STEPS")
    first, last, steps = _rate(parts[0]), _rate(parts[1]), _count(parts[2])
    if not 2 <= steps <= MAX_STEPS:
        raise argparse.ArgumentTypeError(f"a ramp has from 2 to {MAX_STEPS} steps")
    return [first + (last - first) * index / (steps - 1) for index in range(steps)]
