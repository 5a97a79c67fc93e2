from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from heliograph_modelserver.policy import (
    Action,
    HarnessState,
    ServableAction,
    VersionSnapshot,
    next_action,
)

NEW, LOADING, READY = HarnessState.NEW, HarnessState.LOADING, HarnessState.READY
QUIESCING, ERROR, DISABLED = HarnessState.QUIESCING, HarnessState.ERROR, HarnessState.DISABLED


def wanted(version: int, state: HarnessState) -> VersionSnapshot:
    return VersionSnapshot(version, state, is_aspired=True)


def stale(version: int, state: HarnessState) -> VersionSnapshot:
    return VersionSnapshot(version, state, is_aspired=False)


def load(version: int) -> ServableAction:
    return ServableAction(Action.LOAD, version)


def unload(version: int) -> ServableAction:
    return ServableAction(Action.UNLOAD, version)


def test_nothing_is_done_without_versions() -> None:
    assert next_action([]) is None


def test_the_highest_new_version_is_loaded_first() -> None:
    assert next_action([wanted(1, NEW), wanted(3, NEW), wanted(2, NEW)]) == load(3)


def test_a_new_version_is_loaded_before_the_old_one_is_unloaded() -> None:
    assert next_action([stale(1, READY), wanted(2, NEW)]) == load(2)


def test_the_old_version_stays_while_the_new_one_loads() -> None:
    assert next_action([stale(1, READY), wanted(2, LOADING)]) is None


def test_the_old_version_goes_when_the_new_one_is_ready() -> None:
    assert next_action([stale(1, READY), wanted(2, READY)]) == unload(1)


def test_a_version_that_failed_leaves_the_old_one_serving() -> None:
    assert next_action([stale(1, READY), wanted(2, ERROR)]) is None


def test_of_two_stale_versions_the_lower_one_goes_at_once() -> None:
    assert next_action([stale(1, READY), stale(2, READY), wanted(3, NEW)]) == unload(1)


def test_everything_goes_when_nothing_is_aspired() -> None:
    assert next_action([stale(2, READY), stale(1, READY)]) == unload(1)
    assert next_action([stale(2, READY), stale(1, QUIESCING)]) == unload(2)


def test_versions_on_their_way_out_need_nothing() -> None:
    assert next_action([stale(1, QUIESCING), stale(2, DISABLED), stale(3, ERROR)]) is None


def test_a_failed_version_is_not_tried_again() -> None:
    assert next_action([wanted(1, ERROR)]) is None


@given(
    st.lists(
        st.builds(VersionSnapshot, st.integers(0, 6), st.sampled_from(HarnessState), st.booleans()),
        unique_by=lambda snapshot: snapshot.version,
    )
)
def test_a_model_that_should_serve_never_loses_its_last_ready_version(
    versions: list[VersionSnapshot],
) -> None:
    action = next_action(versions)

    if action is not None and action.action is Action.UNLOAD:
        ready_after = [
            version
            for version in versions
            if version.state is READY and version.version != action.version
        ]
        assert ready_after or not any(version.is_aspired for version in versions)
