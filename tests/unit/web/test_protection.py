from __future__ import annotations

from collections.abc import Collection

import httpx
import pytest
from starlette.responses import PlainTextResponse

from heliograph_web.protection import LOOPBACK_HOSTS, SameSiteOnly, SecurityHeaders


async def status_of(
    method: str,
    headers: dict[str, str],
    *,
    allowed_hosts: Collection[str] | None = LOOPBACK_HOSTS,
) -> int:
    guarded = SameSiteOnly(PlainTextResponse("inside"), allowed_hosts)
    transport = httpx.ASGITransport(app=guarded)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        return (await client.request(method, "/", headers=headers)).status_code


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "LocalHost:1", "127.0.0.1:8080", "[::1]:8080", "[::1]"]
)
async def test_the_names_of_loopback_are_answered(host: str) -> None:
    assert await status_of("GET", {"Host": host}) == 200


@pytest.mark.parametrize(
    "host", ["rebound.example", "127.0.0.1.rebound.example:8080", "localhost@x", "[::1", "", "[x]"]
)
async def test_a_foreign_name_is_refused_whatever_the_method(host: str) -> None:
    assert await status_of("GET", {"Host": host}) == 421
    assert await status_of("POST", {"Host": host}) == 421


async def test_all_names_are_answered_when_all_are_allowed() -> None:
    assert await status_of("GET", {"Host": "flowers.example"}, allowed_hosts=None) == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_the_page_itself_may_post(site: str) -> None:
    assert await status_of("POST", {"Sec-Fetch-Site": site}) == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something new"])
async def test_another_sites_page_may_not_post(site: str) -> None:
    assert await status_of("POST", {"Sec-Fetch-Site": site}) == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "https://127.0.0.1:8080"])
async def test_where_browsers_send_an_origin_alone_it_must_be_this_server(origin: str) -> None:
    assert await status_of("POST", {"Origin": origin}) == 200


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:9999", "https://rebound.example", "null", "http://[", ""]
)
async def test_another_origin_may_not_post(origin: str) -> None:
    assert await status_of("POST", {"Origin": origin}) == 403


async def test_programs_that_are_no_browsers_may_post() -> None:
    assert await status_of("POST", {}) == 200


async def test_reading_is_allowed_from_anywhere() -> None:
    assert await status_of("GET", {"Sec-Fetch-Site": "cross-site"}) == 200


async def test_every_answer_tells_the_browser_what_the_page_may_do() -> None:
    app = SecurityHeaders(PlainTextResponse("inside"))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        headers = (await client.get("/")).headers

    policy = dict(
        directive.split(" ", 1) for directive in headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
