"""`heliograph export`: a run becomes the next version of a model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heliograph.errors import ConfigurationError
from heliograph.names import check_model_name
from heliograph_training.commands.dataset_arguments import dataset_of_run
from heliograph_training.commands.evaluation_table import print_json
from heliograph_training.export import export
from heliograph_training.golden_recording import (
    GOLDEN_COUNT,
    LabelledImage,
    images_of_folder,
    images_of_split,
)
from heliograph_training.run import Run
from heliograph_training.tensorflow_startup import start_tensorflow
from heliograph_training.warmup import BATCH_SIZES


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Write the network of a run as the next version of a model: a SavedModel that TensorFlow "
        "Serving loads as it is, with its contract, golden examples and warmup requests."
    )
    parser.epilog = (
        "examples:\n"
        "  heliograph export runs/digits --repository models --model digits\n"
        "  heliograph export runs/photos --repository models --model photos "
        "--golden-images shareable --json\n\n"
        "Golden examples are test images that are stored with the version, together with the "
        "answers it must give\nwherever it is served. --golden-images takes other images where "
        "test images must not leave."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="directory of a run")
    parser.add_argument(
        "--repository", type=Path, required=True, metavar="DIR", help="folder of all models"
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="name of the model")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where the run's data set is now")
    parser.add_argument(
        "--golden-images",
        type=Path,
        metavar="DIR",
        help="take golden examples from this folder (one folder per class where it is known)",
    )
    parser.add_argument(
        "--golden-count",
        type=int,
        default=GOLDEN_COUNT,
        metavar="N",
        help="golden examples [%(default)s]",
    )
    parser.add_argument(
        "--warmup",
        type=int,
        nargs="*",
        default=list(BATCH_SIZES),
        metavar="N",
        help=f"batch sizes of the warmup requests [{' '.join(map(str, BATCH_SIZES))}]",
    )
    parser.add_argument(
        "--encoded",
        action="store_true",
        help="add a signature that takes encoded images and decodes them in the graph",
    )
    parser.add_argument("--json", action="store_true", help="print model, version and path as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Export; return 0."""
    check_model_name(arguments.model)
    if arguments.golden_count < 1:
        raise ConfigurationError("--golden-count must be at least 1")
    finished = Run(arguments.run)
    examples = _examples(finished, arguments)
    start_tensorflow()
    exported = export(
        finished.load_network(),
        classes=finished.class_names,
        recipe=finished.recipe,
        examples=examples,
        repository=arguments.repository,
        name=arguments.model,
        encoded=arguments.encoded,
        batch_sizes=arguments.warmup,
        evaluation=finished.evaluation,
        training=_shareable(finished.configuration),
        data_fingerprint=finished.dataset["fingerprint"],
    )
    if arguments.json:
        print_json(
            {"model": exported.model, "version": exported.version, "path": str(exported.path)}
        )
    else:
        print(f"version {exported.version} of {exported.model} in {exported.path}")
    return 0


def _examples(finished: Run, arguments: argparse.Namespace) -> list[LabelledImage]:
    count = arguments.golden_count
    if arguments.golden_images is not None:
        return images_of_folder(arguments.golden_images, finished.class_names, count)
    dataset = dataset_of_run(finished, data=arguments.data)
    return images_of_split(dataset.splits["test"], dataset.class_names, count)


def _shareable(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out where the data lay: every client can read a contract."""
    dataset = {key: value for key, value in configuration["dataset"].items() if key != "data"}
    return {**configuration, "dataset": dataset}
