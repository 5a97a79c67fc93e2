"""The embedded model server: started, told which versions to hold, and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from heliograph.errors import BackendUnavailableError
from heliograph_gateway.embedded import EmbeddedModelServer
from heliograph_gateway.servables import Servable

if TYPE_CHECKING:
    from tests.contract.gateway.conftest import Eventually

COMMAND = (sys.executable, str(Path(__file__).with_name("fake_model_server.py")))


class Supervised:
    """An embedded model server with its supervisor."""

    def __init__(self, repository: Path, load_timeout: float, start_timeout: float = 30.0) -> None:
        self.server = EmbeddedModelServer(
            repository, start_timeout=start_timeout, load_timeout=load_timeout, command=COMMAND
        )
        self._supervising: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.server.start()
        self._supervising = asyncio.create_task(self.server.supervise())

    async def stop(self) -> None:
        if self._supervising:
            self._supervising.cancel()
            await asyncio.gather(self._supervising, return_exceptions=True)
        await self.server.stop()

    async def hold(self, **wanted: set[int]) -> Mapping[Servable, str]:
        return await self.server.hold({name: frozenset(held) for name, held in wanted.items()})

    async def hold_in_the_end(self, **wanted: set[int]) -> Mapping[Servable, str]:
        """Try until the process can be told."""
        for _ in range(600):
            try:
                return await self.hold(**wanted)
            except BackendUnavailableError:
                await asyncio.sleep(0.05)
        raise AssertionError("the model server did not come back")


@pytest.fixture
def version(repository: Path) -> Callable[..., None]:
    """Write a version that behaves in some way when it is loaded."""

    def write(number: int, behaviour: str = "", model: str = "digits") -> None:
        path = repository / model / str(number)
        path.mkdir(parents=True)
        if behaviour:
            (path / "behaviour").write_text(behaviour)

    return write


@pytest.fixture
async def supervised(repository: Path) -> AsyncIterator[Supervised]:
    supervised = Supervised(repository, load_timeout=10.0)
    await supervised.start()
    yield supervised
    await supervised.stop()


def kill(supervised: Supervised) -> int:
    """Kill the process and return its id."""
    pid = supervised.server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


async def test_it_holds_the_versions_that_it_is_told_to(
    supervised: Supervised, version: Callable[..., None]
) -> None:
    for number in (1, 2):
        version(number)

    assert await supervised.hold(digits={1}) == {}
    assert await supervised.hold(digits={1, 2}) == {}
    assert await supervised.hold(digits={2}) == {}
    assert await supervised.hold() == {}


async def test_a_version_that_does_not_load_says_why_and_the_others_are_held(
    supervised: Supervised, version: Callable[..., None]
) -> None:
    version(1)
    version(2, "fail")

    for _ in range(2):
        assert await supervised.hold(digits={1, 2}) == {
            Servable("digits", 2): "it does not load: bad graph"
        }


async def test_a_version_that_takes_too_long_to_load_is_named(
    repository: Path, version: Callable[..., None]
) -> None:
    version(1)
    version(2, "slow")
    supervised = Supervised(repository, load_timeout=0.3)
    await supervised.start()
    try:
        failures = await supervised.hold(digits={1, 2})
    finally:
        await supervised.stop()

    assert failures == {Servable("digits", 2): "it did not load within 0.3 s"}


async def test_its_socket_is_for_nobody_else(supervised: Supervised) -> None:
    path = Path(supervised.server.address.removeprefix("tfs://"))

    assert path.is_socket()
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_process_that_is_killed_is_started_again_and_holds_what_it_held(
    supervised: Supervised, version: Callable[..., None], eventually: Eventually
) -> None:
    version(1)
    await supervised.hold(digits={1})

    with capture_logs() as logs:
        pid = kill(supervised)
        await eventually(lambda: supervised.server.pid not in (None, pid))
        # Nothing else is told: the supervisor itself has it load what was held.
        assert await supervised.hold_in_the_end(digits={1}) == {}

    [entry] = [entry for entry in logs if entry["event"] == "model server ended"]
    assert entry["code"] == -signal.SIGKILL


async def test_a_version_that_kills_the_process_fails_and_what_was_held_comes_back(
    supervised: Supervised, version: Callable[..., None]
) -> None:
    version(1)
    version(2, "die")
    await supervised.hold(digits={1})

    failures = await supervised.hold_in_the_end(digits={1, 2})

    assert failures == {
        Servable("digits", 2): "the model server ended each time that it loaded this version"
    }
    assert await supervised.hold_in_the_end(digits={1}) == {}
    pid = supervised.server.pid
    # It is not tried again.
    assert await supervised.hold(digits={1, 2}) == failures
    assert supervised.server.pid == pid


async def test_one_death_while_a_version_loads_is_not_held_against_it(
    supervised: Supervised, version: Callable[..., None], repository: Path
) -> None:
    version(1)
    version(2, "die")
    await supervised.hold(digits={1})
    with pytest.raises(BackendUnavailableError):
        await supervised.hold(digits={1, 2})
    (repository / "digits" / "2" / "behaviour").unlink()

    assert await supervised.hold_in_the_end(digits={1, 2}) == {}


async def test_a_process_that_is_away_is_not_held_against_a_version(
    supervised: Supervised,
    version: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    version(1)
    version(2)
    await supervised.hold(digits={1})
    trouble = tmp_path / "trouble"
    trouble.write_text("crash")
    monkeypatch.setenv("FAKE_MODEL_SERVER_TROUBLE", str(trouble))
    kill(supervised)
    await eventually(lambda: supervised.server.pid is None)

    for _ in range(5):
        with pytest.raises(BackendUnavailableError):
            await supervised.hold(digits={1, 2})
    trouble.unlink()

    assert await supervised.hold_in_the_end(digits={1, 2}) == {}


async def test_a_process_that_stays_silent_when_started_again_is_replaced(
    repository: Path,
    version: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    version(1)
    supervised = Supervised(repository, load_timeout=10.0, start_timeout=3.0)
    await supervised.start()
    try:
        await supervised.hold(digits={1})
        trouble = tmp_path / "trouble"
        trouble.write_text("silent")
        monkeypatch.setenv("FAKE_MODEL_SERVER_TROUBLE", str(trouble))
        kill(supervised)
        await eventually(lambda: trouble.read_text() == "was silent")
        silent = supervised.server.pid
        await eventually(lambda: supervised.server.pid not in (None, silent))

        assert await supervised.hold_in_the_end(digits={1}) == {}
    finally:
        await supervised.stop()


async def test_it_ends_with_the_gateway(repository: Path) -> None:
    supervised = Supervised(repository, load_timeout=10.0)
    await supervised.start()
    folder = Path(supervised.server.address.removeprefix("tfs://")).parent

    await supervised.stop()

    assert supervised.server.pid is None
    assert not folder.exists()


@pytest.mark.parametrize(
    ("trouble", "message"),
    [("crash", "ended with code 3 while it started"), ("silent", "did not answer within 0.5 s")],
)
async def test_a_process_that_does_not_start_is_named(
    trouble: str,
    message: str,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "trouble").write_text(trouble)
    monkeypatch.setenv("FAKE_MODEL_SERVER_TROUBLE", str(tmp_path / "trouble"))
    server = EmbeddedModelServer(
        repository,
        start_timeout=0.5 if trouble == "silent" else 30.0,
        load_timeout=1.0,
        command=COMMAND,
    )

    try:
        with pytest.raises(BackendUnavailableError, match=message):
            await server.start()
    finally:
        await server.stop()


async def test_it_is_told_how_many_threads_compute_an_operation(
    repository: Path, tmp_path: Path
) -> None:
    flags = tmp_path / "flags"
    note = f"import sys; open({str(flags)!r}, 'w').write(' '.join(sys.argv[1:])); sys.exit(3)"
    server = EmbeddedModelServer(
        repository,
        start_timeout=30.0,
        load_timeout=1.0,
        threads=2,
        command=(sys.executable, "-c", note),
    )

    try:
        with pytest.raises(BackendUnavailableError, match="code 3"):
            await server.start()
    finally:
        await server.stop()

    told = flags.read_text().split()
    assert "--tensorflow_intra_op_parallelism=2" in told
    # Operations run in the thread that asks.
    assert "--tensorflow_inter_op_parallelism=-1" in told
