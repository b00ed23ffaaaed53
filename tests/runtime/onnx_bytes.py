"""ONNX files written by hand, byte by byte (protobuf wire format), so that tests need no ``onnx`` package."""

import numpy as np
import numpy.typing as npt

_FLOAT = 1


def model(
    nodes: list[bytes],
    *,
    constants: dict[str, npt.NDArray[np.float32]] | None = None,
    inputs: tuple[str, ...] = ("x",),
    **shapes: tuple[int | None, ...],
) -> bytes:
    """A file with these nodes; ``shapes`` are its inputs and outputs by name, all of floats."""
    graph = b"".join(_message(1, n) for n in nodes) + _message(2, b"test")
    graph += b"".join(_message(5, _tensor(name, value)) for name, value in (constants or {}).items())
    for name, shape in shapes.items():
        graph += _message(11 if name in inputs else 12, _value_info(name, shape))
    opset = _message(8, _varint_field(2, 13))
    return _varint_field(1, 7) + _message(7, graph) + opset


def node(kind: str, inputs: list[str], outputs: list[str]) -> bytes:
    """A node without attributes."""
    content = b"".join(_message(1, name.encode()) for name in inputs)
    content += b"".join(_message(2, name.encode()) for name in outputs)
    return content + _message(4, kind.encode())


def _tensor(name: str, value: npt.NDArray[np.float32]) -> bytes:
    dims = b"".join(_varint_field(1, size) for size in value.shape)
    return dims + _varint_field(2, _FLOAT) + _message(8, name.encode()) + _message(9, value.astype("<f4").tobytes())


def _value_info(name: str, shape: tuple[int | None, ...]) -> bytes:
    dims = b"".join(_message(1, _message(2, b"free") if size is None else _varint_field(1, size)) for size in shape)
    tensor_type = _varint_field(1, _FLOAT) + _message(2, dims)
    return _message(1, name.encode()) + _message(2, _message(1, tensor_type))


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint_field(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
