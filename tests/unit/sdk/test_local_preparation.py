"""What a client remembers of versions and recipes, and what it prepares."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from heliograph import PreparedImage
from heliograph.errors import ConfigurationError, ModelNotServingError
from heliograph.local_preparation import FRESH_SECONDS, Pin, Pins, pins, prepare, prepare_again
from heliograph.preprocessing import parse_recipe
from heliograph.under_way import Asked
from heliograph.v1.classifier_pb2 import GetModelResponse, Image, Model
from heliograph.v1.contract_pb2 import Dtype, InputSpec, ModelContract, OutputSpec

ASKED = Asked("pets", None, None, 5, 0.0)
RECIPE = parse_recipe("decode(grey) | resize(4, 4)")
LARGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def described(
    version: int = 3, *, recipe: str = str(RECIPE), recipe_version: int = 1
) -> GetModelResponse:
    """What the gateway says of a model."""
    output = parse_recipe(recipe).output
    encoded = output.dtype == "bytes"
    return GetModelResponse(
        model=Model(name="pets", reason="all versions are bad"),
        version=version,
        contract=ModelContract(
            schema_major=1,
            class_names=["cat"],
            input=InputSpec(
                signature="serving_default",
                tensor="image",
                kind=InputSpec.KIND_ENCODED if encoded else InputSpec.KIND_PIXELS_UINT8,
                dtype=Dtype.DTYPE_STRING if encoded else Dtype.DTYPE_UINT8,
                shape=output.shape,
            ),
            recipe=recipe,
            recipe_version=recipe_version,
            output=OutputSpec(tensor="scores", activation=OutputSpec.ACTIVATION_NONE),
        ),
    )


def message(image: tuple[bytes, bytes]) -> Image:
    return Image.FromString(b"".join(image))


# What is remembered.


def test_there_are_two_places_to_prepare_images() -> None:
    assert pins("gateway") is None
    assert isinstance(pins("client"), Pins)
    with pytest.raises(ConfigurationError, match="use 'gateway' or 'client'"):
        pins("nowhere")  # type: ignore[arg-type]


def test_what_the_gateway_said_holds_for_a_moment() -> None:
    known = Pins()
    assert known.find(ASKED, 0.0) is None

    pin = known.learn(ASKED, described(), 10.0)

    assert (pin.version, pin.recipe) == (3, RECIPE)
    assert known.find(ASKED, 10.0 + 0.9 * FRESH_SECONDS) is pin
    assert known.find(ASKED, 10.0 + FRESH_SECONDS) is None


def test_every_question_has_an_answer_of_its_own_whatever_is_wanted_of_the_ranking() -> None:
    known = Pins()
    pin = known.learn(ASKED, described(), 0.0)

    assert known.find(ASKED._replace(top_k=1, min_score=0.5), 0.0) is pin
    for other in ({"model": "dogs"}, {"version": 3}, {"version_label": "canary"}):
        assert known.find(ASKED._replace(**other), 0.0) is None


def test_only_the_version_that_has_gone_is_forgotten() -> None:
    known = Pins()
    pin = known.learn(ASKED, described(version=3), 0.0)

    known.outdate(ASKED, 2)
    assert known.find(ASKED, 0.0) is pin
    known.outdate(ASKED, 3)
    assert known.find(ASKED, 0.0) is None
    known.outdate(ASKED, 3)


def test_a_recipe_is_parsed_once_for_each_version() -> None:
    known = Pins()
    first = known.learn(ASKED, described(), 0.0).recipe

    assert known.learn(ASKED, described(), 5.0).recipe is first
    other = known.learn(ASKED, described(recipe="decode(rgb) | resize(4, 4)"), 9.0).recipe
    assert str(other) == "decode(rgb) | resize(4, 4)"


@pytest.mark.parametrize(
    "response", [described(recipe="bytes"), described(recipe_version=99)], ids=["files", "newer"]
)
def test_what_cannot_be_prepared_here_is_left_to_the_gateway(response: GetModelResponse) -> None:
    pin = Pins().learn(ASKED, response, 0.0)

    item = prepare(bytes(1000), ASKED, pin)

    assert pin.recipe is None
    assert (item.asked, message(item.image).encoded) == (ASKED, bytes(1000))


def test_a_model_without_a_version_is_not_served() -> None:
    with pytest.raises(ModelNotServingError, match="pets is not served: all versions are bad"):
        Pins().learn(ASKED, described(version=0), 0.0)


# What is prepared.


def test_a_prepared_image_is_pinned_to_the_version_of_the_recipe() -> None:
    item = prepare(LARGE, ASKED._replace(version_label="canary"), Pin(3, RECIPE))

    assert item.asked == ASKED._replace(version=3)
    assert item.origin == ASKED._replace(version_label="canary")
    tensor = message(item.image).prepared
    assert (tensor.dtype, list(tensor.shape)) == (Dtype.DTYPE_UINT8, [4, 4, 1])
    assert tensor.data == RECIPE.prepare_pixels(LARGE).tobytes()
    assert item.size > LARGE.nbytes, "the image is kept as well, to be prepared again"


@pytest.mark.parametrize(
    ("image", "prepared"),
    [
        (np.zeros((4, 4), np.uint8), True),
        (np.zeros((3, 5), np.uint8), False),
        (PIL.Image.new("L", (4, 4)), True),
        (PIL.Image.new("L", (3, 5)), False),
        (PIL.Image.new("RGBA", (2, 2)), True),
        (bytes(16), False),
        (PreparedImage("uint8", (100, 100, 1), bytes(10_000)), False),
    ],
    ids=[
        *("larger array", "smaller array", "larger L", "smaller L", "larger RGBA"),
        *("file", "prepared already"),
    ],
)
def test_only_what_becomes_smaller_is_prepared(image: object, prepared: bool) -> None:
    item = prepare(image, ASKED, Pin(3, RECIPE))  # type: ignore[arg-type]

    assert (item.source is not None) is prepared


def test_an_image_is_prepared_again_for_the_version_that_follows() -> None:
    other = parse_recipe("decode(rgb) | resize(4, 4)")
    item = prepare(LARGE, ASKED, Pin(3, RECIPE))

    again = prepare_again(item, Pin(4, other))

    assert again.asked == ASKED._replace(version=4)
    assert again.origin == ASKED
    assert message(again.image).prepared.data == other.prepare_pixels(LARGE).tobytes()


def test_where_gateways_do_not_agree_the_image_is_sent_as_it_is() -> None:
    item = prepare(LARGE, ASKED, Pin(3, RECIPE))

    again = prepare_again(item, Pin(3, RECIPE))

    assert again.asked == ASKED
    assert message(again.image).encoded.startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="not prepared here"):
        prepare_again(again, Pin(3, RECIPE))
