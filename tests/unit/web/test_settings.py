from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heliograph.errors import ConfigurationError
from heliograph_web.listening import ListenAddress
from heliograph_web.settings import WebSettings
from heliograph_web.upload import UploadLimits

LOOPBACK = ListenAddress("127.0.0.1", 8080)
ANYWHERE = ListenAddress("0.0.0.0", 8080)
CERTIFICATE = {"tls_certificate": Path("web.pem"), "tls_key": Path("web.key")}


def test_loopback_needs_no_protection() -> None:
    assert WebSettings(LOOPBACK).listen == LOOPBACK


def test_other_addresses_need_tls_or_an_explicit_word() -> None:
    with pytest.raises(ConfigurationError, match="--insecure"):
        WebSettings(ANYWHERE)


@pytest.mark.parametrize("safety", [CERTIFICATE, {"insecure": True}])
def test_other_addresses_are_allowed_with_one_of_them(safety: dict[str, Any]) -> None:
    assert WebSettings(ANYWHERE, **safety).listen == ANYWHERE


@pytest.mark.parametrize(
    "half",
    [
        {"tls_certificate": Path("web.pem")},
        {"tls_key": Path("web.key")},
        {"tls_client_ca": Path("ca.pem")},
    ],
)
def test_half_of_a_certificate_is_refused(half: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="--tls-certificate"):
        WebSettings(LOOPBACK, **half)


def test_loopback_answers_under_its_own_names_only() -> None:
    assert WebSettings(LOOPBACK).allowed_hosts == frozenset({"localhost", "127.0.0.1", "::1"})


def test_further_names_are_allowed_on_request() -> None:
    settings = WebSettings(ListenAddress("127.0.0.9", 0), allow_hosts=("Flowers.example",))

    assert settings.allowed_hosts is not None
    assert settings.allowed_hosts > {"flowers.example", "localhost", "127.0.0.9"}


def test_beyond_loopback_all_names_are_allowed_until_some_are_given() -> None:
    assert WebSettings(ANYWHERE, insecure=True).allowed_hosts is None
    some = WebSettings(ANYWHERE, insecure=True, allow_hosts=("flowers.example",))
    assert some.allowed_hosts is not None
    assert "flowers.example" in some.allowed_hosts


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"max_bytes": 2**40}, {"seconds": 0.0}])
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        UploadLimits(**limits)
