"""Contracts for SavedModels that somebody else exported."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heliograph.cli import main
from heliograph.contract import read_contract
from heliograph.errors import (
    ContractMismatchError,
    CorruptVersionError,
    HeliographError,
    StorageError,
)
from heliograph.golden import read_golden
from heliograph.manifest import verify_manifest
from heliograph.preprocessing import parse_recipe
from heliograph.v1.contract_pb2 import InputSpec, OutputSpec
from heliograph_training import LabelledImage, attach
from heliograph_training.saved_model_session import SavedModelSession

CLASSES = ("dark", "middle", "bright")
UINT8 = "decode(rgb) | resize(6, 6)"
FLOAT = "decode(rgb) | resize(6, 6) | scale(0.00392156862745098)"
SaveForeign = Callable[..., Path]


def logits_of(images: Any) -> Any:
    """Score three brightnesses of float images in [0, 1]."""
    import tensorflow as tf

    brightness = tf.reduce_mean(images, axis=[1, 2, 3])
    return tf.stack([-4 * brightness, 1 - tf.abs(brightness - 0.5), 4 * brightness - 4], axis=1)


@pytest.fixture(scope="module")
def takes_floats(save_foreign: SaveForeign) -> Path:
    """Return a SavedModel that takes float images of any size and gives logits."""
    import tensorflow as tf

    return save_foreign(
        lambda images: {"logits": logits_of(images)},
        tf.TensorSpec((None, None, None, 3), tf.float32, name="images"),
    )


@pytest.fixture(scope="module")
def takes_bytes(save_foreign: SaveForeign) -> Path:
    """Return a SavedModel that decodes images in its own graph and gives probabilities."""
    import tensorflow as tf

    def decode(encoded: Any) -> Any:
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.image.resize(pixels, (6, 6)) / 255

    def serve(encoded: Any) -> Any:
        images = tf.map_fn(decode, encoded, fn_output_signature=tf.float32)
        return {"scores": tf.nn.softmax(logits_of(tf.ensure_shape(images, (None, 6, 6, 3))))}

    return save_foreign(serve, tf.TensorSpec((None,), tf.string, name="encoded"))


@pytest.fixture(scope="module")
def takes_pixels(save_foreign: SaveForeign) -> Path:
    """Return a SavedModel that takes uint8 images and gives a probability per class."""
    import tensorflow as tf

    def serve(pixels: Any) -> Any:
        return {"scores": tf.sigmoid(logits_of(tf.cast(pixels, tf.float32) / 255))}

    return save_foreign(serve, tf.TensorSpec((None, 6, 6, 3), tf.uint8, name="pixels"))


def attach_to(saved_model: Path, examples: list[LabelledImage], root: Path, **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "repository": root,
        "name": "light",
        "classes": CLASSES,
        "recipe": FLOAT,
        "activation": "softmax",
        "examples": examples,
    }
    return attach(saved_model, **{**arguments, **changes}).path


def test_a_model_of_floats_is_attached_to_with_its_activation(
    takes_floats: Path, examples: list[LabelledImage], tmp_path: Path
) -> None:
    version = attach_to(takes_floats, examples, tmp_path)
    contract = read_contract(version)
    assert contract.input.kind == InputSpec.KIND_PIXELS_FLOAT
    assert list(contract.input.shape) == [6, 6, 3]
    assert (contract.input.tensor, contract.output.tensor) == ("images", "logits")
    assert contract.output.activation == OutputSpec.ACTIVATION_SOFTMAX
    golden = read_golden(version)
    with SavedModelSession(takes_floats) as session:
        images = np.stack([parse_recipe(FLOAT).prepare(image.encoded) for image in examples])
        logits = session.run("serving_default", {"images": images}, "logits").astype(np.float64)
    for example, row in zip(golden, logits, strict=True):
        weights = [math.exp(logit) for logit in row]
        assert example.probabilities == pytest.approx([w / sum(weights) for w in weights], abs=1e-6)
    verify_manifest(version)


def test_a_model_of_encoded_images_gets_them_as_they_are(
    takes_bytes: Path, examples: list[LabelledImage], tmp_path: Path
) -> None:
    version = attach_to(takes_bytes, examples, tmp_path, recipe="bytes", activation="none")
    contract = read_contract(version)
    assert contract.input.kind == InputSpec.KIND_ENCODED
    assert list(contract.input.shape) == []
    assert len(read_golden(version)) == len(examples)
    verify_manifest(version)


def test_a_model_of_pixels_is_attached_to(
    takes_pixels: Path, examples: list[LabelledImage], tmp_path: Path
) -> None:
    version = attach_to(takes_pixels, examples, tmp_path, recipe=UINT8, activation="none")
    assert read_contract(version).input.kind == InputSpec.KIND_PIXELS_UINT8


@pytest.mark.parametrize("kind", ["floats", "bytes", "pixels"])
def test_warmup_records_run_on_the_foreign_signature(
    kind: str,
    request: pytest.FixtureRequest,
    examples: list[LabelledImage],
    tmp_path: Path,
) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    recipe = {"floats": FLOAT, "bytes": "bytes", "pixels": UINT8}[kind]
    activation = "softmax" if kind == "floats" else "none"
    version = attach_to(
        request.getfixturevalue(f"takes_{kind}"),
        examples,
        tmp_path,
        recipe=recipe,
        activation=activation,
        batch_sizes=(1, 3),
    )
    sizes = []
    with SavedModelSession(version) as session:
        contract = read_contract(version)
        path = str(version / "assets.extra" / "tf_serving_warmup_requests")
        for record in tf.compat.v1.io.tf_record_iterator(path):
            log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
            batch = tf.make_ndarray(log.request.inputs[contract.input.tensor])
            inputs = {contract.input.tensor: batch}
            outputs = session.run(contract.input.signature, inputs, contract.output.tensor)
            sizes.append(len(outputs))
    assert sizes == [1, 3]


def test_the_copy_is_complete_and_the_source_is_left_alone(
    takes_floats: Path, examples: list[LabelledImage], tmp_path: Path
) -> None:
    def files(directory: Path) -> dict[str, bytes]:
        return {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in directory.rglob("*")
            if path.is_file()
        }

    before = files(takes_floats)
    version = attach_to(takes_floats, examples, tmp_path)
    assert files(takes_floats) == before
    assert {name: files(version)[name] for name in before} == before


def test_attaching_to_an_attached_version_replaces_its_contract(
    takes_floats: Path, examples: list[LabelledImage], tmp_path: Path
) -> None:
    first = attach_to(takes_floats, examples, tmp_path)
    second = attach_to(first, examples[:5], tmp_path, classes=("a", "b", "c"))
    assert second == tmp_path / "light" / "2"
    assert list(read_contract(second).class_names) == ["a", "b", "c"]
    assert len(read_golden(second)) == 5
    verify_manifest(second)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"recipe": UINT8}, ContractMismatchError, r"DT_FLOAT .* yields uint8; use .*scale"),
        ({"recipe": "bytes"}, ContractMismatchError, r"DT_FLOAT and the recipe yields bytes"),
        ({"recipe": FLOAT.replace("rgb", "grey")}, ContractMismatchError, r"\[-1, 6, 6, 1\]"),
        ({"classes": ("a", "b")}, ContractMismatchError, r"\[-1, 2\]"),
        ({"activation": "none"}, ContractMismatchError, "no probabilities; give the activation"),
        ({"signature": "predict"}, ContractMismatchError, "no signature predict; it has serving_d"),
        ({"input_tensor": "x"}, ContractMismatchError, "no input x; it has images"),
        ({"output_tensor": "y"}, ContractMismatchError, "no output y; it has logits"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    takes_floats: Path,
    examples: list[LabelledImage],
    tmp_path: Path,
    changes: dict[str, Any],
    error: type[HeliographError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        attach_to(takes_floats, examples, tmp_path, **changes)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list(tmp_path.rglob(".tmp-*")) == []


def test_a_signature_of_several_tensors_asks_for_a_choice(
    save_foreign: SaveForeign, examples: list[LabelledImage], tmp_path: Path
) -> None:
    import tensorflow as tf

    saved = save_foreign(
        lambda images: {"logits": logits_of(images), "mean": tf.reduce_mean(images)},
        tf.TensorSpec((None, 6, 6, 3), tf.float32, name="images"),
    )
    with pytest.raises(ContractMismatchError, match=r"2 outputs \(logits, mean\).*--output"):
        attach_to(saved, examples, tmp_path)
    version = attach_to(saved, examples, tmp_path, output_tensor="logits")
    assert read_contract(version).output.tensor == "logits"


def test_a_fixed_batch_size_is_refused(
    save_foreign: SaveForeign, examples: list[LabelledImage], tmp_path: Path
) -> None:
    import tensorflow as tf

    saved = save_foreign(logits_of, tf.TensorSpec((1, 6, 6, 3), tf.float32, name="images"))
    with pytest.raises(ContractMismatchError, match="fixed batch size of 1"):
        attach_to(saved, examples, tmp_path)


def test_a_model_that_answers_by_chance_is_refused(
    save_foreign: SaveForeign, examples: list[LabelledImage], tmp_path: Path
) -> None:
    import tensorflow as tf

    def noisy(images: Any) -> Any:
        return {"logits": tf.nn.dropout(logits_of(images) + 1, 0.5)}

    saved = save_foreign(noisy, tf.TensorSpec((None, 6, 6, 3), tf.float32, name="images"))
    with pytest.raises(ContractMismatchError, match=r"changes by .* when it is asked again"):
        attach_to(saved, examples, tmp_path)


def test_an_export_of_keras_that_no_session_loads_is_told(
    keras_model: Callable[..., Any], examples: list[LabelledImage], tmp_path: Path
) -> None:
    import tensorflow as tf

    model = keras_model("softmax")
    saved = tmp_path / "saved"
    serve = tf.function(
        lambda images: {"scores": model(images)},
        input_signature=[tf.TensorSpec((None, 6, 6, 3), tf.float32, name="images")],
    )
    tf.saved_model.save(model, str(saved), signatures=serve)
    with pytest.raises(CorruptVersionError, match=r"does not find its variables.*ExportArchive"):
        attach_to(saved, examples, tmp_path / "models", activation="none")
    assert [path for path in (tmp_path / "models").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("content", [None, b"", b"not a graph"], ids=["missing", "empty", "noise"])
def test_what_is_no_saved_model_is_refused(
    examples: list[LabelledImage], tmp_path: Path, content: bytes | None
) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    if content is not None:
        (saved / "saved_model.pb").write_bytes(content)
    with pytest.raises(CorruptVersionError, match=str(saved)):
        attach_to(saved, examples, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_missing_variables_are_told(
    keras_model: Callable[..., Any], examples: list[LabelledImage], tmp_path: Path
) -> None:
    from heliograph_training import export

    exported = export(
        keras_model("softmax"),
        classes=CLASSES,
        recipe=UINT8,
        examples=examples,
        repository=tmp_path / "own",
        name="light",
    )
    for path in (exported.path / "variables").glob("*.data*"):
        path.unlink()
    with pytest.raises(CorruptVersionError, match="does not load into a session"):
        attach_to(exported.path, examples, tmp_path / "models", recipe=UINT8, activation="none")


def test_a_repository_that_cannot_be_written_is_told(
    takes_floats: Path, examples: list[LabelledImage], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        attach_to(takes_floats, examples, tmp_path / "file")


def test_the_command_attaches_and_shows(
    takes_floats: Path,
    examples_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    classes = tmp_path / "names.txt"
    classes.write_text("\n".join(CLASSES))
    words = [
        "contract", "attach", str(takes_floats), "--repository", str(tmp_path / "models"),
        "--model", "light", "--classes", str(classes), "--recipe", FLOAT,
        "--activation", "softmax", "--examples", str(examples_folder), "--json",
    ]  # fmt: skip
    assert main(words) == 0
    version = tmp_path / "models" / "light" / "1"
    assert json.loads(capsys.readouterr().out) == {
        "model": "light",
        "version": 1,
        "path": str(version),
    }
    golden = read_golden(version)
    assert {example.class_name for example in golden} == set(CLASSES)

    assert main(["contract", "show", str(tmp_path / "models"), "light"]) == 0
    shown = capsys.readouterr().out
    assert "images [N, 6, 6, 3] pixels_float" in shown
    assert "logits, activation softmax" in shown
