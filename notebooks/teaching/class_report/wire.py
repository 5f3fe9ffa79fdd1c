"""What came of a student's code, as bytes: JSON, and the raw numbers of tensors behind it. No pickle.

A frame is a head of two lengths (JSON, numbers), the JSON, the numbers. Whatever stands in a frame was
written by a process in which a student's code ran: reading it makes plain values, or raises Refused.
"""

from __future__ import annotations

import dataclasses
import json
import keyword
import math
import struct

import numpy as np
import torch

HEAD = struct.Struct("<II")
MOST, JSON = 96 * 2**20, 8 * 2**20  # bytes of a frame, and of its JSON
PARTS, DEEPEST, CLASSES = 200_000, 12, 100  # values in a frame, their nesting, dataclasses
TEXT = 20_000  # characters of a string
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}
ARRAYS = "?bBhHiIlLqQefdFD"  # NumPy's letters for what compare.plain lets through


class Refused(ValueError):
    """A frame that no honest judge inside a box writes."""


# Writing ------------------------------------------------------------------------------------------


def write(value) -> bytes:
    """A frame. Raises Refused for what has no form, or is too large."""
    numbers: list[bytes] = []
    text = json.dumps(_down(value, numbers, DEEPEST), allow_nan=False).encode()
    size = sum(map(len, numbers))
    if len(text) + size > MOST or len(text) > JSON:
        raise Refused(f"the answers take more than {MOST // 2**20} MB")
    return HEAD.pack(len(text), size) + text + b"".join(numbers)


def _down(value, numbers, deep):
    """The value in JSON; a list stands for [kind, ...]."""
    if not deep:
        raise Refused("nested too deeply")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()[:TEXT]
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else ["float", repr(value)]
    if isinstance(value, complex):
        return ["complex", repr(value.real), repr(value.imag)]
    if isinstance(value, bytes):
        numbers.append(value)
        return ["bytes", len(value)]
    if isinstance(value, torch.Tensor):
        return _tensor_down(value, numbers)
    if isinstance(value, np.ndarray):
        numbers.append(np.ascontiguousarray(value).tobytes())
        return ["array", value.dtype.char, list(value.shape), len(numbers[-1])]
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return [kind, *(_down(part, numbers, deep - 1) for part in value)]
    if isinstance(value, dict):
        pairs = ([_down(k, numbers, deep - 1), _down(v, numbers, deep - 1)] for k, v in value.items())
        return ["dict", *pairs]
    if dataclasses.is_dataclass(value):
        parts = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        pairs = ([name, _down(part, numbers, deep - 1)] for name, part in parts.items())
        return ["dataclass", type(value).__name__, *pairs]
    raise Refused(f"a {type(value).__name__} has no form here")


def _tensor_down(tensor, numbers):
    learns = bool(getattr(tensor, "learns", False))
    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta or name not in DTYPES:
        return ["meta", name if name in DTYPES else "float32", list(tensor.shape), learns]
    flat = tensor.detach().cpu().contiguous().flatten()
    numbers.append(flat.view(torch.uint8).numpy().tobytes() if len(flat) else b"")
    return ["tensor", name, list(tensor.shape), len(numbers[-1]), learns]


# Reading ------------------------------------------------------------------------------------------


def whole_length(begun: bytes) -> int | None:
    """How many bytes the frame has, of its beginning; None while the head is not whole. Raises Refused."""
    if len(begun) < HEAD.size:
        return None
    size = sum(HEAD.unpack(bytes(begun[: HEAD.size])))
    if size > MOST:
        raise Refused(f"the answers take more than {MOST // 2**20} MB")
    return HEAD.size + size


def read(frame: bytes):
    """The value in a frame. Raises Refused, whatever is wrong with it."""
    try:
        text, size = HEAD.unpack(frame[: HEAD.size])
        body = memoryview(frame)[HEAD.size :]
        if len(frame) > MOST + HEAD.size or text > JSON or len(body) != text + size:
            raise Refused("the frame is cut off, or too long")
        value = json.loads(bytes(body[:text]), parse_constant=_refuse)
        reader = _Reader(body[text:])
        found = reader.up(value, DEEPEST)
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"not readable ({type(error).__name__})") from error
    if reader.place != len(reader.numbers):
        raise Refused("numbers that belong to nothing")
    return found


def _refuse(name):
    raise Refused(f"{name} is no JSON")


class _Reader:
    def __init__(self, numbers):
        self.numbers, self.place, self.parts, self.classes = numbers, 0, 0, 0

    def up(self, value, deep):
        self.parts += 1
        if not deep or self.parts > PARTS:
            raise Refused("nested too deeply, or too many parts")
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return value if abs(value) < 2**63 else math.inf
        if isinstance(value, str):
            return value[:TEXT]
        if not isinstance(value, list) or not value or not isinstance(value[0], str):
            raise Refused("an unknown form")
        kind, *rest = value
        if kind in ("list", "tuple"):
            parts = [self.up(part, deep - 1) for part in rest]
            return parts if kind == "list" else tuple(parts)
        if kind == "dict":
            return {self._key(key, deep): self.up(part, deep - 1) for key, part in rest}
        if kind == "dataclass":
            name, *pairs = rest
            self.classes += 1
            if self.classes > CLASSES:
                raise Refused("too many dataclasses")
            parts = {self._name(key): self.up(part, deep - 1) for key, part in pairs}
            return dataclasses.make_dataclass(self._name(name), parts)(**parts)
        if kind == "float":
            return float(rest[0][:8])
        if kind == "complex":
            return complex(float(rest[0][:40]), float(rest[1][:40]))
        if kind == "bytes":
            return bytes(self._take(rest[0]))
        if kind == "tensor":
            return self._tensor(*rest)
        if kind == "array":
            return self._array(*rest)
        if kind == "meta":
            name, shape, learns = rest
            tensor = torch.empty(self._shape(shape), dtype=DTYPES[name], device="meta")
            tensor.learns = bool(learns)
            return tensor
        raise Refused("an unknown form")

    def _key(self, key, deep):
        key = self.up(key, deep - 1)
        if not isinstance(key, str | int | float | None):
            raise Refused("a key of an unknown form")
        return key

    @staticmethod
    def _name(name):
        if (
            not isinstance(name, str)
            or not name.isidentifier()
            or keyword.iskeyword(name)
            or name[:2] == "__"
        ):
            raise Refused("no name for a part")
        return name[:60]

    @staticmethod
    def _shape(shape):
        whole = isinstance(shape, list) and len(shape) <= 16
        if not whole or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise Refused("no shape")
        if math.prod(shape) >= 2**50:
            raise Refused("no shape")
        return tuple(shape)

    def _take(self, size):
        if type(size) is not int or not 0 <= size <= len(self.numbers) - self.place:
            raise Refused("numbers are missing")
        self.place += size
        return self.numbers[self.place - size : self.place]

    def _tensor(self, name, shape, size, learns):
        dtype, shape, data = DTYPES[name], self._shape(shape), self._take(size)
        if math.prod(shape) * dtype.itemsize != len(data):
            raise Refused("the numbers do not fill the shape")
        raw = torch.frombuffer(bytearray(data), dtype=torch.uint8) if len(data) else torch.empty(0)
        if not len(data):
            tensor = torch.empty(shape, dtype=dtype)
        else:
            tensor = ((raw != 0) if dtype is torch.bool else raw.view(dtype)).reshape(shape)
        tensor.learns = bool(learns)
        return tensor

    def _array(self, char, shape, size):
        shape, data = self._shape(shape), self._take(size)
        if not isinstance(char, str) or len(char) != 1 or char not in ARRAYS:
            raise Refused("an unknown array")
        dtype = np.dtype(char)
        if math.prod(shape) * dtype.itemsize != len(data):
            raise Refused("the numbers do not fill the shape")
        if char == "?":
            return (np.frombuffer(bytes(data), np.uint8) != 0).reshape(shape)
        return np.frombuffer(bytearray(data), dtype).reshape(shape)
