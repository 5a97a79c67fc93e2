"""For the tests of services that classify images: a gateway in the test's own process.

from heliograph import Client

def test_cats_are_let_in(fake_gateway):               # the fixture comes with this package
    fake_gateway.answer({"cat": 0.9, "dog": 0.1})
    with Client(fake_gateway.target) as client:
        assert client.classify(b"any bytes").class_name == "cat"
    assert fake_gateway.calls[0].method == "Classify"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heliograph.testing.fake_gateway import FakeGateway, RecordedCall

__all__ = ["FakeGateway", "RecordedCall"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: pytest loads this package at every start."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from heliograph.testing import fake_gateway

    return getattr(fake_gateway, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
