"""The commands as far as they go without TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heliograph.cli import main
from heliograph.cli.commands import COMMANDS
from heliograph.contract import read_contract
from heliograph_training.datasets import open_dataset

OWN = ("train", "evaluate", "export", "samples", "contract")


@pytest.mark.parametrize("name", OWN)
def test_help_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"examples:\n  heliograph {name} " in capsys.readouterr().out


def test_no_command_imports_tensorflow_before_it_is_run() -> None:
    modules = [command.module for command in COMMANDS if command.name in OWN]
    program = (
        f"import importlib, sys\n"
        f"for name in {[*modules, 'heliograph_training.commands.attach']!r}:\n"
        f"    importlib.import_module(name)\n"
        f"heavy = {{'tensorflow', 'keras', 'sklearn', 'rich'}} & set(sys.modules)\n"
        f"assert not heavy, heavy"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_samples_are_test_images_in_folders_of_their_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "digits", "--count", "12", "--output", str(tmp_path), "--json"]
    assert main(["samples", *words]) == 0
    rows = json.loads(capsys.readouterr().out)["samples"]
    split = open_dataset("digits").splits["test"]
    files = {
        split.read(index).encoded: str(class_index)
        for index, class_index in enumerate(split.class_indices)
    }
    assert [row["class_name"] for row in rows] == [*"0123456789", "0", "1"]
    assert [row["path"] for row in rows[:1]] == [str(tmp_path / "0" / "0001.png")]
    assert rows[10]["path"] == str(tmp_path / "0" / "0002.png")
    for row in rows:
        assert files[Path(row["path"]).read_bytes()] == row["class_name"]


def test_samples_of_a_folder_keep_their_format(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "folder", "--data", str(animals), "--count", "2"]
    assert main(["samples", *words, "--output", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/out/cat/0001.jpg  cat",
        f"{tmp_path}/out/dog/0001.jpg  dog",
    ]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["samples", "--dataset", "digits", "--output", "x", "--count", "0"], 78, "--count"),
        (["samples", "--dataset", "folder", "--output", "x"], 65, "needs --data"),
        (["train", "--dataset", "folder", "--data", "nowhere", "--output", "x"], 65, "nowhere"),
        (["train", "--dataset", "digits", "--recipe", "resize", "--output", "x"], 65, "resize"),
        (["train", "--dataset", "digits", "--recipe", "bytes", "--output", "x"], 65, "uint8"),
        (["train", "--dataset", "digits", "--epochs", "0", "--output", "x"], 78, "epochs"),
        (["train", "--dataset", "digits", "--shift", "2", "--output", "x"], 78, "shift"),
        (["train", "--dataset", "digits", "--output", "."], 73, "--overwrite"),
        (["export", "nowhere", "--repository", "x", "--model", "m"], 66, "no training run"),
        (["export", "nowhere", "--repository", "x", "--model", "../m"], 65, "no model name"),
        (["evaluate", "nowhere"], 66, "no training run"),
        (["contract", "show", "nowhere"], 78, "nowhere is no directory"),
        (["contract", "show", "."], 78, "is no version of a model"),
        (["contract", "show", ".", "m"], 66, "has no model m"),
        (["contract", "show", ".", "../m"], 65, "no model name"),
    ],
)
def test_a_mistake_is_one_line_with_its_exit_code(
    words: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"heliograph {words[0]}: ")
    assert message in line
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_show_takes_a_version_or_a_model_of_a_repository(
    brightness: Any, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brightness.publish(repository)
    brightness.publish(repository)
    for words, version in (
        ([str(repository), "brightness"], "2"),
        ([str(repository), "brightness", "1"], "1"),
        ([str(repository / "brightness" / "1")], "1"),
    ):
        assert main(["contract", "show", *words]) == 0
        rows = dict(
            line.split(maxsplit=1)
            for line in capsys.readouterr().out.splitlines()
            if len(line.split()) > 1
        )
        assert rows["version"] == version
        assert rows["classes"] == "2: dark, bright"
        assert rows["recipe"].startswith("decode(grey) | resize(4, 4)")


def test_show_prints_the_contract_as_json(
    brightness: Any, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brightness.publish(repository)
    assert main(["contract", "show", str(repository), "brightness", "--json"]) == 0
    version = repository / "brightness" / "1"
    document = json.loads(capsys.readouterr().out)
    assert document["class_names"] == list(read_contract(version).class_names)
    assert document["recipe"] == "decode(grey) | resize(4, 4)"


def test_show_names_the_models_of_a_repository(
    brightness: Any, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brightness.publish(repository)
    assert main(["contract", "show", str(repository)]) == 78
    assert "name a model too: brightness" in capsys.readouterr().err


def test_show_tells_a_saved_model_without_a_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "saved_model.pb").touch()
    assert main(["contract", "show", str(tmp_path)]) == 78
    assert "heliograph contract attach" in capsys.readouterr().err


def test_showing_needs_the_base_install_alone(brightness: Any, repository: Path) -> None:
    brightness.publish(repository)
    program = (
        "import sys\n"
        "from heliograph.cli import main\n"
        f"assert main(['contract', 'show', {str(repository)!r}, 'brightness']) == 0\n"
        "heavy = {'tensorflow', 'numpy', 'rich', 'PIL', 'heliograph_training'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_attaching_without_its_packages_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("heliograph_training.commands")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "heliograph_training", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    for name in [name for name in sys.modules if name.startswith("heliograph.preprocessing")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("heliograph_training")]:
        monkeypatch.delitem(sys.modules, name)
    words = ["saved", "--repository", "r", "--model", "m", "--classes", "c", "--recipe", "bytes"]
    words += ["--activation", "none", "--examples", "e"]
    assert main(["contract", "attach", *words]) == 78
    assert "needs numpy" in capsys.readouterr().err
