"""Small SavedModels for tests and benchmarks, each with answers that are easy to foresee."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from heliograph_modelserver.tensors import DTYPE_NAMES
from heliograph_modelserver.warmup import WARMUP_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

v1 = tf.compat.v1

IMAGE_CLASSES = 10
"""Number of outputs of the image classifier."""


def write_half_plus(export_dir: Path, addend: float = 2.0) -> Path:
    """Write `y = x / 2 + addend` over float tensors of any batch, with signatures for every RPC.

    `serving_default` predicts from `x` to `y`; `regress_x_to_y` and `classify_x_to_y` take
    serialized examples with the feature `x`; `regress_x_to_twice` shares their input.
    """

    def build() -> Mapping[str, Any]:
        a = v1.get_variable("a", initializer=0.5)
        b = v1.get_variable("b", initializer=addend)
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        parsed = v1.parse_example(serialized, {"x": v1.FixedLenFeature([1], tf.float32)})
        x = v1.placeholder_with_default(parsed["x"], [None, 1], name="x")
        y = tf.add(a * x, b, name="y")
        twice = tf.multiply(y, 2.0, name="twice")
        labels = tf.strings.as_string(y)
        return {
            "serving_default": signature("predict", {"x": x}, {"y": y}),
            "regress_x_to_y": signature("regress", {"inputs": serialized}, {"outputs": y}),
            "regress_x_to_twice": signature("regress", {"inputs": serialized}, {"outputs": twice}),
            "classify_x_to_y": signature("classify", {"inputs": serialized}, {"scores": y}),
            "classify_labels": signature(
                "classify", {"inputs": serialized}, {"classes": labels, "scores": y}
            ),
        }

    return write_saved_model(export_dir, build)


def write_image_classifier(
    export_dir: Path, *, side: int = 32, seed: int = 1, extra_megabytes: int = 0
) -> Path:
    """Write a small convolutional network from images to probabilities.

    The signature takes uint8 `image` `[N, side, side, 3]`, gives float `probabilities` `[N, 10]`.

    Args:
        export_dir: The version directory to create.
        side: Height and width of the images.
        seed: Seeds the weights, so that versions can be told apart.
        extra_megabytes: Size of a variable that takes part in the result and changes nothing.
    """
    random = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        values = random.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        return np.asarray(values, np.float32)

    def build() -> Mapping[str, Any]:
        image = v1.placeholder(tf.uint8, [None, side, side, 3], name="image")
        x = tf.cast(image, tf.float32) / 255.0
        for layer, (depth, width) in enumerate([(3, 32), (32, 64)]):
            kernel = v1.get_variable(f"kernel_{layer}", initializer=weights(3, 3, depth, width))
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))
            x = tf.nn.max_pool2d(x, 2, 2, "SAME")
        flat = (side // 4) ** 2 * 64
        dense = v1.get_variable("dense", initializer=weights(flat, IMAGE_CLASSES))
        bias = v1.get_variable("bias", initializer=weights(1, IMAGE_CLASSES)[0])
        logits = tf.reshape(x, [-1, flat]) @ dense + bias
        if extra_megabytes:
            ballast = v1.get_variable(
                "ballast",
                [extra_megabytes, 2**18],
                initializer=v1.random_uniform_initializer(seed=seed),
            )
            logits += 0.0 * ballast[0, 0]
        probabilities = tf.nn.softmax(logits, name="probabilities")
        return {
            "serving_default": signature(
                "predict", {"image": image}, {"probabilities": probabilities}
            )
        }

    return write_saved_model(export_dir, build)


def write_identity(export_dir: Path, dtypes: Iterable[str] = DTYPE_NAMES) -> Path:
    """Write one signature for each dtype, named after it, that returns its input `x` as `y`."""

    def build() -> Mapping[str, Any]:
        signatures = {}
        for dtype in dtypes:
            x = v1.placeholder(tf.as_dtype(dtype), None, name=f"x_{dtype}")
            signatures[dtype] = signature("predict", {"x": x}, {"y": tf.identity(x)})
        return signatures

    return write_saved_model(export_dir, build)


def write_sum(export_dir: Path) -> Path:
    """Write `total = a + b` where `b` is 10 unless it is given, and `strict`, which wants both.

    Signature defaults are a field of the SignatureDef that only newer exporters write.
    """

    def build() -> Mapping[str, Any]:
        a = v1.placeholder(tf.float32, None, name="a")
        b = v1.placeholder(tf.float32, None, name="b")
        with_default = signature("predict", {"a": a, "b": b}, {"total": a + b})
        with_default.defaults["b"].CopyFrom(tf.make_tensor_proto(np.float32(10)))
        strict = signature("predict", {"a": a, "b": b}, {"difference": a - b, "total": a + b})
        return {"serving_default": with_default, "strict": strict}

    return write_saved_model(export_dir, build)


def write_counter(export_dir: Path) -> Path:
    """Write a model with a state: `incr` adds `by` to a counter, `get` reads it.

    `busy` counts up to `steps` by itself, which takes as long as one wants.
    """

    def build() -> Mapping[str, Any]:
        counter = v1.get_variable("counter", initializer=0.0, use_resource=True)
        by = v1.placeholder(tf.float32, [], name="by")
        steps = v1.placeholder(tf.int64, [], name="steps")
        start = tf.constant(0, tf.int64)
        done = v1.while_loop(lambda step: step < steps, lambda step: (step + 1,), [start])
        anything = v1.placeholder_with_default(0.0, [], name="anything")
        value = tf.identity(counter.read_value() + 0.0 * anything, name="value")
        incremented = tf.identity(counter.assign_add(by), name="incremented")
        return {
            "incr": signature("predict", {"by": by}, {"value": incremented}),
            "get": signature("predict", {"anything": anything}, {"value": value}),
            "busy": signature("predict", {"steps": steps}, {"done": tf.identity(done)}),
        }

    return write_saved_model(export_dir, build)


def write_odd_examples(export_dir: Path) -> Path:
    """Write signatures for Classify and Regress that are each wrong in one way, and a right one."""

    def build() -> Mapping[str, Any]:
        examples = v1.placeholder(tf.string, [None], name="examples")
        more = v1.placeholder(tf.string, [None], name="more")
        count = tf.size(examples)
        one = tf.ones([count, 1])
        names = tf.fill([count, 2], "a")

        def classify(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
            return signature("classify", inputs, outputs)

        def regress(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
            return signature("regress", inputs, outputs)

        right = {"inputs": examples}
        return {
            "fine": classify(right, {"scores": one}),
            "other_examples": classify({"inputs": more}, {"scores": one}),
            "two_inputs": classify({"inputs": examples, "more": more}, {"scores": one}),
            "three_outputs": classify(right, {"a": one, "b": one, "scores": one}),
            "other_input": classify({"examples": examples}, {"scores": one}),
            "other_output": classify(right, {"probabilities": one}),
            "vector_scores": classify(right, {"scores": tf.ones([count])}),
            "double_scores": classify(right, {"scores": tf.ones([count, 1], tf.float64)}),
            "float_classes": classify(right, {"classes": one}),
            "other_batch": classify(right, {"scores": tf.ones([count + 2, 1])}),
            "uneven": classify(right, {"classes": names, "scores": one}),
            "regress_two_inputs": regress({"inputs": examples, "more": more}, {"outputs": one}),
            "regress_two_outputs": regress(right, {"outputs": one, "more": one}),
            "regress_other_output": regress(right, {"y": one}),
            "regress_matrix": regress(right, {"outputs": tf.ones([count, 2])}),
            "regress_double": regress(right, {"outputs": tf.ones([count], tf.float64)}),
            "regress_batch": regress(right, {"outputs": tf.ones([count + 2])}),
        }

    return write_saved_model(export_dir, build)


def write_saved_model(export_dir: Path, build: Callable[[], Mapping[str, Any]]) -> Path:
    """Write a SavedModel from a function that builds a graph and returns its signatures."""
    with tf.Graph().as_default(), v1.Session() as session:
        signatures = build()
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(export_dir))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return export_dir


def write_warmup(export_dir: Path, requests: Iterable[Any]) -> Path:
    """Write Predict requests as the warmup file of a version."""
    path = export_dir / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())
    return path


def predict_request(model: str, inputs: Mapping[str, Any], signature: str = "") -> Any:
    """Return a PredictRequest for arrays."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for alias, array in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(array))
    return request


def signature(method: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    """Return a SignatureDef for a method: predict, classify or regress."""

    def describe(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return {
            alias: v1.saved_model.build_tensor_info(tensor) for alias, tensor in tensors.items()
        }

    return v1.saved_model.build_signature_def(
        describe(inputs), describe(outputs), f"tensorflow/serving/{method}"
    )
