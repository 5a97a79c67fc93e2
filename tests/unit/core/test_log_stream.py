"""A log whose reader has gone does not fail its writer."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from heliograph.log_stream import LogStream


@pytest.fixture
def broken_pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Standard error is a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with pytest.raises(BrokenPipeError):
            stream.write("a line\n")
        yield
        monkeypatch.undo()
        # What is still buffered cannot be written either.
        with pytest.raises(BrokenPipeError):
            stream.close()


def test_a_line_that_nobody_reads_is_lost(broken_pipe: None) -> None:
    stream = LogStream()
    assert stream.write("another line\n") == len("another line\n")
    stream.flush()


def test_a_line_that_somebody_reads_arrives(capsys: pytest.CaptureFixture[str]) -> None:
    LogStream().write("a line\n")
    assert capsys.readouterr().err == "a line\n"
