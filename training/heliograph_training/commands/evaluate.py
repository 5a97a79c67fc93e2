"""`heliograph evaluate`: the same figures for a run and for a model that is served."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from heliograph import Client, RetryOptions
from heliograph.cli.connection import (
    DEFAULT_TARGET,
    add_connection_arguments,
    connection_options,
)
from heliograph.errors import ConfigurationError
from heliograph_training.commands.dataset_arguments import (
    add_dataset_arguments,
    dataset_of_run,
    open_named_dataset,
)
from heliograph_training.commands.evaluation_table import print_evaluation, print_json
from heliograph_training.endpoint_evaluation import evaluate_endpoint
from heliograph_training.progress import console_progress
from heliograph_training.run import Run, evaluate_run
from heliograph_training.tensorflow_startup import start_tensorflow


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Measure accuracy, precision, recall, F1 and the confusion matrix on the held-out test "
        "split, of a training run or of a model that a gateway serves."
    )
    parser.epilog = (
        "examples:\n"
        "  heliograph evaluate runs/digits\n"
        "  heliograph evaluate --target localhost:9000 --model digits --dataset digits\n"
        "  heliograph evaluate --target localhost:9000 --model photos --dataset folder "
        "--data photos --limit 500 --json"
    )
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="directory of a run")
    endpoint = parser.add_argument_group("instead of a run, a model that is served")
    endpoint.add_argument(
        "--model", metavar="NAME", help="model; not needed where there is only one"
    )
    endpoint.add_argument(
        "--version", type=int, metavar="N", help="exact version; the stable one unless given"
    )
    add_dataset_arguments(parser, required=False)
    parser.add_argument(
        "--limit", type=int, metavar="N", help="images used, spread evenly over the test split"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_connection_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; return 0, or the exit code of the first image that was not answered."""
    served = arguments.model or arguments.version or arguments.target != DEFAULT_TARGET
    if arguments.run is not None and served:
        raise ConfigurationError("give either a RUN, or a model that is served")
    if arguments.recipe and not arguments.dataset:
        raise ConfigurationError("--recipe needs --dataset: a run has a recipe of its own")
    if arguments.limit is not None and arguments.limit < 1:
        raise ConfigurationError("--limit must be at least 1")
    return _evaluate_run(arguments) if arguments.run else _evaluate_endpoint(arguments)


def _evaluate_run(arguments: argparse.Namespace) -> int:
    finished = Run(arguments.run)
    if arguments.dataset:
        dataset = open_named_dataset(arguments, finished.recipe)
    else:
        dataset = dataset_of_run(finished, data=arguments.data)
    start_tensorflow()
    evaluation = evaluate_run(finished, dataset, limit=arguments.limit, progress=console_progress())
    if arguments.json:
        print_json({"run": str(finished.path), **evaluation.document()})
    else:
        print_evaluation(f"{dataset.name}, run {finished.path}", evaluation)
    return 0


def _evaluate_endpoint(arguments: argparse.Namespace) -> int:
    if not arguments.dataset:
        raise ConfigurationError("give a RUN, or --dataset and the --target that serves a model")
    dataset = open_named_dataset(arguments)
    with Client(
        arguments.target, retry=RetryOptions(attempts=5), **connection_options(arguments)
    ) as client:
        measured = evaluate_endpoint(
            client,
            dataset,
            model=arguments.model,
            version=arguments.version,
            limit=arguments.limit,
            progress=console_progress(),
        )
    if arguments.json:
        print_json(
            {
                "target": arguments.target,
                "model": measured.model,
                "versions": measured.versions,
                "failures": [error.message for error in measured.failures],
                **measured.evaluation.document(),
            }
        )
    else:
        versions = ", ".join(map(str, measured.versions))
        print_evaluation(
            f"{dataset.name}, model {measured.model} version {versions} at {arguments.target}",
            measured.evaluation,
        )
    if measured.failures:
        first = measured.failures[0]
        count = len(measured.failures)
        print(f"images not answered: {count}; the first: {first.message}", file=sys.stderr)
        return first.exit_code
    return 0
