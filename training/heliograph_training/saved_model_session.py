"""SavedModels run as TensorFlow Serving runs them: loaded into a session.

`tf.saved_model.load` is more forgiving: it loads exports of Keras 3 that a session cannot run. What
an export promises is therefore recorded from a session.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from heliograph.errors import ContractMismatchError, CorruptVersionError
from heliograph.tfserving.v1.prediction_pb2 import SignatureDef

_INIT_SIGNATURE = "__saved_model_init_op"
_SERVE = "serve"
_MISSING_VARIABLE = "Could not find variable"
_HEADER = "Graph execution error:"


def read_signatures(directory: Path) -> dict[str, SignatureDef]:
    """Read the signatures of a SavedModel without loading it.

    Args:
        directory: The folder that holds `saved_model.pb`.

    Raises:
        CorruptVersionError: It is no SavedModel for serving.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = directory / "saved_model.pb"
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise CorruptVersionError(f"{directory} is no SavedModel: {path.name}: {reason}") from error
    for graph in saved_model.meta_graphs:
        if set(graph.meta_info_def.tags) == {_SERVE}:
            return _signatures(graph.signature_def)
    raise CorruptVersionError(f"{directory} has no graph for serving (tag {_SERVE})")


class SavedModelSession:
    """A SavedModel in a session of its own. Close it, or use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        """Load a SavedModel.

        Args:
            directory: The folder that holds `saved_model.pb`.

        Raises:
            CorruptVersionError: It cannot be loaded into a session.
        """
        import tensorflow as tf

        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                loaded = tf.compat.v1.saved_model.load(self._session, [_SERVE], str(directory))
        except Exception as error:
            # The loader raises anything from OSError to google.protobuf's DecodeError.
            self._session.close()
            raise CorruptVersionError(
                f"{directory} does not load into a session, as TensorFlow Serving would do it: "
                f"{_first_line(error)}"
            ) from error
        self.signatures = _signatures(loaded.signature_def)
        """Signatures by key."""

    def run(
        self, key: str, inputs: Mapping[str, npt.NDArray[Any]], output: str
    ) -> npt.NDArray[Any]:
        """Run a signature.

        Args:
            key: Signature key.
            inputs: Batches by input name; encoded images are arrays of `object`.
            output: Name of the output wanted.

        Raises:
            ContractMismatchError: The signature refuses the inputs.
            CorruptVersionError: It was saved in a way that a session cannot run.
        """
        import tensorflow as tf

        signature = self.signatures[key]
        feeds = {signature.inputs[name].name: value for name, value in inputs.items()}
        try:
            result: npt.NDArray[Any] = self._session.run(signature.outputs[output].name, feeds)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            if _MISSING_VARIABLE in str(error):
                raise CorruptVersionError(
                    f"signature {key} does not find its variables in a session, and TensorFlow "
                    "Serving would not either; export Keras 3 models with "
                    "heliograph_training.export or keras.export.ExportArchive"
                ) from error
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
            raise ContractMismatchError(
                f"signature {key} refuses {shapes}: {_first_line(error)}"
            ) from error
        return np.asarray(result)

    def close(self) -> None:
        """Free the session."""
        self._session.close()

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the session."""
        self.close()


def _signatures(definitions: Mapping[str, Any]) -> dict[str, SignatureDef]:
    return {
        key: SignatureDef.FromString(definition.SerializeToString())
        for key, definition in definitions.items()
        if key != _INIT_SIGNATURE
    }


def _first_line(error: BaseException) -> str:
    lines = str(error).removeprefix(_HEADER).strip().splitlines()
    return lines[0] if lines else type(error).__name__
