"""Arguments become a plan, or one line that says what to change."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from heliograph.errors import ConfigurationError, HeliographError, NotFoundError
from heliograph_loadtest.command import configure
from heliograph_loadtest.load import ClosedLoop, OpenLoop
from heliograph_loadtest.objectives import Objective
from heliograph_loadtest.plan_arguments import plan_of
from heliograph_loadtest.steps import Plan


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(bytes(100 * (number + 1)))
    return tmp_path


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    configure(parser)
    return parser.parse_args(words)


def plan(images: Path, *words: str) -> Plan:
    return plan_of(parse("--images", str(images), *words))


def test_a_rate_is_an_open_loop_of_thirty_seconds(images: Path) -> None:
    made = plan(images, "--rate", "500")

    (step,) = made.steps
    assert step.load == OpenLoop(500.0, "constant")
    assert (step.warmup, step.duration) == (5.0, 30.0)
    assert (made.traffic.method, made.traffic.batch_size) == ("classify", 1)
    assert made.traffic.endpoint.timeout == 10.0


def test_every_step_is_bounded_in_time_and_calls(images: Path) -> None:
    (step,) = plan(images, "--concurrency", "4").steps

    assert step.duration < 3600
    assert 0 < step.max_calls < 10**8
    assert 0 < step.max_in_flight < 10**5


def test_lists_and_ramps_make_shorter_steps(images: Path) -> None:
    listed = plan(images, "--concurrency", "1,2,4").steps
    ramped = plan(images, "--ramp", "100:1000:4", "--arrivals", "poisson").steps

    assert [step.load for step in listed] == [ClosedLoop(1), ClosedLoop(2), ClosedLoop(4)]
    assert [step.load for step in ramped] == [
        OpenLoop(rate, "poisson") for rate in (100.0, 400.0, 700.0, 1000.0)
    ]
    assert {(step.warmup, step.duration) for step in (*listed, *ramped)} == {(2.0, 10.0)}


def test_durations_are_those_that_are_given(images: Path) -> None:
    (step,) = plan(images, "--rate", "1", "--duration", "2m", "--warmup", "0s").steps

    assert (step.warmup, step.duration) == (0.0, 120.0)


def test_a_search_starts_with_a_rate_and_an_objective(images: Path) -> None:
    made = plan(images, "--find-max", "--slo", "p99=50ms", "--rate", "20", "--precision", "10%")

    assert made.find_max
    assert [step.load for step in made.steps] == [OpenLoop(20.0)]
    assert made.objectives == (Objective(99.0, 0.05),)
    assert made.precision == 0.1


def test_calls_can_be_batches_streams_or_both(images: Path) -> None:
    batch = plan(images, "--rate", "1", "--batch", "32").traffic
    stream = plan(images, "--rate", "1", "--stream").traffic
    both = plan(images, "--rate", "1", "--stream", "--batch", "8").traffic

    assert (batch.method, batch.batch_size) == ("batch", 32)
    assert (stream.method, stream.batch_size) == ("stream", 1)
    assert (both.method, both.batch_size) == ("stream", 8)


def test_failures_are_not_hidden_by_retries_unless_asked(images: Path) -> None:
    assert plan(images, "--rate", "1").traffic.endpoint.retry.attempts == 1
    assert plan(images, "--rate", "1", "--attempts", "3").traffic.endpoint.retry.attempts == 3


def test_images_beyond_the_most_are_spread_over_the_folder(images: Path) -> None:
    made = plan(images, "--rate", "1", "--max-images", "5")

    assert [Path(path).name for path in made.images.paths] == [
        *("0.png", "2.png", "4.png", "6.png", "8.png"),
    ]
    assert (made.images.found, made.images.total_bytes) == (10, 2500)


def test_the_connection_is_that_of_the_other_commands(images: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")

    endpoint = plan(
        images,
        *("--rate", "1", "--target", "gateway.example:443", "--tls", "--connections", "4"),
        *("--token-file", str(token), "--timeout", "2"),
    ).traffic.endpoint

    assert (endpoint.target, endpoint.token, endpoint.timeout) == (
        "gateway.example:443",
        "secret",
        2,
    )
    assert endpoint.tls is not None
    assert endpoint.channels == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say how much"),
        (["--rate", "1", "--concurrency", "1"], "use one of --rate and --concurrency"),
        (["--ramp", "1:2:3", "--rate", "1"], "use one of --rate and --ramp"),
        (["--concurrency", "1", "--processes", "2"], "--concurrency is below --processes"),
        (["--find-max"], "needs an objective"),
        (["--find-max", "--slo", "p99=1s", "--rate", "1,2"], "starts with one --rate"),
        (["--find-max", "--slo", "p99=1s", "--concurrency", "1"], "starts with one --rate"),
        (["--find-max", "--slo", "p99=1s", "--precision", "0"], "--precision is 0"),
        (["--rate", "1", "--duration", "0s"], "--duration"),
        (["--rate", "1", "--duration", "25h"], "up to 24 h"),
        (["--rate", "1", "--attempts", "6"], "use 1 to 5"),
    ],
)
def test_contradictions_are_told_in_one_line(images: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        plan(images, *words)

    assert "\n" not in raised.value.message


def test_images_have_to_be_named_and_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    for words, error in (
        (["--rate", "1"], ConfigurationError),
        (["--rate", "1", "--images", "-"], ConfigurationError),
        (["--rate", "1", "--images", str(tmp_path / "empty")], NotFoundError),
        (["--rate", "1", "--images", str(tmp_path / "gone.png")], HeliographError),
    ):
        with pytest.raises(error):
            plan_of(parse(*words))


@pytest.mark.parametrize(
    "words",
    [
        ["--rate", "fast"],
        ["--rate", "0"],
        ["--rate", "1,"],
        ["--concurrency", "1.5"],
        ["--ramp", "1:2"],
        ["--ramp", "1:2:1"],
        ["--ramp", "1:2:101"],
        ["--slo", "p99"],
        ["--duration", "soon"],
        ["--max-in-flight", "0"],
    ],
)
def test_what_cannot_be_read_is_wrong_usage(words: list[str]) -> None:
    with pytest.raises(argparse.ArgumentError):
        parse(*words)
