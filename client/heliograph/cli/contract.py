"""`heliograph contract`: show what a version promises, or attach a contract to a SavedModel.

`show` works with the base install. `attach` runs the SavedModel, so it needs the extra `training`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import json_format

from heliograph.cli.commands import Command
from heliograph.contract import CONTRACT_PATH, read_contract
from heliograph.errors import ConfigurationError, ContractMissingError
from heliograph.repository import Repository
from heliograph.v1.contract_pb2 import InputSpec, ModelContract, OutputSpec

_ATTACH = Command(
    "contract attach",
    "heliograph_training.commands.attach",
    "training",
    "write a SavedModel with a contract as the next version of a model",
)
_EPILOG = """\
examples:
  heliograph contract show models digits
  heliograph contract show models digits 3 --json
  heliograph contract show models/digits/3
  heliograph contract attach their_model --repository models --model flowers --classes names.txt \\
      --recipe 'decode(rgb) | resize(224, 224) | scale(0.00392156862745098)' --activation softmax \\
      --examples photos
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of both actions."""
    parser.description = "Show what a version promises, or attach a contract to a SavedModel."
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="show|attach")
    show = actions.add_parser(
        "show",
        help="print the contract of a version",
        description="Print the contract of a version.",
    )
    show.add_argument("place", type=Path, metavar="DIR", help="a version, or a model repository")
    show.add_argument("model", nargs="?", metavar="MODEL", help="model in the repository")
    show.add_argument(
        "version", nargs="?", type=int, metavar="VERSION", help="the newest unless given"
    )
    show.add_argument("--json", action="store_true", help="print the contract as JSON")
    attach = actions.add_parser(
        "attach",
        help=_ATTACH.summary,
        description="Copy a SavedModel that someone else exported into a model repository, with a "
        "contract, and record its present answers to some images as golden examples.",
    )
    _add_attach_arguments(attach)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; return the exit code.

    Raises:
        MissingExtraError: `attach` without the extra `training`.
    """
    if arguments.action == "attach":
        try:
            return _ATTACH.load().run(arguments)
        except ModuleNotFoundError as error:
            raise _ATTACH.missing(error) from error
    directory = _version_directory(arguments)
    contract = read_contract(directory)
    if arguments.json:
        print(json_format.MessageToJson(contract, preserving_proto_field_name=True))
        return 0
    rows = list(_rows(directory, contract))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}".rstrip())
    return 0


def _add_attach_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("saved_model", type=Path, metavar="SAVED_MODEL_DIR")
    parser.add_argument("--repository", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", required=True, metavar="NAME", help="name of the model")
    parser.add_argument(
        "--classes",
        type=Path,
        required=True,
        metavar="FILE",
        help="class names in order of index: one on each line, or a JSON list",
    )
    parser.add_argument(
        "--recipe", required=True, metavar="TEXT", help="turns an encoded image into the input"
    )
    parser.add_argument(
        "--activation",
        choices=("none", "softmax", "sigmoid"),
        required=True,
        help="what turns the output into probabilities",
    )
    parser.add_argument(
        "--examples",
        type=Path,
        required=True,
        metavar="DIR",
        help="images to record as golden examples (one folder per class where it is known)",
    )
    parser.add_argument(
        "--examples-count",
        type=int,
        default=32,
        metavar="N",
        help="images recorded, at most [%(default)s]",
    )
    parser.add_argument("--signature", metavar="KEY", help="serving_default unless given")
    parser.add_argument("--input", metavar="NAME", help="input, where there are several")
    parser.add_argument("--output", metavar="NAME", help="output, where there are several")
    parser.add_argument("--json", action="store_true", help="print model, version and path as JSON")


def _version_directory(arguments: argparse.Namespace) -> Path:
    place: Path = arguments.place
    if arguments.model is not None:
        repository = Repository(place)
        version = arguments.version
        if version is None:
            version = max(repository.versions(arguments.model), default=1)
        return repository.version_path(arguments.model, version)
    if not place.is_dir():
        raise ConfigurationError(f"{place} is no directory; give a version or a repository")
    if not (place / CONTRACT_PATH).exists() and not (place / "saved_model.pb").exists():
        models = ", ".join(Repository(place).models())
        known = f"; of a repository name a model too: {models}" if models else ""
        raise ContractMissingError(f"{place} is no version of a model{known}")
    return place


def _rows(directory: Path, contract: ModelContract) -> Iterator[tuple[str, str]]:
    """Return what people want to know, as names and values."""
    tensor_in, tensor_out = contract.input, contract.output
    kind = InputSpec.Kind.Name(tensor_in.kind).removeprefix("KIND_").lower()
    shape = ", ".join(map(str, ("N", *tensor_in.shape)))
    yield "model", contract.model_name
    yield "version", directory.resolve().name
    yield "classes", f"{len(contract.class_names)}: {_shortened(list(contract.class_names))}"
    yield "recipe", f"{contract.recipe}  (version {contract.recipe_version})"
    yield "signature", tensor_in.signature
    yield "input", f"{tensor_in.tensor} [{shape}] {kind}"
    activation = OutputSpec.Activation.Name(tensor_out.activation).removeprefix("ACTIVATION_")
    yield "output", f"{tensor_out.tensor}, activation {activation.lower()}"
    if contract.encoded_signature:
        yield "encoded signature", contract.encoded_signature
    for tolerance in contract.golden_tolerances:
        yield f"golden tolerance, {tolerance.device}", f"{tolerance.absolute:g}"
    if contract.evaluation.examples:
        yield "evaluated on", f"{contract.evaluation.examples} images"
    for name in sorted(contract.evaluation.metrics):
        yield f"  {name}", f"{contract.evaluation.metrics[name]:.4f}"
    provenance = contract.provenance
    yield "created", f"{provenance.created} by heliograph {provenance.heliograph_version}"
    yield "framework", f"{provenance.framework} on {provenance.device}"
    yield "decoder", provenance.decoder
    if provenance.data_fingerprint:
        yield "data fingerprint", provenance.data_fingerprint


def _shortened(names: list[str], shown: int = 12) -> str:
    more = f", … ({len(names) - shown} more)" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
