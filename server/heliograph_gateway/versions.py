"""The keeper of versions: makes what is served follow what the repository says.

It looks at the repository at a fixed pace. A new revision of a routing table is followed once its
versions have been checked; a model without a table gets one that names its newest good version;
with `auto_promote`, a newer version is proved and then promoted by a new revision. The router
changes in one step, old versions are let go only when their last request has ended, and whatever
fails leaves things as they were.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from heliograph.errors import (
    ConfigurationError,
    CorruptVersionError,
    DeadlineExceededError,
    HeliographError,
    ResourceExhaustedError,
    RevisionConflictError,
    UnavailableError,
)
from heliograph.repository import Repository
from heliograph.routing import (
    RoutingTable,
    create_routing,
    highest_stable,
    latest_revision,
    read_routing,
)
from heliograph_gateway.proving import Prover
from heliograph_gateway.routing import Router, ServedModel
from heliograph_gateway.servables import Servable, ServableVersion

log = structlog.get_logger()

_PASSING = (UnavailableError, DeadlineExceededError, ResourceExhaustedError)
"""Errors that say nothing about a version: it is asked again at the next look."""


class Host(Protocol):
    """Whoever decides which versions a backend holds."""

    async def hold(self, wanted: Mapping[str, frozenset[int]]) -> Mapping[Servable, str]:
        """Load these versions of these models and no others.

        Returns:
            Why, for each version that could not be loaded.

        Raises:
            BackendUnavailableError: The backend cannot be told.
        """


class UnmanagedHost:
    """A TensorFlow Serving with a configuration of its own: it holds what it holds."""

    async def hold(self, wanted: Mapping[str, frozenset[int]]) -> Mapping[Servable, str]:
        """Change nothing."""
        return {}


class Followers(Protocol):
    """Those who answer by the router, in this process or in others."""

    async def let_go(self, versions: Iterable[ServableVersion]) -> None:
        """Wait until none of them will ask these versions again, and no request is on them.

        The router does not name the versions any more.
        """


class OwnRequests:
    """Requests that are answered in this process: they see a change of the router at once."""

    async def let_go(self, versions: Iterable[ServableVersion]) -> None:
        """See Followers."""
        for version in versions:
            await version.drained()


@dataclass(frozen=True)
class _Sight:
    """What one look at the repository showed of a model."""

    name: str
    versions: tuple[int, ...]
    revision: int


@dataclass
class _Record:
    """What the keeper remembers of a model's versions, beside those that are served."""

    proved: dict[int, ServableVersion] = field(default_factory=dict)
    """Passed, and not served yet."""
    rejected: dict[int, str] = field(default_factory=dict)
    """Failed for good, and why."""
    passed_over: set[int] = field(default_factory=set)
    """Newer than the stable version and not promoted, of which the log has been told."""


class VersionKeeper:
    """Keeps the router up to date."""

    def __init__(
        self,
        repository: Repository,
        router: Router,
        prover: Prover,
        host: Host,
        followers: Followers,
        *,
        auto_promote: bool,
        poll_interval: float,
    ) -> None:
        self._repository = repository
        self._router = router
        self._prover = prover
        self._host = host
        self._followers = followers
        self._auto_promote = auto_promote
        self._poll_interval = poll_interval
        self._held: dict[str, frozenset[int]] = {}
        self._records: defaultdict[str, _Record] = defaultdict(_Record)

    async def run(self) -> None:
        """Follow the repository until cancelled."""
        while True:
            await asyncio.sleep(self._poll_interval)
            await self.look()

    async def look(self) -> None:
        """Look at the repository once, and follow what has changed."""
        try:
            names = await asyncio.to_thread(self._repository.models)
        except ConfigurationError as error:
            # A volume that is away for a moment must not take the models with it.
            log.warning("cannot read the repository", error=error.message)
            return
        known = {model.name for model in self._router.models()}
        for name in sorted(known.union(names)):
            try:
                if name in names:
                    await self._follow(await asyncio.to_thread(self._see, name))
                else:
                    await self._forget(name)
            except HeliographError as error:
                self._refuse(name, error.message)
            except Exception as error:
                log.exception("cannot follow the repository", model=name)
                self._refuse(name, f"internal error: {type(error).__name__}")

    def _see(self, name: str) -> _Sight:
        path = self._repository.model_path(name)
        return _Sight(name, tuple(self._repository.versions(name)), latest_revision(path))

    def _served(self, name: str) -> ServedModel | None:
        return next((model for model in self._router.models() if model.name == name), None)

    async def _follow(self, sight: _Sight) -> None:
        served = self._served(sight.name)
        table = served.table if served and served.serving else None
        if not sight.versions:
            return  # Removed this moment: the next look forgets it.
        if table is None and not sight.revision:
            await self._start(sight)
        elif table is None or sight.revision > table.revision:
            # A lower revision is a stale view of a shared volume, or a file that was deleted.
            await self._apply(sight.name)
        elif self._auto_promote:
            await self._promote_newest(sight, table)
        else:
            self._announce(sight, table)

    async def _start(self, sight: _Sight) -> None:
        """Give a model its first routing table: the newest version that proves itself is stable."""
        for number in reversed(sight.versions):
            version = await self._prove(Servable(sight.name, number), {number})
            if version is not None:
                table = RoutingTable(revision=1, stable=number)
                if await self._write(sight.name, table):
                    self._serve(sight.name, table, {number: version})
                return
        await self._hold(sight.name, ())
        rejected = self._records[sight.name].rejected
        raise CorruptVersionError(
            "; ".join(
                f"version {number}: {rejected[number]}" for number in reversed(sight.versions)
            )
        )

    async def _apply(self, name: str) -> None:
        """Serve by the highest revision of the routing table, once its versions are checked."""
        table = await asyncio.to_thread(read_routing, self._repository.model_path(name))
        if table is None:
            return
        served = self._served(name)
        old = dict(served.versions) if served else {}
        # After a restart, one image tells whether all is as it was. What a new revision names has
        # to show everything that it promises.
        check = self._prover.prove if old else self._prover.smoke
        failures = await self._hold(name, {*table.versions(), *old})
        versions: dict[int, ServableVersion] = {}
        for number in table.versions():
            servable = Servable(name, number)
            known = old.get(number) or self._records[name].proved.get(number)
            try:
                if servable in failures:
                    raise CorruptVersionError(f"version {number}: {failures[servable]}")
                versions[number] = known or await check(servable)
            except HeliographError as error:
                if number == table.stable:
                    raise
                log.warning("version not served", model=name, version=number, error=error.message)
        self._serve(name, table, versions)
        await self._let_go(name, old, versions)

    async def _promote_newest(self, sight: _Sight, table: RoutingTable) -> None:
        """Prove a version newer than any that was ever stable, then make it stable."""
        newest = sight.versions[-1]
        record = self._records[sight.name]
        if newest <= table.stable or newest in record.rejected or newest in record.passed_over:
            return
        path = self._repository.model_path(sight.name)
        if newest <= await asyncio.to_thread(highest_stable, path):
            # It was stable, and somebody went back from it.
            record.passed_over.add(newest)
            return
        if await self._prove(Servable(sight.name, newest), {*table.versions(), newest}) is None:
            await self._hold(sight.name, table.versions())
            return
        following = dataclasses.replace(table, revision=table.revision + 1, stable=newest)
        if await self._write(sight.name, following):
            await self._apply(sight.name)

    async def _prove(self, servable: Servable, held: set[int]) -> ServableVersion | None:
        """Prove a version, once; None when it is rejected, and the record says why.

        Raises:
            HeliographError: The attempt says nothing about the version; another may.
        """
        name, number = servable
        record = self._records[name]
        if number not in record.proved and number not in record.rejected:
            try:
                failures = await self._hold(name, held)
                if servable in failures:
                    raise CorruptVersionError(failures[servable])
                record.proved[number] = await self._prover.prove(servable)
            except _PASSING:
                raise
            except HeliographError as error:
                record.rejected[number] = error.message
                log.error("version rejected", model=name, version=number, error=error.message)
        return record.proved.get(number)

    async def _write(self, name: str, table: RoutingTable) -> bool:
        """Write a revision; False when another gateway on the same repository was faster.

        Its table is then followed at the next look.
        """
        try:
            await asyncio.to_thread(create_routing, self._repository.model_path(name), table)
        except RevisionConflictError:
            log.info("routing revision taken", model=name, revision=table.revision)
            return False
        return True

    async def _hold(self, name: str, versions: Iterable[int]) -> Mapping[Servable, str]:
        self._held[name] = frozenset(versions)
        return await self._host.hold({model: held for model, held in self._held.items() if held})

    async def _let_go(
        self,
        name: str,
        old: Mapping[int, ServableVersion],
        new: Mapping[int, ServableVersion],
    ) -> None:
        gone = [version for number, version in old.items() if number not in new]
        await self._followers.let_go(gone)
        await self._hold(name, new)

    def _serve(
        self, name: str, table: RoutingTable, versions: Mapping[int, ServableVersion]
    ) -> None:
        self._router.put(ServedModel(name, table, versions))
        self._records[name].proved.clear()
        log.info("serving", model=name, version=table.stable, revision=table.revision)

    def _refuse(self, name: str, reason: str) -> None:
        """Say why a model cannot follow; what it serves already it goes on serving."""
        served = self._served(name) or ServedModel(name)
        if served.reason != reason:
            event = "cannot follow" if served.serving else "not served"
            log.error(event, model=name, reason=reason)
            self._router.put(dataclasses.replace(served, reason=reason))

    async def _forget(self, name: str) -> None:
        """Stop serving a model whose directory has gone."""
        served = self._served(name)
        self._router.remove(name)
        self._records.pop(name, None)
        log.warning("model removed", model=name)
        if served:
            await self._let_go(name, served.versions, {})

    def _announce(self, sight: _Sight, table: RoutingTable) -> None:
        newest = sight.versions[-1]
        record = self._records[sight.name]
        if newest > table.stable and newest not in record.passed_over | record.rejected.keys():
            record.passed_over.add(newest)
            log.info(
                "a newer version waits; serve with --auto-promote to follow it",
                model=sight.name,
                version=newest,
                stable=table.stable,
            )
