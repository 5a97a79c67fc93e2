"""Which configurations are accepted, what labels may name, and what a start waits for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from heliograph.errors import (
    CancelledError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnknownError,
)
from heliograph_modelserver.options import ServerOptions
from heliograph_modelserver.server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IA = grpc.StatusCode.INVALID_ARGUMENT
FP = grpc.StatusCode.FAILED_PRECONDITION
X = np.array([[1.0]], np.float32)


def specific(*versions: int) -> dict[str, Any]:
    return {"specific": {"versions": list(versions)}}


@pytest.fixture
def base_path(tmp_path: Path, install: Callable[[str, Path], None]) -> Path:
    """A model with two versions."""
    path = tmp_path / "half"
    install("half_plus_two", path / "1")
    install("half_plus_three", path / "2")
    return path


@pytest.fixture
def options(tmp_path: Path, config_text: Callable[..., str], base_path: Path) -> ServerOptions:
    """Serves version 1 of `half` only."""
    config = tmp_path / "models.config"
    config.write_text(
        config_text(
            {"name": "half", "base_path": str(base_path), "model_version_policy": specific(1)}
        )
    )
    return ServerOptions(port=0, model_config_file=config, file_system_poll_wait_seconds=0.05)


@pytest.fixture
def half(base_path: Path) -> Callable[..., dict[str, Any]]:
    """The fields of a ModelConfig for `half`."""

    def half(*versions: int, **labels: int) -> dict[str, Any]:
        return {
            "name": "half",
            "base_path": str(base_path),
            "model_version_policy": specific(*versions),
            "version_labels": labels,
        }

    return half


def answer(running: Any, label: str) -> float:
    """What the version with a label answers."""
    from heliograph_modelserver.testing import predict_request

    request = predict_request("half", {"x": X})
    request.model_spec.version_label = label
    response = running.client.prediction.Predict(request, timeout=30)
    return float(response.outputs["y"].float_val[0])


def test_a_model_without_a_platform_is_refused(
    refused: Any, serve: Any, options: ServerOptions, half: Any
) -> None:
    client = serve(options).client

    code, message = refused(lambda: client.reload({**half(1), "model_platform": ""}))

    assert code is IA
    assert message.startswith("Illegal setting neither ModelServerConfig::model_type (deprecated)")


def test_the_deprecated_model_type_still_names_the_platform(
    refused: Any, serve: Any, options: ServerOptions, half: Any
) -> None:
    client = serve(options).client

    client.reload({**half(1), "model_platform": "", "model_type": "TENSORFLOW"})

    assert refused(lambda: client.reload({**half(1), "model_type": "TENSORFLOW"}))[0] is IA
    assert refused(lambda: client.reload({"name": "m", "model_type": "OTHER"}))[0] is IA


def test_a_refused_configuration_changes_nothing(
    refused: Any, serve: Any, options: ServerOptions
) -> None:
    client = serve(options).client

    refused(lambda: client.reload({"name": "m", "base_path": "relative"}))

    assert client.predict("half", x=X)["y"].tolist() == [[2.5]]


def test_a_label_on_a_version_that_is_not_loaded_fails_the_start(
    options: ServerOptions, half: Any, config_text: Callable[..., str]
) -> None:
    assert options.model_config_file is not None
    options.model_config_file.write_text(config_text(half(1, stable=1)))

    with pytest.raises(FailedPreconditionError, match="assign label to version 1 of model half"):
        ModelServer(options).start()


def test_labels_on_unavailable_versions_can_be_allowed(
    serve: Any, options: ServerOptions, half: Any, config_text: Callable[..., str]
) -> None:
    assert options.model_config_file is not None
    options.model_config_file.write_text(config_text(half(1, stable=1)))

    running = serve(
        ServerOptions(
            model_config_file=options.model_config_file,
            allow_version_labels_for_unavailable_models=True,
        )
    )

    assert answer(running, "stable") == 2.5


def test_an_allowed_label_is_not_moved_to_an_unavailable_version(
    refused: Any, serve: Any, options: ServerOptions, half: Any
) -> None:
    running = serve(
        ServerOptions(
            model_config_file=options.model_config_file,
            allow_version_labels_for_unavailable_models=True,
        )
    )
    running.client.reload(half(1, stable=1))

    code, _ = refused(lambda: running.client.reload(half(1, 2, stable=2)))

    assert code is FP
    running.client.reload(half(1, 2, stable=1, canary=2))


def test_the_configuration_file_is_read_again(
    serve: Any, options: ServerOptions, half: Any, config_text: Callable[..., str]
) -> None:
    assert options.model_config_file is not None
    running = serve(
        ServerOptions(
            model_config_file=options.model_config_file,
            file_system_poll_wait_seconds=0.05,
            model_config_file_poll_wait_seconds=1,
        )
    )

    options.model_config_file.write_text("this { is no config")
    options.model_config_file.write_text(config_text(half(1, 2)))

    running.wait_for_states("half", v1="AVAILABLE", v2="AVAILABLE")


@pytest.mark.parametrize("content", ["model_config_list { config { nmae: 'm' } }", "{", "\xff"])
def test_a_bad_configuration_file_fails_the_start(tmp_path: Path, content: str) -> None:
    config = tmp_path / "models.config"
    config.write_text(content, encoding="latin-1")

    with pytest.raises(InvalidArgumentError, match=r"models\.config"):
        ModelServer(ServerOptions(port=0, model_config_file=config)).start()


def test_a_missing_configuration_file_fails_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="Cannot read --model_config_file"):
        ModelServer(ServerOptions(port=0, model_config_file=tmp_path / "none")).start()


def test_a_start_waits_for_the_first_version(
    tmp_path: Path, install: Callable[[str, Path], None]
) -> None:
    server = ModelServer(
        ServerOptions(
            port=0, model_base_path=str(tmp_path / "later"), file_system_poll_wait_seconds=0.05
        )
    )
    starting = threading.Thread(target=server.start)
    starting.start()
    assert server.address == ""

    install("half_plus_two", tmp_path / "later" / "1")
    starting.join(30)

    assert server.address
    server.stop(0)


def test_a_start_that_waits_can_be_stopped(tmp_path: Path) -> None:
    server = ModelServer(ServerOptions(port=0, model_base_path=str(tmp_path)))
    errors: list[BaseException] = []

    def start() -> None:
        try:
            server.start()
        except CancelledError as error:
            errors.append(error)

    starting = threading.Thread(target=start)
    starting.start()
    server.stop()
    starting.join(30)

    assert [type(error) for error in errors] == [CancelledError]


def test_a_model_that_does_not_load_fails_the_start(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()

    with pytest.raises(UnknownError, match=r"1 model\(s\) did not become available: \{\{\{name: "):
        ModelServer(
            ServerOptions(port=0, model_base_path=str(tmp_path), max_num_load_retries=0)
        ).start()


@pytest.fixture
def one_bad_of_two(
    tmp_path: Path, base_path: Path, config_text: Callable[..., str]
) -> ServerOptions:
    """A configuration with a model that loads and one that does not."""
    (tmp_path / "bad" / "1").mkdir(parents=True)
    config = tmp_path / "models.config"
    config.write_text(
        config_text(
            {"name": "bad", "base_path": str(tmp_path / "bad")},
            {"name": "half", "base_path": str(base_path)},
        )
    )
    return ServerOptions(port=0, model_config_file=config, file_system_poll_wait_seconds=0.05)


def test_one_bad_model_does_not_keep_the_others_from_starting(
    serve: Any, one_bad_of_two: ServerOptions
) -> None:
    """Although it will be tried again, for minutes."""
    running = serve(one_bad_of_two)

    assert running.client.predict("half", x=X)["y"].tolist() == [[3.5]]
    assert running.client.status("bad") == {1: "LOADING"}


def test_one_bad_model_fails_the_start_when_models_are_not_isolated(
    one_bad_of_two: ServerOptions,
) -> None:
    with pytest.raises(UnknownError, match="bad"):
        ModelServer(
            ServerOptions(
                port=0,
                model_config_file=one_bad_of_two.model_config_file,
                max_num_load_retries=0,
                isolate_models=False,
            )
        ).start()


@pytest.mark.parametrize("kind", ["unreadable", "unknown_operation"])
def test_a_bad_version_directory_leaves_the_old_version_serving(
    serve: Any, tmp_path: Path, install: Callable[[str, Path], None], kind: str
) -> None:
    base_path = tmp_path / "half"
    install("half_plus_two", base_path / "1")
    running = serve(
        ServerOptions(
            model_name="half",
            model_base_path=str(base_path),
            file_system_poll_wait_seconds=0.05,
            max_num_load_retries=0,
        )
    )

    staging = tmp_path / "staging"
    if kind == "unreadable":
        (staging / "saved_model.pb").mkdir(parents=True)
    else:
        install("half_plus_three", staging)
        graph = (staging / "saved_model.pb").read_bytes()
        (staging / "saved_model.pb").write_bytes(graph.replace(b"AddV2", b"AddV9"))
    staging.rename(base_path / "2")

    running.wait_for_states("half", v1="AVAILABLE", v2="END")
    assert running.client.predict("half", x=X)["y"].tolist() == [[2.5]]


def test_a_base_path_that_goes_away_leaves_its_versions_serving(
    serve: Any, tmp_path: Path, base_path: Path
) -> None:
    running = serve(
        ServerOptions(
            model_name="half", model_base_path=str(base_path), file_system_poll_wait_seconds=0.05
        )
    )

    base_path.rename(tmp_path / "elsewhere")
    running.client.reload({"name": "half", "base_path": str(base_path)})

    assert running.client.predict("half", x=X)["y"].tolist() == [[3.5]]


def test_a_base_path_that_becomes_empty_unloads_all_versions(
    refused: Any, serve: Any, tmp_path: Path, base_path: Path
) -> None:
    running = serve(
        ServerOptions(
            model_name="half", model_base_path=str(base_path), file_system_poll_wait_seconds=0.05
        )
    )

    for version in list(base_path.iterdir()):
        version.rename(tmp_path / f"gone-{version.name}")

    running.wait_for_states("half", v2="END")
    assert refused(lambda: running.client.predict("half", x=X)) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(half)",
    )
