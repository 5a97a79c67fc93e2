"""The bookkeeping of a stream: what may be read, and what goes on together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.errors import InvalidArgumentError
from heliograph.v1.classifier_pb2 import ClassifyOptions, Image, ModelSelector, Tensor
from heliograph_gateway.streaming import GROUPS_UNDER_WAY, SMALL_BYTES, Gatherer, Message, Window


def message(
    number: int = 1, *, images: int = 1, size: int = 10, model: str = "digits", top_k: int = 5
) -> Message:
    """A message whose images have a size each."""
    return Message(
        correlation_id=number,
        model=ModelSelector(name=model),
        options=ClassifyOptions(top_k=top_k),
        images=[Image(encoded=bytes(size)) for _ in range(images)],
        deadline=0.0,
    )


def test_the_size_of_a_message_is_that_of_its_images_whatever_they_are() -> None:
    images = [Image(encoded=bytes(7)), Image(prepared=Tensor(data=bytes(20))), Image()]

    assert Message(1, ModelSelector(), ClassifyOptions(), images, 0.0).size == 27


# The window.


def test_a_window_is_open_until_it_holds_its_images() -> None:
    window = Window(max_images=3, max_bytes=1000)
    messages = [message(1), message(2), message(3)]
    for each in messages[:2]:
        window.enter(each)
    assert window.open

    window.enter(messages[2])
    assert not window.open

    window.answer(messages[0])
    assert not window.open, "the answer is not written yet"
    window.leave(messages[0])
    assert window.open


def test_a_window_is_open_until_it_holds_its_bytes() -> None:
    window = Window(max_images=100, max_bytes=1000)

    window.enter(message(1, size=999))
    assert window.open
    window.enter(message(2, size=999))
    assert not window.open


def test_a_message_larger_than_the_window_still_enters_it_when_it_is_open() -> None:
    window = Window(max_images=2, max_bytes=10)
    large = message(1, images=5, size=1000)

    window.enter(large)
    assert not window.open
    window.leave(large)
    assert window.open


def test_a_window_is_empty_when_every_answer_was_written() -> None:
    window = Window(max_images=2, max_bytes=10)
    assert window.empty
    window.enter(message())
    assert not window.empty
    window.answer(message())
    assert not window.empty
    window.leave(message())
    assert window.empty


def test_an_id_in_use_is_refused_and_the_message_takes_room_all_the_same() -> None:
    window = Window(max_images=2, max_bytes=1000)
    window.enter(message(7))

    with pytest.raises(InvalidArgumentError, match="correlation_id 7 is in use"):
        window.enter(message(7))
    assert not window.open


def test_an_id_is_free_when_its_answer_is_about_to_be_written() -> None:
    window = Window(max_images=9, max_bytes=1000)
    first = message(7)
    window.enter(first)

    window.answer(first)

    window.enter(message(7))


# Groups.


def numbers(group: list[Message] | None) -> list[int]:
    return [each.correlation_id for each in group or []]


def test_the_first_messages_go_on_at_once() -> None:
    gatherer = Gatherer(max_images=64)

    groups = [gatherer.add(message(number)) for number in range(GROUPS_UNDER_WAY)]

    assert [numbers(group) for group in groups] == [[number] for number in range(GROUPS_UNDER_WAY)]


def test_messages_wait_while_groups_are_under_way_and_then_go_on_together() -> None:
    gatherer = Gatherer(max_images=64)
    under_way = [gatherer.add(message(number)) for number in range(GROUPS_UNDER_WAY)]

    assert [gatherer.add(message(number)) for number in range(10, 15)] == [None] * 5
    assert under_way[0] is not None
    assert numbers(gatherer.finish(under_way[0])) == [10, 11, 12, 13, 14]


def test_a_group_has_no_more_images_than_allowed_unless_one_message_has() -> None:
    gatherer = Gatherer(max_images=4)
    first, *_ = [gatherer.add(message(number)) for number in range(GROUPS_UNDER_WAY)]
    for number, images in ((10, 2), (11, 2), (12, 1), (13, 9)):
        gatherer.add(message(number, images=images))

    groups = []
    group = first
    while group:
        group = gatherer.finish(group)
        groups.append(numbers(group))

    assert groups == [[10, 11], [12], [13], []]


def test_a_large_message_goes_alone_at_once_and_holds_nobody_up() -> None:
    gatherer = Gatherer(max_images=64)
    for number in range(GROUPS_UNDER_WAY):
        gatherer.add(message(number))
    gatherer.add(message(10))

    large = gatherer.add(message(11, size=SMALL_BYTES))

    assert numbers(large) == [11]
    assert large is not None
    assert gatherer.finish(large) is None, "the small ones wait for small ones"


@pytest.mark.parametrize("other", [{"model": "pets"}, {"top_k": 1}])
def test_messages_that_ask_differently_do_not_wait_for_each_other(other: dict[str, str]) -> None:
    gatherer = Gatherer(max_images=64)
    for number in range(GROUPS_UNDER_WAY + 1):
        gatherer.add(message(number))

    assert numbers(gatherer.add(message(10, **other))) == [10]  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["a", "b"]), st.booleans())))
def test_every_message_goes_on_exactly_once_and_in_order(
    steps: list[tuple[int, str, bool]],
) -> None:
    gatherer = Gatherer(max_images=8)
    under_way: list[list[Message]] = []
    gone: list[Message] = []

    def begin(group: list[Message] | None) -> None:
        if group:
            under_way.append(group)
            gone.extend(group)

    for number, (images, model, finish) in enumerate(steps):
        begin(gatherer.add(message(number, images=images, model=model)))
        if finish and under_way:
            begin(gatherer.finish(under_way.pop(0)))
        assert len(under_way) <= 2 * GROUPS_UNDER_WAY
    while under_way:
        begin(gatherer.finish(under_way.pop(0)))

    for kind in ("a", "b"):
        order = [each.correlation_id for each in gone if each.model.name == kind]
        assert order == [number for number, (_, model, _) in enumerate(steps) if model == kind]
    assert len(gone) == len(steps)
