"""A process with the flags and the ModelService of `heliograph model-server`, and no TensorFlow.

What happens to a version is said by the file `behaviour` in its directory: `fail` to load, be
`slow`, or `die` with the whole process. Without one it is available at once. The file that
FAKE_MODEL_SERVER_TROUBLE names is about the start: `crash`, or be `silent` once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc

from heliograph.tfserving.v1.model_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
    ReloadConfigRequest,
    ReloadConfigResponse,
    StatusProto,
)

STATES = {"fail": ModelVersionStatus.END, "slow": ModelVersionStatus.LOADING}
states: dict[tuple[str, int], str] = {}


async def reload(request: ReloadConfigRequest, context: Any) -> ReloadConfigResponse:
    """Hold exactly the versions that the request lists."""
    wanted: dict[tuple[str, int], str] = {}
    for model in request.config.model_config_list.config:
        for version in model.model_version_policy.specific.versions:
            path = Path(model.base_path) / str(version) / "behaviour"
            wanted[model.name, version] = path.read_text() if path.exists() else ""
    states.clear()
    states.update(wanted)
    if "die" in wanted.values():
        os.abort()
    return ReloadConfigResponse()


async def status(request: GetModelStatusRequest, context: Any) -> GetModelStatusResponse:
    """Say what has become of a version."""
    spec = request.model_spec
    behaviour = states.get((spec.name, spec.version.value))
    if behaviour is None:
        await context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find version of {spec.name}")
    error = StatusProto(error_code=3, error_message="bad graph") if behaviour == "fail" else None
    return GetModelStatusResponse(
        model_version_status=[
            ModelVersionStatus(
                version=spec.version.value,
                state=STATES.get(behaviour or "", ModelVersionStatus.AVAILABLE),
                status=error,
            )
        ]
    )


async def main(flags: dict[str, str]) -> None:
    """Serve until SIGTERM."""
    trouble = Path(os.environ.get("FAKE_MODEL_SERVER_TROUBLE", os.devnull))
    if trouble.exists() and trouble.read_text() == "crash":
        sys.exit(3)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if trouble.exists() and trouble.read_text() == "silent":
        trouble.write_text("was silent")
        await stop.wait()
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "GetModelStatus": grpc.unary_unary_rpc_method_handler(
            status, GetModelStatusRequest.FromString, GetModelStatusResponse.SerializeToString
        ),
        "HandleReloadConfigRequest": grpc.unary_unary_rpc_method_handler(
            reload, ReloadConfigRequest.FromString, ReloadConfigResponse.SerializeToString
        ),
    }
    service = grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", handlers)
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"unix:{flags['grpc_socket_path']}")
    await server.start()
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    pairs = (flag.removeprefix("--").partition("=") for flag in sys.argv[1:])
    asyncio.run(main({name: value for name, _, value in pairs}))
