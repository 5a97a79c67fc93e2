"""`heliograph model-server` as a process: flags, the ready line, signals and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_TIMEOUT = 120.0


class Process:
    """A running command, and the events it has logged so far."""

    def __init__(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "heliograph.cli", "model-server", *flags],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.news = threading.Condition()
        self.ended = False
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line)
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()
        self.process.stderr.close()

    def events(self, name: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [event for event in found if event["event"] == name]

    def wait_for(self, name: str) -> dict[str, Any]:
        with self.news:
            assert self.news.wait_for(
                lambda: self.ended or bool(self.events(name)), START_TIMEOUT
            ), self.lines
            assert self.events(name), self.lines
            return self.events(name)[0]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self.news:
            assert self.news.wait_for(condition, START_TIMEOUT), self.lines

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(START_TIMEOUT)
        self.reader.join()
        return code

    @property
    def stderr(self) -> str:
        return "".join(self.lines)


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def start(*flags: str) -> Process:
        processes.append(Process(*flags))
        return processes[-1]

    yield start
    for process in processes:
        process.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path with version 1."""
    from heliograph_modelserver.testing import write_half_plus

    base_path = tmp_path_factory.mktemp("half")
    write_half_plus(base_path / "1")
    return base_path


def resident_megabytes(process: Process) -> float:
    return psutil.Process(process.process.pid).memory_info().rss / 2**20


def predict(address: str) -> float:
    import numpy as np
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    from heliograph_modelserver.testing import predict_request

    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_request("half", {"x": np.array([[1.0]], np.float32)})
        value: float = stub.Predict(request, timeout=30).outputs["y"].float_val[0]
        return value


def test_it_serves_on_a_socket_says_so_once_and_drains_on_sigterm(
    start: Callable[..., Process], model: Path, tmp_path: Path
) -> None:
    socket = tmp_path / "model.sock"
    server = start(
        f"--grpc_socket_path={socket}",
        "--port=0",
        "--model_name=half",
        f"--model_base_path={model}",
        "--enable_batching=true",
        "--enable_profiler=false",
    )

    ready = server.wait_for("serving")
    assert ready["socket"] == f"unix:{socket}"
    assert ready["address"] == ""
    assert predict(ready["socket"]) == 2.5
    assert server.end() == 0
    assert len(server.events("serving")) == 1
    assert [event["flag"] for event in server.events("flag_without_effect")] == [
        "--enable_batching",
        "--enable_profiler",
    ]


def test_a_model_that_cannot_be_loaded_ends_the_start(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "1").mkdir()
    server = start(
        f"--grpc_socket_path={tmp_path}/model.sock",
        "--port=0",
        f"--model_base_path={tmp_path}",
        "--max_num_load_retries=0",
    )

    assert server.process.wait(START_TIMEOUT) != 0
    server.reader.join()
    assert "Failed to start server. Error: UNKNOWN: 1 model(s) did not become available" in (
        server.stderr
    )


def test_a_server_that_waits_for_its_first_version_keeps_closed_and_ends_on_sigterm(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    server = start(
        f"--grpc_socket_path={tmp_path}/model.sock",
        "--port=0",
        f"--model_base_path={tmp_path}/missing",
    )

    server.wait_for("source")
    assert not (tmp_path / "model.sock").exists()
    assert server.end() == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--enable_batch"], "unrecognized arguments: --enable_batch"),
        (["--no_such_flag=1"], "unrecognized arguments: --no_such_flag=1"),
        (["--enable_batching=maybe"], "'maybe' is neither true nor false"),
        (["--port=70000", "--model_base_path=/m"], "--port=70000 is not a port."),
        (["--model_base_path=/m", "--port=0"], "nothing to listen on"),
        ([], "Give --model_base_path or --model_config_file"),
    ],
)
def test_wrong_flags_are_refused_with_one_line(
    start: Callable[..., Process], flags: list[str], message: str
) -> None:
    server = start(*flags)

    assert server.process.wait(START_TIMEOUT) != 0
    server.reader.join()
    assert message in server.lines[-1]


def test_a_bad_config_file_ends_the_start(start: Callable[..., Process], tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text("model_config_list { config { nmae: 'm' } }")
    server = start(f"--model_config_file={config}")

    assert server.process.wait(START_TIMEOUT) != 0
    server.reader.join()
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in server.lines[-1]


def test_an_unloaded_version_gives_its_memory_back(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

    from heliograph_modelserver.testing import write_image_classifier

    megabytes = 200
    for version in ("1", "2"):
        write_image_classifier(tmp_path / "m" / version, side=8, extra_megabytes=megabytes)
    config = tmp_path / "models.config"
    config.write_text("model_config_list {}")
    socket = f"{tmp_path}/model.sock"
    server = start(f"--grpc_socket_path={socket}", "--port=0", f"--model_config_file={config}")
    server.wait_for("serving")

    with grpc.insecure_channel(f"unix:{socket}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)

        def serve(*versions: int) -> None:
            """Serve these versions, and wait for the loads and unloads that it takes."""
            loaded, unloaded = len(server.events("loaded")), len(server.events("unloaded"))
            request = model_management_pb2.ReloadConfigRequest()
            model = request.config.model_config_list.config.add(
                name="m", base_path=str(tmp_path / "m"), model_platform="tensorflow"
            )
            model.model_version_policy.specific.versions.extend(versions)
            wanted = set(versions)
            stub.HandleReloadConfigRequest(request, timeout=60)
            server.wait_until(
                lambda: (
                    len(server.events("loaded")) == loaded + len(wanted - present)
                    and len(server.events("unloaded")) == unloaded + len(present - wanted)
                )
            )
            present.clear()
            present.update(wanted)

        present: set[int] = set()
        serve(1)
        with_one = resident_megabytes(server)
        serve(1, 2)
        with_two = resident_megabytes(server)
        serve(1)
        with_one_again = resident_megabytes(server)

    assert with_two - with_one > megabytes * 0.9
    assert with_one_again - with_one < megabytes * 0.1
