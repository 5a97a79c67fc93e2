"""Tensors that TensorFlow Serving lets through and that the runtime would not survive."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 1, 8, 8, 3), (192,), ()])
def test_a_wrong_rank_is_refused_before_it_can_abort_the_process(
    refused: Any, served: Any, shape: tuple[int, ...]
) -> None:
    code, message = refused(lambda: served.client.predict("image", image=np.zeros(shape, np.uint8)))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "the signature wants [?,8,8,3]" in message


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 0, 8, 3)])
def test_an_empty_batch_of_images_is_refused(
    refused: Any, served: Any, shape: tuple[int, ...]
) -> None:
    code, _ = refused(lambda: served.client.predict("image", image=np.zeros(shape, np.uint8)))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
