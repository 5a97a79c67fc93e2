"""Warmup requests: what runs, what fails a load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from heliograph.errors import HeliographError
from heliograph_modelserver.servable import ServableId

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION = ServableId("counter", 1)


@pytest.fixture
def version(tmp_path: Path, install: Callable[[str, Path], None]) -> Path:
    """A version of the model that counts."""
    install("counter", tmp_path / "1")
    return tmp_path / "1"


def load(path: Path, **options: Any) -> Any:
    from heliograph_modelserver.loader import LoaderOptions, SavedModelLoader

    return SavedModelLoader(LoaderOptions(**options)).load(VERSION, str(path))


def increment() -> Any:
    from heliograph_modelserver.testing import predict_request

    return predict_request("any name", {"by": np.float32(1)}, "incr")


def counted(servable: Any) -> float:
    [value] = servable.session.run({}, ["value:0"])
    servable.unload()
    return float(value)


def write_logs(path: Path, *logs: bytes) -> None:
    import tensorflow as tf

    from heliograph_modelserver.warmup import WARMUP_FILE

    (path / WARMUP_FILE).parent.mkdir()
    with tf.io.TFRecordWriter(str(path / WARMUP_FILE)) as writer:
        for log in logs:
            writer.write(log)


def test_each_request_of_the_file_runs_once(version: Path) -> None:
    from heliograph_modelserver.testing import write_warmup

    write_warmup(version, [increment(), increment()])

    assert counted(load(version)) == 2.0


def test_each_request_runs_as_often_as_asked_for(version: Path) -> None:
    from heliograph_modelserver.testing import write_warmup

    write_warmup(version, [increment(), increment()])

    assert counted(load(version, num_request_iterations_for_warmup=3)) == 6.0


def test_warmup_can_be_switched_off(version: Path) -> None:
    from heliograph_modelserver.testing import write_warmup

    write_warmup(version, [increment()])

    assert counted(load(version, enable_model_warmup=False)) == 0.0


def test_a_version_without_the_file_loads(version: Path) -> None:
    assert counted(load(version)) == 0.0


def test_requests_for_every_rpc_run(tmp_path: Path, install: Callable[[str, Path], None]) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from heliograph_modelserver.warmup import warm_up

    install("half_plus_two", tmp_path / "1")
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(1.0)
    regress = prediction_log_pb2.PredictionLog()
    regress.regress_log.request.model_spec.signature_name = "regress_x_to_y"
    regress.regress_log.request.input.example_list.examples.append(example)
    classify = prediction_log_pb2.PredictionLog()
    classify.classify_log.request.model_spec.signature_name = "classify_x_to_y"
    classify.classify_log.request.input.example_list.examples.append(example)
    both = prediction_log_pb2.PredictionLog()
    task = both.multi_inference_log.request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name = "m"
    task.model_spec.signature_name = "regress_x_to_y"
    both.multi_inference_log.request.input.example_list.examples.append(example)
    write_logs(tmp_path / "1", *(log.SerializeToString() for log in (regress, classify, both)))

    servable = load(tmp_path / "1", enable_model_warmup=False)

    assert warm_up(str(tmp_path / "1"), servable) == 3
    servable.unload()


def test_a_thousand_requests_are_allowed_and_one_more_fails_the_load(version: Path) -> None:
    from heliograph_modelserver.testing import write_warmup

    write_warmup(version, [increment()] * 1000)
    assert counted(load(version)) == 1000.0

    write_warmup(version, [increment()] * 1001)
    with pytest.raises(HeliographError, match=r"records exceeds the maximum \(1000\)") as caught:
        load(version)
    assert caught.value.status == "INVALID_ARGUMENT"


def test_a_request_that_fails_fails_the_load(version: Path) -> None:
    from heliograph_modelserver.testing import predict_request, write_warmup

    write_warmup(version, [predict_request("m", {"by": np.float32(1)}, "no such signature")])

    with pytest.raises(HeliographError, match="Serving signature key"):
        load(version)


def test_a_record_that_is_no_request_fails_the_load(version: Path) -> None:
    write_logs(version, b"\xff\xff malformed")

    with pytest.raises(HeliographError, match="Failed to parse warmup record"):
        load(version)


def test_a_record_of_another_kind_fails_the_load(version: Path) -> None:
    write_logs(version, b"")

    with pytest.raises(HeliographError, match="Unsupported log_type for warmup") as caught:
        load(version)
    assert caught.value.status == "UNIMPLEMENTED"


def test_a_file_that_is_no_record_file_fails_the_load(version: Path) -> None:
    from heliograph_modelserver.warmup import WARMUP_FILE

    (version / WARMUP_FILE).parent.mkdir()
    (version / WARMUP_FILE).write_bytes(b"this is no record file at all")

    with pytest.raises(HeliographError, match="verify your warmup data is in TFRecord format"):
        load(version)
