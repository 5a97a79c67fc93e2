"""Settings: where they come from, and what is refused before anything is started."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from heliograph.cli import main
from heliograph.errors import ConfigurationError
from heliograph_gateway.settings import Settings, is_local, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("HELIOGRAPH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    """Write a configuration file."""

    def write(text: str) -> Path:
        path = tmp_path / "heliograph.toml"
        path.write_text(text)
        return path

    return write


def refusal(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> str:
    """The message with which settings are refused."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(config, {"repository": "models", **(flags or {})})
    message = caught.value.message
    assert "\n" not in message
    assert "Value error" not in message
    return message


# Where settings come from.


def test_only_the_repository_has_to_be_set() -> None:
    settings = load_settings(None, {"repository": "models"})

    assert settings.repository == Path("models")
    assert settings.listen == "127.0.0.1:9000"
    assert settings.metrics_listen == "127.0.0.1:9002"
    assert settings.backend == ()
    assert not settings.auto_promote


def test_without_a_repository_the_message_says_how_to_set_it() -> None:
    with pytest.raises(ConfigurationError, match="repository is not set; set it by --repository"):
        load_settings(None, {})


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, toml: Callable[[str], Path]
) -> None:
    config = toml("repository = 'of-the-file'\nmax_in_flight = 1\nmax_batch_size = 1\n")
    monkeypatch.setenv("HELIOGRAPH_MAX_IN_FLIGHT", "2")
    monkeypatch.setenv("HELIOGRAPH_MAX_BATCH_SIZE", "2")

    settings = load_settings(config, {"max_in_flight": "3"})

    assert settings.max_in_flight == 3
    assert settings.max_batch_size == 2
    assert settings.repository == Path("of-the-file")
    assert settings.decode_threads == 2


def test_several_backends_can_come_from_everywhere(
    monkeypatch: pytest.MonkeyPatch, toml: Callable[[str], Path]
) -> None:
    both = ("tfs://gpu-1:8500", "tfs:///run/tfs.sock")

    assert load_settings(None, {"repository": "m", "backend": list(both)}).backend == both
    config = toml("repository = 'm'\nbackend = ['tfs://gpu-1:8500', 'tfs:///run/tfs.sock']\n")
    assert load_settings(config, {}).backend == both
    monkeypatch.setenv("HELIOGRAPH_BACKEND", "tfs://gpu-1:8500, tfs:///run/tfs.sock")
    assert load_settings(None, {"repository": "m"}).backend == both


def test_image_formats_can_be_narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_IMAGE_FORMATS", "PNG")

    assert load_settings(None, {"repository": "m"}).image_formats == ("PNG",)


def test_settings_are_frozen() -> None:
    settings = load_settings(None, {"repository": "models"})

    with pytest.raises(ValueError, match="frozen"):
        settings.listen = "0.0.0.0:9000"


# The file.


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.toml").endswith("gone.toml")


@pytest.mark.parametrize("text", ["listen =", "\x00", "[listen", "listen = 1 2"])
def test_a_file_that_does_not_parse_is_named(text: str, toml: Callable[[str], Path]) -> None:
    config = toml(text)

    assert refusal(config).startswith(f"cannot read {config}: ")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    config = tmp_path / "heliograph.toml"
    config.write_bytes(b"\xff\xfe")

    assert refusal(config).startswith(f"cannot read {config}: ")


def test_an_unknown_key_is_named(toml: Callable[[str], Path]) -> None:
    assert refusal(toml("lisen = '127.0.0.1:1'\n")) == "there is no setting lisen"


def test_every_problem_is_named_at_once(toml: Callable[[str], Path]) -> None:
    message = refusal(toml("max_in_flight = 0\ndecode_threads = 'many'\n"))

    assert "max_in_flight: " in message
    assert "decode_threads: " in message


# Values.


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9000", "[::1]:9000", "localhost:0", "unix:/run/gateway.sock"]
)
def test_an_address_of_this_machine_is_safe(address: str) -> None:
    assert load_settings(None, {"repository": "m", "listen": address}).listen == address
    assert is_local(address)


@pytest.mark.parametrize("address", ["", "9000", ":9000", "localhost", "localhost:x", "h:99999"])
def test_what_is_no_address_is_refused(address: str) -> None:
    assert "is no HOST:PORT" in refusal(flags={"listen": address})


@pytest.mark.parametrize("address", ["9002", "unix:/run/metrics.sock", "localhost:"])
def test_metrics_need_a_host_and_a_port(address: str) -> None:
    assert "metrics_listen" in refusal(flags={"metrics_listen": address})


def test_metrics_can_be_left_out() -> None:
    assert load_settings(None, {"repository": "m", "metrics_listen": ""}).metrics_listen == ""


@pytest.mark.parametrize("backend", ["gpu-1:8500", "http://gpu-1:8500", "tfs://", "grpc://h:1"])
def test_what_is_no_backend_is_refused(backend: str) -> None:
    assert "is no tfs://HOST:PORT" in refusal(flags={"backend": [backend]})


@pytest.mark.parametrize(
    "name",
    ["poll_interval", "backend_timeout", "start_timeout", "max_image_bytes", "max_batch_images",
     "max_batch_size", "max_in_flight", "backend_batches_in_flight", "decode_threads"],
)  # fmt: skip
def test_a_limit_of_zero_is_refused(name: str) -> None:
    assert name in refusal(flags={name: 0})


def test_a_model_without_any_image_format_is_refused() -> None:
    assert "image_formats" in refusal(flags={"image_formats": []})


# Safety.

TLS = {"tls_certificate": "server.pem", "tls_key": "server.key"}


@pytest.mark.parametrize("address", ["0.0.0.0:9000", "[::]:9000", "10.0.0.7:9000", "gateway:9000"])
def test_other_machines_need_tls(address: str) -> None:
    assert not is_local(address)
    message = refusal(flags={"listen": address})
    assert address in message
    assert "set tls_certificate and tls_key, or say insecure" in message


def test_other_machines_need_to_say_who_they_are() -> None:
    message = refusal(flags=TLS | {"listen": "0.0.0.0:9000"})

    assert "set token_file or tls_client_ca, or say insecure" in message


@pytest.mark.parametrize(
    "flags",
    [
        TLS | {"token_file": "tokens.txt"},
        TLS | {"tls_client_ca": "clients.pem"},
        {"insecure": True},
        TLS | {"insecure": True},
    ],
)
def test_what_is_safe_or_explicit_is_allowed(flags: dict[str, Any]) -> None:
    assert load_settings(None, {"repository": "m", "listen": "0.0.0.0:9000", **flags})


def test_tokens_never_travel_in_the_clear() -> None:
    message = refusal(
        flags={"listen": "0.0.0.0:9000", "token_file": "tokens.txt", "insecure": True}
    )

    assert "tokens would travel to 0.0.0.0:9000 in the clear" in message


def test_tokens_may_travel_within_this_machine() -> None:
    assert load_settings(None, {"repository": "m", "token_file": "tokens.txt"})


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key"])
def test_half_of_a_certificate_is_refused(name: str) -> None:
    assert refusal(flags={name: "file.pem"}) == "tls_certificate and tls_key go together"


def test_authorities_of_clients_need_a_certificate_of_the_server() -> None:
    assert "tls_client_ca needs tls_certificate" in refusal(flags={"tls_client_ca": "clients.pem"})


# The command.


def test_the_command_prints_the_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIOGRAPH_MAX_IN_FLIGHT", "7")

    code = main(["serve", "--repository", "models", "--no-reflection", "--print-settings"])

    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert printed["repository"] == "models"
    assert printed["max_in_flight"] == 7
    assert printed["reflection"] is False
    assert printed["listen"] == "127.0.0.1:9000"
    assert set(printed) == set(Settings.model_fields)


def test_what_is_printed_can_be_read_again(
    capsys: pytest.CaptureFixture[str], toml: Callable[[str], Path]
) -> None:
    main(["serve", "--repository", "models", "--backend", "tfs://h:1", "--print-settings"])
    printed = json.loads(capsys.readouterr().out)
    lines = [
        f"{name} = {json.dumps(value)}" for name, value in printed.items() if value is not None
    ]

    settings = load_settings(toml("\n".join(lines)), {})

    assert json.loads(settings.model_dump_json()) == printed


def test_a_refused_setting_is_one_line_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["serve", "--repository", "models", "--listen", "0.0.0.0:9000"])

    assert code == ConfigurationError.exit_code
    errors = capsys.readouterr().err
    assert errors.startswith("heliograph serve: 0.0.0.0:9000 can be reached from other machines")
    assert errors.count("\n") == 1


def test_allowed_batch_sizes_are_read_from_words() -> None:
    flags = {"repository": "models", "allowed_batch_sizes": "1, 8,64"}

    assert load_settings(None, flags).allowed_batch_sizes == (1, 8, 64)


@pytest.mark.parametrize("sizes", ["1,8", "8,1,64", "1,8,8,64", "64,128"])
def test_allowed_batch_sizes_ascend_to_the_largest_batch(sizes: str) -> None:
    assert "must ascend and end with max_batch_size, 64" in refusal(
        flags={"allowed_batch_sizes": sizes}
    )


# Workers.


def test_workers_do_not_share_a_unix_socket() -> None:
    message = refusal(flags={"listen": "unix:/run/gateway.sock", "workers": 2})

    assert message.startswith("2 workers cannot share unix:/run/gateway.sock")
    assert message.endswith("set workers to 1, or listen to HOST:PORT")


def test_one_worker_may_listen_to_a_unix_socket() -> None:
    settings = load_settings(
        None, {"repository": "models", "listen": "unix:/run/gateway.sock", "workers": 1}
    )

    assert settings.workers == 1


@pytest.mark.parametrize("workers", [0, -1, 257])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers: int) -> None:
    assert "workers" in refusal(flags={"workers": workers})


def test_settings_travel_to_a_worker_unchanged(
    toml: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toml('backend = ["tfs://gpu-1:8500"]\nimage_formats = ["PNG"]\nmax_in_flight = 7\n')
    sent = load_settings(path, {"repository": "models", "workers": 2, "token_file": "tokens"})
    monkeypatch.setenv("HELIOGRAPH_MAX_IN_FLIGHT", "9")

    arrived = Settings.model_validate_json(sent.model_dump_json())

    assert arrived.model_dump() == sent.model_dump()
