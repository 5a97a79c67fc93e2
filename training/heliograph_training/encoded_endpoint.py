"""A recipe as a TensorFlow graph, for the convenience endpoint that takes encoded images.

The pixels are TensorFlow's: its decoder, its resizing, no Exif orientation. They come close to
those of `heliograph.preprocessing` and are not the same, so nothing of Heliograph calls this
endpoint; it is for callers of TensorFlow Serving who have nothing but files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from heliograph.errors import InvalidRecipeError
from heliograph.preprocessing import Recipe

_Graph = Callable[[Any], Any]


def graph_of(recipe: Recipe) -> _Graph:
    """Return a function from encoded images `[N]` to uint8 pixels `[N, H, W, C]`.

    Raises:
        InvalidRecipeError: The recipe does not yield uint8, or has a step that the graph does not
            know.
    """
    if recipe.output.dtype != "uint8":
        raise InvalidRecipeError(f"{recipe} does not yield uint8, as an encoded endpoint needs")
    steps = [_graph_step(step.name, step.arguments()) for step in recipe.steps[1:]]
    shape = recipe.output.shape

    def decode(encoded: Any) -> Any:
        import tensorflow as tf

        pixels = tf.io.decode_image(encoded, channels=shape[-1], expand_animations=False)
        for step in steps:
            pixels = step(pixels)
        return tf.ensure_shape(pixels, shape)

    def decode_batch(encoded: Any) -> Any:
        import tensorflow as tf

        return tf.map_fn(decode, encoded, fn_output_signature=tf.TensorSpec(shape, tf.uint8))

    return decode_batch


def _graph_step(name: str, arguments: Sequence[Any]) -> _Graph:
    if name == "resize":
        return lambda pixels: _resize(pixels, *arguments)
    if name in ("resize_shorter", "resize_longer"):
        return lambda pixels: _resize_side(pixels, arguments[0], shorter=name == "resize_shorter")
    if name == "center_crop":
        return lambda pixels: _center_crop(pixels, arguments[0], arguments[-1])
    if name == "pad":
        return lambda pixels: _pad(pixels, *arguments)
    if name == "bgr":
        return lambda pixels: pixels[:, :, ::-1]
    raise InvalidRecipeError(f"the encoded endpoint does not know the step {name}; leave it out")


def _resize(pixels: Any, height: Any, width: Any) -> Any:
    import tensorflow as tf

    resized = tf.image.resize(pixels, [height, width], antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)


def _resize_side(pixels: Any, side: int, *, shorter: bool) -> Any:
    import tensorflow as tf

    size = tf.shape(pixels)[:2]
    reference = tf.reduce_min(size) if shorter else tf.reduce_max(size)
    height, width = tf.unstack(tf.maximum(side * size // reference, 1))
    return _resize(pixels, height, width)


def _center_crop(pixels: Any, height: int, width: int) -> Any:
    import tensorflow as tf

    size = tf.shape(pixels)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return tf.slice(pixels, [top, left, 0], [height, width, -1])


def _pad(pixels: Any, height: int, width: int, value: int = 0) -> Any:
    import tensorflow as tf

    size = tf.shape(pixels)
    rows, columns = tf.maximum(height - size[0], 0), tf.maximum(width - size[1], 0)
    margins = [[rows // 2, rows - rows // 2], [columns // 2, columns - columns // 2], [0, 0]]
    return tf.pad(pixels, margins, constant_values=tf.constant(value, tf.uint8))
