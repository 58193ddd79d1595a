"""Requests and answers of Triton's gRPC service, as bytes.

protobuf takes 1.6 ms a megabyte to write a request, since it grows its buffer as it goes; put together by hand, as the
format allows (fields may come in any order and in parts), it is one copy. The server reads the same message.
"""

from typing import Final

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.inference.triton.model_info import IMAGE, PROBS, Served

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
"""The method that takes `request` and gives `answer`."""

_RAW: Final = pb.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number << 3 | 2  # 2: bytes follow


def request(served: Served, images: UInt8) -> bytes:
    """A request for (n, band, y, x) levels to the version of `served`."""
    head = pb.ModelInferRequest(
        model_name=served.model,
        model_version=str(served.version),
        inputs=[pb.ModelInferRequest.InferInputTensor(name=IMAGE, datatype="UINT8", shape=images.shape)],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=PROBS)],
    )
    pixels = np.ascontiguousarray(images)
    return b"".join([head.SerializeToString(), _varint(_RAW), _varint(pixels.nbytes), pixels.data.cast("B")])


def answer(served: Served, count: int, message: bytes) -> UInt8:
    """(count, *shape_out) of an answer, read-only. Raises ModelError where it is something else."""
    found = pb.ModelInferResponse.FromString(message)
    wanted = (count, *served.shape_out)
    shapes = [(one.name, one.datatype, tuple(one.shape)) for one in found.outputs]
    if shapes != [(PROBS, "UINT8", wanted)] or len(found.raw_output_contents) != 1:
        raise ModelError(f"{served.model} answered with {shapes} instead of {PROBS}, UINT8, {wanted}")
    probs: UInt8 = np.frombuffer(found.raw_output_contents[0], np.uint8).reshape(wanted)
    return probs


def _varint(number: int) -> bytes:
    """Protobuf's whole numbers: seven bits a byte, the lowest first, the high bit where more follow."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
