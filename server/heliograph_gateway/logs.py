"""Logging to stderr, for people on a terminal, as JSON elsewhere; never images or tokens."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

from heliograph.log_stream import open_log_stream


def configure_logging(
    level: str, form: Literal["auto", "console", "json"], **fields: object
) -> None:
    """Set up logging for a process; the only place that does.

    Args:
        level: Least severe level that is logged.
        form: `auto` chooses by whether stderr is a terminal.
        **fields: What every line of this process carries.
    """

    def add_fields(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {**fields, **event}

    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_fields,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(open_log_stream()),
        cache_logger_on_first_use=True,
    )
