"""What makes a SavedModel a version: contract, golden examples, warmup records, manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from heliograph.contract import (
    DEFAULT_TOLERANCE,
    SCHEMA_MAJOR,
    check_signature,
    recipe_of,
    write_contract,
)
from heliograph.golden import write_golden
from heliograph.manifest import write_manifest
from heliograph.preprocessing import RECIPE_VERSION, Recipe, decoder_build
from heliograph.v1.contract_pb2 import (
    Dtype,
    Evaluation,
    GoldenTolerance,
    InputSpec,
    ModelContract,
    OutputSpec,
    Provenance,
)
from heliograph.version import __version__
from heliograph_training.golden_recording import PreparedImages, record_golden
from heliograph_training.saved_model_session import SavedModelSession
from heliograph_training.warmup import WARMUP_PATH, write_warmup

_GPU_TOLERANCE = 5e-3
"""TensorFloat-32 rounds the factors of a convolution to 10 bits of mantissa (relative 2^-11)."""
_KINDS = {
    "uint8": (InputSpec.KIND_PIXELS_UINT8, Dtype.DTYPE_UINT8),
    "float32": (InputSpec.KIND_PIXELS_FLOAT, Dtype.DTYPE_FLOAT32),
    "bytes": (InputSpec.KIND_ENCODED, Dtype.DTYPE_STRING),
}


@dataclass(frozen=True)
class SignatureNames:
    """Where a SavedModel takes images and gives scores."""

    signature: str
    input: str
    output: str


def describe(
    model: str,
    names: SignatureNames,
    *,
    class_names: Sequence[str],
    recipe: Recipe,
    activation: OutputSpec.Activation.ValueType,
    evaluation: Evaluation | None = None,
    provenance: Provenance | None = None,
    encoded_signature: str = "",
) -> ModelContract:
    """Return the contract of a version.

    Args:
        model: Name of the model.
        names: Signature and tensors.
        class_names: Names in order of index.
        recipe: Turns an encoded image into the input.
        activation: What the gateway applies to the output.
        evaluation: What was measured; nothing when None.
        provenance: Data and training; what is known of this process is added.
        encoded_signature: A second signature that takes encoded images.
    """
    kind, dtype = _KINDS[recipe.output.dtype]
    device = device_class()
    known = Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        heliograph_version=__version__,
        framework=_framework(),
        decoder=decoder_build(),
        device=device,
    )
    known.MergeFrom(provenance or Provenance())
    cpu_tolerance = DEFAULT_TOLERANCE if device == "cpu" else _GPU_TOLERANCE
    return ModelContract(
        schema_major=SCHEMA_MAJOR,
        model_name=model,
        class_names=class_names,
        input=InputSpec(
            signature=names.signature,
            tensor=names.input,
            kind=kind,
            dtype=dtype,
            shape=recipe.output.shape,
        ),
        recipe=str(recipe),
        recipe_version=RECIPE_VERSION,
        output=OutputSpec(tensor=names.output, activation=activation),
        golden_tolerances=[
            GoldenTolerance(device="cpu", absolute=cpu_tolerance),
            GoldenTolerance(device="gpu", absolute=_GPU_TOLERANCE),
        ],
        evaluation=evaluation,
        provenance=known,
        encoded_signature=encoded_signature,
    )


def complete_version(
    directory: Path,
    contract: ModelContract,
    examples: PreparedImages,
    batch_sizes: Sequence[int],
) -> None:
    """Run a SavedModel by its contract and write beside it what makes it a version.

    Args:
        directory: Holds the SavedModel; is not yet published.
        contract: What the version promises.
        examples: Images to record golden answers for.
        batch_sizes: Sizes of the warmup requests, unless the SavedModel brings its own.

    Raises:
        CorruptVersionError: The SavedModel does not load as TensorFlow Serving would load it.
        ContractMismatchError: The contract does not fit the SavedModel.
        StorageError: A file could not be written.
    """
    with SavedModelSession(directory) as session:
        check_signature(contract, session.signatures)
        recipe_of(contract)
        golden = record_golden(session, contract, examples)
    write_golden(directory, golden)
    if not (directory / WARMUP_PATH).exists():
        write_warmup(
            directory,
            model=contract.model_name,
            signature=contract.input.signature,
            tensor=contract.input.tensor,
            inputs=examples.batch(),
            batch_sizes=batch_sizes,
        )
    write_contract(directory, contract)
    write_manifest(directory)


def device_class() -> str:
    """Return the class of device that TensorFlow computes on: `cpu` or `gpu`."""
    import tensorflow as tf

    return "gpu" if tf.config.list_logical_devices("GPU") else "cpu"


def _framework() -> str:
    import tensorflow as tf

    return f"tensorflow {tf.__version__}"
