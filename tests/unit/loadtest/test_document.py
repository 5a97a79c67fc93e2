"""The JSON document holds everything that was measured, and reads back as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hdrh.histogram import HdrHistogram

from heliograph.errors import InvalidArgumentError, NotFoundError, StorageError
from heliograph_loadtest.document import (
    SCHEMA_VERSION,
    from_document,
    read_document,
    to_document,
    write_document,
)
from heliograph_loadtest.environment import environment
from heliograph_loadtest.load import ClosedLoop
from heliograph_loadtest.results import Report, SearchResult

if TYPE_CHECKING:
    from tests.unit.loadtest.conftest import Reports


@pytest.fixture
def report(reports: Reports) -> Report:
    """A report that has something in every field."""
    return reports.report(
        reports.step(errors={"UNAVAILABLE": 3, "NOT_SENT": 2}),
        reports.step(load=ClosedLoop(8)),
        reports.step([]),
        search=SearchResult(100.0, None, generator_limited=True),
        interrupted=True,
    )


def test_it_reads_back_as_it_was(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"

    write_document(report, path)

    assert read_document(path) == report


def test_it_names_its_kind_and_schema(report: Report) -> None:
    document = to_document(report)

    assert document["kind"] == "heliograph.loadtest"
    assert document["schema_version"] == SCHEMA_VERSION == 1


def test_other_hdr_tools_read_its_histograms(report: Report) -> None:
    step = to_document(report)["steps"][0]

    decoded = HdrHistogram.decode(step["latencies"]["OK"]["hdr"])

    assert decoded.get_total_count() == step["calls"]["ok"] == 48
    assert decoded.get_value_at_percentile(99) / 1e6 == step["latencies"]["OK"]["p99"]


def test_what_readers_look_for_is_there_without_counting(report: Report) -> None:
    step = to_document(report)["steps"][0]

    assert step["calls"] == {"due": 53, "ok": 48, "failed": 3, "not_sent": 2}
    assert step["per_second"]["answered"] == pytest.approx(4.0)
    assert step["objectives"] == [
        {"percentile": 99.0, "limit_seconds": 0.05, "share": 48 / 53, "kept": False}
    ]
    assert [interval["due"] for interval in step["intervals"]] == [4] * 12


def test_it_is_plain_json_without_infinities(report: Report) -> None:
    text = json.dumps(to_document(report), allow_nan=False)

    assert from_document(json.loads(text)) == report


def test_fields_that_a_later_version_adds_are_passed_over(report: Report) -> None:
    document = to_document(report)
    document["weather"] = "fair"
    document["steps"][0]["calls"]["lost"] = 0

    assert from_document(document) == report


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no JSON"),
        ("[]", "no report of heliograph loadtest"),
        ('{"kind": "something else"}', "no report of heliograph loadtest"),
        ('{"kind": "heliograph.loadtest", "schema_version": 2}', "schema version 2"),
        ('{"kind": "heliograph.loadtest", "schema_version": 1}', "damaged"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)

    with pytest.raises(InvalidArgumentError, match=message) as raised:
        read_document(path)

    assert raised.value.message.startswith(str(path))
    assert "\n" not in raised.value.message


def test_a_damaged_histogram_is_noticed(report: Report) -> None:
    document: dict[str, Any] = to_document(report)
    document["steps"][0]["latencies"]["OK"]["hdr"] = "HISTFAAAAA"

    with pytest.raises(InvalidArgumentError, match="damaged"):
        from_document(document)


def test_a_file_that_is_not_there_or_cannot_be_written_is_named(
    report: Report, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match=r"nowhere\.json"):
        read_document(tmp_path / "nowhere.json")
    with pytest.raises(StorageError, match="cannot write"):
        write_document(report, tmp_path / "no folder" / "report.json")


def keys_of(value: Any) -> set[str]:
    """Return the names of all fields inside a document."""
    if isinstance(value, dict):
        return set(value).union(*(keys_of(item) for item in value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def test_the_guide_describes_every_field(report: Report) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "loadtest.md").read_text()
    statuses = {"OK", "UNAVAILABLE", "NOT_SENT"}

    fields = keys_of(to_document(report)) | set(environment())

    assert {name for name in fields - statuses if f"`{name}`" not in guide} == set()


def test_the_code_in_the_guide_reads_a_report(
    report: Report,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "loadtest.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    write_document(report, tmp_path / "run.json")
    monkeypatch.chdir(tmp_path)

    exec(compile(program, "docs/loadtest.md", "exec"), {})

    assert capsys.readouterr().out.splitlines()[0] == "4.00/s constant 4.0 0.004001"
