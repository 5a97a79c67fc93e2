"""`heliograph serve`: run the gateway."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

_EPILOG = """\
examples:
  heliograph serve --repository models
      serve every model of the folder; a model server of our own computes
  heliograph serve --repository models --auto-promote
      follow new versions, each once it has given its golden answers
  heliograph serve --repository models --workers 4
      four processes answer on one port, with one model server behind them
  heliograph serve --repository models --backend tfs://gpu-1:8500 --backend tfs://gpu-2:8500
      two TensorFlow Servings compute
  heliograph serve --repository models --listen 0.0.0.0:9000 \\
      --tls-certificate server.pem --tls-key server.key --token-file tokens.txt
      answer other machines, over TLS, with a token

Every setting can also stand in the environment (HELIOGRAPH_MAX_IN_FLIGHT=64) or in a TOML file
(--config).
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments. Their defaults are those of Settings."""
    parser.description = "Answer images over gRPC with the models of a repository."
    parser.epilog = _EPILOG
    unset: dict[str, Any] = {"default": argparse.SUPPRESS}
    add = parser.add_argument
    add("--config", type=Path, help="TOML file with settings")
    add("--repository", metavar="DIR", help="folder of models", **unset)
    add(
        "--backend",
        action="append",
        metavar="tfs://HOST:PORT",
        help="TensorFlow Serving; may be given several times",
        **unset,
    )
    add("--backend-device", choices=["cpu", "gpu"], help="what the backends compute on", **unset)
    add(
        "--auto-promote",
        action="store_true",
        help="prove new versions and make them stable",
        **unset,
    )
    add("--poll-interval", metavar="SECONDS", help="between two looks at the repository", **unset)
    add(
        "--workers",
        metavar="N",
        help="processes that answer on the port; limits count for each of them [1]",
        **unset,
    )
    network = parser.add_argument_group("network")
    add = network.add_argument
    add("--listen", metavar="ADDRESS", help="of the gRPC services [127.0.0.1:9000]", **unset)
    add(
        "--metrics-listen",
        metavar="ADDRESS",
        help="of /metrics [127.0.0.1:9002]; '' for none",
        **unset,
    )
    add("--tls-certificate", metavar="PEM", help="certificate chain of the server", **unset)
    add("--tls-key", metavar="PEM", help="private key of the server", **unset)
    add(
        "--tls-client-ca",
        metavar="PEM",
        help="require client certificates of these authorities",
        **unset,
    )
    add(
        "--token-file",
        metavar="FILE",
        help="require one of the bearer tokens in this file",
        **unset,
    )
    add(
        "--insecure",
        action="store_true",
        help="allow other machines without TLS and tokens",
        **unset,
    )
    add(
        "--no-reflection",
        dest="reflection",
        action="store_false",
        help="do not answer gRPC reflection",
        **unset,
    )
    add(
        "--no-open-inference",
        dest="open_inference",
        action="store_false",
        help="do not answer the Open Inference Protocol",
        **unset,
    )
    limits = parser.add_argument_group("limits")
    add = limits.add_argument
    for name, meaning in (
        ("max-image-bytes", "largest encoded image"),
        ("max-image-pixels", "largest width × height"),
        ("max-batch-images", "images in one BatchClassify"),
        ("stream-window", "images of one StreamClassify in the gateway at once"),
        ("max-in-flight", "images in one worker at once"),
        ("max-batch-size", "images in one batch for the backend"),
        ("allowed-batch-sizes", "sizes that batches are padded to: 1,8,64"),
        ("max-queued", "images that wait for one model version"),
        ("backend-batches-in-flight", "batches of one version and worker at a backend at once"),
        ("model-server-threads", "threads of one operation in the embedded model server"),
        ("decode-threads", "threads of one worker that decode large images"),
    ):
        add(f"--{name}", metavar="N", help=meaning, **unset)
    for name, meaning in (
        ("backend-timeout", "longest time for one batch"),
        ("drain-timeout", "for calls in flight after SIGTERM"),
        ("start-timeout", "for the model server to start"),
    ):
        add(f"--{name}", metavar="SECONDS", help=meaning, **unset)
    logging = parser.add_argument_group("logging")
    add = logging.add_argument
    add("--log-level", choices=["debug", "info", "warning", "error"], **unset)
    add("--log-format", choices=["auto", "console", "json"], **unset)
    add("--access-log", action="store_true", help="log every call", **unset)
    add("--print-settings", action="store_true", help="print the settings as JSON and end")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; 0 after an orderly end."""
    from heliograph_gateway.application import Gateway
    from heliograph_gateway.lifetime import run_until_signal
    from heliograph_gateway.logs import configure_logging
    from heliograph_gateway.settings import load_settings
    from heliograph_gateway.supervisor import Supervisor

    flags = vars(arguments)
    config = flags.pop("config")
    print_settings = flags.pop("print_settings")
    settings = load_settings(config, flags)
    if print_settings:
        print(settings.model_dump_json(indent=2))
        return 0
    configure_logging(settings.log_level, settings.log_format)

    async def serve() -> None:
        alone = settings.workers == 1
        await run_until_signal(Gateway(settings) if alone else Supervisor(settings))

    asyncio.run(serve())
    return 0
