"""Bearer tokens from a file that may be replaced while the gateway runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heliograph.errors import ConfigurationError, UnauthenticatedError
from heliograph_gateway.authentication import TokenAuthenticator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass on the monotonic clock."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.txt"
    path.write_text("first-token\n\n# of the batch jobs\n  second-token  \r\n")
    return path


def allows(authenticator: TokenAuthenticator, header: str | bytes | None) -> bool:
    """Whether a call with this header is let in."""
    metadata = [("user-agent", "test")] + ([("authorization", header)] if header else [])
    try:
        authenticator.check(metadata)
    except UnauthenticatedError:
        return False
    return True


def test_every_token_of_the_file_is_let_in(tokens: Path) -> None:
    authenticator = TokenAuthenticator(tokens)

    assert allows(authenticator, "Bearer first-token")
    assert allows(authenticator, "bearer second-token")
    assert allows(authenticator, "BEARER  second-token ")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer",
        "Bearer ",
        "Bearer third-token",
        "Bearer first-token second-token",
        "Bearer first-toke",
        "Bearer # of the batch jobs",
        "first-token",
        "Basic first-token",
        "Bearerfirst-token",
        b"Bearer first-token",
    ],
)
def test_everything_else_is_refused(header: str | bytes | None, tokens: Path) -> None:
    assert not allows(TokenAuthenticator(tokens), header)


def test_a_refusal_says_what_to_send(tokens: Path) -> None:
    with pytest.raises(UnauthenticatedError, match="send `authorization: Bearer TOKEN`"):
        TokenAuthenticator(tokens).check(())
    with pytest.raises(UnauthenticatedError, match="the token is not valid"):
        TokenAuthenticator(tokens).check([("authorization", "Bearer other")])


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n"])
def test_a_file_without_a_token_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text(content)

    with pytest.raises(ConfigurationError, match="holds no token"):
        TokenAuthenticator(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the token file"):
        TokenAuthenticator(tmp_path / "gone.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot read the token file"):
        TokenAuthenticator(tmp_path / "binary.txt")


def test_a_replaced_file_is_read_within_seconds(
    tokens: Path, clock: Callable[[float], None]
) -> None:
    authenticator = TokenAuthenticator(tokens)
    replacement = tokens.with_name("new.txt")
    replacement.write_text("third-token\n")
    replacement.replace(tokens)

    clock(1.5)

    assert allows(authenticator, "Bearer third-token")
    assert not allows(authenticator, "Bearer first-token")


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("")])
def test_while_the_file_cannot_be_used_the_old_tokens_count_and_the_log_says_so(
    spoil: Callable[[Path], object], tokens: Path, clock: Callable[[float], None]
) -> None:
    authenticator = TokenAuthenticator(tokens)
    spoil(tokens)

    with capture_logs() as logs:
        for _ in range(3):
            clock(1.5)
            assert allows(authenticator, "Bearer first-token")
            assert not allows(authenticator, "Bearer third-token")

    assert [entry["event"] for entry in logs] == ["token file cannot be used; the old tokens count"]
    tokens.write_text("third-token\n")
    clock(1.5)
    assert allows(authenticator, "Bearer third-token")
    assert not allows(authenticator, "Bearer first-token")
