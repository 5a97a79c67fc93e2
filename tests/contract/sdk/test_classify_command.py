"""`heliograph classify` as a user of a shell meets it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heliograph.cli import main
from heliograph.errors import CorruptImageError, InternalError
from heliograph.testing import FakeGateway


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images, some of them in a subfolder, and a file that is none."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("b.JPG", "a.png", "more/c.jpeg"):
        (folder / name).write_bytes(name.encode())
    (folder / "notes.txt").write_text("not an image")
    return folder


def classify(gateway: FakeGateway, *words: str) -> int:
    return main(["classify", *words, "--target", gateway.target])


def sent(gateway: FakeGateway) -> list[bytes]:
    return [image.encoded for call in gateway.calls for image in call.images]


def test_a_table_names_the_best_classes(
    fake_gateway: FakeGateway, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_gateway.answer({"dog": 0.75, "cat": 0.25}, times=1)

    assert classify(fake_gateway, "photos/a.png", "photos/more/c.jpeg", "--top-k", "2") == 0

    captured = capsys.readouterr()
    assert captured.out == (
        "IMAGE               VERSION   SCORE  CLASS\n"
        "photos/a.png              1  0.7500  dog\n"
        "                             0.2500  cat\n"
        "photos/more/c.jpeg        1  0.9000  cat\n"
        "                             0.0500  dog\n"
    )
    assert captured.err == ""


def test_one_json_document_tells_everything(
    fake_gateway: FakeGateway, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_gateway.answer({"dog": 0.75}, times=1)
    fake_gateway.fail(CorruptImageError("truncated", request_id="r-1"))

    assert classify(fake_gateway, "photos/a.png", "photos/b.JPG", "--json", "--top-k", "1") == 65

    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "results": [
            {
                "image": "photos/a.png",
                "model": "fake",
                "version": 1,
                "routing_revision": 1,
                "classes": [{"index": 1, "class_name": "dog", "score": 0.75}],
            },
            {
                "image": "photos/b.JPG",
                "error": {
                    "status": "INVALID_ARGUMENT",
                    "reason": "CORRUPT_IMAGE",
                    "message": "truncated",
                    "request_id": "r-1",
                },
            },
        ]
    }
    assert captured.err == "heliograph classify: photos/b.JPG: truncated (request r-1)\n"


def test_a_folder_stands_for_the_images_below_it(fake_gateway: FakeGateway, photos: Path) -> None:
    assert classify(fake_gateway, "photos") == 0

    assert sent(fake_gateway) == [b"a.png", b"b.JPG", b"more/c.jpeg"]


def test_a_pattern_stands_for_its_matches(fake_gateway: FakeGateway, photos: Path) -> None:
    assert classify(fake_gateway, "photos/**/*.j*", "photos/a.png") == 0

    assert sent(fake_gateway) == [b"more/c.jpeg", b"a.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(
    fake_gateway: FakeGateway, photos: Path
) -> None:
    (photos / "image [1].png").write_bytes(b"bracketed")

    assert classify(fake_gateway, "photos/image [1].png") == 0

    assert sent(fake_gateway) == [b"bracketed"]


def test_an_image_may_come_from_stdin(
    fake_gateway: FakeGateway, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))

    assert classify(fake_gateway, "-", "photos/a.png") == 0

    assert sent(fake_gateway) == [b"piped", b"a.png"]


def test_every_option_reaches_the_gateway(photos: Path) -> None:
    with FakeGateway(versions=(1, 2), version_labels={"canary": 1}) as gateway:
        options = ("--model", "fake", "--top-k", "7", "--min-score", "0.5")
        assert classify(gateway, "photos", *options, "--version", "2") == 0
        assert classify(gateway, "photos", *options, "--version-label", "canary") == 0

        first, *_, last = [call.request for call in gateway.calls]
    requests: list[Any] = [first, last]
    assert (requests[0].model.name, requests[0].model.version) == ("fake", 2)
    assert (requests[0].options.top_k, requests[0].options.min_score) == (7, 0.5)
    assert requests[1].model.version_label == "canary"


def test_an_image_fails_when_its_time_is_over(
    fake_gateway: FakeGateway, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_gateway.delay(30.0)

    assert classify(fake_gateway, "photos/a.png", "--timeout", "0.2") == 75

    message = f"photos/a.png: no answer from {fake_gateway.target} within 0.2 s"
    assert capsys.readouterr().err == f"heliograph classify: {message}\n"


def test_classes_below_the_least_score_leave_an_empty_line(
    fake_gateway: FakeGateway, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert classify(fake_gateway, "photos/a.png", "--min-score", "0.95") == 0

    assert capsys.readouterr().out.splitlines()[1] == "photos/a.png        1       -  -"


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (["nowhere.png"], 65, "cannot read nowhere.png: No such file or directory"),
        (["nowhere/*.png"], 66, "no file matches nowhere/*.png"),
        (["photos/empty"], 66, "the folder photos/empty has no JPEG or PNG files"),
        (["photos", "--model", "other"], 66, "no model is called 'other'"),
        (["photos", "--top-k", "0"], 65, "top_k is 0; use 1 or more"),
        (["photos", "--timeout", "0"], 65, "timeout is 0.0; use seconds above 0"),
        (
            ["photos", "--ca", "nowhere.pem"],
            78,
            "cannot read tls ca nowhere.pem: No such file or directory",
        ),
        (
            ["photos", "--key", "nowhere.pem"],
            78,
            "a client certificate needs both certificate and key",
        ),
    ],
)
def test_a_failure_is_one_line_and_an_exit_code(
    fake_gateway: FakeGateway,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    exit_code: int,
    message: str,
) -> None:
    (photos / "empty").mkdir()

    assert classify(fake_gateway, *words) == exit_code

    assert capsys.readouterr().err == f"heliograph classify: {message}\n"


def test_a_gateway_that_is_not_there_is_one_line_however_many_images(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", "photos", "--target", f"unix:{tmp_path}/nobody.sock"]) == 69

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"heliograph classify: cannot reach unix:{tmp_path}/nobody.sock: ")


def test_a_fault_of_the_server_names_the_request(
    fake_gateway: FakeGateway, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_gateway.fail(InternalError("a fault", request_id="r-9"), times=None)

    assert classify(fake_gateway, "photos/a.png") == 70

    assert capsys.readouterr().err == "heliograph classify: photos/a.png: a fault (request r-9)\n"


def test_a_token_comes_from_a_file(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("token").write_text("secret\n")
    with FakeGateway(token="secret") as gateway:
        assert classify(gateway, "photos", "--token-file", "token") == 0
        assert classify(gateway, "photos") == 77
        assert classify(gateway, "photos", "--token-file", "nowhere") == 78

    assert "cannot read the token in nowhere" in capsys.readouterr().err


def test_a_gateway_may_speak_tls(photos: Path, certificates: Any) -> None:
    import grpc

    pair = (certificates.server_key.read_bytes(), certificates.server.read_bytes())
    with FakeGateway(credentials=grpc.ssl_server_credentials([pair])) as gateway:
        ca, name = str(certificates.ca), "gateway.test"

        assert classify(gateway, "photos", "--ca", ca, "--server-name", name) == 0


def test_the_command_runs_with_the_base_install(fake_gateway: FakeGateway, photos: Path) -> None:
    command = [sys.executable, "-m", "heliograph.cli", "classify"]
    finished = subprocess.run(
        [*command, "-", "--target", fake_gateway.target],
        input=b"piped",
        capture_output=True,
        check=True,
    )

    assert finished.stdout.decode().splitlines()[1].split() == ["-", "1", "0.9000", "cat"]
    assert sent(fake_gateway) == [b"piped"]


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["classify", "--help"])

    assert stopped.value.code == 0
    assert "heliograph classify cat.jpg" in capsys.readouterr().out
