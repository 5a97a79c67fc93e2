"""Generate the Python code of the protos, and the image that buf lints.

    python protos/generate.py                 # write the code beside the packages
    python protos/generate.py --output DIR    # write it elsewhere, to compare
    python protos/generate.py --image FILE    # write a descriptor set with source locations

Runs in an environment of its own with the versions of `protos/requirements.txt`, which `make gen`
makes: generated code refuses a runtime older than its generator, so an old generator is what gives
the SDK its wide range.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path

from google.rpc import status_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
PACKAGES = PROTOS.parent / "client"


def main() -> int:
    """Run the command and return protoc's exit code."""
    parser = argparse.ArgumentParser(description="Generate code from the protos.")
    parser.add_argument("--output", type=Path, default=PACKAGES)
    parser.add_argument("--image", type=Path, help="write a descriptor set instead of code")
    arguments = parser.parse_args()

    sources = sorted(PROTOS.glob("heliograph/**/*.proto"))
    services = [source for source in sources if "\nservice " in source.read_text()]
    scripts = Path(sys.executable).parent
    # protoc's own google/protobuf/*.proto, and google/rpc/*.proto of googleapis-common-protos.
    command = [
        "protoc",
        f"-I{PROTOS}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"-I{Path(status_pb2.__file__).parents[2]}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
    ]
    if arguments.image:
        return run(
            [*command, "--include_imports", "--include_source_info", f"-o{arguments.image}"],
            sources,
        )
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    return run([*command, f"--python_out={output}", f"--mypy_out=quiet:{output}"], sources) or run(
        [*command, f"--grpc_python_out={output}", f"--mypy_grpc_out=quiet:{output}"], services
    )


def run(command: list[str], sources: list[Path]) -> int:
    """Run protoc in this process over `sources` and return its exit code."""
    status: int = protoc.main([*command, *map(str, sources)])
    return status


if __name__ == "__main__":
    sys.exit(main())
