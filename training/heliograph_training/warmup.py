"""Warmup records: requests that TensorFlow Serving runs before a version takes traffic.

TFRecords of PredictionLog in `assets.extra/tf_serving_warmup_requests`, at most 1,000; a record
that fails makes the load fail. See https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliograph.errors import ConfigurationError

WARMUP_PATH = Path("assets.extra/tf_serving_warmup_requests")
"""Below the version's directory."""
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
"""Batch sizes warmed unless others are given."""
_MOST_RECORDS = 1000


def check_batch_sizes(batch_sizes: Sequence[int]) -> None:
    """Check sizes before any work is done for them.

    Raises:
        ConfigurationError: One is below 1, or there are more than 1,000.
    """
    if any(size < 1 for size in batch_sizes) or len(batch_sizes) > _MOST_RECORDS:
        raise ConfigurationError(
            f"warmup batch sizes must be at least 1, and at most {_MOST_RECORDS} of them"
        )


def write_warmup(
    version_directory: Path,
    *,
    model: str,
    signature: str,
    tensor: str,
    inputs: npt.NDArray[Any],
    batch_sizes: Sequence[int],
) -> None:
    """Write one Predict request for every batch size.

    Args:
        version_directory: Where the SavedModel is.
        model: Name of the model.
        signature: Signature key.
        tensor: Name of the input.
        inputs: Real inputs `[N, …]`, repeated as often as a batch needs.
        batch_sizes: Sizes of the batches; none writes no file.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    check_batch_sizes(batch_sizes)
    if not batch_sizes:
        return
    path = version_directory / WARMUP_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in sorted(set(batch_sizes)):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model
            request.model_spec.signature_name = signature
            batch = inputs[np.arange(size) % len(inputs)]
            request.inputs[tensor].CopyFrom(tf.make_tensor_proto(batch))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
