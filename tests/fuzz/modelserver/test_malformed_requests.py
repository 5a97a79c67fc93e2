"""Whatever a request holds, it gets an answer or a typed error, and the server stays up.

`HELIOGRAPH_FUZZ_CASES=50000 pytest -s tests/fuzz/modelserver` is the long run.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = int(os.environ.get("HELIOGRAPH_FUZZ_CASES", "2000"))
LEAST_SHARE_PAST_PARSING = 0.7
TIMEOUT = 30.0
"""Seconds after which a call counts as hanging."""

EXPECTED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.OUT_OF_RANGE,
}

fuzz = settings(
    database=None,
    deadline=None,
    derandomize="HELIOGRAPH_FUZZ_CASES" not in os.environ,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel: grpc.Channel) -> Any:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def outcome(call: Any, request: Any) -> str:
    """`OK`, or the text of a typed error; anything else fails the test."""
    future = call.future(request, timeout=TIMEOUT)
    error = future.exception()
    if error is None:
        return "OK"
    assert future.code() in EXPECTED, f"{future.code()}: {future.details()}\n{request}"
    return str(future.details())


def test_predict_survives_any_tensor(prediction: Any, requests: st.SearchStrategy[Any]) -> None:
    outcomes: Counter[str] = Counter()

    @settings(fuzz, max_examples=CASES)
    @given(requests)
    def run(request: Any) -> None:
        text = outcome(prediction.Predict, request)
        outcomes["parsing" if text.startswith("tensor parsing error") else text] += 1

    run()

    total = outcomes.total()
    share = 1 - outcomes["parsing"] / total
    print(f"\n{total} Predict requests: {share:.1%} past parsing, {outcomes['OK'] / total:.1%} OK")
    assert total >= CASES
    assert share >= LEAST_SHARE_PAST_PARSING


def test_the_other_calls_survive_any_request(
    prediction: Any, requests_with_examples: st.SearchStrategy[tuple[str, Any]]
) -> None:
    @settings(fuzz, max_examples=CASES // 4)
    @given(requests_with_examples)
    def run(case: tuple[str, Any]) -> None:
        method, request = case
        outcome(getattr(prediction, method), request)

    run()


def test_bytes_that_are_no_request_are_refused(channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    @settings(fuzz, max_examples=CASES // 10)
    @given(st.binary(max_size=64))
    def run(request: bytes) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=TIMEOUT)
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() in {*EXPECTED, grpc.StatusCode.INTERNAL}

    run()


def test_the_server_still_answers(prediction: Any) -> None:
    import numpy as np

    from heliograph_modelserver.testing import predict_request

    request = predict_request("half", {"x": np.array([[1.0]], np.float32)})

    assert prediction.Predict(request, timeout=TIMEOUT).outputs["y"].float_val[0] == 2.5
