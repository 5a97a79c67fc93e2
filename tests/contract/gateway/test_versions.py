"""What is served follows the repository: first start, promotion, roll back, and what must not."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from heliograph.contract import CONTRACT_PATH
from heliograph.errors import (
    BackendUnavailableError,
    DeadlineExceededError,
    HeliographError,
    ResourceExhaustedError,
    StorageError,
)
from heliograph.golden import GOLDEN_DIRECTORY
from heliograph.repository import Repository
from heliograph.routing import RoutingTable, create_routing, latest_revision, read_routing
from heliograph_gateway.backends.fake import FakeBackend
from heliograph_gateway.servables import Servable

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import Eventually, RunningGateway, StartGateway


class RecordingHost:
    """A host that loads whatever it is told to, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[dict[str, set[int]]] = []
        self.failures: dict[Servable, str] = {}

    async def hold(self, wanted: Mapping[str, frozenset[int]]) -> Mapping[Servable, str]:
        """See Host."""
        told = {model: set(held) for model, held in wanted.items()}
        if self.told[-1:] != [told]:
            self.told.append(told)
        return self.failures


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


@pytest.fixture
def model(repository: Path) -> Path:
    """The folder of the model."""
    return repository / "brightness"


async def answering(gateway: RunningGateway) -> tuple[int, int]:
    """Version and revision that answer now."""
    served_by = (await gateway.stub.Classify(gateway.request(name="brightness"))).served_by
    return served_by.version, served_by.routing_revision


def reason(gateway: RunningGateway, name: str = "brightness") -> str:
    return gateway.gateway.router.model(name).reason


def stable(gateway: RunningGateway) -> int:
    table = gateway.gateway.router.model("brightness").table
    return table.stable if table else 0


def inverted(rows: np.ndarray) -> np.ndarray:
    """A model that gives other answers than its golden examples promise."""
    bright = rows.reshape(len(rows), -1).mean(axis=1) / 255
    return np.stack([bright, 1 - bright], axis=1).astype(np.float32)


async def several_looks(gateway: RunningGateway) -> None:
    """Let the gateway look at the repository several times more."""
    for _ in range(3):
        await gateway.gateway.look()


# First start.


async def test_the_first_start_writes_down_the_newest_version_that_passes(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    for _ in range(3):
        brightness.publish(repository)

    gateway = await start_gateway()

    assert await answering(gateway) == (3, 1)
    assert read_routing(model) == RoutingTable(revision=1, stable=3)


async def test_every_golden_image_goes_through_the_backend_before_the_first_answer(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)

    gateway = await start_gateway()

    assert sum(len(rows) for _, rows in gateway.backend.batches) == 4


def _without_contract(version: Path) -> None:
    (version / CONTRACT_PATH).unlink()


def _newer_contract(version: Path) -> None:
    (version / CONTRACT_PATH).write_text('{"schema_major": 2}')


def _without_golden(version: Path) -> None:
    shutil.rmtree(version / GOLDEN_DIRECTORY)


def _other_recipe(version: Path) -> None:
    path = version / CONTRACT_PATH
    path.write_text(path.read_text().replace("resize(4, 4)", "resize(5, 5)"))


def _other_pixels(version: Path) -> None:
    path = version / GOLDEN_DIRECTORY / "golden.json"
    index = json.loads(path.read_text())
    index["examples"][2]["pixels_sha256"] = "0" * 64
    path.write_text(json.dumps(index))


def _other_probabilities(version: Path) -> None:
    path = version / GOLDEN_DIRECTORY / "golden.json"
    index = json.loads(path.read_text())
    index["examples"][3]["probabilities"] = [0.5, 0.5]
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_without_contract, "has no contract"),
        (_newer_contract, "upgrade Heliograph"),
        (_without_golden, "cannot read the golden examples"),
        (_other_recipe, "recipe yields uint8 [5, 5, 1]"),
        (_other_pixels, "decoder differs: the pixels of golden image 002.png"),
        (_other_probabilities, "model differs: golden image 003.png"),
    ],
)
async def test_a_bad_newest_version_is_logged_and_the_next_older_one_serves(
    spoil: Callable[[Path], None],
    why: str,
    start_gateway: StartGateway,
    repository: Path,
    model: Path,
    brightness: Brightness,
) -> None:
    brightness.publish(repository)
    brightness.publish(repository, spoil=spoil)

    with capture_logs() as logs:
        gateway = await start_gateway()

    assert await answering(gateway) == (1, 1)
    [entry] = [entry for entry in logs if entry["event"] == "version rejected"]
    assert (entry["model"], entry["version"]) == ("brightness", 2)
    assert why in entry["error"]


async def test_a_file_that_differs_from_the_manifest_rejects_a_version(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    brightness.publish(repository)
    (model / "2" / "saved_model.pb").write_bytes(b"another graph")

    gateway = await start_gateway()

    assert await answering(gateway) == (1, 1)


async def test_a_version_that_the_host_cannot_load_is_rejected(
    start_gateway: StartGateway, repository: Path, brightness: Brightness, host: RecordingHost
) -> None:
    brightness.publish(repository)
    brightness.publish(repository)
    host.failures[Servable("brightness", 2)] = "it does not load: bad graph"

    gateway = await start_gateway(host=host)

    assert await answering(gateway) == (1, 1)
    assert host.told == [{"brightness": {2}}, {"brightness": {1}}]


async def test_a_contract_that_does_not_fit_the_saved_model_rejects_the_version(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    backend = FakeBackend(Repository(repository), brightness.compute)
    backend.found_signatures[Servable("brightness", 1)] = {}

    gateway = await start_gateway(backend=backend)

    assert "no signature serving_default; it has none" in reason(gateway)


@pytest.mark.parametrize(
    ("compute", "why"),
    [
        (inverted, "model differs"),
        (lambda rows: np.full((len(rows), 2), np.nan, np.float32), "not finite"),
        (lambda rows: np.zeros((len(rows), 3), np.float32), "instead of float32 [4, 2]"),
    ],
)
async def test_a_model_of_which_no_version_passes_is_not_served_and_says_why(
    compute: Callable[[np.ndarray], np.ndarray],
    why: str,
    start_gateway: StartGateway,
    repository: Path,
    model: Path,
    brightness: Brightness,
    host: RecordingHost,
) -> None:
    brightness.publish(repository)
    brightness.publish(repository)
    brightness.publish(repository, name="another")
    backend = FakeBackend(Repository(repository), brightness.compute)
    for number in (1, 2):
        backend.computes[Servable("brightness", number)] = compute

    gateway = await start_gateway(backend=backend, host=host)
    await several_looks(gateway)

    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request(name="brightness")))
    assert refusal.reason == "MODEL_NOT_SERVING"
    assert "version 2: " in refusal.message
    assert "version 1: " in refusal.message
    assert why in refusal.message
    assert latest_revision(model) == 0
    assert host.told[-1] == {"another": {1}}
    served = await gateway.stub.Classify(gateway.request(name="another"))
    assert served.served_by.version == 1


async def test_a_repository_that_cannot_be_written_serves_nothing_and_says_what_to_do(
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_only(directory: Path, table: RoutingTable) -> None:
        raise StorageError(f"cannot write {directory}/routing.1.json: the file system is read-only")

    monkeypatch.setattr("heliograph_gateway.versions.create_routing", read_only)
    brightness.publish(repository)

    gateway = await start_gateway()
    await several_looks(gateway)

    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request()))
    assert refusal.reason == "MODEL_NOT_SERVING"
    assert "routing.1.json: the file system is read-only" in refusal.message
    # It was proved once, not at each look.
    assert sum(len(rows) for _, rows in gateway.backend.batches) == 4
    monkeypatch.undo()
    await gateway.gateway.look()
    assert await answering(gateway) == (1, 1)


async def test_a_backend_that_is_away_at_the_start_is_asked_again(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    backend = FakeBackend(Repository(repository), brightness.compute)
    backend.failures.append(BackendUnavailableError("the model server cannot be reached"))

    gateway = await start_gateway(backend=backend, poll_interval=60)

    assert reason(gateway) == "the model server cannot be reached"
    await gateway.gateway.look()
    assert await answering(gateway) == (1, 1)


async def test_an_empty_repository_is_served_and_models_may_come_later(
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
    eventually: Eventually,
) -> None:
    gateway = await start_gateway()
    assert gateway.gateway.router.models() == []

    brightness.publish(repository)

    await eventually(gateway.gateway.router.models)
    await eventually(lambda: stable(gateway) == 1)
    assert await answering(gateway) == (1, 1)


# Restart.


async def test_a_restart_follows_the_table_and_does_not_jump_to_newer_versions(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    for _ in range(3):
        brightness.publish(repository)
    create_routing(model, RoutingTable(revision=1, stable=3))
    create_routing(model, RoutingTable(revision=2, stable=2))

    gateway = await start_gateway()
    await several_looks(gateway)

    assert await answering(gateway) == (2, 2)
    assert latest_revision(model) == 2


async def test_after_a_restart_one_golden_image_is_enough(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    create_routing(model, RoutingTable(revision=1, stable=1))

    gateway = await start_gateway()

    assert [len(rows) for _, rows in gateway.backend.batches] == [1]


async def test_a_stable_version_that_is_gone_is_not_replaced_by_another(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    brightness.publish(repository)
    create_routing(model, RoutingTable(revision=1, stable=1))
    shutil.rmtree(model / "1")

    gateway = await start_gateway(auto_promote=True)

    assert reason(gateway) == "model brightness has no version 1; it has 2"


# Newer versions.


async def test_a_newer_version_waits_and_is_announced_once(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(poll_interval=60)
    brightness.publish(repository)

    with capture_logs() as logs:
        await several_looks(gateway)

    assert await answering(gateway) == (1, 1)
    assert [entry["version"] for entry in logs if "a newer version waits" in entry["event"]] == [2]


async def test_a_newer_version_is_proved_and_promoted_by_a_new_revision(
    start_gateway: StartGateway,
    repository: Path,
    model: Path,
    brightness: Brightness,
    host: RecordingHost,
    eventually: Eventually,
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(auto_promote=True, host=host)
    gateway.backend.batches.clear()

    brightness.publish(repository)

    await eventually(lambda: stable(gateway) == 2)
    assert await answering(gateway) == (2, 2)
    assert read_routing(model) == RoutingTable(revision=2, stable=2)
    proofs = [len(rows) for servable, rows in gateway.backend.batches if servable.version == 2]
    assert sum(proofs) == 4 + 1
    await eventually(lambda: host.told[-1] == {"brightness": {2}})
    assert host.told == [{"brightness": {1}}, {"brightness": {1, 2}}, {"brightness": {2}}]


async def test_a_promotion_keeps_the_labels_of_the_table(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    create_routing(model, RoutingTable(revision=1, stable=1, version_labels={"first": 1}))
    gateway = await start_gateway(auto_promote=True, poll_interval=60)
    brightness.publish(repository)

    await gateway.gateway.look()

    assert read_routing(model) == RoutingTable(revision=2, stable=2, version_labels={"first": 1})
    response = await gateway.stub.Classify(gateway.request(version_label="first"))
    assert (response.served_by.version, response.served_by.routing_revision) == (1, 2)


async def test_requests_in_flight_finish_on_the_old_version_which_goes_only_then(
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
    host: RecordingHost,
    eventually: Eventually,
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(auto_promote=True, host=host)
    released = asyncio.Event()
    predict = gateway.backend.predict

    async def slow_on_the_first(servable: Servable, *arguments: Any, **options: Any) -> Any:
        if servable.version == 1:
            await released.wait()
        return await predict(servable, *arguments, **options)

    gateway.backend.predict = slow_on_the_first  # type: ignore[method-assign]
    in_flight = [gateway.stub.Classify(gateway.request()) for _ in range(3)]
    await eventually(lambda: gateway.metric("heliograph_inflight") == 3)

    brightness.publish(repository)

    await eventually(lambda: stable(gateway) == 2)
    assert await answering(gateway) == (2, 2)
    assert host.told[-1] == {"brightness": {1, 2}}
    released.set()
    for call in in_flight:
        assert (await call).served_by.version == 1
    await eventually(lambda: host.told[-1] == {"brightness": {2}})


@pytest.mark.parametrize("spoil", [_without_contract, _other_pixels, _other_probabilities])
async def test_a_newer_version_that_fails_stays_out_and_is_not_proved_again(
    spoil: Callable[[Path], None],
    start_gateway: StartGateway,
    repository: Path,
    model: Path,
    brightness: Brightness,
    host: RecordingHost,
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(auto_promote=True, host=host, poll_interval=60)
    brightness.publish(repository, spoil=spoil)

    with capture_logs() as logs:
        await several_looks(gateway)

    assert await answering(gateway) == (1, 1)
    assert latest_revision(model) == 1
    assert [entry["version"] for entry in logs if entry["event"] == "version rejected"] == [2]
    assert host.told == [{"brightness": {1}}, {"brightness": {1, 2}}, {"brightness": {1}}]
    assert reason(gateway) == ""


async def test_after_a_version_that_failed_a_better_one_is_promoted(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(auto_promote=True, poll_interval=60)
    brightness.publish(repository, spoil=_other_probabilities)
    await gateway.gateway.look()

    brightness.publish(repository)
    await gateway.gateway.look()

    assert await answering(gateway) == (3, 2)


@pytest.mark.parametrize(
    "answer",
    [
        BackendUnavailableError("the model server is away"),
        DeadlineExceededError("the model server is slow"),
        ResourceExhaustedError("the model server has too much to do"),
    ],
)
async def test_a_backend_in_trouble_does_not_reject_a_version(
    answer: HeliographError, start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(auto_promote=True, poll_interval=60)
    brightness.publish(repository)
    gateway.backend.failures.append(answer)

    await gateway.gateway.look()
    assert await answering(gateway) == (1, 1)

    await gateway.gateway.look()
    assert await answering(gateway) == (2, 2)


async def test_a_promotion_that_cannot_be_written_is_tried_again_without_a_new_proof(
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(auto_promote=True, poll_interval=60)
    brightness.publish(repository)
    gateway.backend.batches.clear()

    def full(directory: Path, table: RoutingTable) -> None:
        raise StorageError("cannot write: the disk is full")

    monkeypatch.setattr("heliograph_gateway.versions.create_routing", full)
    with capture_logs() as logs:
        await several_looks(gateway)
    monkeypatch.undo()

    assert [entry["reason"] for entry in logs if entry["event"] == "cannot follow"] == [
        "cannot write: the disk is full"
    ]
    assert sum(len(rows) for _, rows in gateway.backend.batches) == 4
    assert await answering(gateway) == (1, 1)
    await gateway.gateway.look()
    assert await answering(gateway) == (2, 2)


# Revisions written by others.


async def test_a_roll_back_is_followed_and_not_undone_by_auto_promote(
    start_gateway: StartGateway,
    repository: Path,
    model: Path,
    brightness: Brightness,
    host: RecordingHost,
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(auto_promote=True, host=host, poll_interval=60)
    brightness.publish(repository)
    await gateway.gateway.look()
    assert await answering(gateway) == (2, 2)

    create_routing(model, RoutingTable(revision=3, stable=1))
    await several_looks(gateway)

    assert await answering(gateway) == (1, 3)
    assert latest_revision(model) == 3
    assert host.told[-2:] == [{"brightness": {1, 2}}, {"brightness": {1}}]


async def test_after_a_roll_back_a_newer_version_is_promoted_again(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    brightness.publish(repository)
    gateway = await start_gateway(auto_promote=True, poll_interval=60)
    create_routing(model, RoutingTable(revision=2, stable=1))
    await gateway.gateway.look()

    brightness.publish(repository)
    await gateway.gateway.look()

    assert await answering(gateway) == (3, 3)


async def test_a_hand_written_revision_is_proved_before_it_is_followed(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(poll_interval=60)
    brightness.publish(repository, spoil=_other_probabilities)
    create_routing(model, RoutingTable(revision=2, stable=2))

    await several_looks(gateway)

    assert await answering(gateway) == (1, 1)
    assert "model differs: golden image 003.png" in reason(gateway)
    create_routing(model, RoutingTable(revision=3, stable=1))
    await gateway.gateway.look()
    assert await answering(gateway) == (1, 3)
    assert reason(gateway) == ""


async def test_a_lost_race_for_a_revision_is_followed(
    start_gateway: StartGateway,
    repository: Path,
    model: Path,
    brightness: Brightness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(2):
        brightness.publish(repository)

    def lose(directory: Path, table: RoutingTable) -> None:
        if table.revision == 1:
            create_routing(directory, RoutingTable(revision=1, stable=1, release="the winner"))
        create_routing(directory, table)

    monkeypatch.setattr("heliograph_gateway.versions.create_routing", lose)
    gateway = await start_gateway(poll_interval=60)

    await gateway.gateway.look()

    assert await answering(gateway) == (1, 1)
    assert read_routing(model) == RoutingTable(revision=1, stable=1, release="the winner")


async def test_a_broken_version_of_a_label_leaves_the_stable_one_alone(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    brightness.publish(repository, spoil=_without_contract)
    create_routing(model, RoutingTable(revision=1, stable=1, version_labels={"next": 2}))

    gateway = await start_gateway()

    assert await answering(gateway) == (1, 1)
    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request(version_label="next")))
    assert refusal.reason == "VERSION_NOT_FOUND"


# A repository in trouble.


@pytest.mark.parametrize("text", ["", "{", '{"revision": 2, "stable": "two"}'])
async def test_an_unreadable_routing_table_keeps_the_last_one(
    text: str, start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(poll_interval=60)
    (model / "routing.2.json").write_text(text)

    await several_looks(gateway)

    assert await answering(gateway) == (1, 1)
    assert "cannot read the routing table" in reason(gateway)


async def test_at_the_start_an_unreadable_routing_table_is_not_passed_over(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    create_routing(model, RoutingTable(revision=1, stable=1))
    (model / "routing.2.json").write_text("{")

    gateway = await start_gateway()

    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request()))
    assert "cannot read the routing table" in refusal.message


async def test_a_routing_table_that_vanishes_changes_nothing(
    start_gateway: StartGateway,
    repository: Path,
    model: Path,
    brightness: Brightness,
    host: RecordingHost,
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(host=host, auto_promote=True, poll_interval=60)
    create_routing(model, RoutingTable(revision=2, stable=1))
    await gateway.gateway.look()

    for revision in (2, 1):
        (model / f"routing.{revision}.json").unlink()
        await several_looks(gateway)
        assert await answering(gateway) == (1, 2)

    assert host.told == [{"brightness": {1}}]


@pytest.mark.parametrize("hidden", ["the repository", "the model's folder"])
async def test_a_folder_that_cannot_be_read_for_a_moment_changes_nothing(
    hidden: str,
    start_gateway: StartGateway,
    repository: Path,
    model: Path,
    brightness: Brightness,
    host: RecordingHost,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(host=host, poll_interval=60)
    folder = repository if hidden == "the repository" else model
    iterdir = Path.iterdir

    def stale(self: Path) -> Any:
        if self == folder:
            raise OSError(116, "Stale file handle", str(self))
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", stale)
    await several_looks(gateway)
    assert await answering(gateway) == (1, 1)
    monkeypatch.undo()

    brightness.publish(repository)
    create_routing(model, RoutingTable(revision=2, stable=2))
    await gateway.gateway.look()
    assert await answering(gateway) == (2, 2)


async def test_a_model_whose_folder_is_removed_is_forgotten(
    start_gateway: StartGateway,
    repository: Path,
    model: Path,
    brightness: Brightness,
    host: RecordingHost,
) -> None:
    brightness.publish(repository)
    brightness.publish(repository, name="another")
    gateway = await start_gateway(host=host, poll_interval=60)
    shutil.rmtree(model)

    await several_looks(gateway)

    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request(name="brightness")))
    assert refusal.reason == "MODEL_NOT_FOUND"
    assert host.told[-1] == {"another": {1}}
    brightness.publish(repository)
    await gateway.gateway.look()
    assert await answering(gateway) == (1, 1)


async def test_a_folder_that_is_no_model_leaves_the_others_alone(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    (repository / "old models" / "1").mkdir(parents=True)
    (repository / "ümlaut" / "1").mkdir(parents=True)
    (repository / "empty").mkdir()

    gateway = await start_gateway()

    assert [each.name for each in gateway.gateway.router.models()] == ["brightness"]


async def test_a_bug_in_following_one_model_leaves_the_others_alone(
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brightness.publish(repository, name="a-first")
    brightness.publish(repository)

    def bug(directory: Path) -> int:
        if directory.name == "a-first":
            raise RuntimeError("a bug")
        return latest_revision(directory)

    monkeypatch.setattr("heliograph_gateway.versions.latest_revision", bug)
    gateway = await start_gateway(poll_interval=60)

    assert await answering(gateway) == (1, 1)
    assert reason(gateway, "a-first") == "internal error: RuntimeError"


async def test_two_gateways_on_one_repository_agree(
    start_gateway: StartGateway, repository: Path, model: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    first = await start_gateway(auto_promote=True, poll_interval=60)
    second = await start_gateway(auto_promote=True, poll_interval=60)
    brightness.publish(repository)

    await asyncio.gather(first.gateway.look(), second.gateway.look())
    await asyncio.gather(first.gateway.look(), second.gateway.look())

    assert await answering(first) == await answering(second) == (2, 2)
    assert latest_revision(model) == 2
