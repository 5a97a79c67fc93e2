"""`heliograph web` as a process: where it listens, how it ends, what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from heliograph.cli import main
from heliograph.errors import AddressInUseError, ConfigurationError
from heliograph.testing import FakeGateway

COMMAND = (sys.executable, "-m", "heliograph.cli", "web")
UPLOAD = {"image": ("cat.jpg", b"x", "image/jpeg")}


@dataclass(frozen=True)
class WebProcess:
    """A running `heliograph web`."""

    process: subprocess.Popen[str]
    url: str

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End the process; return its exit code and what it wrote to stderr since it listened."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


Start = Callable[..., WebProcess]


@pytest.fixture
def start_web(fake_gateway: FakeGateway) -> Iterator[Start]:
    """Start web servers on free ports, for `fake_gateway`."""
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str, environment: dict[str, str] | None = None) -> WebProcess:
        if "--listen" not in words:
            words = ("--listen", "127.0.0.1:0", *words)
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "heliograph.cli",
                "web",
                "--target",
                fake_gateway.target,
                *words,
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        processes.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        match = re.fullmatch(r"Listening on (https?://\S+)\n", line)
        assert match, line + process.stderr.read()
        return WebProcess(process, match[1])

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_it_says_where_it_listens_and_answers_there(start_web: Start) -> None:
    web = start_web()

    with httpx.Client(base_url=web.url, trust_env=False) as client:
        assert "<title>Heliograph</title>" in client.get("/").text
        assert client.post("/predict", files=UPLOAD).json()["class_name"] == "cat"
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_silence(start_web: Start, number: signal.Signals) -> None:
    web = start_web()
    with httpx.Client(base_url=web.url, trust_env=False) as client:  # Its connection stays open.
        client.get("/health")

        assert web.stop(number) == (0, "")


def test_a_request_under_way_is_answered_before_the_end(
    start_web: Start, fake_gateway: FakeGateway
) -> None:
    web = start_web()
    url = httpx.URL(web.url)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\nx\r\n--b--\r\n'
    )
    fake_gateway.delay(0.5)
    with socket.create_connection((url.host, url.port or 0), timeout=10) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        while not fake_gateway.calls:
            assert web.process.poll() is None
        code, errors = web.stop()
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"class_name":"cat"' in answer
    assert (code, errors) == (0, "")


def test_an_image_that_is_too_large_is_answered_over_a_real_connection(start_web: Start) -> None:
    web = start_web("--max-image-bytes", "1000000")

    with httpx.Client(base_url=web.url, trust_env=False) as client:
        answer = client.post("/predict", files={"image": ("x.png", bytes(12_000_000))})

    assert (answer.status_code, answer.json()["reason"]) == (413, "IMAGE_TOO_LARGE")


def test_requests_are_logged_on_request_only(start_web: Start) -> None:
    web = start_web("--access-log")
    httpx.get(f"{web.url}/health", trust_env=False)

    code, errors = web.stop()

    assert code == 0
    assert "GET /health" in errors


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost, valid for a day, and its key, with the openssl command."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    certificate, key = tmp_path / "web.pem", tmp_path / "web.key"
    command = "openssl req -x509 -days 1 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return certificate, key


def test_the_page_can_be_served_over_tls_to_other_machines(
    start_web: Start, certificate: tuple[Path, Path]
) -> None:
    chain, key = map(str, certificate)
    web = start_web("--listen", "0.0.0.0:0", "--tls-certificate", chain, "--tls-key", key)
    assert web.url.startswith("https://0.0.0.0:")

    with httpx.Client(trust_env=False, verify=ssl.create_default_context(cafile=chain)) as client:
        answer = client.get(f"https://localhost:{httpx.URL(web.url).port}/health")

    assert answer.json() == {"status": "SERVING"}


def test_callers_without_a_certificate_are_refused_where_one_is_required(
    start_web: Start, certificate: tuple[Path, Path]
) -> None:
    chain, key = map(str, certificate)
    web = start_web("--tls-certificate", chain, "--tls-key", key, "--tls-client-ca", chain)
    url = f"https://localhost:{httpx.URL(web.url).port}/health"
    context = ssl.create_default_context(cafile=chain)

    with httpx.Client(trust_env=False, verify=context) as client, pytest.raises(httpx.HTTPError):
        client.get(url)
    context.load_cert_chain(chain, key)
    with httpx.Client(trust_env=False, verify=context) as client:
        assert client.get(url).status_code == 200


def test_the_token_is_read_again_when_it_is_renewed(start_web: Start, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    with FakeGateway(token="new") as gateway:
        web = start_web("--target", gateway.target, "--token-file", str(token))
        with httpx.Client(base_url=web.url, trust_env=False) as client:
            assert client.get("/models").status_code == 502
            token.write_text("new\n")
            assert client.get("/models").status_code == 200


def test_the_gateway_is_reached_past_a_proxy_in_the_environment(start_web: Start) -> None:
    proxy = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    web = start_web(environment=proxy)

    assert httpx.get(f"{web.url}/health", trust_env=False).status_code == 200


def test_a_page_without_its_gateway_is_there_and_says_so(
    start_web: Start, fake_gateway: FakeGateway
) -> None:
    web = start_web()
    fake_gateway.stop()

    with httpx.Client(base_url=web.url, trust_env=False) as client:
        assert client.get("/").status_code == 200
        answer = client.post("/predict", files=UPLOAD)

    assert (answer.status_code, answer.json()["reason"]) == (503, "UNAVAILABLE")


def test_neither_tensorflow_nor_numpy_is_loaded(fake_gateway: FakeGateway) -> None:
    code = (
        "import sys, heliograph_web.command, heliograph_web.serving, heliograph_web.application\n"
        "print({'tensorflow', 'numpy', 'PIL', 'pydantic'} & set(sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert finished.stdout == "set()\n", finished.stderr


def test_an_address_in_use_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["web", "--listen", f"127.0.0.1:{port}"])

    assert code == AddressInUseError.exit_code
    assert capsys.readouterr().err == (
        f"heliograph web: 127.0.0.1:{port} is in use; choose another port with --listen "
        "(port 0 takes a free one)\n"
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--listen", "0.0.0.0:0"], "--insecure"),
        (["--listen", "nowhere"], "HOST:PORT"),
        (["--tls-certificate", "absent.pem"], "go together"),
        (["--tls-certificate", "absent.pem", "--tls-key", "absent.key"], "No such file"),
        (["--token-file", "absent"], "absent"),
        (["--max-image-bytes", "0"], "largest image"),
        (["--timeout", "0"], "timeout"),
        (["--target", ""], "target"),
    ],
)
def test_arguments_that_cannot_work_are_one_clear_line(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["web", "--listen", "127.0.0.1:0", *words])

    errors = capsys.readouterr().err
    assert code in (ConfigurationError.exit_code, 65)
    assert errors.startswith("heliograph web: ")
    assert problem in errors
    assert errors.count("\n") == 1
