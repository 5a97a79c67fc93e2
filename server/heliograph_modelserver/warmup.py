"""Replays the requests exported with a version, so that no caller waits for TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from heliograph.errors import DataLossError, InvalidArgumentError, UnimplementedError
from heliograph_modelserver.classify import classify
from heliograph_modelserver.multi_inference import multi_inference
from heliograph_modelserver.predict import predict
from heliograph_modelserver.regress import regress
from heliograph_modelserver.session import error_from_tensorflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph_modelserver.loader import SavedModelServable

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
"""A TFRecord file of `PredictionLog` messages, relative to the version directory."""

MAX_WARMUP_RECORDS = 1000
"""More than these fail the load, as in TensorFlow Serving."""


def warm_up(export_dir: str, servable: SavedModelServable, iterations: int = 1) -> int:
    """Replay the warmup requests of a version, when it has any.

    Args:
        export_dir: The version directory.
        servable: The loaded version.
        iterations: How often each request is run.

    Returns:
        Number of requests in the file.

    Raises:
        HeliographError: When the file is damaged or too long, or a request fails.
    """
    path = Path(export_dir) / WARMUP_FILE
    if not path.exists():
        return 0
    count = 0
    for record in _records(path):
        count += 1
        if count > MAX_WARMUP_RECORDS:
            raise InvalidArgumentError(
                f"Number of warmup records exceeds the maximum ({MAX_WARMUP_RECORDS}) at {path}"
            )
        for _ in range(max(iterations, 1)):
            _replay(record, path, servable)
    return count


def _records(path: Path) -> Iterator[bytes]:
    try:
        yield from tf.compat.v1.io.tf_record_iterator(str(path))
    except tf.errors.DataLossError as error:
        raise DataLossError(
            f"{error.message}. Please verify your warmup data is in TFRecord format."
        ) from error
    except tf.errors.OpError as error:
        raise error_from_tensorflow(error) from error


def _replay(record: bytes, path: Path, servable: SavedModelServable) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise InvalidArgumentError(
            f"Failed to parse warmup record: {record!r} from {path}"
        ) from error
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict(servable, log.predict_log.request, None)
    elif kind == "classify_log":
        classify(servable, log.classify_log.request, None)
    elif kind == "regress_log":
        regress(servable, log.regress_log.request, None)
    elif kind == "multi_inference_log":
        multi_inference(servable, log.multi_inference_log.request, None)
    else:
        raise UnimplementedError(f"Unsupported log_type for warmup: {kind or 'LOG_TYPE_NOT_SET'}")
