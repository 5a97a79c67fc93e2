"""How long a process of the gateway lives: until a signal, and in order to its end."""

from __future__ import annotations

import asyncio
import signal
from typing import Protocol


class Service(Protocol):
    """What is started, run and stopped."""

    async def start(self) -> None:
        """Get ready; may be cancelled half-way."""

    async def run(self) -> None:
        """Go on until cancelled, or until something fails."""

    async def stop(self) -> None:
        """End in order, however far `start` has come."""


async def run_until_signal(service: Service) -> None:
    """Run a service until SIGTERM or SIGINT, then stop it; also while it still starts.

    Raises:
        HeliographError: It cannot start, or cannot go on.
    """

    async def serve() -> None:
        await service.start()
        await service.run()

    serving = asyncio.create_task(serve())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    try:
        await asyncio.wait([serving])
        if not serving.cancelled():
            await serving
    finally:
        await service.stop()
