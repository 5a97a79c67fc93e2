from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

PAGE = files("heliograph_web") / "page"
NAMES = sorted(file.name for file in PAGE.iterdir())


class _Page(HTMLParser):
    """Collects what a strict policy forbids, and what labels need."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.scripts_with_text = False
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag in ("script", "style")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.forbidden.append(f"{tag} {name}")
            if name in ("src", "href") and value:
                self.loaded.append(value)
            if name == "id" and value:
                self.ids.append(value)
            if name in ("for", "aria-labelledby", "aria-describedby") and value:
                self.references.append(value)

    def handle_data(self, data: str) -> None:
        self.scripts_with_text |= self._in_script and bool(data.strip())

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


@pytest.fixture
def page() -> _Page:
    parsed = _Page()
    parsed.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    return parsed


def test_the_page_has_no_inline_code_or_style(page: _Page) -> None:
    assert page.forbidden == []
    assert not page.scripts_with_text


def test_the_page_loads_its_own_files_alone(page: _Page) -> None:
    assert page.loaded
    assert {path.removeprefix("/page/") for path in page.loaded} <= set(NAMES)


def test_every_label_refers_to_something(page: _Page) -> None:
    assert page.references
    assert set(page.references) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith((".js", ".css"))])
def test_scripts_and_styles_load_nothing_from_elsewhere(name: str) -> None:
    text = (PAGE / name).read_text(encoding="utf-8")
    code = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)

    assert "://" not in code
    assert "@import" not in code
    imported = re.findall(r'from "\./([^"]+)"', code)
    assert set(imported) <= set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".js")])
def test_scripts_write_no_markup(name: str) -> None:
    """What a model or a server says is shown as text, never parsed."""
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b",
        (PAGE / name).read_text(encoding="utf-8"),
    )


def test_scripts_find_only_what_the_page_has(page: _Page) -> None:
    wanted = {
        match
        for name in NAMES
        if name.endswith(".js")
        for match in re.findall(r'find\("([^"]+)"\)', (PAGE / name).read_text(encoding="utf-8"))
    }

    assert wanted
    assert wanted <= set(page.ids)
