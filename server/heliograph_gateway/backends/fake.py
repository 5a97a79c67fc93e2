"""A backend without a model server: a function computes. For tests of whatever needs a backend."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from heliograph.contract import read_contract
from heliograph.errors import DeadlineExceededError
from heliograph.repository import Repository
from heliograph.tfserving.v1.prediction_pb2 import SignatureDef, TensorInfo
from heliograph.tfserving.v1.tensor_pb2 import DataType, TensorShapeProto
from heliograph.v1.contract_pb2 import Dtype, ModelContract
from heliograph_gateway.backends import Arrays
from heliograph_gateway.servables import Servable

Compute = Callable[[np.ndarray], np.ndarray]
"""From rows of the input [N, …] to rows of the output [N, classes]."""


class FakeBackend:
    """Holds every version of a repository; each has the signature that its contract promises."""

    def __init__(self, repository: Repository, compute: Compute) -> None:
        """Make a backend in which every version computes the same, until told otherwise."""
        self.computes: dict[Servable, Compute] = {}
        """What single versions compute instead."""
        self.found_signatures: dict[Servable, Mapping[str, SignatureDef]] = {}
        """What single versions have for signatures instead."""
        self.replicas = 1
        """Model servers that it stands for."""
        self.failures: deque[Exception] = deque()
        """Each is raised once, by the next batches."""
        self.batches: list[tuple[Servable, np.ndarray]] = []
        """Every batch that was asked for, in order."""
        self._repository = repository
        self._compute = compute
        self._loaded: dict[Servable, ModelContract] = {}
        self._running = asyncio.Event()
        self._running.set()

    def pause(self) -> None:
        """Let no batch finish until `resume`."""
        self._running.clear()

    def resume(self) -> None:
        """Let the batches finish."""
        self._running.set()

    async def predict(
        self, servable: Servable, inputs: Arrays, *, signature: str, timeout: float
    ) -> Arrays:
        """See Backend."""
        [rows] = inputs.values()
        self.batches.append((servable, rows))
        try:
            await asyncio.wait_for(self._running.wait(), timeout)
        except TimeoutError as error:
            raise DeadlineExceededError(f"{servable} took longer than {timeout:g} s") from error
        if self.failures:
            raise self.failures.popleft()
        compute = self.computes.get(servable, self._compute)
        return {self._contract(servable).output.tensor: compute(rows)}

    async def signatures(self, servable: Servable, *, timeout: float) -> Mapping[str, SignatureDef]:
        """See Backend."""
        contract = self._contract(servable)
        promised = {contract.input.signature: promised_signature(contract)}
        return self.found_signatures.get(servable, promised)

    async def close(self) -> None:
        """See Backend."""

    def _contract(self, servable: Servable) -> ModelContract:
        """Return the contract as it was when the version was first asked for: loaded is loaded."""
        if servable not in self._loaded:
            self._loaded[servable] = read_contract(self._repository.version_path(*servable))
        return self._loaded[servable]


def promised_signature(contract: ModelContract) -> SignatureDef:
    """Return the signature that a SavedModel must have to keep a contract."""
    data_type = {
        Dtype.DTYPE_UINT8: DataType.DT_UINT8,
        Dtype.DTYPE_FLOAT32: DataType.DT_FLOAT,
        Dtype.DTYPE_STRING: DataType.DT_STRING,
    }[contract.input.dtype]
    signature = SignatureDef()
    signature.inputs[contract.input.tensor].CopyFrom(_tensor(data_type, contract.input.shape))
    classes = len(contract.class_names)
    signature.outputs[contract.output.tensor].CopyFrom(_tensor(DataType.DT_FLOAT, [classes]))
    return signature


def _tensor(dtype: DataType.ValueType, shape: Iterable[int]) -> TensorInfo:
    sizes = [TensorShapeProto.Dim(size=size) for size in (-1, *shape)]
    return TensorInfo(dtype=dtype, tensor_shape=TensorShapeProto(dim=sizes))
