"""Values as checked bytes: what crosses the wall between a grader and a learner's process.

A message is a JSON header and the raw bytes of its tensors, never a pickle. Both sides use this
module; only `receive` and `decode` meet bytes that may be forged, and they accept nothing but plain
data: numbers, truth values, texts, None, tensors, and lists, tuples, dicts of these. Anything else
a function returns arrives as a `Foreign` object that has a type's name and nothing more.
"""

import json
import math
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

HEADER_LIMIT = 4_000_000
PAYLOAD_LIMIT = 256_000_000
DEPTH_LIMIT = 20
ITEM_LIMIT = 200_000
NAME_LIMIT = 40
FRAME = struct.Struct(">IQ")
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
        *(torch.complex64, torch.complex128),
    )
}


class Forged(Exception):
    """Bytes that no honest process would have sent; the words say what is wrong with them."""


class Closed(Exception):
    """The other process has ended."""


class Late(Exception):
    """The other process has not answered in time."""


class Foreign:
    """Stands for an object that is no plain data; subclasses carry its type's name."""


def encode(value: Any, offer: Callable[[Any], int] | None = None) -> tuple[Any, list[bytes]]:
    """A value as JSON data and the bytes of its tensors.

    `offer` gives a number to a callable, which the other side may then call; without it a callable
    is foreign.

    >>> encode([1, None, torch.ones(2)])[0]
    {'list': [1, None, {'tensor': ['float32', [2], [1], 8, False]}]}
    """
    payload: list[bytes] = []
    return _encode(value, payload, offer, 0), payload


def _encode(value: Any, payload: list[bytes], offer: Any, depth: int) -> Any:
    kind = type(value)
    if depth > DEPTH_LIMIT:
        return {"foreign": "deeply nested value"}
    if kind in (bool, float, str, type(None)) or (kind is int and abs(value) < 2**1024):
        return value
    if kind in (list, tuple):
        return {kind.__name__: [_encode(item, payload, offer, depth + 1) for item in value]}
    if kind is dict:
        pairs = [
            [_encode(part, payload, offer, depth + 1) for part in pair] for pair in value.items()
        ]
        return {"dict": pairs}
    if kind in (Tensor, torch.nn.Parameter):
        return _encode_tensor(value, payload)
    if issubclass(kind, np.generic):
        return _encode(value.item(), payload, offer, depth + 1)
    if offer is not None and callable(value):
        return {"function": offer(value)}
    return {"foreign": kind.__name__[:NAME_LIMIT]}


def _encode_tensor(value: Tensor, payload: list[bytes]) -> Any:
    name = str(value.dtype).removeprefix("torch.")
    if value.layout != torch.strided or value.device.type != "cpu" or name not in DTYPES:
        return {"foreign": f"{str(value.layout).removeprefix('torch.')} {name} tensor"}
    plain = value.detach().resolve_conj().resolve_neg()
    flat = plain.contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    payload.append(data)
    parameter = type(value) is torch.nn.Parameter
    return {"tensor": [name, list(plain.shape), list(plain.stride()), len(data), parameter]}


def decode(data: Any, payload: bytes, call: Callable[[int], Any] | None = None) -> Any:
    """The value that `encode` has made the data and bytes of; tensors get their strides back.

    `call` gives the function for a number that the other side has offered.

    Raises `Forged` for anything `encode` does not make.

    >>> decode({"dict": [["a", {"tuple": [1.5, "x"]}]]}, b"")
    {'a': (1.5, 'x')}
    """
    return _Decoder(payload, call).whole(data)


class _Decoder:
    def __init__(self, payload: bytes, call: Callable[[int], Any] | None) -> None:
        self.payload = memoryview(payload)
        self.call = call
        self.offset = 0
        self.items = 0

    def whole(self, data: Any) -> Any:
        value = self.value(data, 0)
        if self.offset != len(self.payload):
            raise Forged("bytes that belong to no tensor")
        return value

    def value(self, data: Any, depth: int) -> Any:
        self.items += 1
        if depth > DEPTH_LIMIT + 1 or self.items > ITEM_LIMIT:
            raise Forged("a value too deep or too large")
        if type(data) in (bool, int, float, str, type(None)):
            return data
        if type(data) is not dict or len(data) != 1:
            raise Forged("data that is no value")
        ((kind, content),) = data.items()
        if kind == "foreign" and type(content) is str:
            return type(content[:NAME_LIMIT].replace("\0", ""), (Foreign,), {})()
        if kind == "function" and type(content) is int and self.call is not None:
            return self.call(content)
        if type(content) is not list:
            raise Forged("data that is no value")
        if kind == "list":
            return [self.value(item, depth + 1) for item in content]
        if kind == "tuple":
            return tuple(self.value(item, depth + 1) for item in content)
        if kind == "dict":
            return self.mapping(content, depth)
        if kind == "tensor":
            return self.tensor(content)
        raise Forged("data of an unknown kind")

    def mapping(self, content: list[Any], depth: int) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for pair in content:
            if type(pair) is not list or len(pair) != 2:
                raise Forged("a dict that is no list of pairs")
            key = self.value(pair[0], depth + 1)
            try:
                made[key] = self.value(pair[1], depth + 1)
            except TypeError:
                raise Forged("a key that cannot be one") from None
        return made

    def tensor(self, content: list[Any]) -> Tensor:
        match content:
            case [str(name), [*shape], [*stride], int(size), bool(parameter)]:
                dtype = DTYPES.get(name)
            case _:
                raise Forged("a tensor without its shape")
        if dtype is None or len(shape) > 16 or len(shape) != len(stride):
            raise Forged("a tensor of an unknown dtype or shape")
        if any(type(n) is not int or not 0 <= n < 2**40 for n in (*shape, *stride)):
            raise Forged("a tensor of an impossible shape")
        count = math.prod(shape)
        if size != count * dtype.itemsize or self.offset + size > len(self.payload):
            raise Forged("a tensor whose bytes do not fit its shape")
        data = bytearray(self.payload[self.offset : self.offset + size])
        self.offset += size
        made = torch.frombuffer(data, dtype=dtype) if count else torch.empty(0, dtype=dtype)
        made = made.reshape(shape)
        if dtype == torch.bool:  # a byte of 2 is no truth value
            made = made.view(torch.uint8) != 0
        reach = sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1 if count else 0
        if reach <= 2 * count and list(made.stride()) != stride and _apart(shape, stride):
            made = torch.empty_strided(shape, stride, dtype=dtype).copy_(made)
        if parameter and (made.is_floating_point() or made.is_complex()):
            return torch.nn.Parameter(made)
        return made


def _apart(shape: list[int], stride: list[int]) -> bool:
    """Whether no two entries of such a tensor share a place."""
    reach = 1
    for step, extent in sorted(zip(stride, shape, strict=True)):
        if extent > 1:
            if step < reach:
                return False
            reach = step * (extent - 1) + reach
    return True


def send(connection: socket.socket, message: dict[str, Any], payload: list[bytes] = ()) -> None:
    """Send one message with its tensors' bytes.

    Raises `Closed` if nobody listens, `Late` if the connection's time is over, `ValueError` if the
    message is larger than what `receive` takes.
    """
    header = json.dumps(message).encode()
    size = sum(map(len, payload))
    if len(header) > HEADER_LIMIT or size > PAYLOAD_LIMIT:
        raise ValueError("larger than a message may be")
    try:
        connection.sendall(b"".join((FRAME.pack(len(header), size), header, *payload)))
    except TimeoutError:
        raise Late from None
    except OSError:
        raise Closed from None


def receive(
    connection: socket.socket, seconds: float | None = None
) -> tuple[dict[str, Any], bytes]:
    """The next message and the bytes of its tensors.

    `seconds` is the time for all of it, however slowly it comes. Raises `Late` after that, `Closed`
    if the other side ends, `Forged` if it is no message.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    header_size, size = FRAME.unpack(_exactly(connection, FRAME.size, deadline))
    if header_size > HEADER_LIMIT or size > PAYLOAD_LIMIT:
        raise Forged("a message that is too large")
    header = _exactly(connection, header_size, deadline)
    payload = _exactly(connection, size, deadline)
    try:
        message = json.loads(header)
    except (ValueError, RecursionError):
        raise Forged("a header that is no JSON") from None
    if type(message) is not dict:
        raise Forged("a header that is no message")
    return message, payload


def _exactly(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    pieces = []
    while size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Late
            connection.settimeout(left)
        else:
            connection.settimeout(None)
        try:
            piece = connection.recv(min(size, 1 << 20))
        except TimeoutError:
            raise Late from None
        except OSError:
            raise Closed from None
        if not piece:
            raise Closed
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
