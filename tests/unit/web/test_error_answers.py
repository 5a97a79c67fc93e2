from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from heliograph.errors import (
    BY_REASON,
    BY_STATUS,
    HeliographError,
    ImageTooLargeError,
    InternalError,
    OverloadedError,
    UnauthenticatedError,
    UnsupportedImageFormatError,
)
from heliograph_web.error_answers import HTTP_STATUS, error_answer, http_status


def test_every_grpc_status_has_an_http_status() -> None:
    assert set(HTTP_STATUS) == set(BY_STATUS)


@pytest.mark.parametrize("reason", sorted(BY_REASON))
def test_every_reason_is_answered_as_an_error(reason: str) -> None:
    assert 400 <= http_status(BY_REASON[reason]("no")) < 600


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ImageTooLargeError("no"), 413),
        (UnsupportedImageFormatError("no"), 415),
        (OverloadedError("no"), 429),
    ],
)
def test_http_has_a_closer_status_for_some_reasons(error: HeliographError, status: int) -> None:
    assert http_status(error) == status


def test_a_token_that_the_gateway_refuses_is_not_the_browsers_fault() -> None:
    assert http_status(UnauthenticatedError("no")) == 502


def test_an_error_is_answered_with_its_message_reason_and_request_id() -> None:
    answer = error_answer(InternalError("something broke", request_id="r-1"))

    assert answer.status_code == 500
    assert json.loads(bytes(answer.body)) == {
        "error": "something broke",
        "reason": "INTERNAL",
        "request_id": "r-1",
    }


@pytest.mark.parametrize(("delay", "seconds"), [(0.05, "1"), (1.2, "2"), (7.0, "7")])
def test_a_delay_is_rounded_up_to_whole_seconds(delay: float, seconds: str) -> None:
    answer = error_answer(OverloadedError("full", retry_after=delay))

    assert answer.headers["retry-after"] == seconds


def test_without_a_delay_there_is_no_retry_after() -> None:
    assert "retry-after" not in error_answer(OverloadedError("full")).headers


def test_the_docs_list_every_status_as_it_is() -> None:
    text = (Path(__file__).parents[3] / "docs" / "web.md").read_text(encoding="utf-8")
    documented = {}
    for number, meaning in re.findall(r"^\| (\d{3}) \| (.+) \|$", text, flags=re.MULTILINE):
        for name in re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", meaning):
            documented[name] = int(number)
    expected = {**HTTP_STATUS, "IMAGE_TOO_LARGE": 413, "UNSUPPORTED_IMAGE_FORMAT": 415}

    assert documented == expected
