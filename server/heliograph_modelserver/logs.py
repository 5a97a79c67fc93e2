"""Structured logs on standard error, and TensorFlow's own output turned down to what matters."""

from __future__ import annotations

import logging
import os
import sys

import structlog

from heliograph.log_stream import open_log_stream


def configure_logs() -> None:
    """Log for people on a terminal and JSON elsewhere; call it before TensorFlow is imported."""
    # TensorFlow reads this when it is imported; 2 leaves errors. Who has set it wants something
    # else.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    is_terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if is_terminal else [structlog.processors.dict_tracebacks]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(open_log_stream()),
        cache_logger_on_first_use=True,
    )
