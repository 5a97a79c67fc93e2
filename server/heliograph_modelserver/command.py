"""`heliograph model-server`: TensorFlow Serving's gRPC API, with its flags."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import structlog

from heliograph.errors import CancelledError, HeliographError
from heliograph_modelserver.flags import add_flags, flags_without_effect, options_from_flags

if TYPE_CHECKING:
    import argparse

    from heliograph_modelserver.server import ModelServer

_log = structlog.get_logger(__name__)

_SWITCH_SECONDS = 0.0005
"""How long a thread may keep Python's lock: a tenth of the default, so that loading a model, which
builds its graph in Python, delays no request by much."""
_ORPHAN_POLL = 0.5
"""Seconds between two looks at the parent."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare TensorFlow Serving's flags."""
    parser.description = (
        "Serve SavedModels over TensorFlow Serving's gRPC API, on the TensorFlow runtime from pip."
    )
    parser.epilog = (
        "examples:\n"
        "  heliograph model-server --model_name=digits --model_base_path=/models/digits\n"
        "  heliograph model-server --grpc_socket_path=/run/model.sock --port=0 \\\n"
        "      --model_config_file=/models/models.config"
    )
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return 0.

    Raises:
        HeliographError: `Failed to start server. Error: ...` when the server cannot start.
    """
    from heliograph_modelserver.logs import configure_logs
    from heliograph_modelserver.server import ModelServer

    configure_logs()
    sys.setswitchinterval(_SWITCH_SECONDS)
    if arguments.version:
        return _print_versions()
    began = time.monotonic()
    server = ModelServer(options_from_flags(arguments))
    for flag in flags_without_effect(arguments):
        _log.warning("flag_without_effect", flag=flag)
    stop = threading.Event()
    _stop_on_signals(server, stop)
    if arguments.exit_when_orphaned:
        threading.Thread(target=_stop_when_orphaned, args=(os.getppid(),), daemon=True).start()
    try:
        import_began = time.monotonic()
        import tensorflow  # noqa: F401, ICN001

        imported = time.monotonic()
        server.start()
    except CancelledError:
        return 0
    except HeliographError as error:
        raise type(error)(
            f"Failed to start server. Error: {error.status}: {error.message}"
        ) from error
    _log.info(
        "serving",
        address=server.address,
        socket=server.socket,
        tensorflow_import_seconds=round(imported - import_began, 3),
        start_seconds=round(time.monotonic() - began, 3),
    )
    stop.wait()
    server.stop()
    _log.info("stopped")
    if server.has_requests_left:
        # A run without a deadline cannot be interrupted, and its thread would keep the process
        # alive.
        sys.stderr.flush()
        os._exit(0)
    return 0


def _stop_when_orphaned(parent: int) -> None:
    """Stop this process as SIGTERM does once its parent has gone, killed perhaps.

    Asking for the parent's id works on every Unix; Linux alone could send a signal.
    """
    while os.getppid() == parent:
        time.sleep(_ORPHAN_POLL)
    os.kill(os.getpid(), signal.SIGTERM)


def _stop_on_signals(server: ModelServer, stop: threading.Event) -> None:
    """Stop the server on SIGTERM or SIGINT: gently on the first one, at once on the second.

    A thread waits for the signals. A handler would run in the main thread, which may hold a lock of
    the log, or wait for models.
    """
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def watch() -> None:
        while True:
            number = signal.sigwait(signals)
            _log.info("stopping", signal=signal.Signals(number).name)
            grace = 0.0 if stop.is_set() else None
            threading.Thread(target=server.stop, args=(grace,)).start()
            stop.set()

    threading.Thread(target=watch, name="signals", daemon=True).start()


def _print_versions() -> int:
    from importlib.metadata import version

    sys.stdout.write(
        f"TensorFlow ModelServer: heliograph {version('heliograph')}\n"
        f"TensorFlow Library: {version('tensorflow')}\n"
    )
    return 0
