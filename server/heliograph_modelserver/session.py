"""A SavedModel in a session: the only module that reaches below TensorFlow's public API.

`Session.run` compares shapes in Python and refuses tensors that the runtime, and so TensorFlow
Serving, accepts. `Session.make_callable` takes no deadline per call. What is left is
`Session._call_tf_sessionrun`, which takes feeds, fetches and RunOptions as they are. It is private:
`tests/e2e/modelserver/test_session.py` says when it changes, and the packaging pins TensorFlow's
minor version.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow.python.client import pywrap_tf_session

from heliograph.errors import (
    BY_STATUS,
    HeliographError,
    InvalidArgumentError,
    NotFoundError,
    UnknownError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STATUS_BY_CODE = {
    code: BY_STATUS.get(name, UnknownError)
    for name, code in vars(tf.errors).items()
    if name.isupper() and isinstance(code, int) and code
}


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How sessions compute. Zero threads lets TensorFlow choose."""

    intra_op_parallelism: int = 0
    inter_op_parallelism: int = 0
    per_process_gpu_memory_fraction: float = 0.0


def error_from_tensorflow(error: tf.errors.OpError) -> HeliographError:
    """Translate an error of the runtime; the text stays as it is."""
    kind = _STATUS_BY_CODE.get(error.error_code, UnknownError)
    return kind(str(error.message))


def start_runtime(options: SessionOptions) -> None:
    """Create TensorFlow's thread pools now, so that none inherits a load thread's priority."""
    with tf.Graph().as_default() as graph:
        answer = tf.constant([1.0]) + tf.constant([1.0])
        with tf.compat.v1.Session(graph=graph, config=_config(options)) as session:
            session.run(answer)


class SavedModelSession:
    """A SavedModel, loaded and ready to run. `run` may be called from several threads at once."""

    def __init__(self, export_dir: str, tags: Sequence[str], options: SessionOptions) -> None:
        """Load the SavedModel.

        Args:
            export_dir: Directory that holds `saved_model.pb`.
            tags: Tags of the meta graph to load.
            options: Threads and memory.

        Raises:
            HeliographError: With the status that TensorFlow gives; NOT_FOUND when there is no
                SavedModel.
        """
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph, config=_config(options))
        try:
            with self._graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, list(tags), export_dir)
            # Once, after the last change to the graph; Session.run would do it before every call.
            self._session._extend_graph()  # noqa: SLF001
        except tf.errors.OpError as error:
            self._session.close()
            raise error_from_tensorflow(error) from error
        except OSError as error:
            self._session.close()
            raise NotFoundError(
                "Could not find SavedModel .pb or .pbtxt at supplied export directory path: "
                f"{export_dir}. Check that the directory exists and that you have the right "
                f"permissions: {error}"
            ) from error
        except (RuntimeError, ValueError, KeyError, TypeError, AssertionError) as error:
            self._session.close()
            raise InvalidArgumentError(
                f"SavedModel at {export_dir} cannot be loaded: {error}"
            ) from error
        # Copies: a part of a message keeps all of it in memory, with the constants of the graph.
        self.signatures: Mapping[str, Any] = {
            name: copy.deepcopy(signature) for name, signature in meta_graph.signature_def.items()
        }
        self._endpoints: dict[str, Any] = {}

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: Sequence[str],
        timeout: float | None = None,
    ) -> list[np.ndarray]:
        """Compute tensors.

        Args:
            feeds: Values by tensor name, such as `x:0`. Their shapes are not compared with the
                graph's.
            fetches: Names of the tensors to compute.
            timeout: Seconds after which the run is given up; None for no limit.

        Returns:
            The values, in the order of `fetches`.

        Raises:
            HeliographError: With the status and the text that the runtime gives.
        """
        options = None
        try:
            inputs = {self._endpoint(name): value for name, value in feeds.items()}
            outputs = [self._endpoint(name) for name in fetches]
            if timeout is not None:
                milliseconds = max(int(timeout * 1000), 1)
                options = pywrap_tf_session.TF_NewBufferFromString(
                    tf.compat.v1.RunOptions(timeout_in_ms=milliseconds).SerializeToString()
                )
            results = self._session._call_tf_sessionrun(  # noqa: SLF001
                options, inputs, outputs, [], None
            )
        except tf.errors.OpError as error:
            raise error_from_tensorflow(error) from error
        finally:
            if options is not None:
                pywrap_tf_session.TF_DeleteBuffer(options)
        return [_array(result) for result in results]

    def dtype(self, name: str) -> int:
        """Number of a tensor's `DataType`; arrays of quantized numbers come without theirs."""
        return int(self._graph.get_tensor_by_name(name).dtype.base_dtype.as_datatype_enum)

    def close(self) -> None:
        """Free the session, its variables and its graph."""
        self._session.close()
        self._endpoints.clear()
        del self._session, self._graph

    def _endpoint(self, name: str) -> Any:
        """Return TensorFlow's handle of a tensor."""
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            try:
                tensor = self._graph.get_tensor_by_name(name)
            except (KeyError, ValueError) as error:
                raise InvalidArgumentError(
                    f"Tensor {name}, specified in either feed_devices or fetch_devices was not "
                    "found in the Graph"
                ) from error
            endpoint = self._endpoints[name] = tensor._as_tf_output()  # noqa: SLF001
        return endpoint


def _array(result: Any) -> np.ndarray:
    """Wrap a scalar, which a session returns as it is."""
    array = np.empty((), np.object_) if isinstance(result, bytes) else np.asarray(result)
    if isinstance(result, bytes):
        array[()] = result
    return array


def _config(options: SessionOptions) -> Any:
    return tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_parallelism,
        inter_op_parallelism_threads=options.inter_op_parallelism,
        gpu_options=tf.compat.v1.GPUOptions(
            per_process_gpu_memory_fraction=options.per_process_gpu_memory_fraction
        ),
    )
