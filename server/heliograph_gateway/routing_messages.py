"""What the supervisor tells its workers of a model, as messages.

The contract travels along: a worker serves what was proved, whatever has become of the files, and
needs no repository, which may be away for a moment.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

from heliograph.routing import RoutingTable
from heliograph.v1.contract_pb2 import ModelContract
from heliograph_gateway.routing import ServedModel
from heliograph_gateway.servables import Servable, ServableVersion


def to_message(model: ServedModel) -> dict[str, Any]:
    """Return a model as values of JSON."""
    return {
        "model": model.name,
        "table": dataclasses.asdict(model.table) if model.table else None,
        "versions": [
            [number, base64.b64encode(version.contract.SerializeToString()).decode()]
            for number, version in model.versions.items()
        ],
        "reason": model.reason,
    }


def from_message(message: Mapping[str, Any], known: Mapping[int, ServableVersion]) -> ServedModel:
    """Return the model of a message.

    Args:
        message: From `to_message`.
        known: Versions of the model as it was served until now. They are kept where nothing about
            them has changed, with the requests on them and their statistics.
    """
    name, table = message["model"], message["table"]
    versions = {}
    for number, encoded in message["versions"]:
        contract = ModelContract.FromString(base64.b64decode(encoded))
        version = known.get(number)
        if version is None or version.contract != contract:
            version = ServableVersion.of(Servable(name, number), contract)
        versions[number] = version
    return ServedModel(name, RoutingTable(**table) if table else None, versions, message["reason"])
