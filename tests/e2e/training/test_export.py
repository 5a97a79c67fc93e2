"""What an exported version is: loaded as TensorFlow Serving loads it, and read file by file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format

from heliograph.cli import main
from heliograph.contract import read_contract
from heliograph.errors import (
    ConfigurationError,
    ContractMismatchError,
    InvalidDatasetError,
    InvalidModelNameError,
    InvalidRecipeError,
    StorageError,
)
from heliograph.golden import read_golden
from heliograph.manifest import verify_manifest
from heliograph.preprocessing import parse_recipe, pixels_sha256
from heliograph.repository import Repository
from heliograph_training import LabelledImage, export
from heliograph_training.datasets import open_dataset
from heliograph_training.datasets.prepared import PreparedSplit, prepare_split
from heliograph_training.run import Run, predict
from heliograph_training.saved_model_session import SavedModelSession

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning:keras"
)

CLASSES = ("dark", "middle", "bright")
RECIPE = "decode(rgb) | resize(6, 6)"


@pytest.fixture(scope="module")
def version(digits_repository: Path) -> Path:
    """Return the directory of version 1 of digits."""
    return digits_repository / "digits" / "1"


@pytest.fixture(scope="module")
def session(version: Path) -> Iterator[SavedModelSession]:
    """Return the version in a session."""
    with SavedModelSession(version) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def test_split() -> PreparedSplit:
    """Return all test digits."""
    dataset = open_dataset("digits")
    return prepare_split(dataset.splits["test"], dataset.recipe)


def test_the_exported_signature_gives_the_trainers_probabilities(
    digits_run: Path, session: SavedModelSession, test_split: PreparedSplit
) -> None:
    trainer = predict(Run(digits_run).load_network(), test_split.pixels)
    exported = session.run("serving_default", {"image": test_split.pixels}, "probabilities")
    assert exported.dtype == np.float32
    assert np.abs(exported - trainer).max() <= 1e-6


def test_the_exported_accuracy_is_that_of_the_evaluation(
    version: Path, session: SavedModelSession, test_split: PreparedSplit
) -> None:
    exported = session.run("serving_default", {"image": test_split.pixels}, "probabilities")
    accuracy = (exported.argmax(axis=1) == test_split.class_indices).mean()
    evaluation = read_contract(version).evaluation
    assert evaluation.metrics["accuracy"] == pytest.approx(accuracy)
    assert evaluation.examples == len(test_split.pixels)
    assert list(evaluation.class_counts) == np.bincount(test_split.class_indices).tolist()
    bins = np.histogram(exported.max(axis=1), bins=10, range=(0, 1))[0]
    assert list(evaluation.confidence_histogram) == bins.tolist()


def test_the_encoded_signature_decodes_digits_to_the_same_probabilities(
    session: SavedModelSession, test_split: PreparedSplit
) -> None:
    split = open_dataset("digits").splits["test"]
    encoded = np.array([split.read(index).encoded for index in range(50)], dtype=object)
    decoded = session.run("serving_encoded", {"encoded": encoded}, "probabilities")
    pixels = session.run("serving_default", {"image": test_split.pixels[:50]}, "probabilities")
    # PNG files that need no resizing: TensorFlow's pixels are ours.
    assert np.abs(decoded - pixels).max() <= 1e-6


def test_every_signature_names_its_tensors(session: SavedModelSession) -> None:
    names = {
        key: (sorted(signature.inputs), sorted(signature.outputs))
        for key, signature in session.signatures.items()
    }
    assert names == {
        "serving_default": (["image"], ["probabilities"]),
        "serving_encoded": (["encoded"], ["probabilities"]),
    }


def test_the_contract_says_what_the_run_was(version: Path, digits_run: Path) -> None:
    contract = read_contract(version)
    run = Run(digits_run)
    assert contract.model_name == "digits"
    assert tuple(contract.class_names) == run.class_names
    assert contract.recipe == "decode(grey) | resize(8, 8)"
    assert list(contract.input.shape) == [8, 8, 1]
    assert contract.encoded_signature == "serving_encoded"
    provenance = contract.provenance
    assert provenance.data_fingerprint == run.dataset["fingerprint"]
    assert provenance.framework.startswith("tensorflow 2.")
    assert provenance.device == "cpu"
    training = json_format.MessageToDict(provenance.training)
    assert training["options"]["seed"] == 0
    # Every client can read the contract; where the data lay is nobody's business.
    assert training["dataset"] == {"name": "digits"}


def test_the_manifest_covers_every_file(version: Path) -> None:
    paths = {file.path for file in verify_manifest(version).files}
    assert {"saved_model.pb", "assets.extra/heliograph/contract.json"} <= paths
    assert "assets.extra/tf_serving_warmup_requests" in paths


def test_golden_examples_are_test_images_of_every_class(
    version: Path, session: SavedModelSession
) -> None:
    golden = read_golden(version)
    assert len(golden) >= 32
    counts = Counter(example.class_name for example in golden)
    assert set(counts) == set("0123456789")
    assert max(counts.values()) - min(counts.values()) <= 1
    recipe = parse_recipe(read_contract(version).recipe)
    split = open_dataset("digits").splits["test"]
    files = {split.read(index).encoded for index in range(len(split.class_indices))}
    for example in golden:
        assert example.encoded in files
        pixels = recipe.prepare(example.encoded)
        assert pixels_sha256(pixels) == example.pixels_sha256
        (row,) = session.run(
            "serving_default", {"image": np.asarray(pixels)[np.newaxis]}, "probabilities"
        )
        assert np.abs(row - example.probabilities).max() <= 1e-6


def test_warmup_records_run_for_every_batch_size(version: Path, session: SavedModelSession) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path = str(version / "assets.extra" / "tf_serving_warmup_requests")
    sizes = []
    for record in tf.compat.v1.io.tf_record_iterator(path):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "digits"
        assert request.model_spec.signature_name == "serving_default"
        batch = tf.make_ndarray(request.inputs["image"])
        assert batch.dtype == np.uint8
        sizes.append(len(session.run("serving_default", {"image": batch}, "probabilities")))
    assert sizes == [1, 2, 4, 8, 16, 32]


def test_the_command_prints_nothing_but_json_and_takes_golden_images_from_elsewhere(
    digits_run: Path, examples_folder: Path, tmp_path: Path
) -> None:
    golden = ["--golden-images", str(examples_folder), "--golden-count", "12", "--warmup"]
    words = [str(digits_run), "--repository", str(tmp_path), "--model", "digits", *golden]
    finished = subprocess.run(
        [sys.executable, "-m", "heliograph.cli", "export", *words, "--json"],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    version = tmp_path / "digits" / "1"
    assert json.loads(finished.stdout) == {"model": "digits", "version": 1, "path": str(version)}
    examples = read_golden(version)
    assert len(examples) == 12
    assert {example.class_name for example in examples} == {""}
    assert {Path(example.file).suffix for example in examples} == {".jpg", ".png"}
    assert not (version / "assets.extra" / "tf_serving_warmup_requests").exists()


def test_any_keras_model_can_be_exported(
    keras_model: Callable[..., Any], examples: list[LabelledImage], tmp_path: Path
) -> None:
    model = keras_model("softmax")
    exported = export(
        model, classes=CLASSES, recipe=RECIPE, examples=examples, repository=tmp_path, name="light"
    )
    assert (exported.model, exported.version) == ("light", 1)
    assert exported.path == tmp_path / "light" / "1"
    pixels = np.stack([parse_recipe(RECIPE).prepare(image.encoded) for image in examples])
    with SavedModelSession(exported.path) as loaded:
        assert list(loaded.signatures) == ["serving_default"]
        given = loaded.run("serving_default", {"image": pixels}, "probabilities")
    assert np.abs(given - model.predict(pixels, verbose=0)).max() <= 1e-6
    golden = read_golden(exported.path)
    assert [example.class_name for example in golden] == [image.class_name for image in examples]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_logits_become_probabilities_in_the_graph(
    keras_model: Callable[..., Any],
    examples: list[LabelledImage],
    tmp_path: Path,
    activation: Any,
) -> None:
    import keras

    model = keras_model()
    exported = export(
        model,
        classes=CLASSES,
        recipe=RECIPE,
        examples=examples,
        repository=tmp_path,
        name="light",
        activation=activation,
    )
    pixels = np.stack([parse_recipe(RECIPE).prepare(image.encoded) for image in examples])
    expected = getattr(keras.ops, activation)(model(pixels.astype("float32"), training=False))
    golden = np.array([example.probabilities for example in read_golden(exported.path)])
    assert np.abs(golden - np.asarray(expected)).max() <= 1e-5
    assert read_contract(exported.path).output.activation == 1


def test_a_model_that_does_not_normalise_is_normalised_in_the_graph(
    keras_model: Callable[..., Any], examples: list[LabelledImage], tmp_path: Path
) -> None:
    model = keras_model("softmax")
    exported = export(
        model,
        classes=CLASSES,
        recipe=RECIPE,
        examples=examples,
        repository=tmp_path,
        name="light",
        normalise=lambda pixels: pixels / 127.5 - 1,
    )
    pixels = np.stack([parse_recipe(RECIPE).prepare(image.encoded) for image in examples])
    expected = model.predict(pixels.astype("float32") / 127.5 - 1, verbose=0)
    golden = np.array([example.probabilities for example in read_golden(exported.path)])
    assert np.abs(golden - expected).max() <= 1e-5


def test_a_subclassed_model_in_half_precision_can_be_exported(
    examples: list[LabelledImage], tmp_path: Path
) -> None:
    import keras

    class Brightness(keras.Model):  # type: ignore[misc]  # keras ships no types
        def __init__(self) -> None:
            super().__init__(dtype="mixed_bfloat16")
            self.dense = keras.layers.Dense(3, activation="softmax", dtype="mixed_bfloat16")

        def call(self, images: Any) -> Any:
            return self.dense(keras.ops.mean(images / 255, axis=(1, 2)))

    model = Brightness()
    model(np.zeros((1, 6, 6, 3), np.float32))
    exported = export(
        model, classes=CLASSES, recipe=RECIPE, examples=examples, repository=tmp_path, name="light"
    )
    with SavedModelSession(exported.path) as loaded:
        pixels = np.zeros((5, 6, 6, 3), np.uint8)
        given = loaded.run("serving_default", {"image": pixels}, "probabilities")
    assert given.dtype == np.float32
    assert given.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-2)


def test_the_encoded_signature_follows_the_recipe_closely(
    keras_model: Callable[..., Any], examples: list[LabelledImage], tmp_path: Path
) -> None:
    recipe = parse_recipe("decode(rgb) | resize_shorter(7) | center_crop(5, 6) | pad(6, 6) | bgr")
    exported = export(
        keras_model("softmax"),
        classes=CLASSES,
        recipe=recipe,
        examples=examples,
        repository=tmp_path,
        name="light",
        normalise=lambda pixels: pixels / 255,
        encoded=True,
    )
    encoded = np.array([image.encoded for image in examples], dtype=object)
    with SavedModelSession(exported.path) as loaded:
        given = loaded.run("serving_encoded", {"encoded": encoded}, "probabilities")
    golden = np.array([example.probabilities for example in read_golden(exported.path)])
    assert np.abs(given - golden).max() <= 0.02


def refused(
    model: Any, images: Sequence[LabelledImage], root: Path, **changes: Any
) -> pytest.ExceptionInfo[Exception]:
    """Export with changed arguments; check that nothing stays behind."""
    arguments = {
        "classes": CLASSES,
        "recipe": RECIPE,
        "examples": images,
        "repository": root,
        "name": "light",
    }
    with pytest.raises(Exception) as caught:  # noqa: PT011  the callers look at it
        export(model, **{**arguments, **changes})
    assert [path for path in root.rglob("*") if path.is_file()] == []
    assert list(root.rglob(".tmp-*")) == []
    return caught


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"classes": CLASSES[:2]}, ContractMismatchError, r"gives \[None, 3\] and there are 2"),
        ({"classes": ("a", "a", "b")}, ConfigurationError, "unique"),
        (
            {"recipe": "decode(rgb) | resize(7, 6)"},
            ContractMismatchError,
            r"yields \[7, 6, 3\]",
        ),
        (
            {"recipe": "decode(grey) | resize(6, 6)"},
            ContractMismatchError,
            r"yields \[6, 6, 1\]",
        ),
        ({"recipe": f"{RECIPE} | scale(0.1)"}, InvalidRecipeError, "normalises in the graph"),
        ({"recipe": "bytes"}, InvalidRecipeError, "yields bytes"),
        ({"recipe": "resize(1)"}, InvalidRecipeError, "resize"),
        ({"examples": []}, InvalidDatasetError, "no example images"),
        ({"examples": [LabelledImage(b"text")]}, InvalidDatasetError, "example image 1 of 1"),
        ({"name": "../light"}, InvalidModelNameError, "no model name"),
        ({"batch_sizes": [0]}, ConfigurationError, "at least 1"),
        ({"activation": "relu"}, ConfigurationError, "none, softmax, sigmoid"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    keras_model: Callable[..., Any],
    examples: list[LabelledImage],
    tmp_path: Path,
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    caught = refused(keras_model("softmax"), examples, tmp_path, **changes)
    assert isinstance(caught.value, error)
    assert caught.match(message)


def test_logits_without_an_activation_are_refused(
    keras_model: Callable[..., Any], examples: list[LabelledImage], tmp_path: Path
) -> None:
    model = keras_model()
    model.layers[-1].bias.assign([-3.0, 0.0, 3.0])
    caught = refused(model, examples, tmp_path)
    assert isinstance(caught.value, ContractMismatchError)
    assert caught.match("no probabilities; give the activation: softmax")


def test_a_model_that_cannot_be_called_on_the_images_is_refused(
    examples: list[LabelledImage], tmp_path: Path
) -> None:
    import keras

    class Picky(keras.Model):  # type: ignore[misc]  # keras ships no types
        def __init__(self) -> None:
            super().__init__()
            self.flatten = keras.layers.Flatten()
            self.dense = keras.layers.Dense(3)

        def call(self, images: Any) -> Any:
            return self.dense(self.flatten(images))

    model = Picky()
    model(np.zeros((1, 3, 3, 3), np.float32))
    caught = refused(model, examples, tmp_path)
    assert isinstance(caught.value, ContractMismatchError)
    assert caught.match(r"cannot be traced on images of shape \[6, 6, 3\]: ")


def test_a_model_with_several_inputs_is_refused(
    examples: list[LabelledImage], tmp_path: Path
) -> None:
    import keras

    images = [keras.Input((6, 6, 3)) for _ in range(2)]
    flat = keras.layers.Flatten()(keras.layers.Add()(images))
    model = keras.Model(images, keras.layers.Dense(3, activation="softmax")(flat))
    caught = refused(model, examples, tmp_path)
    assert isinstance(caught.value, ContractMismatchError)
    assert caught.match("has 2 inputs")


def test_a_model_with_several_outputs_is_refused(
    examples: list[LabelledImage], tmp_path: Path
) -> None:
    import keras

    image = keras.Input((6, 6, 3))
    flat = keras.layers.Flatten()(image)
    heads = [keras.layers.Dense(3, activation="softmax")(flat) for _ in range(2)]
    caught = refused(keras.Model(image, heads), examples, tmp_path)
    assert isinstance(caught.value, ContractMismatchError)
    assert caught.match("several outputs")


def test_a_model_that_gives_no_numbers_is_refused(
    keras_model: Callable[..., Any], examples: list[LabelledImage], tmp_path: Path
) -> None:
    model = keras_model("softmax")
    model.layers[-1].kernel.assign(np.full((4, 3), np.nan, np.float32))
    caught = refused(model, examples, tmp_path)
    assert isinstance(caught.value, ContractMismatchError)
    assert caught.match("not finite")


@pytest.mark.parametrize("size", [20_000, 300_000])
def test_a_disk_that_fills_up_leaves_nothing(
    digits_run: Path,
    tmp_path: Path,
    size: int,
    full_disk: Callable[[int], AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    # TensorFlow notices the first in the graph, the second in the variables, which it writes in
    # another way.
    words = [str(digits_run), "--repository", str(tmp_path), "--model", "digits"]
    with full_disk(size):
        code = main(["export", *words])
    assert code == StorageError.exit_code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"heliograph export: cannot write {tmp_path}")
    assert "ulimit -f" in last
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list(tmp_path.rglob(".tmp-*")) == []
    assert Repository(tmp_path).models() == []


def test_a_repository_that_cannot_be_written_is_told(
    keras_model: Callable[..., Any], examples: list[LabelledImage], tmp_path: Path
) -> None:
    root = tmp_path / "models"
    root.mkdir()
    root.chmod(0o500)
    if os.geteuid() == 0:
        # Root writes anywhere but below a file.
        root.rmdir()
        root.touch()
    with pytest.raises(StorageError, match=f"cannot write {root}"):
        export(
            keras_model("softmax"),
            classes=CLASSES,
            recipe=RECIPE,
            examples=examples,
            repository=root,
            name="light",
        )
