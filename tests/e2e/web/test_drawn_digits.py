"""Digits drawn on the page, as people write them, named by a model that was trained on digits."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page

from heliograph.cli.background_process import BackgroundProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.web.conftest import ServeWeb, Visit

Stroke = list[tuple[float, float]]
START_TIMEOUT = 120.0


def arc(
    x: float, y: float, width: float, height: float, start: float, end: float, points: int = 24
) -> Stroke:
    """Return points of an ellipse; angles in degrees, 0 to the right, 90 downwards."""
    angles = [math.radians(start + (end - start) * step / points) for step in range(points + 1)]
    return [(x + width * math.cos(angle), y + height * math.sin(angle)) for angle in angles]


# Strokes in a box about 1 wide and 1.6 high, y pointing down.
GLYPHS: dict[str, list[list[Stroke]]] = {
    "0": [
        [arc(0.5, 0.8, 0.45, 0.8, -90, 270)],
        [arc(0.5, 0.8, 0.3, 0.8, -60, 310)],
        [arc(0.5, 0.8, 0.7, 0.75, -100, 265)],
    ],
    "1": [
        [[(0.5, 0), (0.5, 1.6)]],
        [[(0.2, 0.35), (0.5, 0), (0.5, 1.6)]],
        [[(0.2, 0.35), (0.5, 0), (0.5, 1.6)], [(0.15, 1.6), (0.85, 1.6)]],
        [[(0.7, 0), (0.4, 1.6)]],
    ],
    "2": [
        [[*arc(0.5, 0.42, 0.42, 0.42, -170, 40), (0.05, 1.6), (0.95, 1.6)]],
        [
            [
                *arc(0.5, 0.45, 0.45, 0.45, -180, 50),
                (0.1, 1.5),
                *arc(0.25, 1.45, 0.15, 0.12, 130, 400),
                (1, 1.6),
            ]
        ],
        [[*arc(0.5, 0.35, 0.4, 0.35, -150, 60), (0, 1.6), (1, 1.55)]],
    ],
    "3": [
        [arc(0.45, 0.4, 0.42, 0.4, -150, 90) + arc(0.45, 1.2, 0.48, 0.42, -90, 150)],
        [[(0.05, 0), (0.9, 0), (0.4, 0.6), *arc(0.4, 1.1, 0.5, 0.5, -90, 140)]],
        [arc(0.5, 0.38, 0.35, 0.38, -160, 80) + arc(0.45, 1.18, 0.5, 0.42, -80, 165)],
    ],
    "4": [
        [[(0.65, 0), (0, 1.1), (1, 1.1)], [(0.7, 0.5), (0.7, 1.6)]],
        [[(0.1, 0), (0.1, 0.8), (0.9, 0.8)], [(0.8, 0), (0.8, 1.6)]],
        [[(0.75, 1.6), (0.75, 0), (0, 1.05), (1, 1.05)]],
        [[(0.2, 0), (0.05, 0.75), (0.9, 0.75)], [(0.85, 0.1), (0.65, 1.6)]],
    ],
    "5": [
        [[(0.9, 0), (0.2, 0), (0.12, 0.65), *arc(0.45, 1.08, 0.48, 0.5, -130, 140)]],
        [
            [(0.15, 0), (0.12, 0.65), *arc(0.45, 1.08, 0.48, 0.5, -130, 140)],
            [(0.15, 0), (0.9, 0)],
        ],
        [[(0.85, 0.02), (0.25, 0.05), (0.2, 0.7), *arc(0.4, 1.15, 0.45, 0.45, -110, 130)]],
    ],
    "6": [
        [[(0.75, 0), (0.35, 0.5), *arc(0.5, 1.15, 0.42, 0.45, -170, 190)]],
        [arc(0.9, 0.9, 0.8, 0.9, -110, -180) + arc(0.5, 1.15, 0.4, 0.42, -180, 180)],
        [[(0.4, 0), (0.15, 0.8), *arc(0.5, 1.2, 0.4, 0.4, 180, -190)]],
    ],
    "7": [
        [[(0, 0), (1, 0), (0.35, 1.6)]],
        [[(0, 0.05), (0.95, 0), (0.4, 1.6)], [(0.2, 0.8), (0.9, 0.8)]],
        [[(0.05, 0.25), (0.05, 0), (0.95, 0), *arc(1.5, 1.6, 1.0, 1.5, -125, -180)]],
    ],
    "8": [
        [arc(0.5, 0.4, 0.35, 0.4, 90, 450) + arc(0.5, 1.2, 0.45, 0.4, -90, 270)],
        [
            [
                *arc(0.5, 0.4, 0.35, 0.4, -45, -270),
                *arc(0.5, 1.18, 0.45, 0.42, -90, 240, 36),
                (0.75, 0.15),
            ]
        ],
        [arc(0.5, 0.38, 0.32, 0.38, 0, 360), arc(0.5, 1.18, 0.42, 0.42, -90, 270)],
    ],
    "9": [
        [[*arc(0.5, 0.45, 0.42, 0.45, 0, -350), (0.88, 0.5), (0.75, 1.6)]],
        [[*arc(0.5, 0.42, 0.4, 0.42, -20, -340), (0.9, 0.3), (0.9, 1.6)]],
        [[*arc(0.48, 0.45, 0.42, 0.45, -10, -350), (0.9, 0.5), *arc(0.4, 1.1, 0.5, 0.5, 0, 120)]],
    ],
}

HANDS = [(1.0, 0.0), (0.8, 0.15), (1.25, -0.1), (1.0, 0.3)]
"""How hands differ: width, and slant to the right (negative: to the left)."""


def written(strokes: list[Stroke], width: float, slant: float) -> list[Stroke]:
    """Return a glyph as a hand writes it."""
    return [[(x * width - slant * (y - 0.8), y) for x, y in stroke] for stroke in strokes]


@pytest.fixture(scope="module")
def digits_page(
    digits_repository: Path, serve_web: ServeWeb, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The page in front of a gateway that serves a model of digits."""
    logs = tmp_path_factory.mktemp("logs")
    arguments = ["--listen=127.0.0.1:0", "--metrics-listen=", "--log-format=json"]
    gateway = BackgroundProcess(
        "gateway", ["serve", f"--repository={digits_repository}", *arguments], logs / "serve.log"
    )
    try:
        ready = gateway.wait_for(_ready, START_TIMEOUT)
        with serve_web(ready["address"], logs / "web.log") as url:
            yield url
    finally:
        gateway.stop()


def _ready(line: str) -> dict[str, Any] | None:
    event = json.loads(line) if line.startswith("{") else {}
    return event if event.get("event") == "ready" else None


def draw(page: Page, strokes: list[Stroke]) -> None:
    """Draw a glyph with the mouse, somewhere on the drawing area and not very large."""
    box = page.locator("#slate").bounding_box()
    assert box is not None
    unit = box["width"] / 3
    for first, *rest in strokes:
        page.mouse.move(box["x"] + unit * (0.5 + first[0]), box["y"] + unit * (0.4 + first[1]))
        page.mouse.down()
        for x, y in rest:
            page.mouse.move(box["x"] + unit * (0.5 + x), box["y"] + unit * (0.4 + y))
        page.mouse.up()


def test_digits_drawn_with_the_mouse_are_named(
    visit: Callable[[str], Visit], digits_page: str
) -> None:
    opened = visit(digits_page)
    page = opened.page
    wrong = {}

    for digit, glyphs in GLYPHS.items():
        # In one stroke: on a busy machine, the pause between two may be long enough to be answered.
        strokes = next(strokes for strokes in glyphs if len(strokes) == 1)
        with page.expect_response("**/predict?*"):
            draw(page, strokes)
        if opened.best() != digit:
            wrong[digit] = opened.best()
        page.locator("#clear").click()
        page.wait_for_selector("#answer", state="hidden")

    assert len(wrong) <= 2, wrong


def test_most_ways_to_write_a_digit_are_recognised(
    visit: Callable[[str], Visit], digits_page: str
) -> None:
    drawings = [
        (digit, written(strokes, width, slant))
        for digit, glyphs in GLYPHS.items()
        for strokes in glyphs
        for width, slant in HANDS
    ]

    named = visit(digits_page).page.evaluate(
        """async (drawings) => {
            const { renderDigit } = await import("/page/digit.js");
            const { classify } = await import("/page/service.js");
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 8;
            const context = canvas.getContext("2d");
            const named = [];
            for (const strokes of drawings) {
                const points = strokes.map((stroke) => stroke.map(([x, y]) => ({ x, y })));
                context.putImageData(renderDigit(points, 8, 8), 0, 0);
                const image = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
                named.push((await classify(image, { model: "digits", topK: 1 })).classes[0][0]);
            }
            return named;
        }""",
        [strokes for _, strokes in drawings],
    )

    wrong = Counter(
        (digit, name) for (digit, _), name in zip(drawings, named, strict=True) if digit != name
    )
    # The training behind this page is short; with that of `make demo`, 120 of 128 were recognised.
    assert wrong.total() <= len(drawings) // 5, wrong
