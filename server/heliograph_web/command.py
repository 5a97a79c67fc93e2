"""`heliograph web`: run the web page."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from heliograph.cli.connection import add_connection_arguments, connection_options
from heliograph_web.upload import MEBIBYTE

_EPILOG = """\
examples:
  heliograph web
      a page on http://127.0.0.1:8080 for the gateway on this machine
  heliograph web --target gateway.example:9000 --ca ca.pem --token-file token.txt --model flowers
      for a gateway elsewhere, over TLS, with a token
  heliograph web --listen 0.0.0.0:8443 --tls-certificate web.pem --tls-key web.key
      answer other machines, over TLS
  curl -F image=@cat.jpg http://127.0.0.1:8080/predict
      what the page does
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = "Serve a page, and POST /predict, that classify images by a gateway."
    parser.epilog = _EPILOG
    add = parser.add_argument
    add(
        "--listen",
        default="127.0.0.1:8080",
        metavar="ADDRESS",
        help="of the page; port 0 takes a free one [127.0.0.1:8080]",
    )
    add("--model", metavar="NAME", help="asked unless a request names one [the only one served]")
    add_connection_arguments(parser)
    page = parser.add_argument_group("page")
    add = page.add_argument
    add("--tls-certificate", type=Path, metavar="PEM", help="certificate chain of the page")
    add("--tls-key", type=Path, metavar="PEM", help="its private key")
    add(
        "--tls-client-ca",
        type=Path,
        metavar="PEM",
        help="require client certificates of these authorities",
    )
    add("--insecure", action="store_true", help="allow other machines without TLS")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer under this name too, for example behind a proxy; may be given several times",
    )
    add(
        "--max-image-bytes",
        type=int,
        default=10 * MEBIBYTE,
        metavar="N",
        help="largest image [10 MiB]",
    )
    add("--access-log", action="store_true", help="log every request")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; 0 after an orderly end."""
    from heliograph import AsyncClient
    from heliograph_web.listening import ListenAddress
    from heliograph_web.serving import WebServer
    from heliograph_web.settings import WebSettings
    from heliograph_web.upload import UploadLimits

    settings = WebSettings(
        listen=ListenAddress.parse(arguments.listen),
        model=arguments.model,
        limits=UploadLimits(max_bytes=arguments.max_image_bytes),
        allow_hosts=tuple(arguments.allow_host),
        insecure=arguments.insecure,
        tls_certificate=arguments.tls_certificate,
        tls_key=arguments.tls_key,
        tls_client_ca=arguments.tls_client_ca,
        access_log=arguments.access_log,
    )
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    options = connection_options(arguments)
    if arguments.token_file:
        # Tokens are renewed while the server runs: each call reads the one in force.
        options["token"] = lambda: connection_options(arguments)["token"]
    server = WebServer(settings, lambda: AsyncClient(arguments.target, **options))
    with server.stopped_by_signals():
        asyncio.run(server.run())
    return 0
