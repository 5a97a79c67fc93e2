"""`heliograph web`: run the web page."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

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
    gateway = parser.add_argument_group("gateway")
    add = gateway.add_argument
    add("--target", default="127.0.0.1:9000", metavar="ADDRESS", help="[127.0.0.1:9000]")
    add("--timeout", type=float, default=10.0, metavar="SECONDS", help="for an answer [10]")
    add("--token-file", type=Path, metavar="FILE", help="file with the bearer token to send")
    add("--tls", action="store_true", help="speak TLS, trusting the authorities gRPC ships with")
    add("--ca", type=Path, metavar="PEM", help="speak TLS, trusting these authorities")
    add("--certificate", type=Path, metavar="PEM", help="client certificate to show")
    add("--key", type=Path, metavar="PEM", help="its private key")
    add("--server-name", metavar="NAME", help="in the gateway's certificate, if not the target's")
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
    from heliograph.options import TlsOptions
    from heliograph_web.listening import ListenAddress
    from heliograph_web.serving import WebServer
    from heliograph_web.settings import GatewaySettings, WebSettings
    from heliograph_web.upload import UploadLimits

    uses_tls = arguments.tls or arguments.ca or arguments.certificate or arguments.server_name
    settings = WebSettings(
        listen=ListenAddress.parse(arguments.listen),
        gateway=GatewaySettings(
            target=arguments.target,
            model=arguments.model,
            timeout=arguments.timeout,
            token_file=arguments.token_file,
            tls=TlsOptions(
                ca=arguments.ca,
                certificate=arguments.certificate,
                key=arguments.key,
                server_name=arguments.server_name,
            )
            if uses_tls or arguments.key
            else None,
        ),
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
    server = WebServer(settings)
    server.stop_on_signals()
    asyncio.run(server.run())
    return 0
