"""The manager with a loader that the test controls: no TensorFlow, no waiting."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from heliograph.errors import CorruptVersionError, HeliographError, NotFoundError
from heliograph_modelserver.manager import AspiredVersionsManager, LoadOptions
from heliograph_modelserver.monitor import ServableStateMonitor
from heliograph_modelserver.servable import (
    ManagerState,
    ServableId,
    ServableRequest,
    ServableState,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE = 10.0
LATEST = ServableRequest("m")


class FakeServable:
    def __init__(self, servable_id: ServableId) -> None:
        self.id = servable_id
        self.unloaded = threading.Event()

    def unload(self) -> None:
        self.unloaded.set()


class FakeLoader:
    """Loads at once, unless a version is broken or held back."""

    def __init__(self) -> None:
        self.broken: dict[int, HeliographError] = {}
        self.held: dict[int, threading.Event] = {}
        self.attempts: list[int] = []
        self.order: list[int] = []

    def load(self, servable_id: ServableId, path: str) -> FakeServable:
        self.attempts.append(servable_id.version)
        if servable_id.version in self.held:
            assert self.held[servable_id.version].wait(DEADLINE)
        if servable_id.version in self.broken:
            raise self.broken[servable_id.version]
        self.order.append(servable_id.version)
        return FakeServable(servable_id)


class Bench:
    """A manager, its monitor and its loader."""

    def __init__(self, options: LoadOptions) -> None:
        self.loader = FakeLoader()
        self.monitor = ServableStateMonitor()
        self.manager: AspiredVersionsManager[FakeServable] = AspiredVersionsManager(
            self.loader.load, self.monitor, options
        )

    def aspire(self, *versions: int, model: str = "m") -> None:
        self.manager.set_aspired_versions(model, {version: f"/{version}" for version in versions})

    def states(self) -> dict[int, ManagerState]:
        return {version: state.state for version, state in self.monitor.states("m").items()}

    def wait(self, condition: Callable[[], bool]) -> None:
        assert self.monitor.wait(condition, DEADLINE), self.states()

    def wait_for(self, **states: ManagerState) -> None:
        expected = {int(name[1:]): state for name, state in states.items()}
        self.wait(lambda: expected.items() <= self.states().items())


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(LoadOptions(max_num_load_retries=0, num_load_threads=2))
    yield bench
    for held in bench.loader.held.values():
        held.set()
    bench.manager.stop()


@pytest.fixture
def patient_bench() -> Iterator[Bench]:
    """One that tries again an hour later."""
    bench = Bench(LoadOptions(max_num_load_retries=5, load_retry_interval=3600))
    yield bench
    bench.manager.stop()


def test_an_aspired_version_becomes_available(bench: Bench) -> None:
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.AVAILABLE)

    with bench.manager.handle(LATEST) as handle:
        assert handle.id == ServableId("m", 1)
    assert bench.manager.available() == [ServableId("m", 1)]


def test_a_model_that_is_not_there_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFoundError, match=r"^Servable not found for request: Latest\(m\)$"):
        bench.manager.handle(LATEST)


def test_a_version_that_is_not_there_is_not_found(bench: Bench) -> None:
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.AVAILABLE)

    with pytest.raises(NotFoundError, match=r"^Servable not found for request: Specific\(m, 7\)$"):
        bench.manager.handle(ServableRequest("m", 7))


def test_latest_is_the_highest_available_version(bench: Bench) -> None:
    bench.aspire(2, 10, 9)
    bench.wait_for(v2=ManagerState.AVAILABLE, v9=ManagerState.AVAILABLE, v10=ManagerState.AVAILABLE)

    with bench.manager.handle(LATEST) as handle:
        assert handle.id.version == 10


def test_a_swap_loads_the_new_version_before_the_old_one_goes(bench: Bench) -> None:
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.AVAILABLE)
    bench.loader.held[2] = threading.Event()

    bench.aspire(2)
    bench.wait_for(v1=ManagerState.AVAILABLE, v2=ManagerState.LOADING)
    bench.loader.held[2].set()
    bench.wait_for(v1=ManagerState.END, v2=ManagerState.AVAILABLE)


def test_a_request_in_flight_keeps_its_version_until_it_ends(bench: Bench) -> None:
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.AVAILABLE)

    with bench.manager.handle(LATEST) as handle:
        bench.aspire(2)
        bench.wait_for(v1=ManagerState.UNLOADING, v2=ManagerState.AVAILABLE)
        assert not handle.servable.unloaded.is_set()
        assert bench.manager.in_flight(ServableId("m", 1)) == 1
    bench.wait_for(v1=ManagerState.END)
    assert handle.servable.unloaded.is_set()


def test_a_request_that_never_ends_delays_no_other_swap(bench: Bench) -> None:
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.AVAILABLE)

    with bench.manager.handle(LATEST):
        bench.aspire(2)
        bench.wait_for(v2=ManagerState.AVAILABLE)
        bench.aspire(3)
        bench.wait_for(v1=ManagerState.UNLOADING, v2=ManagerState.END, v3=ManagerState.AVAILABLE)


def test_a_failed_version_ends_with_its_error_and_the_old_one_serves_on(bench: Bench) -> None:
    error = CorruptVersionError("no")
    bench.loader.broken[2] = error
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.AVAILABLE)

    bench.aspire(2)
    bench.wait_for(v2=ManagerState.END)

    state = bench.monitor.state(ServableId("m", 2))
    assert state is not None
    assert state.error is error
    assert bench.states()[1] is ManagerState.AVAILABLE


def test_a_failed_version_is_not_tried_again_while_it_stays_aspired(bench: Bench) -> None:
    bench.loader.broken[1] = CorruptVersionError("no")
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.END)

    bench.aspire(1)
    bench.aspire(1, 2)
    bench.wait_for(v2=ManagerState.AVAILABLE)
    assert bench.loader.attempts == [1, 2]


def test_a_failed_version_is_tried_again_once_it_was_not_aspired(bench: Bench) -> None:
    bench.loader.broken[1] = CorruptVersionError("no")
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.END)
    bench.loader.broken.clear()

    bench.aspire()
    bench.aspire(2)
    bench.wait_for(v2=ManagerState.AVAILABLE)
    bench.aspire(1, 2)
    bench.wait_for(v1=ManagerState.AVAILABLE)


def test_an_unexpected_exception_ends_the_version_and_not_the_manager(bench: Bench) -> None:
    def load(servable_id: ServableId, path: str) -> FakeServable:
        raise ZeroDivisionError

    monitor = ServableStateMonitor()
    manager = AspiredVersionsManager(load, monitor, LoadOptions(max_num_load_retries=0))
    manager.set_aspired_versions("m", {1: "/1"})

    assert monitor.wait(
        lambda: any(state.error is not None for state in monitor.states("m").values()), DEADLINE
    )
    manager.stop()


def test_a_load_is_tried_again_after_the_interval() -> None:
    bench = Bench(LoadOptions(max_num_load_retries=2, load_retry_interval=0.0))
    bench.loader.broken[1] = CorruptVersionError("no")

    bench.aspire(1)
    bench.wait_for(v1=ManagerState.END)

    assert bench.loader.attempts == [1, 1, 1]
    bench.manager.stop()


def test_a_version_that_waits_for_another_attempt_is_loading(patient_bench: Bench) -> None:
    patient_bench.loader.broken[1] = CorruptVersionError("no")

    patient_bench.aspire(1)
    patient_bench.wait(lambda: patient_bench.monitor.is_retrying("m"))

    assert patient_bench.states() == {1: ManagerState.LOADING}


def test_a_version_that_waits_for_another_attempt_blocks_no_other_model(
    patient_bench: Bench,
) -> None:
    patient_bench.loader.broken[1] = CorruptVersionError("no")
    patient_bench.aspire(1)
    patient_bench.wait(lambda: patient_bench.monitor.is_retrying("m"))

    patient_bench.aspire(2, model="other")

    patient_bench.wait(
        lambda: patient_bench.monitor.progress(["other"])["other"] is ManagerState.AVAILABLE
    )


def test_a_version_that_is_no_longer_aspired_is_not_tried_again(patient_bench: Bench) -> None:
    patient_bench.loader.broken[1] = CorruptVersionError("no")
    patient_bench.aspire(1)
    patient_bench.wait(lambda: patient_bench.monitor.is_retrying("m"))

    patient_bench.aspire()
    patient_bench.wait_for(v1=ManagerState.END)

    assert patient_bench.loader.attempts == [1]


def test_a_version_that_is_aspired_again_while_it_unloads_comes_back(bench: Bench) -> None:
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.AVAILABLE)

    with bench.manager.handle(LATEST):
        bench.aspire()
        bench.wait_for(v1=ManagerState.UNLOADING)
        bench.aspire(1)
    bench.wait_for(v1=ManagerState.AVAILABLE)
    assert bench.loader.order == [1, 1]


def test_a_version_dropped_and_wanted_again_at_once_is_reported_again(bench: Bench) -> None:
    """Who waits for a change after the second request must not wait for ever."""
    bench.loader.broken[2] = CorruptVersionError("no")
    bench.aspire(1, 2)
    bench.wait_for(v1=ManagerState.AVAILABLE, v2=ManagerState.END)
    event = bench.monitor.events

    with bench.manager._changed:
        bench.aspire()
        bench.aspire(1, 2)

    bench.wait(lambda: len(bench.monitor.states_since("m", event)) == 2)
    assert bench.states() == {1: ManagerState.AVAILABLE, 2: ManagerState.END}
    assert bench.loader.attempts == [2, 1]


def test_a_version_no_longer_aspired_while_it_loads_is_unloaded_afterwards(bench: Bench) -> None:
    bench.loader.held[1] = threading.Event()
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.LOADING)

    bench.aspire()
    bench.loader.held[1].set()

    bench.wait_for(v1=ManagerState.END)


def test_the_highest_version_is_loaded_first() -> None:
    bench = Bench(LoadOptions(num_load_threads=1))

    bench.aspire(1, 3, 2)
    bench.wait_for(v1=ManagerState.AVAILABLE)

    assert bench.loader.order == [3, 2, 1]
    bench.manager.stop()


def test_stopping_unloads_everything(bench: Bench) -> None:
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.AVAILABLE)
    with bench.manager.handle(LATEST) as handle:
        servable = handle.servable

    bench.manager.stop()

    assert servable.unloaded.is_set()
    with pytest.raises(NotFoundError):
        bench.manager.handle(LATEST)


def test_ended_versions_stay_in_the_status_newest_first(bench: Bench) -> None:
    bench.aspire(1)
    bench.wait_for(v1=ManagerState.AVAILABLE)
    bench.aspire(2)
    bench.wait_for(v1=ManagerState.END, v2=ManagerState.AVAILABLE)

    assert list(bench.states().items()) == [
        (2, ManagerState.AVAILABLE),
        (1, ManagerState.END),
    ]


def test_only_changes_after_an_event_count_when_asked_so() -> None:
    monitor = ServableStateMonitor()
    monitor.publish(ServableState(ServableId("m", 1), ManagerState.END))
    event = monitor.events
    monitor.publish(ServableState(ServableId("m", 2), ManagerState.LOADING))

    assert monitor.progress(["m", "other"], event) == {
        "m": ManagerState.LOADING,
        "other": None,
    }


def test_a_version_that_ended_because_it_was_not_wanted_is_no_failure() -> None:
    monitor = ServableStateMonitor()
    monitor.publish(ServableState(ServableId("m", 1), ManagerState.END))

    assert monitor.progress(["m"]) == {"m": None}


def test_a_model_has_failed_when_its_versions_ended_and_one_could_not_be_loaded() -> None:
    monitor = ServableStateMonitor()
    monitor.publish(ServableState(ServableId("m", 1), ManagerState.END))
    monitor.publish(ServableState(ServableId("m", 2), ManagerState.END, CorruptVersionError("no")))

    assert monitor.progress(["m"]) == {"m": ManagerState.END}
