"""Generate the Python code of the protos, and the image that buf lints.

    python protos/generate.py                 # write the code into the packages
    python protos/generate.py --output DIR    # write the same folders below DIR, to compare
    python protos/generate.py --image FILE    # write a descriptor set with source locations

Runs in an environment of its own with the versions of `protos/requirements.txt`, which `make gen`
makes: generated code refuses a runtime older than its generator, so an old generator is what gives
the SDK its wide range.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from google.rpc import status_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Tree:
    """A folder of protos and the package that its code goes to."""

    protos: str
    """Folder beside this file."""
    packages: str
    """Folder that holds the package, below the top folder."""
    package: str
    """Path of the package there; what protoc takes the folder for, so that imports are right."""

    @property
    def sources(self) -> list[Path]:
        """The protos in order of name."""
        return sorted((PROTOS / self.protos).rglob("*.proto"))


TREES = (
    Tree("heliograph", packages="client", package="heliograph"),
    # tritonclient registers the same names: they must not be in a process that has the SDK alone.
    Tree("inference", packages="server", package="heliograph_gateway/inference"),
)


def main() -> int:
    """Run the command and return protoc's exit code."""
    parser = argparse.ArgumentParser(description="Generate code from the protos.")
    parser.add_argument("--output", type=Path, default=PROTOS.parent)
    parser.add_argument("--image", type=Path, help="write a descriptor set instead of code")
    arguments = parser.parse_args()

    if arguments.image:
        return run(
            [f"-I{PROTOS}", "--include_imports", "--include_source_info", f"-o{arguments.image}"],
            [source for tree in TREES for source in tree.sources],
        )
    return max(generate(tree, arguments.output / tree.packages) for tree in TREES)


def generate(tree: Tree, output: Path) -> int:
    """Write the code of a tree below `output` and return protoc's exit code."""
    output.mkdir(parents=True, exist_ok=True)
    place = f"-I{tree.package}={PROTOS / tree.protos}"
    services = [source for source in tree.sources if "\nservice " in source.read_text()]
    return run(
        [place, f"--python_out={output}", f"--mypy_out=quiet:{output}"], tree.sources
    ) or run([place, f"--grpc_python_out={output}", f"--mypy_grpc_out=quiet:{output}"], services)


def run(options: list[str], sources: list[Path]) -> int:
    """Run protoc in this process over `sources` and return its exit code."""
    scripts = Path(sys.executable).parent
    # protoc's own google/protobuf/*.proto, and google/rpc/*.proto of googleapis-common-protos.
    command = [
        "protoc",
        *options,
        f"-I{files('grpc_tools') / '_proto'}",
        f"-I{Path(status_pb2.__file__).parents[2]}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
    ]
    status: int = protoc.main([*command, *map(str, sources)])
    return status


if __name__ == "__main__":
    sys.exit(main())
