from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.errors import InvalidArgumentError
from heliograph_web.form import ImageForm

CONTENT_TYPE = "multipart/form-data; boundary=edge"
IMAGE = bytes(range(256))


def part(headers: bytes, content: bytes) -> bytes:
    return b"--edge\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


def file(name: bytes, content: bytes) -> bytes:
    disposition = b'Content-Disposition: form-data; name="' + name + b'"; filename="x"'
    return part(disposition + b"\r\nContent-Type: image/png", content)


def read(*chunks: bytes) -> bytes:
    form = ImageForm(CONTENT_TYPE)
    for chunk in chunks:
        form.write(chunk)
    return form.image()


END = b"--edge--\r\n"


@given(
    content=st.binary(max_size=600) | st.sampled_from([b"\r\n--edge", b"\r\n--edg\r\n", b"--"]),
    cuts=st.lists(st.integers(0, 800), max_size=12),
)
def test_the_image_is_the_same_however_the_form_is_cut(content: bytes, cuts: list[int]) -> None:
    if b"\r\n--edge" in content:
        content = content.replace(b"\r\n--edge", b"\r\n--egde")
    body = file(b"other", b"skipped") + file(b"image", content) + END
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]

    assert read(*(body[start:end] for start, end in itertools.pairwise(edges))) == content


@given(length=st.integers(0, 420))
def test_a_form_that_is_cut_off_has_no_image(length: int) -> None:
    body = file(b"image", IMAGE)
    with pytest.raises(InvalidArgumentError):
        read(body[:length])


@given(junk=st.binary(max_size=300))
def test_whatever_is_sent_is_read_or_refused(junk: bytes) -> None:
    try:
        image = read(b"--edge\r\n" + junk)
    except InvalidArgumentError:
        image = b""
    assert image in junk


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        ";",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=edge",
        "multipart/form-data; boundary=" + "x" * 1000,
        "image/png",
    ],
)
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidArgumentError, match="multipart/form-data"):
        ImageForm(content_type)


def test_the_content_type_may_be_spelled_in_capitals() -> None:
    form = ImageForm('Multipart/Form-Data; boundary="edge"')
    form.write(file(b"image", IMAGE) + END)

    assert form.image() == IMAGE


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (END, "no file"),
        (part(b'Content-Disposition: form-data; name="image"', b"typed") + END, "no file"),
        (file(b"images", IMAGE) + END, "no file"),
        (part(b"Content-Type: image/png", IMAGE) + END, "no file"),
        (file(b"image", IMAGE) * 2 + END, "several"),
        (file(b"x", b"") * 17 + END, "more than 16"),
        (part(b"X: " + b"x" * 10_000, IMAGE) + END, "form"),
        (b"no form", "cannot be read"),
    ],
)
def test_a_form_of_another_shape_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=problem):
        read(body)
