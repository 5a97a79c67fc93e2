"""HandleReloadConfigRequest and GetModelStatus, over real models."""

from __future__ import annotations

import threading
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


def test_specific_versions_are_served_and_no_others(empty: Any, base_path: Path) -> None:
    empty.client.reload(
        {"name": "half", "base_path": str(base_path), "model_version_policy": specific(1)}
    )

    assert empty.client.status("half") == {1: "AVAILABLE"}
    assert empty.client.predict("half", x=X)["y"].tolist() == [[2.5]]


def test_a_version_can_be_added_and_another_dropped(empty: Any, base_path: Path) -> None:
    model = {"name": "half", "base_path": str(base_path)}
    empty.client.reload({**model, "model_version_policy": specific(1)})

    empty.client.reload({**model, "model_version_policy": specific(1, 2)})
    empty.wait_for_states("half", v1="AVAILABLE", v2="AVAILABLE")
    empty.client.reload({**model, "model_version_policy": specific(2)})
    empty.wait_for_states("half", v1="END", v2="AVAILABLE")

    assert empty.client.status("half") == {2: "AVAILABLE", 1: "END"}


def test_a_reload_replaces_everything(empty: Any, base_path: Path) -> None:
    empty.client.reload({"name": "half", "base_path": str(base_path)})

    empty.client.reload()

    empty.wait_for_states("half", v2="END")
    with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Latest\(half\)"):
        empty.client.predict("half", x=X)


def test_no_request_fails_while_versions_are_swapped(empty: Any, base_path: Path) -> None:
    model = {"name": "half", "base_path": str(base_path)}
    empty.client.reload({**model, "model_version_policy": specific(1)})
    stop = threading.Event()
    answers: list[set[float]] = [set(), set()]

    def call(seen: set[float]) -> None:
        while not stop.is_set():
            seen.add(float(empty.client.predict("half", x=X)["y"][0, 0]))

    def swap() -> None:
        for version in (2, 1, 2, 1):
            empty.client.reload({**model, "model_version_policy": specific(version)})
            other = 3 - version
            empty.wait_for_states("half", **{f"v{version}": "AVAILABLE", f"v{other}": "END"})

    callers = [threading.Thread(target=call, args=(seen,)) for seen in answers]
    for caller in callers:
        caller.start()
    try:
        swap()
    finally:
        stop.set()
        for caller in callers:
            caller.join()

    # A failed call would have ended its thread before it saw both versions.
    assert answers == [{2.5, 3.5}, {2.5, 3.5}]


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


def test_a_reload_without_a_list_of_models_is_refused(empty: Any) -> None:
    from tensorflow_serving.apis import model_management_pb2

    with pytest.raises(grpc.RpcError) as caught:
        empty.client.model.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == (
        "ServerModelConfig type not supported by HandleReloadConfigRequest."
        " Only ModelConfigList is currently supported"
    )


def test_a_new_version_is_found_by_polling(
    empty: Any, base_path: Path, install: Callable[[str, Path], None]
) -> None:
    empty.client.reload({"name": "half", "base_path": str(base_path)})

    install("half_plus_two", base_path / "10")

    empty.wait_for_states("half", v2="END", v10="AVAILABLE")
