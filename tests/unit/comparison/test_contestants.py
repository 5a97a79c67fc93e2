"""Every contestant has a choice of settings, its own requirements, and pinned versions."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.comparison.contestants import CONTESTANTS, Contestant
from benchmarks.comparison.environments import REQUIREMENTS

EVERY = [pytest.param(contestant, id=name) for name, contestant in CONTESTANTS.items()]


@pytest.mark.parametrize("contestant", EVERY)
def test_a_contestant_may_choose_from_four_settings(contestant: Contestant) -> None:
    assert len(contestant.settings) >= 4
    assert len({repr(values) for values in contestant.settings.values()}) >= 4


@pytest.mark.parametrize("contestant", EVERY)
def test_a_contestant_has_requirements_and_a_server(contestant: Contestant) -> None:
    servers = REQUIREMENTS.parent / "servers"

    assert (REQUIREMENTS / f"{contestant.environment}.txt").is_file()
    assert not contestant.module or (servers / f"{contestant.module}.py").is_file()


@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem) for p in REQUIREMENTS.glob("*.txt")])
def test_requirements_are_names_with_versions(path: Path) -> None:
    for line in path.read_text().splitlines():
        assert line.startswith(("#", "-c ", "-e .")) or line.count("==") == 1, line


def test_all_have_the_runtime_that_heliograph_is_locked_to() -> None:
    locked = (REQUIREMENTS.parents[2] / "constraints.txt").read_text().splitlines()
    pins = {
        line for line in locked if line.startswith(("tensorflow==", "simplejpeg==", "pillow=="))
    }

    for name in {each.environment for each in CONTESTANTS.values()} - {"heliograph"}:
        assert pins <= set((REQUIREMENTS / f"{name}.txt").read_text().splitlines()), name
