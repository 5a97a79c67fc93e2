"""What h2load prints and logs, and what counts as a failure."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.comparison.calls import Call
from benchmarks.comparison.h2load import command, failures, read_log


def printed(done: int, good: int, failed: int, data: int) -> str:
    return (
        f"finished in 2.00s, {done / 2} req/s, 1.00MB/s\n"
        f"requests: {done} total, {done + 16} started, {done} done, {done - failed} succeeded, "
        f"{failed} failed, 0 errored, 0 timeout\n"
        f"status codes: {good} 2xx, 0 3xx, 0 4xx, {done - good} 5xx\n"
        f"traffic: 2.00MB (2000000) total, 1KB (1000) headers (space savings 90.00%), "
        f"1.90MB ({data}) data\n"
    )


def test_durations_are_those_of_good_requests_in_order() -> None:
    log = "1000\t200\t30\n1001\t503\t1\n1002\t200\t20\n1003\t-1\t5\n"

    assert read_log(log) == [20, 30]


def test_a_run_without_errors_has_no_failures() -> None:
    assert failures(printed(done=100, good=100, failed=0, data=100 * 42), 42, 16) == 0


def test_other_statuses_and_failed_requests_are_failures() -> None:
    assert failures(printed(done=100, good=90, failed=10, data=0), 0, 16) == 10


def test_a_grpc_error_is_found_by_its_missing_bytes() -> None:
    # gRPC's errors have HTTP status 200 and no message.
    assert failures(printed(done=100, good=100, failed=0, data=60 * 42), 42, 16) == 40


def test_an_answer_of_another_size_is_found() -> None:
    assert failures(printed(done=100, good=100, failed=0, data=99 * 42 + 7), 42, 16) >= 1


def test_answers_that_were_on_their_way_at_the_end_are_no_failures() -> None:
    assert failures(printed(done=100, good=100, failed=0, data=103 * 42), 42, 16) == 0


def test_output_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(ValueError, match="h2load"):
        failures("could not connect", 0, 1)


def test_every_caller_has_a_connection_and_one_request_under_way() -> None:
    call = Call("/classify", b"image", {"content-type": "image/jpeg"}, False, lambda data: [])

    line = command(call, "127.0.0.1:80", 16, 2.5, Path("body"), Path("log"))

    assert {"--clients=16", "--max-concurrent-streams=1", "--duration=2500ms", "--h1"} <= set(line)
    assert line[-1] == "http://127.0.0.1:80/classify"


def test_grpc_goes_over_http_2_and_over_unix_sockets() -> None:
    call = Call("/service/Method", b"message", {}, True, lambda data: [])

    line = command(call, "unix:/socket", 1, 1.0, Path("body"), None)

    assert "--h1" not in line
    assert line[-2:] == ["--base-uri=unix:/socket", "http://localhost/service/Method"]
