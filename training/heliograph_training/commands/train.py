"""`heliograph train`: from a data set to a run directory."""

from __future__ import annotations

import argparse
from pathlib import Path

from heliograph_training.commands.dataset_arguments import (
    add_dataset_arguments,
    open_named_dataset,
)
from heliograph_training.commands.evaluation_table import print_evaluation, print_json
from heliograph_training.datasets.prepared import check_trainable
from heliograph_training.fit import default_options, with_options
from heliograph_training.progress import console_progress
from heliograph_training.run import check_output, train
from heliograph_training.tensorflow_startup import start_tensorflow

_OPTIONS = (
    "epochs", "batch_size", "learning_rate", "patience", "dropout", "seed",
    "flip", "shift", "zoom", "noise",
)  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Train an image classifier and write a run directory: configuration, history, weights, "
        "network, and its evaluation on the held-out test split."
    )
    parser.epilog = (
        "examples:\n"
        "  heliograph train --dataset digits --output runs/digits\n"
        "  heliograph train --dataset cifar10 --data cifar-10-python.tar.gz --epochs 30 "
        "--output runs/cifar10\n"
        "  heliograph train --dataset folder --data photos --recipe "
        "'decode(rgb) | resize_shorter(64) | center_crop(64)' --output runs/photos\n\n"
        "What is not given takes a value that suits the data set."
    )
    add_dataset_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="RUN", help="run directory")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a run that is there when this one is done"
    )
    fit = parser.add_argument_group("fit")
    fit.add_argument("--epochs", type=int, metavar="N", help="passes over the images, at most")
    fit.add_argument("--seed", type=int, metavar="N", help="of weights, shuffling and augmentation")
    fit.add_argument("--batch-size", type=int, metavar="N", help="images per step")
    fit.add_argument("--learning-rate", type=float, metavar="X", help="of Adam, at the start")
    fit.add_argument(
        "--patience", type=int, metavar="N", help="stop after N epochs without improvement"
    )
    fit.add_argument("--dropout", type=float, metavar="X", help="fraction of features dropped")
    augmentation = parser.add_argument_group("augmentation")
    augmentation.add_argument(
        "--flip", action=argparse.BooleanOptionalAction, help="mirror left and right"
    )
    augmentation.add_argument(
        "--shift", type=float, metavar="X", help="largest shift, as a fraction of the side"
    )
    augmentation.add_argument(
        "--zoom", type=float, metavar="X", help="largest change of scale, as a fraction"
    )
    augmentation.add_argument(
        "--noise", type=float, metavar="X", help="standard deviation, on pixels in 0 to 1"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the run and its evaluation as one JSON document"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train; return 0."""
    changes = {
        name: getattr(arguments, name) for name in _OPTIONS if getattr(arguments, name) is not None
    }
    options = with_options(default_options(arguments.dataset), changes)
    check_output(arguments.output, overwrite=arguments.overwrite)
    if arguments.dataset == "cifar10" and arguments.data is None:
        start_tensorflow()
    dataset = open_named_dataset(arguments)
    check_trainable(dataset.recipe)
    start_tensorflow()
    source = {
        "name": arguments.dataset,
        "data": None if arguments.data is None else str(arguments.data.resolve()),
    }
    finished = train(
        dataset,
        options,
        arguments.output,
        source=source,
        overwrite=arguments.overwrite,
        progress=console_progress(),
    )
    if arguments.json:
        print_json({"run": str(finished.path), "evaluation": finished.evaluation.document()})
    else:
        print_evaluation(f"{dataset.name}, run {finished.path}", finished.evaluation)
    return 0
