"""HandleReloadConfigRequest: which configurations are accepted, and what they change."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

if TYPE_CHECKING:
    from pathlib import Path

IA = grpc.StatusCode.INVALID_ARGUMENT
FP = grpc.StatusCode.FAILED_PRECONDITION


def test_an_empty_list_of_models_unloads_everything(refused: Any, client: Any, half: Any) -> None:
    client.reload(half(1))

    client.reload()

    client.wait_for("half", {1: "END"})
    assert refused(lambda: client.answer("half")) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(half)",
    )


def test_a_new_model_is_available_when_the_reload_returns(client: Any, half: Any) -> None:
    client.reload()

    response = client.reload({**half(), "model_version_policy": {}})

    assert response.status.error_code == 0
    assert client.answer("half") == 3.5


def test_a_model_comes_back_while_it_is_still_unloading(client: Any, half: Any) -> None:
    for _ in range(10):
        client.reload(half(1))
        client.reload()

    client.reload(half(1))

    assert client.answer("half") == 2.5


def test_specific_versions_are_served_and_no_others(client: Any, half: Any) -> None:
    client.reload()

    client.reload(half(1))

    assert client.answer("half") == 2.5
    assert client.status("half")[1] == "AVAILABLE"
    assert client.status("half").get(2) != "AVAILABLE"


def test_the_latest_versions_are_served(client: Any, half: Any) -> None:
    client.reload()

    client.reload({**half(), "model_version_policy": {"latest": {"num_versions": 2}}})

    client.wait_for("half", {1: "AVAILABLE", 2: "AVAILABLE"})
    assert client.answer("half") == 3.5
    assert client.answer("half", version=1) == 2.5


def test_a_version_is_added_and_another_dropped(client: Any, half: Any) -> None:
    client.reload(half(1))

    client.reload(half(1, 2))
    client.wait_for("half", {1: "AVAILABLE", 2: "AVAILABLE"})
    client.reload(half(2))
    client.wait_for("half", {1: "END", 2: "AVAILABLE"})

    assert client.answer("half") == 3.5


def test_a_new_version_is_found_by_polling(client: Any, half: Any, base_path: Path) -> None:
    from heliograph_modelserver.testing import write_half_plus

    client.reload({**half(), "model_version_policy": {}})

    write_half_plus(base_path.parent / f"{base_path.name}.staging", 4.0).rename(base_path / "10")

    client.wait_for("half", {2: "END", 10: "AVAILABLE"})
    assert client.answer("half") == 4.5


def test_a_version_directory_may_have_leading_zeros(
    client: Any, half: Any, base_path: Path
) -> None:
    (base_path / "2").rename(base_path / "00000123")

    client.reload({**half(), "model_version_policy": {}})

    client.wait_for("half", {123: "AVAILABLE"})


def test_no_request_fails_while_versions_are_swapped(client: Any, half: Any) -> None:
    client.reload(half(1))
    client.wait_for("half", {1: "AVAILABLE"})
    stop = threading.Event()
    answers: list[set[float]] = [set(), set()]
    failures: list[Exception] = []

    def call(seen: set[float]) -> None:
        while not stop.is_set():
            try:
                seen.add(client.answer("half"))
            except grpc.RpcError as error:
                failures.append(error)
                return

    callers = [threading.Thread(target=call, args=(seen,)) for seen in answers]
    for caller in callers:
        caller.start()
    try:
        for version in (2, 1, 2, 1):
            client.reload(half(version))
            client.wait_for("half", {version: "AVAILABLE", 3 - version: "END"})
    finally:
        stop.set()
        for caller in callers:
            caller.join()

    assert not failures
    assert answers == [{2.5, 3.5}, {2.5, 3.5}]


def test_a_reload_without_a_list_of_models_is_refused(refused: Any, client: Any) -> None:
    from tensorflow_serving.apis import model_management_pb2

    request = model_management_pb2.ReloadConfigRequest()

    assert refused(lambda: client.model.HandleReloadConfigRequest(request)) == (
        IA,
        (
            "ServerModelConfig type not supported by HandleReloadConfigRequest."
            " Only ModelConfigList is currently supported"
        ),
    )


def test_a_model_that_does_not_load_fails_the_reload(
    refused: Any, client: Any, half: Any, base_path: Path
) -> None:
    (base_path / "3").mkdir()
    client.reload()

    code, message = refused(lambda: client.reload({**half(3), "name": "bad"}))

    assert code is grpc.StatusCode.UNKNOWN
    assert message.startswith("1 model(s) did not become available: {{{name: bad version: 3}")


def test_a_model_listed_twice_is_refused(refused: Any, client: Any, half: Any) -> None:
    assert refused(lambda: client.reload(half(1), half(2))) == (
        IA,
        "Illegal to list model half multiple times in config list",
    )


def test_a_relative_base_path_is_refused(refused: Any, client: Any) -> None:
    assert refused(lambda: client.reload({"name": "m", "base_path": "models/m"})) == (
        IA,
        "Expected model m to have an absolute path or URI; got base_path()=models/m",
    )


def test_a_platform_cannot_change(refused: Any, client: Any, half: Any) -> None:
    client.reload(half(1))

    assert refused(lambda: client.reload({**half(1), "model_platform": "caffe"})) == (
        IA,
        (
            "Illegal to change a model's platform. For model half platform was tensorflow "
            "and new platform requested is caffe"
        ),
    )


def test_an_unknown_platform_is_refused(refused: Any, client: Any, base_path: Path) -> None:
    client.reload()
    model = {"name": "m", "base_path": str(base_path), "model_platform": "caffe"}

    try:
        assert refused(lambda: client.reload(model)) == (
            IA,
            "Model m requests unsupported platform caffe",
        )
    finally:
        client.reload()


def test_a_label_names_an_available_version(client: Any, half: Any) -> None:
    client.reload(half(1))
    client.wait_for("half", {1: "AVAILABLE"})

    client.reload(half(1, stable=1))

    assert client.answer("half", label="stable") == 2.5


def test_a_label_on_a_version_that_is_not_available_is_refused(
    refused: Any, client: Any, half: Any
) -> None:
    client.reload(half(1))
    client.wait_for("half", {1: "AVAILABLE"})

    assert refused(lambda: client.reload(half(1, 2, canary=2))) == (
        FP,
        (
            "Request to assign label to version 2 of model half, "
            "which is not currently available for inference"
        ),
    )


def test_loading_a_version_and_labelling_it_takes_two_calls(client: Any, half: Any) -> None:
    client.reload(half(1))
    client.wait_for("half", {1: "AVAILABLE"})

    client.reload(half(1, 2, stable=1))
    client.wait_for("half", {2: "AVAILABLE"})
    client.reload(half(1, 2, stable=2))

    assert client.answer("half", label="stable") == 3.5


def test_a_label_that_is_no_longer_configured_is_gone(refused: Any, client: Any, half: Any) -> None:
    client.reload(half(1))
    client.wait_for("half", {1: "AVAILABLE"})
    client.reload(half(1, stable=1))

    client.reload(half(1))

    assert refused(lambda: client.answer("half", label="stable")) == (
        IA,
        "Unrecognized servable version label: stable",
    )


@pytest.mark.parametrize(
    ("kind", "version"), [("empty", 21), ("half_copied", 22), ("file", 23), ("dangling_link", 24)]
)
def test_a_bad_version_directory_leaves_the_old_version_serving(
    client: Any, half: Any, base_path: Path, kind: str, version: int
) -> None:
    client.reload(half(1))
    bad = base_path / str(version)
    if kind == "file":
        bad.write_text("not a directory")
    elif kind == "dangling_link":
        bad.symlink_to(base_path / "nowhere")
    else:
        bad.mkdir()
    if kind == "half_copied":
        whole = (base_path / "1" / "saved_model.pb").read_bytes()
        (bad / "saved_model.pb").write_bytes(whole[: len(whole) // 2])

    client.reload(half(version))
    client.wait_for("half", {1: "AVAILABLE", version: "END"})

    assert client.answer("half") == 2.5
