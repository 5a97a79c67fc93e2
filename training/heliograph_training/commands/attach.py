"""`heliograph contract attach`: its arguments are in `heliograph.cli.contract`."""

from __future__ import annotations

import argparse

from heliograph.errors import ConfigurationError
from heliograph.preprocessing import parse_recipe
from heliograph_training.attach import attach, read_class_names
from heliograph_training.commands.evaluation_table import print_json
from heliograph_training.golden_recording import images_of_folder
from heliograph_training.tensorflow_startup import start_tensorflow


def configure(parser: argparse.ArgumentParser) -> None:
    """Add nothing: `heliograph contract` shows its help without this module."""


def run(arguments: argparse.Namespace) -> int:
    """Attach; return 0."""
    if arguments.examples_count < 1:
        raise ConfigurationError("--examples-count must be at least 1")
    recipe = parse_recipe(arguments.recipe)
    classes = read_class_names(arguments.classes)
    examples = images_of_folder(arguments.examples, classes, arguments.examples_count)
    start_tensorflow()
    attached = attach(
        arguments.saved_model,
        repository=arguments.repository,
        name=arguments.model,
        classes=classes,
        recipe=recipe,
        activation=arguments.activation,
        examples=examples,
        signature=arguments.signature,
        input_tensor=arguments.input,
        output_tensor=arguments.output,
    )
    if arguments.json:
        print_json(
            {"model": attached.model, "version": attached.version, "path": str(attached.path)}
        )
    else:
        print(f"version {attached.version} of {attached.model} in {attached.path}")
    return 0
