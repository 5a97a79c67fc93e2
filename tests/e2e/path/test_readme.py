"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from heliograph.golden import read_golden

README = Path(__file__).parents[3] / "README.md"


def test_the_first_example_prints_a_class_name_a_score_and_a_version(
    serving: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert "localhost:9000" in example
    golden = read_golden(serving.repository / "digits/1")[0]
    (tmp_path / "cat.jpg").write_bytes(golden.encoded)
    monkeypatch.chdir(tmp_path)

    exec(compile(example.replace("localhost:9000", serving.address), README, "exec"), {})

    class_name, score, version = capsys.readouterr().out.split()
    assert class_name == golden.class_name
    assert 0 <= float(score) <= 1
    assert version == "1"
