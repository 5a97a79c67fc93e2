"""A run on digits, as the command left it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from heliograph.cli import main
from heliograph.errors import (
    AlreadyExistsError,
    ConfigurationError,
    InvalidDatasetError,
    NotFoundError,
    StorageError,
)
from heliograph_training.datasets import open_dataset
from heliograph_training.datasets.prepared import prepare_split
from heliograph_training.fit import default_options, with_options
from heliograph_training.run import Run, evaluate_run, predict, train

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning:keras"
)


FullDisk = Callable[[int], AbstractContextManager[None]]


def test_a_run_tells_what_it_was_made_from(digits_run: Path) -> None:
    run = Run(digits_run)
    assert run.configuration["dataset"] == {"name": "digits", "data": None}
    assert run.configuration["options"]["augmentation"]["flip"] is False
    assert run.configuration["versions"]["tensorflow"].startswith("2.")
    assert run.class_names == tuple("0123456789")
    assert str(run.recipe) == "decode(grey) | resize(8, 8)"
    examples = run.dataset["examples"]
    dataset = open_dataset("digits")
    assert examples["train"] + examples["validation"] == len(dataset.splits["train"].class_indices)
    assert examples["test"] == len(dataset.splits["test"].class_indices)
    assert len(run.dataset["fingerprint"]) == 64


def test_the_history_has_every_epoch_and_names_the_best(digits_run: Path) -> None:
    history = json.loads((digits_run / "history.json").read_text())
    losses = [epoch["validation_loss"] for epoch in history["epochs"]]
    assert [epoch["epoch"] for epoch in history["epochs"]] == list(range(1, len(losses) + 1))
    assert losses[history["best_epoch"] - 1] == min(losses)
    assert losses[0] > 2 * min(losses)


def test_a_few_epochs_already_tell_digits_apart(digits_run: Path) -> None:
    assert Run(digits_run).evaluation.accuracy > 0.9


def test_evaluating_the_run_again_gives_the_same_figures(digits_run: Path) -> None:
    run = Run(digits_run)
    again = evaluate_run(run, open_dataset("digits"))
    assert again.accuracy == run.evaluation.accuracy
    assert again.confusion == run.evaluation.confusion


def test_the_saved_network_has_the_weights_of_the_checkpoint(digits_run: Path) -> None:
    import keras

    checkpoint = keras.saving.load_model(digits_run / "checkpoint.keras")
    assert int(checkpoint.optimizer.iterations) > 0
    for kept, saved in zip(checkpoint.weights, Run(digits_run).load_network().weights, strict=True):
        assert np.array_equal(kept, saved)


def test_augmentation_works_only_while_training(digits_run: Path) -> None:
    network = Run(digits_run).load_network()
    dataset = open_dataset("digits")
    pixels = prepare_split(dataset.splits["test"], dataset.recipe, indices=range(64)).pixels
    assert np.array_equal(predict(network, pixels), predict(network, pixels))
    first, second = (np.asarray(network(pixels, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 0.01


def test_the_command_evaluates_a_run(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(digits_run), "--limit", "50", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["run"] == str(digits_run)
    assert document["examples"] == 50


def test_a_folder_of_photos_is_trained_on_with_a_seed_of_its_own(
    examples_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "folder", "--data", str(examples_folder), "--epochs", "2", "--seed", "5"]
    assert main(["train", *words, "--output", str(tmp_path / "run"), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["run"] == str(tmp_path / "run")
    assert "training: epoch 2/2 " in captured.err
    run = Run(tmp_path / "run")
    assert run.class_names == ("bright", "dark", "middle")
    assert run.configuration["options"]["seed"] == 5
    assert run.configuration["options"]["augmentation"]["flip"] is True
    assert run.configuration["dataset"] == {"name": "folder", "data": str(examples_folder)}
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_disk_that_is_full_leaves_no_run_behind(
    tmp_path: Path, full_disk: FullDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "digits", "--epochs", "1", "--output", str(tmp_path / "run")]
    with full_disk(300_000):
        code = main(["train", *words])
    assert code == StorageError.exit_code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"heliograph train: cannot write {tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_there_is_replaced_only_when_asked(digits_run: Path, tmp_path: Path) -> None:
    options = with_options(default_options("digits"), {"epochs": 1})
    with pytest.raises(AlreadyExistsError, match="--overwrite"):
        train(open_dataset("digits"), options, digits_run)
    (tmp_path / "letters").mkdir()
    with pytest.raises(AlreadyExistsError, match="is no training run"):
        train(open_dataset("digits"), options, tmp_path / "letters", overwrite=True)
    for _ in range(2):
        run = train(open_dataset("digits"), options, tmp_path / "run", overwrite=True)
    assert run.configuration["options"]["epochs"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters", "run"]


def test_a_folder_with_unreadable_images_leaves_no_run_behind(
    examples_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(examples_folder)
    broken = tmp_path / "broken" / "dark"
    broken.mkdir(parents=True)
    (tmp_path / "broken" / "bright").symlink_to(examples_folder / "bright")
    for number in range(4):
        (broken / f"{number}.jpg").write_bytes(b"\xff\xd8 no more")
    dataset = open_dataset("folder", tmp_path / "broken")
    with pytest.raises(InvalidDatasetError, match=r"dark/\d\.jpg.*Repair or remove them"):
        train(dataset, default_options("folder"), tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "data"]


def test_what_is_no_run_is_named(digits_run: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is no training run"):
        _ = Run(tmp_path).configuration
    (tmp_path / "history.json").write_text("{")
    (tmp_path / "model.keras").write_bytes(b"PK")
    with pytest.raises(ConfigurationError, match=r"model\.keras cannot be loaded"):
        Run(tmp_path).load_network()
    (tmp_path / "configuration.json").write_text("{")
    with pytest.raises(ConfigurationError, match="is damaged"):
        _ = Run(tmp_path).configuration


def test_a_learning_rate_that_diverges_is_told(tmp_path: Path) -> None:
    options = with_options(default_options("digits"), {"epochs": 1, "learning_rate": 1e38})
    with pytest.raises(ConfigurationError, match="lower the learning rate"):
        train(open_dataset("digits"), options, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
