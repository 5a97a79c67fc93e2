"""A comparison tells a difference from noise, and says when it cannot."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from heliograph.cli import main
from heliograph.errors import InvalidArgumentError
from heliograph_loadtest.comparison import Ratio, compare
from heliograph_loadtest.document import write_document
from heliograph_loadtest.load import OpenLoop
from heliograph_loadtest.results import Report, SearchResult

if TYPE_CHECKING:
    from tests.unit.loadtest.conftest import Reports


@pytest.fixture
def measured(reports: Reports) -> Any:
    """Return a report of latencies that scatter from call to call and from second to second."""

    def make(seed: int, *, factor: float = 1.0, seconds: int = 30, **changes: Any) -> Report:
        chance = random.Random(seed)
        latencies = []
        for _ in range(seconds):
            mood = chance.lognormvariate(0, 0.1)
            usual = 0.01 * factor * mood
            latencies.append([usual * chance.lognormvariate(0, 0.4) for _ in range(50)])
        return reports.report(reports.step(latencies, **changes))

    return make


def ratios(before: Report, after: Report) -> dict[str, Ratio]:
    (step,) = compare(before, after).steps
    return {ratio.name: ratio for ratio in step.ratios}


def test_a_run_against_itself_shows_no_difference(measured: Any) -> None:
    report = measured(1)

    found = ratios(report, report)

    assert list(found) == ["answered", "p50", "p90", "p99"]
    assert {ratio.ratio for ratio in found.values()} == {1.0}
    assert {ratio.verdict for ratio in found.values()} == {"no difference shown"}


def test_two_runs_alike_show_no_difference_nearly_always(measured: Any) -> None:
    significant = sum(
        ratios(measured(2 * seed), measured(2 * seed + 1))["p50"].significant for seed in range(10)
    )

    # One in twenty is expected: three or more of ten have a chance of one percent.
    assert significant < 3


def test_a_slower_run_is_worse_by_its_factor(measured: Any) -> None:
    found = ratios(measured(1), measured(2, factor=1.3))["p50"]

    assert found.verdict == "worse"
    assert found.low < 1.3 < found.high
    assert found.ratio == pytest.approx(1.3, rel=0.1)


def test_a_faster_run_is_better(measured: Any) -> None:
    assert ratios(measured(1), measured(2, factor=0.7))["p90"].verdict == "better"


def test_slower_than_allowed_means_surely_so(measured: Any) -> None:
    comparison = compare(measured(1), measured(2, factor=1.3))

    assert any("p50" in sentence for sentence in comparison.slower(0.1))
    assert comparison.slower(0.5) == []
    # 1.3 is above 1.28, and its interval is not.
    assert comparison.slower(0.28) == []


def test_fewer_answers_are_slower_too(reports: Reports) -> None:
    many = reports.report(reports.step([[0.01] * 50] * 20))
    few = reports.report(reports.step([[0.01] * 30] * 20))

    assert ratios(many, few)["answered"].verdict == "worse"
    assert ratios(few, many)["answered"].verdict == "better"
    assert "answered" in compare(many, few).slower(0.1)[0]


def test_a_run_of_a_few_seconds_proves_nothing(measured: Any) -> None:
    found = ratios(measured(1, seconds=4), measured(2, seconds=4, factor=3))["p50"]

    assert found.ratio > 2
    assert not found.significant
    assert not found.is_worse_by(0.1)


def test_a_stall_in_one_second_moves_p99_and_not_p50(measured: Any, reports: Reports) -> None:
    calm = measured(1)
    stalled = reports.report(reports.step([*[[0.01] * 50] * 28, *[[0.9] * 50] * 2]))

    found = ratios(calm, stalled)

    assert found["p99"].ratio > 10
    assert found["p50"].ratio < 1.5


def test_searches_are_compared_by_the_rates_between_which_the_limits_are(reports: Reports) -> None:
    def searched(kept: float, missed: float) -> Report:
        return reports.report(search=SearchResult(kept, missed, generator_limited=False))

    (step,) = compare(searched(100, 105), searched(103, 108)).steps
    (better,) = compare(searched(100, 105), searched(150, 157)).steps

    assert step.ratios[0].verdict == "no difference shown"
    assert better.ratios[0].verdict == "better"
    assert better.ratios[0].ratio == pytest.approx(1.5)
    assert compare(searched(150, 157), searched(100, 105)).slower(0.2) != []


def test_steps_are_compared_where_the_load_was_the_same(reports: Reports) -> None:
    before = reports.report(reports.step(load=OpenLoop(10)), reports.step(load=OpenLoop(20)))
    after = reports.report(reports.step(load=OpenLoop(20)), reports.step(load=OpenLoop(30)))

    comparison = compare(before, after)

    assert [step.title for step in comparison.steps] == ["open loop, 20.0/s constant"]
    assert any("10.0/s" in remark and "30.0/s" in remark for remark in comparison.remarks)


def test_runs_without_a_common_load_cannot_be_compared(reports: Reports) -> None:
    before = reports.report(reports.step(load=OpenLoop(10)))
    after = reports.report(reports.step(load=OpenLoop(20)))

    with pytest.raises(InvalidArgumentError, match="no load in common"):
        compare(before, after)


def test_what_speaks_against_a_comparison_is_said(reports: Reports) -> None:
    before = reports.report()
    limited = reports.step(errors={"UNAVAILABLE": 2}, generator=reports.use((0.99,), [0.0001]))
    after = replace(
        reports.report(limited),
        configuration=replace(before.configuration, batch_size=8, target="10.0.0.1:9000"),
        environment={**before.environment, "cores": 64},
    )

    remarks = " ".join(compare(before, after).remarks)

    assert "target 127.0.0.1:9000 and 10.0.0.1:9000" in remarks
    assert "batch_size 1 and 8" in remarks
    assert "generators were not alike: cores" in remarks
    assert "In the second run the generator was the limit." in remarks
    assert "In the second run 2 of 50 calls were not answered." in remarks


def test_the_command_fails_a_script_when_it_got_slower(
    measured: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    write_document(measured(1), before)
    write_document(measured(2, factor=1.5), after)
    words = ["loadtest", "compare", str(before), str(after)]

    assert main(words) == 0
    assert main([*words, "--fail-if-slower", "10%"]) == 1
    assert main(["loadtest", "compare", str(after), str(before), "--fail-if-slower", "10%"]) == 0

    out = capsys.readouterr().out
    assert "Slower than allowed: open loop, 4.00/s constant: p50 is 1." in out


def test_the_command_refuses_what_is_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    path.write_text("{}")

    assert main(["loadtest", "compare", str(path), str(path)]) == InvalidArgumentError.exit_code

    assert capsys.readouterr().err == (
        f"heliograph loadtest: {path}: this is no report of heliograph loadtest\n"
    )
