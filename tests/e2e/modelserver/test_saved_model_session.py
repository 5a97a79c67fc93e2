"""The private door into the session: says when TensorFlow changes it, and what passes through."""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from heliograph.errors import (
    DeadlineExceededError,
    HeliographError,
    InvalidArgumentError,
    NotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from heliograph_modelserver.session import SavedModelSession, SessionOptions
    from heliograph_modelserver.testing import write_half_plus

    path = write_half_plus(tmp_path_factory.mktemp("half") / "1")
    session = SavedModelSession(str(path), ["serve"], SessionOptions())
    yield session
    session.close()


def load(path: Path) -> Any:
    from heliograph_modelserver.session import SavedModelSession, SessionOptions

    return SavedModelSession(str(path), ["serve"], SessionOptions())


def test_tensorflow_is_the_one_whose_private_calls_we_know() -> None:
    import tensorflow as tf

    assert tf.__version__.startswith("2.21."), "look at heliograph_modelserver/session.py again"


def test_the_private_call_takes_what_we_give_it() -> None:
    import tensorflow as tf

    session = tf.compat.v1.Session

    assert list(inspect.signature(session._call_tf_sessionrun).parameters) == [
        "self",
        "options",
        "feed_dict",
        "fetch_list",
        "target_list",
        "run_metadata",
    ]
    assert list(inspect.signature(session._extend_graph).parameters) == ["self"]
    with tf.Graph().as_default():
        tensor = tf.compat.v1.placeholder(tf.float32)
    assert type(tensor._as_tf_output()).__name__ == "TF_Output"


def test_a_shape_that_session_run_refuses_is_fed(half: Any) -> None:
    assert half.run({"x:0": np.array([2.0], np.float32)}, ["y:0"])[0].tolist() == [3.0]


def test_a_run_may_take_only_so_long(tmp_path: Path) -> None:
    import tensorflow as tf

    from heliograph_modelserver.testing import write_saved_model

    def build() -> dict[str, Any]:
        steps = tf.compat.v1.placeholder(tf.int64, [], name="steps")
        count = tf.compat.v1.while_loop(
            lambda step: step < steps, lambda step: (step + 1,), [np.int64(0)]
        )
        tf.identity(count, name="answer")
        return {}

    session = load(write_saved_model(tmp_path / "1", build))

    assert session.run({"steps:0": np.array(3)}, ["answer:0"], timeout=30.0)[0] == 3
    with pytest.raises(DeadlineExceededError, match=r"^Timed out waiting for notification$"):
        session.run({"steps:0": np.array(2**60)}, ["answer:0"], timeout=0.2)
    assert session.run({"steps:0": np.array(4)}, ["answer:0"])[0] == 4
    session.close()


def test_an_unknown_tensor_is_refused(half: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="was not found in the Graph"):
        half.run({"nothing:0": np.zeros(1, np.float32)}, ["y:0"])


def test_errors_carry_the_status_and_the_text_of_the_runtime(half: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^Expects arg\[0\] to be float but"):
        half.run({"x:0": np.array([2])}, ["y:0"])


def test_a_session_runs_in_several_threads(half: Any) -> None:
    results: dict[int, float] = {}

    def run(number: int) -> None:
        for _ in range(50):
            value = np.array([[number]], np.float32)
            results[number] = float(half.run({"x:0": value}, ["y:0"], 30.0)[0][0, 0])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == {number: number / 2 + 2 for number in range(8)}


def test_threads_and_memory_are_those_of_the_options(tmp_path: Path) -> None:
    from heliograph_modelserver.session import SavedModelSession, SessionOptions
    from heliograph_modelserver.testing import write_half_plus

    path = write_half_plus(tmp_path / "1")
    session = SavedModelSession(str(path), ["serve"], SessionOptions(1, 2, 0.5))

    config = session._session._config
    assert config.intra_op_parallelism_threads == 1
    assert config.inter_op_parallelism_threads == 2
    assert config.gpu_options.per_process_gpu_memory_fraction == 0.5
    session.close()


def test_a_directory_without_a_saved_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="Could not find SavedModel"):
        load(tmp_path)


def test_tags_that_are_not_there_are_refused(tmp_path: Path) -> None:
    from heliograph_modelserver.session import SavedModelSession, SessionOptions
    from heliograph_modelserver.testing import write_half_plus

    write_half_plus(tmp_path / "1")

    with pytest.raises(HeliographError, match="tags"):
        SavedModelSession(str(tmp_path / "1"), ["tpu"], SessionOptions())


def test_a_saved_model_with_an_unknown_operation_is_refused(tmp_path: Path) -> None:
    from heliograph_modelserver.testing import write_half_plus

    file = write_half_plus(tmp_path / "1") / "saved_model.pb"
    file.write_bytes(file.read_bytes().replace(b"AddV2", b"AddV9"))

    with pytest.raises(HeliographError, match="AddV9"):
        load(tmp_path / "1")


@pytest.mark.parametrize("keep", [0, 1, 100, 2000])
def test_a_truncated_saved_model_is_refused(tmp_path: Path, keep: int) -> None:
    from heliograph_modelserver.testing import write_half_plus

    file = write_half_plus(tmp_path / "1") / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:keep])

    with pytest.raises(HeliographError):
        load(tmp_path / "1")


def test_truncated_variables_are_refused(tmp_path: Path) -> None:
    from heliograph_modelserver.testing import write_half_plus

    path = write_half_plus(tmp_path / "1")
    for file in (path / "variables").iterdir():
        file.write_bytes(file.read_bytes()[:3])

    with pytest.raises(HeliographError):
        load(path)


def test_a_session_that_is_closed_gives_its_graph_free(tmp_path: Path) -> None:
    import gc
    import weakref

    from heliograph_modelserver.testing import write_half_plus

    session = load(write_half_plus(tmp_path / "1"))
    graph = weakref.ref(session._graph)

    session.close()
    gc.collect()

    assert graph() is None
