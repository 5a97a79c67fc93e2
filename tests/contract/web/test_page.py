from __future__ import annotations

import re

import httpx
import pytest

from heliograph import AsyncClient
from heliograph.testing import FakeGateway
from heliograph_web import endpoints
from heliograph_web.application import create_application


async def test_the_page_is_html_that_may_load_this_servers_files_alone(
    web: httpx.AsyncClient,
) -> None:
    answer = await web.get("/")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_everything_that_the_page_loads_is_there(web: httpx.AsyncClient) -> None:
    types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    due = set(re.findall(r'(?:src|href)="(/[^"]+)"', (await web.get("/")).text))
    loaded: set[str] = set()

    while due:
        path = due.pop()
        loaded.add(path)
        answer = await web.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"].startswith(types[path.rpartition(".")[2]])
        imported = re.findall(r'from "\./([^"]+)"', answer.text)
        due |= {f"/page/{name}" for name in imported} - loaded

    assert any(path.endswith(".js") for path in loaded)
    assert any(path.endswith(".css") for path in loaded)


async def test_a_browser_that_has_a_file_is_told_so(web: httpx.AsyncClient) -> None:
    first = await web.get("/page/page.css")

    again = await web.get("/page/page.css", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/page/", "/page/../pages.py", "/page/%2e%2e/pages.py", "/page"])
async def test_nothing_but_the_pages_files_is_served(web: httpx.AsyncClient, path: str) -> None:
    assert (await web.get(path)).status_code == 404


async def test_a_foreign_name_is_told_how_to_be_allowed(web: httpx.AsyncClient) -> None:
    answer = await web.get("/", headers={"Host": "rebound.example"})

    assert answer.status_code == 421
    assert "--allow-host" in answer.json()["error"]
    assert "content-security-policy" in answer.headers


async def test_a_fault_tells_nothing_about_the_inside(
    fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(endpoints, "_prediction", fail)
    async with AsyncClient(fake_gateway.target) as client:
        transport = httpx.ASGITransport(create_application(client), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            answer = await http.post("/predict", files={"image": ("x.png", b"x")})

    assert (answer.status_code, answer.json()["reason"]) == (500, "INTERNAL")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
