"""Images prepared where the client runs, by the recipe of the model that is asked.

A photo of some megabytes becomes the few kilobytes that the model takes before it travels. The
recipe belongs to one version, so that such an image is sent to exactly that version; where it is no
longer served, the image is prepared again for the one that has followed it.

Needs the extra `[image]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from heliograph.errors import (
    ConfigurationError,
    ContractError,
    MissingExtraError,
    ModelNotServingError,
)
from heliograph.images import (
    MAX_IMAGE_BYTES,
    PreparedImage,
    ReadImage,
    encoded,
    is_array,
    is_pillow,
    message_of,
    size_of,
)
from heliograph.under_way import Asked, Item
from heliograph.v1.classifier_pb2 import GetModelResponse

if TYPE_CHECKING:
    import numpy as np

    from heliograph.preprocessing import Recipe

Prepare = Literal["gateway", "client"]
"""Where images are prepared."""

FRESH_SECONDS: Final = 1.0
"""Time after which the gateway is asked again which version answers. Gateways look at their own
routing table about as often."""


@dataclass(frozen=True, slots=True)
class Pin:
    """The version that answers a question now, and its recipe."""

    version: int
    recipe: Recipe | None
    """None where there is nothing to prepare: the model takes files, or this client does not know
    the recipe, which is then left to the gateway."""


class Pins:
    """What the gateway has said about questions, each for a moment. Threads may share it."""

    def __init__(self) -> None:
        """Know nothing yet.

        Raises:
            MissingExtraError: NumPy or a decoder is not installed.
        """
        try:
            import heliograph.preprocessing  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"preparing images on the client needs {error.name}, which is not installed: "
                "pip install 'heliograph[image]'"
            ) from error
        self._pins: dict[tuple[object, ...], tuple[Pin, float]] = {}
        self._recipes: dict[tuple[str, int], tuple[bytes, Recipe | None]] = {}

    def find(self, asked: Asked, now: float) -> Pin | None:
        """Return what is known of a question; None when it was not asked for a moment."""
        pin, fresh_until = self._pins.get(_key(asked), (None, now))
        return pin if now < fresh_until else None

    def outdate(self, asked: Asked, version: int | None) -> None:
        """Forget what is known of a question, if it is a version that is not served any more."""
        pin, _ = self._pins.get(_key(asked), (None, 0.0))
        if pin is not None and pin.version == version:
            self._pins.pop(_key(asked), None)

    def learn(self, asked: Asked, response: GetModelResponse, now: float) -> Pin:
        """Remember what the gateway says.

        Raises:
            ModelNotServingError: No version answers.
        """
        if not response.version:
            raise ModelNotServingError(
                f"model {response.model.name} is not served: {response.model.reason}"
            )
        pin = Pin(response.version, self._recipe(response))
        self._pins[_key(asked)] = (pin, now + FRESH_SECONDS)
        return pin

    def _recipe(self, response: GetModelResponse) -> Recipe | None:
        from heliograph.contract import recipe_of

        key = (response.model.name, response.version)
        contract = response.contract.SerializeToString(deterministic=True)
        known = self._recipes.get(key)
        if known is None or known[0] != contract:
            try:
                recipe: Recipe | None = recipe_of(response.contract)
            except ContractError:
                recipe = None
            if recipe is not None and recipe.output.dtype == "bytes":
                recipe = None
            known = self._recipes[key] = (contract, recipe)
        return known[1]


def pins(where: Prepare) -> Pins | None:
    """Return what a client needs to prepare images; None where the gateway prepares them.

    Raises:
        ConfigurationError: There is no such place.
        MissingExtraError: NumPy or a decoder is not installed.
    """
    if where not in ("gateway", "client"):
        raise ConfigurationError(f"prepare is {where!r}; use 'gateway' or 'client'")
    return Pins() if where == "client" else None


def prepare(image: ReadImage, asked: Asked, pin: Pin) -> Item:
    """Return an image to send: prepared where that makes it smaller, and otherwise as it is.

    A file is prepared when the tensor has fewer bytes than the file; pixels (a Pillow image, an
    array) when it has no more bytes than they, since they would have to be compressed instead.

    Args:
        image: The image.
        asked: What is asked about it.
        pin: The version that answers, and its recipe.

    Raises:
        InvalidImageError: The image cannot be prepared.
    """
    recipe = pin.recipe
    if recipe is None or isinstance(image, PreparedImage) or not _gains(image, recipe):
        return Item(asked, message_of(image))
    prepared = PreparedImage.from_array(_apply(recipe, image))
    pinned = asked._replace(version=pin.version, version_label=None)
    return Item(pinned, message_of(prepared), source=image, origin=asked)


def prepare_again(item: Item, pin: Pin) -> Item:
    """Return what to send instead of an item whose version is not served any more.

    Where the version that answers is the same one, as when two gateways do not agree, that is the
    image as it is.

    Args:
        item: An item that `prepare` has prepared.
        pin: What the gateway says now.

    Raises:
        InvalidImageError: The image cannot be prepared.
    """
    if item.source is None or item.origin is None:
        raise ValueError("the item was not prepared here")
    if pin.version == item.asked.version:
        return Item(item.origin, message_of(item.source))
    return prepare(item.source, item.origin, pin)


def _key(asked: Asked) -> tuple[object, ...]:
    return asked.model, asked.version, asked.version_label


def _gains(image: ReadImage, recipe: Recipe) -> bool:
    size = math.prod(recipe.output.shape) * (4 if recipe.output.dtype == "float32" else 1)
    return size < size_of(image) if isinstance(image, bytes) else size <= size_of(image)


def _apply(
    recipe: Recipe, image: bytes | PIL.Image.Image | np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Apply a recipe as the gateway would, whatever form the image would be sent in."""
    import numpy as np

    from heliograph.preprocessing import ImageLimits

    pixels = _pixels(image)
    if pixels is not None:
        return recipe.prepare_pixels(pixels)
    return np.asarray(recipe.prepare(encoded(image), ImageLimits(max_bytes=MAX_IMAGE_BYTES)))


def _pixels(
    image: bytes | PIL.Image.Image | np.ndarray[Any, Any],
) -> np.ndarray[Any, Any] | None:
    """Return pixels that need no decoding: grey or RGB. What has alpha or a palette needs it."""
    if is_array(image):
        plain = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
        return image if image.dtype.name == "uint8" and plain and image.size else None
    if is_pillow(image) and image.mode in ("L", "RGB"):
        import numpy as np
        import PIL.ImageOps

        return np.asarray(PIL.ImageOps.exif_transpose(image))
    return None


if TYPE_CHECKING:
    import PIL.Image
