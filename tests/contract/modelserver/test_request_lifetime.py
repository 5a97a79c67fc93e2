"""Deadlines, cancelled calls, and what happens to requests when the server stops."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from heliograph_modelserver.options import ServerOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG = np.array(2**60)
"""Steps that take for ever."""


@pytest.fixture
def counter(serve: Any, tmp_path: Path, install: Callable[[str, Path], None]) -> Any:
    """A server with one thread and a model that counts."""
    install("counter", tmp_path / "1")
    return serve(
        ServerOptions(model_name="counter", model_base_path=str(tmp_path), grpc_max_threads=1)
    )


def count(running: Any) -> float:
    value = running.client.predict("counter", "get", anything=np.float32(0))["value"]
    return float(value)


def occupy(running: Any) -> Any:
    """Start a call that runs into its deadline of a second; return once it has the only thread."""
    from heliograph_modelserver.testing import predict_request

    request = predict_request("counter", {"steps": LONG}, "busy")
    answer = running.client.prediction.Predict.future(request, timeout=1.0)
    manager = running.server.core.manager
    while manager.in_flight(manager.available()[0]) < 1:
        assert not answer.done()
    return answer


def test_a_state_is_kept_between_requests(counter: Any) -> None:
    counter.client.predict("counter", "incr", by=np.float32(2))

    assert count(counter) == 2.0


def test_the_deadline_of_the_call_is_the_deadline_of_the_run(refused: Any, counter: Any) -> None:
    code, _ = refused(lambda: counter.client.predict("counter", "busy", timeout=0.3, steps=LONG))

    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    # The only thread is free again: the run did not go on without its caller.
    assert count(counter) == 0.0


def test_a_call_that_is_cancelled_before_its_turn_does_not_run(refused: Any, counter: Any) -> None:
    from heliograph_modelserver.testing import predict_request

    running = occupy(counter)
    waiting = counter.client.prediction.Predict.future(
        predict_request("counter", {"by": np.float32(1)}, "incr"), timeout=30.0
    )

    waiting.cancel()
    assert refused(running.result)[0] is grpc.StatusCode.DEADLINE_EXCEEDED

    assert count(counter) == 0.0


def test_a_call_whose_deadline_passes_before_its_turn_does_not_run(
    refused: Any, counter: Any
) -> None:
    from heliograph_modelserver.testing import predict_request

    running = occupy(counter)
    late = counter.client.prediction.Predict.future(
        predict_request("counter", {"by": np.float32(1)}, "incr"), timeout=0.3
    )

    assert refused(late.result)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert refused(running.result)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert count(counter) == 0.0


def test_a_stop_lets_a_request_in_flight_finish(
    tmp_path: Path, run_server: Any, install: Callable[[str, Path], None]
) -> None:
    from heliograph_modelserver.testing import predict_request

    install("counter", tmp_path / "1")
    with run_server(ServerOptions(model_name="c", model_base_path=str(tmp_path))) as running:
        request = predict_request("c", {"steps": np.array(100_000)}, "busy")
        answer = running.client.prediction.Predict.future(request, timeout=60)
        while running.server.core.manager.in_flight(running.server.core.manager.available()[0]) < 1:
            assert not answer.done()

        running.server.stop()

        assert answer.result().outputs["done"].int64_val[0] == 100_000


def test_a_second_stop_shortens_the_grace_of_the_first(
    refused: Any, tmp_path: Path, run_server: Any, install: Callable[[str, Path], None]
) -> None:
    from heliograph_modelserver.testing import predict_request

    install("counter", tmp_path / "1")
    with run_server(ServerOptions(model_name="c", model_base_path=str(tmp_path))) as running:
        request = predict_request("c", {"steps": LONG}, "busy")
        answer = running.client.prediction.Predict.future(request, timeout=5)
        while running.server.core.manager.in_flight(running.server.core.manager.available()[0]) < 1:
            assert not answer.done()
        began = time.monotonic()

        patient = threading.Thread(target=running.server.stop, args=(60.0,))
        patient.start()
        running.server.stop(0.0)
        patient.join(30)

        assert time.monotonic() - began < 30
        assert refused(answer.result)[0] in (
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.UNAVAILABLE,
        )


def test_a_reload_that_waits_does_not_hold_up_a_stop(
    refused: Any, run_server: Any, tmp_path: Path, config_text: Callable[..., str]
) -> None:
    from tensorflow_serving.apis import model_management_pb2

    config = tmp_path / "models.config"
    config.write_text(config_text())
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(
        name="later", base_path=str(tmp_path / "later"), model_platform="tensorflow"
    )
    with run_server(ServerOptions(model_config_file=config)) as running:
        began = time.monotonic()
        reload = running.client.model.HandleReloadConfigRequest.future(request)
        while not running.server.core.model_names:
            assert not reload.done()

        running.server.stop(grace=600)

        assert refused(reload.result) == (
            grpc.StatusCode.UNAVAILABLE,
            "The server is shutting down.",
        )
        assert time.monotonic() - began < 60
