"""Recipes as text: what parses, what does not, and what the canonical form is."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.errors import InvalidRecipeError
from heliograph.preprocessing import ArraySpec, Recipe, parse_recipe
from heliograph.preprocessing.steps import STEPS

SIDES = st.integers(1, 300)
POSITIVE = st.floats(1e-12, 1e12)
FLOATS = st.one_of(st.just(0.0), POSITIVE, POSITIVE.map(lambda value: -value))


def step(name: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    return st.tuples(*arguments).map(lambda values: f"{name}({', '.join(map(str, values))})")


RESIZES = st.one_of(step("resize", SIDES, SIDES), step("resize_shorter", SIDES), st.just("bgr"))
ENDINGS = st.one_of(
    st.just(""),
    step(" | scale", POSITIVE),
    step(" | scale", POSITIVE, FLOATS),
    step(" | normalize", *[FLOATS] * 3, *[POSITIVE] * 3),
)
VALID = st.builds(
    lambda steps, height, width, ending: (
        " | ".join(["decode(rgb)", *steps, f"pad({height}, {width})", f"resize({height}, {width})"])
        + ending
    ),
    st.lists(RESIZES, max_size=4),
    SIDES,
    SIDES,
    ENDINGS,
)


@given(VALID)
def test_the_canonical_text_parses_to_an_equal_recipe(text: str) -> None:
    recipe = parse_recipe(text)
    assert parse_recipe(str(recipe)) == recipe
    assert str(parse_recipe(str(recipe))) == str(recipe)


@given(st.one_of(st.text(), st.text("decorszbytgp_|(),. 0123456789-+e\n", max_size=60)))
def test_garbage_is_refused_and_nothing_else_happens(text: str) -> None:
    with contextlib.suppress(InvalidRecipeError):
        recipe = parse_recipe(text)
        assert parse_recipe(str(recipe)) == recipe


@given(
    st.sampled_from(sorted(STEPS)),
    st.lists(st.one_of(st.integers(), st.floats(), st.sampled_from(["rgb", "grey", "x"]))),
)
def test_any_arguments_of_any_step_are_taken_or_refused(name: str, arguments: list[object]) -> None:
    text = f"{name}({', '.join(map(str, arguments))})"
    for recipe in (text, f"decode(rgb) | {text}", f"decode(grey) | resize(8, 8) | {text}"):
        try:
            parsed = parse_recipe(recipe)
        except InvalidRecipeError:
            continue
        assert parse_recipe(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("decode(rgb)|resize(32,32)", "decode(rgb) | resize(32, 32)"),
        (" decode ( grey )\n| resize( 8 , 9 ) ", "decode(grey) | resize(8, 9)"),
        ("decode(rgb) | center_crop(224)", "decode(rgb) | center_crop(224, 224)"),
        ("decode(rgb) | center_crop(10, 20)", "decode(rgb) | center_crop(10, 20)"),
        ("decode(rgb) | resize(8, 8) | scale(0.50, 0)", "decode(rgb) | resize(8, 8) | scale(0.5)"),
        (
            "decode(rgb) | resize(8, 8) | scale(7.8125e-3, -1.0)",
            "decode(rgb) | resize(8, 8) | scale(0.0078125, -1)",
        ),
        (
            "decode(rgb) | resize_longer(8) | pad(8, 8, 0) | bgr()",
            "decode(rgb) | resize_longer(8) | pad(8, 8) | bgr",
        ),
        (
            "decode(grey) | resize(8, 8) | normalize(33.31, 78.5)",
            "decode(grey) | resize(8, 8) | normalize(33.31, 78.5)",
        ),
        ("bytes", "bytes"),
        ("bytes()", "bytes"),
    ],
)
def test_the_canonical_text(text: str, canonical: str) -> None:
    assert str(parse_recipe(text)) == canonical


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("bytes", ArraySpec("bytes", ())),
        ("decode(rgb) | resize(32, 48)", ArraySpec("uint8", (32, 48, 3))),
        ("decode(grey) | resize(8, 8)", ArraySpec("uint8", (8, 8, 1))),
        ("decode(rgb) | center_crop(10, 20)", ArraySpec("uint8", (10, 20, 3))),
        ("decode(rgb) | resize_shorter(256) | center_crop(224)", ArraySpec("uint8", (224, 224, 3))),
        ("decode(rgb) | resize_longer(64) | pad(64, 64)", ArraySpec("uint8", (64, 64, 3))),
        ("decode(rgb) | pad(64, 64) | center_crop(64)", ArraySpec("uint8", (64, 64, 3))),
        ("decode(rgb) | resize(10, 20) | resize_shorter(5)", ArraySpec("uint8", (5, 10, 3))),
        ("decode(rgb) | resize(10, 20) | resize_longer(5)", ArraySpec("uint8", (2, 5, 3))),
        ("decode(rgb) | resize(10, 20) | pad(15, 15)", ArraySpec("uint8", (15, 20, 3))),
        ("decode(grey) | resize(8, 9) | scale(0.5)", ArraySpec("float32", (8, 9, 1))),
        (
            "decode(rgb) | resize(8, 8) | bgr | normalize(103.9, 116.8, 123.7, 1, 1, 1)",
            ArraySpec("float32", (8, 8, 3)),
        ),
    ],
)
def test_the_output_is_known_before_there_is_an_image(text: str, output: ArraySpec) -> None:
    assert parse_recipe(text).output == output


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("decode(rgb) |", "cannot read the step ''"),
        ("decode(rgb) || resize(8, 8)", "cannot read the step ''"),
        ("decode(rgb) | resize(8, 8", "cannot read the step 'resize(8, 8'"),
        ("decode(rgb) | resise(8, 8)", "no step 'resise'; did you mean resize?"),
        ("decode(rgb) | xyzzy", "no step 'xyzzy'; the steps are decode, bytes, resize,"),
        ("decode(rgb) | resize(8)", "1 arguments; write resize(height, width)"),
        ("decode(rgb) | resize(8, ?)", "cannot read the argument '?' of resize"),
        ("decode(rgb) | resize(8, )", "cannot read the argument '' of resize"),
        ("decode(rgb) | resize(8, 0x10)", "cannot read the argument '0x10'"),
        ("decode(rgb) | resize(0, 8)", "from 1 to 16384"),
        ("decode(rgb) | resize(-8, 8)", "from 1 to 16384"),
        ("decode(rgb) | resize(8.5, 8)", "from 1 to 16384"),
        ("decode(rgb) | resize(16385, 1)", "from 1 to 16384"),
        ("decode(rgb) | resize(16384, 16384)", "more than 50000000 pixels"),
        ("decode(cmyk) | resize(8, 8)", "decode cannot give 'cmyk'; write decode(rgb) or"),
        ("decode(gray) | resize(8, 8)", "decode cannot give 'gray'; write decode(rgb) or"),
        ("resize(8, 8)", "begin with decode(rgb), decode(grey) or bytes"),
        ("decode(rgb) | decode(rgb) | resize(8, 8)", "can only be the first step"),
        ("decode(rgb) | bytes", "can only be the first step"),
        ("bytes | resize(8, 8)", "nothing can follow it"),
        ("decode(rgb)", "leaves images of different sizes"),
        ("decode(rgb) | resize_shorter(256)", "leaves images of different sizes"),
        ("decode(rgb) | resize_longer(256)", "leaves images of different sizes"),
        ("decode(rgb) | pad(64, 64)", "leaves images of different sizes"),
        ("decode(rgb) | resize_longer(64) | pad(32, 64)", "leaves images of different sizes"),
        ("decode(rgb) | resize(8, 8) | center_crop(9)", "asks for more than the steps before"),
        ("decode(rgb) | resize_shorter(200) | center_crop(224)", "asks for more than the steps"),
        ("decode(rgb) | resize_longer(200) | center_crop(224, 1)", "asks for more than the steps"),
        ("decode(grey) | resize(8, 8) | bgr", "bgr needs colour"),
        ("decode(rgb) | resize(8, 8) | pad(9, 9, 256)", "an integer from 0 to 255"),
        ("decode(rgb) | resize(8, 8) | pad(9, 9, 0.5)", "an integer from 0 to 255"),
        ("decode(rgb) | scale(2) | resize(8, 8)", "put it last"),
        ("decode(rgb) | resize(8, 8) | scale(0)", "cannot multiply by 0"),
        ("decode(rgb) | resize(8, 8) | scale(1e13)", "a number from 1e-12 to 1e+12"),
        ("decode(rgb) | resize(8, 8) | scale(1e-13)", "a number from 1e-12 to 1e+12"),
        ("decode(rgb) | resize(8, 8) | scale(1e9999)", "a number from 1e-12 to 1e+12"),
        ("decode(rgb) | resize(8, 8) | scale(rgb)", "cannot compute with 'rgb'"),
        ("decode(rgb) | resize(8, 8) | scale(nan)", "cannot compute with 'nan'"),
        ("decode(rgb) | resize(8, 8) | normalize(1, 2, 3)", "a mean and a std for every channel"),
        ("decode(rgb) | resize(8, 8) | normalize(1, 2)", "means for 1 channels"),
        ("decode(grey) | resize(8, 8) | normalize(1, 0)", "cannot divide by 0 or less"),
        ("decode(rgb) | resize(8, 8) " * 100, "write at most 1000"),
    ],
)
def test_what_does_not_parse_says_what_to_do(text: str, complaint: str) -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        parse_recipe(text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_is_a_value() -> None:
    recipe = parse_recipe("decode(rgb) | resize(8, 8)")
    same = parse_recipe("decode(rgb)|resize(8,8)")
    assert recipe == same
    assert hash(recipe) == hash(same)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.steps = ()  # type: ignore[misc]  # that is the point


def test_a_recipe_without_steps_is_refused() -> None:
    with pytest.raises(InvalidRecipeError):
        Recipe(())
