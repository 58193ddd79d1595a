"""Wire format of Triton's gRPC service: encoding of requests and decoding of responses as bytes.

protobuf needs 1.6 ms per megabyte to serialize a request, because it grows its buffer step by step. Joining the parts
by hand needs a single copy; protobuf allows fields in any order and in parts. The server receives the same message.
"""

from typing import Final

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.inference.triton.model_info import INPUT_NAME, OUTPUT_NAME, ServedModelInfo

INFER_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
"""gRPC method whose request and response this module encodes and decodes."""

_RAW_INPUT_TAG: Final = pb.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number << 3 | 2
"""protobuf tag of the pixels: field number and wire type 2 (length-delimited bytes)."""


def encode_request(info: ServedModelInfo, images: UInt8) -> bytes:
    """Encode a request for uint8 levels (n, band, y, x) to the pinned version of a model."""
    header = pb.ModelInferRequest(
        model_name=info.model,
        model_version=str(info.version),
        inputs=[pb.ModelInferRequest.InferInputTensor(name=INPUT_NAME, datatype="UINT8", shape=images.shape)],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=OUTPUT_NAME)],
    )
    pixels = np.ascontiguousarray(images)
    size = _encode_varint(pixels.nbytes)
    return b"".join([header.SerializeToString(), _encode_varint(_RAW_INPUT_TAG), size, pixels.data.cast("B")])


def decode_response(info: ServedModelInfo, count: int, message: bytes) -> UInt8:
    """Decode a response to `count` images.

    Returns:
        Read-only uint8 probabilities (count, *info.output_shape).

    Raises:
        ModelError: If name, type or shape of the output is wrong.
    """
    response = pb.ModelInferResponse.FromString(message)
    wanted = (count, *info.output_shape)
    shapes = [(output.name, output.datatype, tuple(output.shape)) for output in response.outputs]
    if shapes != [(OUTPUT_NAME, "UINT8", wanted)] or len(response.raw_output_contents) != 1:
        raise ModelError(
            f"Unexpected response of model {info.model}: {shapes}, expected {OUTPUT_NAME}, UINT8, {wanted}; "
            "start the server with `s2ops serve` of the same s2ops version."
        )
    probs: UInt8 = np.frombuffer(response.raw_output_contents[0], np.uint8).reshape(wanted)
    return probs


def _encode_varint(number: int) -> bytes:
    """Encode an integer as a protobuf varint: 7 bits per byte, lowest first, high bit set if more bytes follow."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
