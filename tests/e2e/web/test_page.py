"""What a person does on the page, in a real browser, with a gateway of made-up answers."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import FileChooser, Page, Route, expect

from heliograph.errors import OverloadedError, UnsupportedImageFormatError
from heliograph.testing import FakeGateway
from heliograph.v1.classifier_pb2 import ClassifyRequest

if TYPE_CHECKING:
    from tests.e2e.web.conftest import ServeWeb, Visit

DIGITS = tuple("0123456789")


def png(width: int, height: int) -> bytes:
    """Return a grey image."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\x00" + b"\x80" * width) * height)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def upload(name: str, kind: str, content: bytes) -> Any:
    return {"name": name, "mimeType": kind, "buffer": content}


PHOTO = upload("cat.png", "image/png", png(64, 48))
TEXT = upload("notes.txt", "text/plain", b"these are notes, no image")


def images_of(gateway: FakeGateway) -> list[bytes]:
    requests = [call.request for call in gateway.calls if call.method == "Classify"]
    return [each.image.encoded for each in requests if isinstance(each, ClassifyRequest)]


def transfer(page: Page, file: Any) -> Any:
    """Return a DataTransfer of the browser that holds a file."""
    return page.evaluate_handle(
        """([name, type, content]) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type }));
            return transfer;
        }""",
        [file["name"], file["mimeType"], base64.b64encode(file["buffer"]).decode()],
    )


def draw(page: Page, *strokes: list[tuple[float, float]]) -> None:
    """Draw with the mouse; points are shares of the drawing area's side."""
    box = page.locator("#slate").bounding_box()
    assert box is not None
    for (left, top), *rest in strokes:
        page.mouse.move(box["x"] + left * box["width"], box["y"] + top * box["height"])
        page.mouse.down()
        for x, y in rest:
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
        page.mouse.up()


SEVEN = [(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)]


@pytest.fixture(scope="module")
def pets() -> Iterator[FakeGateway]:
    """A gateway with the classes cat, dog and fish."""
    with FakeGateway(model="pets") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def digits() -> Iterator[FakeGateway]:
    """A gateway with the ten digits."""
    with FakeGateway(model="digits", class_names=DIGITS) as gateway:
        gateway.answer({"7": 0.9, "1": 0.06, "2": 0.03, "9": 0.01})
        yield gateway


@pytest.fixture(scope="module")
def pets_url(
    pets: FakeGateway, serve_web: ServeWeb, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with serve_web(pets.target, tmp_path_factory.mktemp("pets") / "web.log") as url:
        yield url


@pytest.fixture(scope="module")
def digits_url(
    digits: FakeGateway, serve_web: ServeWeb, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with serve_web(digits.target, tmp_path_factory.mktemp("digits") / "web.log") as url:
        yield url


def test_a_chosen_file_is_classified(
    visit: Callable[[str], Visit], pets: FakeGateway, pets_url: str
) -> None:
    opened = visit(pets_url)
    pets.answer({"dog": 0.75, "cat": 0.2, "fish": 0.05}, times=1)

    opened.page.set_input_files("#file", PHOTO)

    assert opened.best() == "dog"
    page = opened.page
    assert page.locator("#scores .name").all_inner_texts() == ["dog", "cat", "fish"]
    assert page.locator("#scores .share").all_inner_texts() == ["75.0%", "20.0%", "5.0%"]
    assert re.fullmatch(r"pets, version 1, answered in \d+ ms", page.inner_text("#facts"))
    expect(page.locator("#preview")).to_be_visible()
    expect(page.locator("#announcement")).to_have_text("dog, 75.0%")
    assert images_of(pets)[-1] == PHOTO["buffer"]
    assert opened.failures == []


def test_a_bar_is_as_long_as_its_score(visit: Callable[[str], Visit], pets_url: str) -> None:
    opened = visit(pets_url)
    opened.page.set_input_files("#file", PHOTO)
    opened.best()

    # The share of the track that the bar fills, once it has stopped growing.
    opened.page.wait_for_function(
        """() => {
            const track = document.querySelector("#scores .bar");
            const bar = parseFloat(getComputedStyle(track, "::after").width);
            return Math.abs(bar / track.clientWidth - 0.9) < 0.01;
        }"""
    )


def test_a_dropped_file_is_classified(
    visit: Callable[[str], Visit], pets: FakeGateway, pets_url: str
) -> None:
    opened = visit(pets_url)

    opened.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer(opened.page, PHOTO)})

    assert opened.best() == "cat"
    assert images_of(pets)[-1] == PHOTO["buffer"]


def test_a_pasted_image_is_classified(
    visit: Callable[[str], Visit], pets: FakeGateway, pets_url: str
) -> None:
    opened = visit(pets_url)

    opened.page.evaluate(
        """(clipboardData) => document.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData, bubbles: true }))""",
        transfer(opened.page, PHOTO),
    )

    assert opened.best() == "cat"
    assert images_of(pets)[-1] == PHOTO["buffer"]


def test_a_file_can_be_chosen_with_the_keyboard_alone(
    visit: Callable[[str], Visit], pets_url: str
) -> None:
    page = visit(pets_url).page
    # Listening from the start: a chooser that opens before Playwright catches it is lost.
    choosers: list[FileChooser] = []
    # Playwright takes functions of Python alone.
    page.on("filechooser", lambda chooser: choosers.append(chooser))  # noqa: PLW0108
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()

    # A busy headless browser now and then lets a key press go unheard: press again, as one would.
    for _ in range(20):
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        if choosers:
            break

    choosers[0].set_files(PHOTO)
    expect(page.locator("#best-name")).to_have_text("cat")


def test_a_text_file_is_an_error_in_words(
    visit: Callable[[str], Visit], pets: FakeGateway, pets_url: str
) -> None:
    opened = visit(pets_url)
    pets.fail(UnsupportedImageFormatError("the bytes are neither JPEG nor PNG"))

    opened.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer(opened.page, TEXT)})

    expect(opened.page.locator("#error-text")).to_have_text("This is not a JPEG or PNG image.")
    expect(opened.page.locator("#error-detail")).to_have_text("the bytes are neither JPEG nor PNG")
    expect(opened.page.locator("#answer")).to_be_hidden()
    assert images_of(pets)[-1] == TEXT["buffer"]
    assert opened.failures == [415]

    opened.page.set_input_files("#file", PHOTO)

    assert opened.best() == "cat"
    expect(opened.page.locator("#error")).to_be_hidden()


def test_an_image_that_is_there_is_asked_about_again_when_the_model_can_answer(
    visit: Callable[[str], Visit], pets: FakeGateway, pets_url: str
) -> None:
    opened = visit(pets_url)
    page = opened.page
    page.route("**/models/pets", lambda route: route.abort())
    page.reload()
    expect(page.locator("#notice")).to_contain_text("server cannot be reached")
    page.set_input_files("#file", PHOTO)
    expect(page.locator("#error")).to_contain_text("server cannot be reached")
    before = len(images_of(pets))

    page.unroute("**/models/pets")
    page.get_by_role("button", name="Try again").click()

    assert opened.best() == "cat"
    expect(page.locator("#notice")).to_be_hidden()
    assert len(images_of(pets)) == before + 1
    opened.problems = [each for each in opened.problems if "net::ERR_FAILED" not in each]


def test_an_overload_asks_for_patience(
    visit: Callable[[str], Visit], pets: FakeGateway, pets_url: str
) -> None:
    opened = visit(pets_url)
    pets.fail(OverloadedError("512 images are waiting", retry_after=0.01), times=3)

    opened.page.set_input_files("#file", PHOTO)

    expect(opened.page.locator("#error-text")).to_contain_text("Try again in a few seconds")
    assert opened.failures == [429]


def test_a_file_that_is_too_large_is_not_sent(
    visit: Callable[[str], Visit], pets: FakeGateway, pets_url: str
) -> None:
    opened = visit(pets_url)
    before = len(images_of(pets))

    opened.page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(11 * 1024 * 1024)], "big.png"));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
        }"""
    )

    expect(opened.page.locator("#error-text")).to_have_text("The image is too large.")
    expect(opened.page.locator("#error-detail")).to_contain_text("up to 10 MB")
    assert len(images_of(pets)) == before


def test_only_a_model_of_digits_is_drawn_for(
    visit: Callable[[str], Visit], pets_url: str, digits_url: str
) -> None:
    expect(visit(pets_url).page.locator("#slate")).to_be_hidden()
    expect(visit(digits_url).page.locator("#slate")).to_be_visible()


def test_a_drawn_digit_is_classified(
    visit: Callable[[str], Visit], digits: FakeGateway, digits_url: str
) -> None:
    opened = visit(digits_url)

    draw(opened.page, SEVEN)

    assert opened.best() == "7"
    assert opened.page.locator("#scores .name").all_inner_texts() == ["7", "1", "2", "9", "0"]
    expect(opened.page.locator("#sent")).to_be_visible()
    assert images_of(digits)[-1].startswith(b"\x89PNG\r\n\x1a\n")


def test_strokes_can_be_taken_back(visit: Callable[[str], Visit], digits_url: str) -> None:
    page = visit(digits_url).page
    undo, clear = page.locator("#undo"), page.locator("#clear")
    expect(undo).to_be_disabled()
    draw(page, SEVEN, [(0.3, 0.5), (0.7, 0.5)])
    expect(page.locator("#answer")).to_be_visible()

    undo.click()
    expect(page.locator("#slate-hint")).to_be_hidden()
    clear.click()

    expect(page.locator("#answer")).to_be_hidden()
    expect(page.locator("#slate-hint")).to_be_visible()
    expect(undo).to_be_disabled()
    expect(clear).to_be_disabled()


def test_a_finger_draws_too(
    visit: Callable[[str], Visit], digits: FakeGateway, digits_url: str
) -> None:
    opened = visit(digits_url)
    before = len(images_of(digits))

    opened.page.evaluate(
        """() => {
            const slate = document.getElementById("slate");
            const box = slate.getBoundingClientRect();
            slate.setPointerCapture = () => {};
            const touch = (kind, x, y) => slate.dispatchEvent(new PointerEvent(kind, {
                pointerId: 5, pointerType: "touch", isPrimary: true, bubbles: true, button: 0,
                clientX: box.left + x * box.width, clientY: box.top + y * box.height,
            }));
            touch("pointerdown", 0.3, 0.2);
            for (let step = 0; step <= 20; step += 1) touch("pointermove", 0.3 + step / 50, 0.2);
            touch("pointerup", 0.7, 0.2);
        }"""
    )

    assert opened.best() == "7"
    assert len(images_of(digits)) == before + 1


def test_a_file_may_be_given_to_a_model_of_digits(
    visit: Callable[[str], Visit], digits: FakeGateway, digits_url: str
) -> None:
    opened = visit(digits_url)

    opened.page.get_by_role("radio", name="Use a file").check()
    expect(opened.page.locator("#slate")).to_be_hidden()
    opened.page.set_input_files("#file", PHOTO)

    assert opened.best() == "7"
    assert images_of(digits)[-1] == PHOTO["buffer"]


def test_one_of_several_models_can_be_chosen(visit: Callable[[str], Visit], pets_url: str) -> None:
    page = visit(pets_url).page
    expect(page.locator("#model-choice")).to_be_hidden()

    def add_model(route: Route) -> None:
        document = route.fetch().json()
        idle = {"name": "cars", "serving": False, "reason": "its golden check failed"}
        document["models"].append(idle)
        route.fulfill(body=json.dumps(document), content_type="application/json")

    page.route("**/models", add_model)
    page.reload()
    choice = page.get_by_role("combobox", name="Model")
    expect(choice).to_have_value("pets")

    choice.select_option("cars")
    expect(page.locator("#notice")).to_contain_text("not ready to answer")
    expect(page.locator("#notice")).to_contain_text("its golden check failed")

    choice.select_option("pets")
    expect(page.locator("#notice")).to_be_hidden()
    page.set_input_files("#file", PHOTO)
    expect(page.locator("#best-name")).to_have_text("cat")


def test_a_gateway_that_comes_back_is_found_by_a_click(
    visit: Callable[[str], Visit], serve_web: ServeWeb, tmp_path: Path
) -> None:
    away = FakeGateway()
    away.start()
    target = away.target
    away.stop()
    with serve_web(target, tmp_path / "web.log") as url:
        opened = visit(url)
        expect(opened.page.locator("#notice")).to_contain_text("The gateway cannot be reached.")
        assert opened.failures == [503]

        with FakeGateway(address=target):
            opened.page.get_by_role("button", name="Try again").click()
            expect(opened.page.locator("#notice")).to_be_hidden()
            opened.page.set_input_files("#file", PHOTO)
            assert opened.best() == "cat"


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_cut_off_at_any_width(
    visit: Callable[[str], Visit], digits_url: str, width: int
) -> None:
    page = visit(digits_url).page
    page.set_viewport_size({"width": width, "height": 800})
    draw(page, SEVEN)
    expect(page.locator("#answer")).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(
    visit: Callable[[str], Visit], pets_url: str, scheme: Any
) -> None:
    page = visit(pets_url).page
    page.emulate_media(color_scheme=scheme)
    page.set_input_files("#file", PHOTO)
    expect(page.locator("#answer")).to_be_visible()

    lowest = page.evaluate(
        """() => {
            const channels = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
            const luminance = (color) => {
                const [red, green, blue] = channels(color).map((value) => {
                    const share = value / 255;
                    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
                });
                return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
            };
            const ground = (element) => {
                for (let at = element; at; at = at.parentElement) {
                    const color = getComputedStyle(at).backgroundColor;
                    if (!/, 0\\)$/.test(color)) return color;
                }
                return "rgb(255, 255, 255)";
            };
            const texts = "h1, h2, p, span, small, u, label, code";
            const contrasts = [...document.querySelectorAll(texts)]
                .filter((element) => element.checkVisibility() && element.textContent.trim())
                .map((element) => {
                    const shades = [getComputedStyle(element).color, ground(element)]
                        .map(luminance).sort((a, b) => b - a);
                    return (shades[0] + 0.05) / (shades[1] + 0.05);
                });
            return Math.min(...contrasts);
        }"""
    )

    # WCAG 2.2, success criterion 1.4.3, level AA.
    assert lowest >= 4.5
