"""Messages and images with random damage: an answer or a refusal, never a fault of ours."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import grpc
import pytest

from heliograph.v1.classifier_pb2 import BatchClassifyRequest, Image

if TYPE_CHECKING:
    from tests.contract.gateway.conftest import RunningGateway

ROUNDS = 400
EXPECTED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


def damage(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat or insert a few bytes."""
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(damaged) or 1)
        match chance.randrange(4):
            case 0 if damaged:
                damaged[place] ^= 1 << chance.randrange(8)
            case 1:
                del damaged[place : place + chance.randint(1, 20)]
            case 2:
                damaged[place:place] = damaged[place : place + chance.randint(1, 20)]
            case _:
                damaged[place:place] = chance.randbytes(chance.randint(1, 8))
    return bytes(damaged)


async def outcome(method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes], message: bytes) -> str:
    try:
        await method(message, timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("method", ["Classify", "BatchClassify"])
async def test_a_damaged_message_is_answered_or_refused(
    method: str, file_format: str, gateway: RunningGateway
) -> None:
    chance = random.Random(7)
    image = Image(encoded=gateway.brightness.image(width=40, height=30, file_format=file_format))
    request = gateway.request(image.encoded, name="brightness", version=1).SerializeToString()
    if method == "BatchClassify":
        request = BatchClassifyRequest(images=[image] * 3).SerializeToString()

    outcomes = {await outcome(gateway.raw(method), damage(request, chance)) for _ in range(ROUNDS)}

    assert outcomes <= EXPECTED
    assert "INVALID_ARGUMENT" in outcomes
    assert await outcome(gateway.raw(method), request) == "OK"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
async def test_a_damaged_image_is_answered_or_refused(
    file_format: str, gateway: RunningGateway
) -> None:
    chance = random.Random(8)
    good = gateway.brightness.image(width=40, height=30, file_format=file_format)
    images = [Image(encoded=damage(good, chance)) for _ in range(200)]

    response = await gateway.stub.BatchClassify(BatchClassifyRequest(images=images))

    codes = {result.error.code for result in response.results if result.HasField("error")}
    assert codes == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}
    assert len(response.results) == 200
