"""ModelServerConfig: reading it from text, checking it, and what the source needs of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from heliograph.errors import InvalidArgumentError
from heliograph_modelserver.source import MonitoredModel, VersionPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

TENSORFLOW_PLATFORM = "tensorflow"
"""The only `model_platform`."""

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9.]*://")


def single_model_config(name: str, base_path: str) -> Any:
    """Return the configuration that `--model_name` and `--model_base_path` stand for."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=base_path, model_platform=TENSORFLOW_PLATFORM
    )
    return config


def read_config(path: Path) -> Any:
    """Read a text-format ModelServerConfig.

    Raises:
        InvalidArgumentError: When the file cannot be read or parsed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"Cannot read --model_config_file {path}: {error}") from error
    try:
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise InvalidArgumentError(
            f"Invalid protobuf file: '{path}': "
            f"Error parsing text-format tensorflow.serving.ModelServerConfig: {error}"
        ) from error


def validate_models(models: Iterable[Any], present: Iterable[Any]) -> None:
    """Check ModelConfig messages against the rules and against the models configured so far.

    Raises:
        InvalidArgumentError: With TensorFlow Serving's text.
    """
    models = list(models)
    names: set[str] = set()
    for model in models:
        if model.name in names:
            raise InvalidArgumentError(
                f"Illegal to list model {model.name} multiple times in config list"
            )
        names.add(model.name)
    for model in models:
        if not (model.base_path.startswith("/") or _URI.match(model.base_path)):
            raise InvalidArgumentError(
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )
    platforms = {model.name: _platform(model) for model in present}
    for model in models:
        platform = _platform(model)
        before = platforms.get(model.name, platform)
        if platform != before:
            raise InvalidArgumentError(
                f"Illegal to change a model's platform. For model {model.name} "
                f"platform was {before} and new platform requested is {platform}"
            )
        if platform != TENSORFLOW_PLATFORM:
            raise InvalidArgumentError(
                f"Model {model.name} requests unsupported platform {platform}"
            )


def monitored_models(models: Iterable[Any]) -> list[MonitoredModel]:
    """Translate ModelConfig messages for the source."""
    return [
        MonitoredModel(model.name, model.base_path, _policy(model.model_version_policy))
        for model in models
    ]


def _platform(model: Any) -> str:
    if model.model_type:
        if model.model_platform:
            raise InvalidArgumentError(
                "Illegal setting both ModelServerConfig::model_type (deprecated) "
                "and ModelServerConfig::model_platform."
            )
        if model.model_type != model_server_config_pb2.TENSORFLOW:
            raise InvalidArgumentError(
                f"ModelServerConfig::model_type choice {model.model_type} not supported."
            )
        return TENSORFLOW_PLATFORM
    if not model.model_platform:
        raise InvalidArgumentError(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) "
            "nor ModelServerConfig::model_platform."
        )
    return str(model.model_platform)


def _policy(policy: Any) -> VersionPolicy:
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return VersionPolicy("all")
    if kind == "specific":
        return VersionPolicy("specific", versions=frozenset(policy.specific.versions))
    return VersionPolicy("latest", num_versions=policy.latest.num_versions)
