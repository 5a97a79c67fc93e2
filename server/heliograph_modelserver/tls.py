"""Reads TensorFlow Serving's SSLConfig, a message that the `tensorflow-serving-api` wheel lacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from heliograph.errors import ConfigurationError
from heliograph_modelserver.options import TlsOptions

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

_FIELDS = (
    ("server_key", descriptor_pb2.FieldDescriptorProto.TYPE_STRING),
    ("server_cert", descriptor_pb2.FieldDescriptorProto.TYPE_STRING),
    ("custom_ca", descriptor_pb2.FieldDescriptorProto.TYPE_STRING),
    ("client_verify", descriptor_pb2.FieldDescriptorProto.TYPE_BOOL),
)
"""Fields 1 to 4 of `config/ssl_config.proto`."""


def read_tls_options(path: str) -> TlsOptions | None:
    """Read a text-format SSLConfig.

    Args:
        path: The file; empty for a server without TLS.

    Raises:
        ConfigurationError: When the file cannot be read or parsed, or lacks the key or the
            certificate.
    """
    if not path:
        return None
    config = message_factory.GetMessageClass(_descriptor())()
    try:
        text_format.Parse(Path(path).read_text(encoding="utf-8"), config)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ConfigurationError(f"--ssl_config_file {path} cannot be read: {error}") from error
    values = {name: getattr(config, name) for name, _ in _FIELDS}
    if not (values["server_key"] and values["server_cert"]):
        raise ConfigurationError(
            f"--ssl_config_file {path} needs server_key and server_cert, as inline PEM."
        )
    if values["client_verify"] and not values["custom_ca"]:
        raise ConfigurationError(
            f"--ssl_config_file {path} sets client_verify and so needs custom_ca, as inline PEM."
        )
    return TlsOptions(
        values["server_key"].encode(),
        values["server_cert"].encode(),
        values["custom_ca"].encode() or None,
        values["client_verify"],
    )


def _descriptor() -> Descriptor:
    file = descriptor_pb2.FileDescriptorProto(
        name="heliograph_modelserver/ssl_config.proto",
        package="heliograph.modelserver",
        syntax="proto3",
    )
    message = file.message_type.add(name="SSLConfig")
    for number, (name, kind) in enumerate(_FIELDS, start=1):
        message.field.add(
            name=name,
            number=number,
            type=kind,
            label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindMessageTypeByName("heliograph.modelserver.SSLConfig")
