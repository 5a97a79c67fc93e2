"""What a model, a version and a version label may be called."""

from __future__ import annotations

import pytest

from heliograph.errors import InvalidModelNameError
from heliograph.names import LARGEST_VERSION, check_model_name, check_version, check_version_label


@pytest.mark.parametrize("name", ["a", "7", "digits", "ResNet-50.v1_5", "x" * 128])
def test_ordinary_names_are_names(name: str) -> None:
    assert check_model_name(name) == name
    assert check_version_label(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "%2e%2e%2fx",
        ".hidden",
        "-flag",
        "_private",
        "a b",
        "a\n",
        "a\0",
        "café",
        "٣",
        "ｄigits",
        "x" * 129,
        "x" * 1_000_000,
    ],
)
def test_what_could_leave_the_repository_or_break_a_metric_is_no_name(name: str) -> None:
    with pytest.raises(InvalidModelNameError) as caught:
        check_model_name(name)

    assert caught.value.message.isascii() or "…" in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000


def test_the_message_says_whether_a_name_or_a_label_is_wrong() -> None:
    with pytest.raises(InvalidModelNameError, match="'a/b' is no model name"):
        check_model_name("a/b")
    with pytest.raises(InvalidModelNameError, match="'a/b' is no version label"):
        check_version_label("a/b")


@pytest.mark.parametrize("version", [1, 2, 20261124, LARGEST_VERSION])
def test_positive_integers_of_64_bits_are_versions(version: int) -> None:
    assert check_version(version) == version


@pytest.mark.parametrize("version", [0, -1, -(2**63), 2**63, 2**64])
def test_other_integers_are_no_versions(version: int) -> None:
    with pytest.raises(InvalidModelNameError, match=str(version)):
        check_version(version)
