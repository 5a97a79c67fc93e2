"""--enable_serialization_as_tensor_content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from heliograph_modelserver.options import ServerOptions
from heliograph_modelserver.tensors import decode_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VALUES: dict[str, np.ndarray] = {
    "float": np.array([[1.5, -2.0]], np.float32),
    "uint8": np.array([0, 255], np.uint8),
    "bool": np.array([True, False]),
    "string": np.array([b"", b"abc"], np.object_),
}


@pytest.fixture(scope="module")
def contented(
    run_server: Any, tmp_path_factory: pytest.TempPathFactory, install: Callable[[str, Path], None]
) -> Iterator[Any]:
    """A server that answers with tensor_content."""
    root = tmp_path_factory.mktemp("identity")
    install("identity", root / "1")
    options = ServerOptions(
        model_name="identity",
        model_base_path=str(root),
        enable_serialization_as_tensor_content=True,
    )
    with run_server(options) as running:
        yield running


@pytest.mark.parametrize("dtype", VALUES)
def test_outputs_are_tensor_content_when_the_server_is_told_so(contented: Any, dtype: str) -> None:
    from heliograph_modelserver.testing import predict_request

    request = predict_request("identity", {"x": VALUES[dtype]}, dtype)

    proto = contented.client.prediction.Predict(request).outputs["y"]

    assert proto.tensor_content
    assert decode_tensor(proto, "y").tolist() == VALUES[dtype].tolist()
