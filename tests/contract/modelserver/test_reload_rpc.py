"""HandleReloadConfigRequest and GetModelStatus, over real models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from heliograph_modelserver.options import ServerOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X = np.array([[1.0]], np.float32)

EMPTY_CONFIG = "model_config_list {}"


def specific(*versions: int) -> dict[str, Any]:
    return {"specific": {"versions": list(versions)}}


@pytest.fixture
def empty(serve: Any, tmp_path: Path) -> Any:
    """A server that was started without models, as the gateway starts it."""
    config = tmp_path / "models.config"
    config.write_text(EMPTY_CONFIG)
    return serve(ServerOptions(model_config_file=config, file_system_poll_wait_seconds=0.05))


@pytest.fixture
def base_path(tmp_path: Path, install: Callable[[str, Path], None]) -> Path:
    """A model with two versions: x / 2 + 2 and x / 2 + 3."""
    path = tmp_path / "half"
    install("half_plus_two", path / "1")
    install("half_plus_three", path / "2")
    return path


def test_a_server_starts_with_an_empty_list_of_models(empty: Any) -> None:
    assert empty.server.core.manager.available() == []


def test_a_new_model_is_available_when_the_reload_returns(empty: Any, base_path: Path) -> None:
    response = empty.client.reload({"name": "half", "base_path": str(base_path)})

    assert response.status.error_code == 0
    assert empty.client.predict("half", x=X)["y"].tolist() == [[3.5]]
    assert empty.client.status("half") == {2: "AVAILABLE"}


def test_a_model_that_cannot_be_loaded_fails_the_reload(
    serve: Any, tmp_path: Path, base_path: Path
) -> None:
    config = tmp_path / "models.config"
    config.write_text(EMPTY_CONFIG)
    running = serve(ServerOptions(model_config_file=config, max_num_load_retries=0))
    (tmp_path / "bad" / "1").mkdir(parents=True)

    with pytest.raises(grpc.RpcError, match=r"1 model\(s\) did not become available") as caught:
        running.client.reload(
            {"name": "bad", "base_path": str(tmp_path / "bad")},
            {"name": "half", "base_path": str(base_path)},
        )

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    running.wait_for_states("half", v2="AVAILABLE")


def test_a_reload_whose_caller_has_gone_takes_effect_all_the_same(
    empty: Any, base_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(grpc.RpcError, match="Deadline Exceeded"):
        empty.client.reload(
            {"name": "half", "base_path": str(base_path)},
            {"name": "later", "base_path": str(tmp_path / "later")},
            timeout=0.5,
        )

    empty.wait_for_states("half", v2="AVAILABLE")
