"""The ledger of `classify_many`: a bounded window, results in order, each image answered once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph import Failure, Result, RetryOptions
from heliograph.errors import (
    CorruptImageError,
    DeadlineExceededError,
    HeliographError,
    InternalError,
    InvalidArgumentError,
    ModelNotFoundError,
    OverloadedError,
    UnavailableError,
    VersionNotFoundError,
)
from heliograph.ledger import (
    GROUP_BYTES,
    GROUP_IMAGES,
    HOLD_SECONDS,
    WINDOW_BYTES,
    Ledger,
)
from heliograph.pace import FIRST_LIMIT
from heliograph.under_way import Asked, Group, Item, Lane

ASKED = Asked("digits", None, None, 5, 0.0)
AWAY = UnavailableError("the gateway is shutting down")
RETRY = RetryOptions(attempts=3, initial_backoff=1.0, max_backoff=1.0)


def ledger(*, timeout: float = 100.0, window: int = 128, **options: Any) -> Ledger:
    options.setdefault("retry", RETRY)
    return Ledger(timeout=timeout, window=window, **options)


def item(name: int = 0, *, size: int | None = None, version: int | None = None) -> Item:
    """An image whose content is its number, or of a size."""
    data = bytes(size) if size is not None else str(name).encode()
    return Item(ASKED._replace(version=version), (b"", data))


def result(group: Group, place: int) -> Result:
    """A result whose class name is the content of the image."""
    name = group.items[place].image[1].decode()
    return Result(name, 1.0, (), "digits", 1, 1)


def results(group: Group) -> list[Result | Failure]:
    return [result(group, place) for place in range(len(group.items))]


def names(given: list[Result | Failure]) -> list[str]:
    return [
        type(each.error).__name__ if isinstance(each, Failure) else each.class_name
        for each in given
    ]


def fill(book: Ledger, count: int, now: float = 0.0) -> None:
    for number in range(count):
        book.add(item(number), now)


def sent(book: Ledger, lane: Lane, now: float = 0.0) -> tuple[int, Group]:
    taken = book.take(lane, now)
    assert taken is not None
    return taken


def warm(book: Ledger, lane: Lane, now: float = 0.0) -> None:
    """Answer images until the whole window may be under way."""
    for name in range(200):
        book.add(item(name), now)
        number, group = sent(book, lane, now)
        book.answered(lane, number, results(group), now)
    book.give()


# The window.


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_holds_at_least_one_image(window: int) -> None:
    with pytest.raises(InvalidArgumentError, match="use 1 or more"):
        ledger(window=window)


def test_there_is_room_for_a_few_images_until_the_first_answer() -> None:
    book = ledger()
    read = 0
    while book.room:
        book.add(item(read), 0.0)
        read += 1

    assert read == FIRST_LIMIT


def test_there_is_room_for_the_window_once_answers_come_quickly() -> None:
    book, lane = ledger(window=50), Lane()
    warm(book, lane)
    read = 0
    while book.room:
        book.add(item(read), 0.0)
        read += 1

    assert read == 50


def test_results_that_wait_to_be_given_out_take_room() -> None:
    book, lane = ledger(window=4), Lane()
    fill(book, 4)
    number, group = sent(book, lane)
    book.answered(lane, number, results(group), 0.0)
    assert not book.room

    assert names(book.give()) == ["0", "1", "2", "3"]
    assert book.room


def test_images_that_could_not_be_read_take_room_until_they_are_given_out() -> None:
    book = ledger(window=2)
    book.add(Failure(CorruptImageError("bad")), 0.0)
    book.add(Failure(CorruptImageError("bad")), 0.0)
    assert not book.room

    assert names(book.give()) == ["CorruptImageError"] * 2
    assert book.room


def test_there_is_room_until_the_images_have_too_many_bytes() -> None:
    book = ledger()
    book.add(item(size=WINDOW_BYTES - 1), 0.0)
    assert book.room
    book.add(item(size=1), 0.0)
    assert not book.room


def test_there_is_no_room_after_the_last_image() -> None:
    book = ledger()
    book.end()

    assert not book.room
    assert book.finished


# What is sent.


def test_the_first_image_is_sent_at_once_and_what_comes_meanwhile_together() -> None:
    book, lane = ledger(), Lane()
    assert book.add(item(0), 0.0)
    assert len(sent(book, lane)[1].items) == 1
    for number in range(1, 5):
        book.add(item(number), 0.0)

    assert book.take(lane, 0.0) is None
    assert book.wakes(0.0, lane) == HOLD_SECONDS
    assert len(sent(book, lane, HOLD_SECONDS)[1].items) == 4


def test_nothing_is_held_back_when_nothing_more_can_come() -> None:
    book, lane = ledger(), Lane()
    book.add(item(0), 0.0)
    sent(book, lane)
    book.add(item(1), 0.0)
    assert book.take(lane, 0.0) is None

    book.end()

    assert len(sent(book, lane)[1].items) == 1
    assert book.drained


def test_a_full_group_is_sent_at_once() -> None:
    book, lane = ledger(), Lane()
    warm(book, lane)
    book.add(item(0), 0.0)
    sent(book, lane)
    fill(book, GROUP_IMAGES - 1)
    assert book.take(lane, 0.0) is None

    assert book.add(item(99), 0.0), "worth waking a sender"
    assert len(sent(book, lane)[1].items) == GROUP_IMAGES


def test_a_group_is_bounded_in_bytes_and_a_large_image_goes_alone() -> None:
    book, lane = ledger(), Lane()
    for size in (GROUP_BYTES // 2, GROUP_BYTES // 2, GROUP_BYTES * 3, 10, 10):
        book.add(item(size=size), 0.0)
    book.end()

    groups = []
    while taken := book.take(lane, 0.0):
        groups.append(len(taken[1].items))

    assert groups == [2, 1, 2]


def test_images_about_which_different_things_are_asked_do_not_share_a_message() -> None:
    book, lane = ledger(), Lane()
    for version in (1, 1, 2, 2, 1):
        book.add(item(version=version), 0.0)
    book.end()

    groups = []
    while taken := book.take(lane, 0.0):
        groups.append([each.asked.version for each in taken[1].items])

    assert groups == [[1, 1], [2, 2], [1]]


def test_lanes_share_the_window() -> None:
    book, lanes = ledger(window=6, lanes=3), [Lane(), Lane(), Lane()]
    fill(book, 6)

    assert [len(sent(book, lane)[1].items) for lane in lanes] == [2, 2, 2]
    assert book.take(lanes[0], 0.0) is None


# What comes back.


def test_results_are_given_out_in_order_however_they_come() -> None:
    book, lanes = ledger(window=6, lanes=3), [Lane(), Lane(), Lane()]
    fill(book, 6)
    taken = [sent(book, lane) for lane in lanes]

    for lane, (number, group) in zip(reversed(lanes), reversed(taken), strict=True):
        assert book.give() == []
        book.answered(lane, number, results(group), 0.0)

    assert names(book.give()) == ["0", "1", "2", "3", "4", "5"]


def test_an_error_stands_in_the_place_of_its_image() -> None:
    book, lane = ledger(), Lane()
    fill(book, 3)
    number, group = sent(book, lane)
    answers = results(group)
    answers[1] = Failure(CorruptImageError("truncated"))

    book.answered(lane, number, answers, 0.0)

    assert names(book.give()) == ["0", "CorruptImageError", "2"]


def test_an_error_of_every_image_is_raised_after_the_results_before_it() -> None:
    book, lane = ledger(), Lane()
    fill(book, 3)
    number, group = sent(book, lane)
    answers = results(group)
    answers[1] = Failure(ModelNotFoundError("it has gone"))
    book.answered(lane, number, answers, 0.0)

    assert names(book.give()) == ["0"]
    with pytest.raises(ModelNotFoundError, match="it has gone"):
        book.give()


def test_an_answer_to_nothing_is_ignored() -> None:
    book = ledger()

    book.answered(Lane(), 7, [], 0.0)

    assert book.give() == []


# Groups that are too large for a gateway.


TOO_MANY = InvalidArgumentError("the message has 8 images; send at most 3")


def test_a_group_that_is_refused_as_such_is_sent_in_halves_from_then_on() -> None:
    book, lane = ledger(window=8), Lane()
    fill(book, 8)
    number, group = sent(book, lane)
    assert len(group.items) == 8

    book.answered(lane, number, [Failure(TOO_MANY)] * 8, 0.0)

    assert book.give() == []
    sizes = []
    while taken := book.take(lane, 0.0):
        sizes.append(len(taken[1].items))
        assert {each.attempts for each in taken[1].items} == {1}
        book.answered(lane, taken[0], results(taken[1]), 0.0)
    assert sizes == [4, 4]
    assert names(book.give()) == [str(name) for name in range(8)]


def test_a_batch_that_is_refused_as_such_is_sent_in_halves() -> None:
    book = ledger()
    fill(book, 8)
    group = book.take_batch(0.0, busy=False)
    assert group is not None

    book.batch_failed(group, TOO_MANY)

    again = book.take_batch(0.0, busy=False)
    assert again is not None
    assert len(again.items) == 4


def test_an_image_that_is_refused_alone_has_the_error() -> None:
    book, lane = ledger(), Lane()
    fill(book, 2)
    refused = Failure(InvalidArgumentError("the request names no model"))

    for _ in range(3):
        taken = sent(book, lane)
        book.answered(lane, taken[0], [refused] * len(taken[1].items), 0.0)

    assert names(book.give()) == ["InvalidArgumentError"] * 2


# What is sent again.


def test_what_a_broken_lane_did_not_answer_is_sent_again_after_a_delay() -> None:
    book, lane = ledger(window=8), Lane()
    fill(book, 8)
    number, group = sent(book, lane)
    book.answered(lane, number, results(group), 0.0)
    book.give()
    fill(book, 8)
    sent(book, lane)

    book.broken(lane, AWAY, 10.0)

    assert book.give() == []
    wakes = book.wakes(10.0, lane)
    assert wakes is not None
    assert 10.0 <= wakes <= 11.0
    number, group = sent(book, lane, 11.0)
    assert [each.image[1] for each in group.items] == [str(name).encode() for name in range(8)]
    book.answered(lane, number, results(group), 11.0)
    assert names(book.give()) == [str(name) for name in range(8)]


def test_an_image_fails_after_its_last_attempt() -> None:
    book, lane = ledger(), Lane()
    book.add(item(), 0.0)
    for now in (0.0, 10.0, 20.0):
        assert book.give() == []
        sent(book, lane, now)
        book.broken(lane, AWAY, now)

    assert names(book.give()) == ["UnavailableError"]


def test_an_error_that_no_attempt_mends_is_final() -> None:
    book, lane = ledger(), Lane()
    fill(book, 2)
    sent(book, lane)

    book.broken(lane, InternalError("a bug"), 0.0)

    assert names(book.give()) == ["InternalError"] * 2


def test_an_image_that_the_gateway_had_no_room_for_is_sent_again_when_it_says() -> None:
    book, lane = ledger(), Lane()
    fill(book, 2)
    number, group = sent(book, lane)
    full = Failure(OverloadedError("full", retry_after=3.0))

    book.answered(lane, number, [result(group, 0), full], 0.0)

    assert names(book.give()) == ["0"]
    assert book.take(lane, 2.9) is None
    assert book.wakes(2.9, lane) == 3.0
    assert [each.image[1] for each in sent(book, lane, 3.0)[1].items] == [b"1"]


def test_nothing_is_sent_again_while_too_much_fails() -> None:
    book = ledger(window=200)
    for _ in range(60):
        lane = Lane()
        book.add(item(), 0.0)
        sent(book, lane)
        book.broken(lane, AWAY, 0.0)

    assert names(book.give()) == []  # The first ones rest, and are sent again.
    book.add(item(), 0.0)
    lane = Lane()
    _, group = sent(book, lane)
    book.broken(lane, AWAY, 0.0)
    assert group.items[0].settled, "there is no token left for another attempt"


def test_images_that_are_bad_do_not_use_up_retries() -> None:
    book, lane = ledger(), Lane()
    for _ in range(200):
        book.add(item(), 0.0)
        number, _ = sent(book, lane)
        book.answered(lane, number, [Failure(CorruptImageError("truncated"))], 0.0)
    book.give()
    book.add(item(), 0.0)
    sent(book, lane)

    book.broken(lane, AWAY, 0.0)

    assert book.give() == [], "it will be sent again"


def test_a_retry_that_would_come_after_the_deadline_is_not_made() -> None:
    book, lane = ledger(timeout=2.0), Lane()
    book.add(item(), 0.0)
    sent(book, lane)

    book.broken(lane, UnavailableError("away", retry_after=5.0), 0.0)

    assert names(book.give()) == ["UnavailableError"]


def test_what_was_given_back_is_sent_first_and_costs_no_attempt() -> None:
    book, lane = ledger(), Lane()
    fill(book, 4)
    _, group = sent(book, lane)
    book.add(item(9), 0.0)

    book.give_back(lane)

    again = book.take_batch(0.0, busy=False)
    assert again is not None
    assert [each.image[1] for each in again.items] == [b"0", b"1", b"2", b"3", b"9"]
    assert {each.attempts for each in group.items} == {1}


def test_a_batch_that_fails_fails_its_images_at_once() -> None:
    book = ledger()
    fill(book, 2)
    group = book.take_batch(0.0, busy=False)
    assert group is not None

    book.batch_failed(group, AWAY)

    assert names(book.give()) == ["UnavailableError"] * 2


# What was prepared for a version that has gone.


def prepared(name: int, version: int) -> Item:
    """An image of 100 bytes, prepared for a version."""
    item = Item(
        ASKED._replace(version=version), (b"", str(name).encode()), source=bytes(100), origin=ASKED
    )
    assert item.size == 101
    return item


GONE = Failure(VersionNotFoundError("model digits does not serve version 1"))


def test_an_image_whose_version_has_gone_waits_to_be_prepared_again() -> None:
    book, lane = ledger(), Lane()
    book.add(prepared(0, 1), 0.0)
    book.add(item(1), 0.0)
    book.end()
    number, _ = sent(book, lane)
    other, group = sent(book, lane)

    book.answered(lane, other, results(group), 0.0)
    book.answered(lane, number, [GONE], 0.0)
    assert not book.drained
    assert book.give() == []
    [outdated] = book.take_outdated()
    assert book.take_outdated() == []

    book.renew(outdated, prepared(7, 2))
    number, group = sent(book, lane)
    assert [each.asked.version for each in group.items] == [2]
    book.answered(lane, number, results(group), 0.0)
    assert names(book.give()) == ["7", "1"]


def test_an_image_that_cannot_be_prepared_again_fails() -> None:
    book, lane = ledger(), Lane()
    book.add(prepared(0, 1), 0.0)
    number, _ = sent(book, lane)
    book.answered(lane, number, [GONE], 0.0)
    [outdated] = book.take_outdated()

    book.fail(outdated, UnavailableError("away"))

    assert names(book.give()) == ["UnavailableError"]


def test_an_image_that_expired_is_not_prepared_again() -> None:
    book, lane = ledger(timeout=10.0), Lane()
    book.add(prepared(0, 1), 0.0)
    number, _ = sent(book, lane)
    book.answered(lane, number, [GONE], 0.0)
    book.expire(10.0)

    assert book.take_outdated() == []


def test_a_version_that_the_caller_named_is_an_error_of_every_image() -> None:
    book, lane = ledger(), Lane()
    book.add(item(version=1), 0.0)
    number, _ = sent(book, lane)

    book.answered(lane, number, [GONE], 0.0)

    with pytest.raises(VersionNotFoundError):
        book.give()


# Deadlines.


def test_an_image_fails_at_its_own_deadline_and_its_late_answer_is_ignored() -> None:
    book, lane = ledger(timeout=10.0), Lane()
    book.add(item(0), 0.0)
    number, group = sent(book, lane)
    book.add(item(1), 5.0)
    assert book.expires() == 10.0

    book.expire(10.0)

    assert book.expires() == 15.0
    [failure] = book.give()
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, DeadlineExceededError)
    assert failure.error.message == "no answer from the server within 10 s"
    book.answered(lane, number, [Result("late", 1.0, (), "", 1, 1)], 11.0)
    assert book.give() == []
    assert [each.image[1] for each in sent(book, lane, 12.0)[1].items] == [b"1"]
    assert group.items[0].settled


def test_an_image_that_expired_before_it_was_sent_is_never_sent() -> None:
    book, lane = ledger(timeout=10.0), Lane()
    book.add(item(0), 0.0)
    book.add(item(1), 5.0)

    book.expire(12.0)

    assert [each.image[1] for each in sent(book, lane, 12.0)[1].items] == [b"1"]


def test_slow_answers_leave_room_for_fewer_images() -> None:
    book, lane = ledger(timeout=10.0), Lane()
    warm(book, lane)
    before = 0
    while book.room:
        book.add(item(before), 0.0)
        before += 1
    book.end()
    while taken := book.take(lane, 0.0):
        book.answered(lane, taken[0], results(taken[1]), 6.0)

    assert before == 128
    assert book._pace.limit < before


# All of it.


@given(st.data())
def test_every_image_has_exactly_one_result_in_its_place(data: st.DataObject) -> None:
    """Whatever comes back, breaks or passes: the results are those of the images, in order."""
    count = data.draw(st.integers(0, 60), label="images")
    book = ledger(timeout=50.0, window=data.draw(st.integers(1, 20)), lanes=2)
    lanes = [Lane(), Lane()]
    given: list[Result | Failure] = []
    now, read = 0.0, 0
    for _ in range(2000):
        now += data.draw(st.floats(0.0, 2.0))
        book.expire(now)
        given += book.give()
        while book.room:
            if read == count:
                book.end()
            else:
                book.add(item(read), now)
                read += 1
        if book.finished:
            break
        lane = data.draw(st.sampled_from(lanes))
        book.take(lane, now)
        if lane.groups:
            match data.draw(st.sampled_from(["answer", "refuse", "break", "wait"])):
                case "answer":
                    number = data.draw(st.sampled_from(sorted(lane.groups)))
                    group = lane.groups[number]
                    answers = [
                        Result(str(each.place), 1.0, (), "digits", 1, 1) for each in group.items
                    ]
                    book.answered(lane, number, answers, now)
                case "refuse":
                    number = data.draw(st.sampled_from(sorted(lane.groups)))
                    error: HeliographError = data.draw(
                        st.sampled_from([OverloadedError("full"), CorruptImageError("bad")])
                    )
                    refused = [Failure(error)] * len(lane.groups[number].items)
                    book.answered(lane, number, refused, now)
                case "break":
                    book.broken(lane, AWAY, now)

    assert len(given) == count
    for place, outcome in enumerate(given):
        if isinstance(outcome, Result):
            assert outcome.class_name == str(place)
