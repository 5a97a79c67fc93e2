"""The commands of `heliograph`: where each lives, and which extra brings what it needs.

A command module has `configure(parser)`, which adds its arguments, and `run(arguments)`, which
returns an exit code. Modules are imported only when their command is called, so that a bare
install starts, and says what is missing.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from typing import Protocol, cast

from heliograph.errors import MissingExtraError


class CommandModule(Protocol):
    """What a command's module offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments, its description and examples."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; return the exit code."""


@dataclass(frozen=True)
class Command:
    """One row of the table."""

    name: str
    module: str
    extra: str
    """Extra that brings the packages; empty for the base install."""
    summary: str

    def load(self) -> CommandModule:
        """Import the module.

        Raises:
            MissingExtraError: A package of the extra is not installed.
        """
        try:
            return cast("CommandModule", importlib.import_module(self.module))
        except ModuleNotFoundError as error:
            raise self.missing(error) from error

    def missing(self, error: ModuleNotFoundError) -> Exception:
        """Return what to raise for a module that was not found: a missing extra, or itself."""
        package = (error.name or "").split(".")[0]
        if not self.extra or package.startswith("heliograph"):
            return error
        return MissingExtraError(
            f"needs {package}, which is not installed: pip install 'heliograph[{self.extra}]'"
        )


COMMANDS = (
    Command("demo", "heliograph.cli.demo", "", "train, export, serve and classify on this machine"),
    Command("train", "heliograph_training.commands.train", "training", "train a classifier"),
    Command(
        "evaluate",
        "heliograph_training.commands.evaluate",
        "training",
        "measure a run, or a model that is served",
    ),
    Command(
        "export",
        "heliograph_training.commands.export",
        "training",
        "write a run as the next version of a model",
    ),
    Command(
        "samples",
        "heliograph_training.commands.samples",
        "training",
        "write held-out test images as files",
    ),
    Command(
        "contract",
        "heliograph.cli.contract",
        "",
        "show a version's contract, or attach one to a SavedModel",
    ),
    Command("serve", "heliograph_gateway.commands.serve", "gateway", "run the gateway"),
    Command(
        "model-server",
        "heliograph_modelserver.command",
        "modelserver",
        "run TensorFlow Serving's gRPC API from pip",
    ),
    Command("classify", "heliograph.cli.classify", "", "name the classes of images"),
    Command(
        "loadtest",
        "heliograph_loadtest.command",
        "loadtest",
        "put a load on a gateway, and compare runs",
    ),
    Command("web", "heliograph_web.command", "web", "run the web page"),
)
"""In the order in which a newcomer meets them."""
