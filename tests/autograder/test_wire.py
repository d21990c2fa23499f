"""What crosses the wall: plain data arrives as it was; forged bytes are refused, never obeyed."""

import json
import socket
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autograder.sandbox.wire import (
    FRAME,
    HEADER_LIMIT,
    Closed,
    Foreign,
    Forged,
    Late,
    decode,
    encode,
    receive,
    send,
)

numbers = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)
)
keys = st.one_of(st.integers(), st.text(max_size=5), st.tuples(st.integers(), st.booleans()))
plain = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
    ),
    max_leaves=12,
)
anything = st.recursive(
    st.one_of(numbers, st.sampled_from(["tensor", "list", "dict", "foreign", "function"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(
            st.sampled_from(["tensor", "list", "tuple", "dict", "foreign", "function", "x"]),
            inner,
            max_size=2,
        ),
    ),
    max_leaves=15,
)


def across(value):
    """A value as it arrives on the other side, JSON and all."""
    data, tensors = encode(value)
    return decode(json.loads(json.dumps(data)), b"".join(tensors))


@given(plain)
def test_plain_data_arrives_as_it_was(value):
    arrived = across(value)
    assert arrived == value
    assert repr(arrived) == repr(value)  # 1 is not True, a tuple no list


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12, dtype=torch.float64).reshape(3, 4),
        torch.tensor([1.5, float("inf"), float("nan"), -0.0], dtype=torch.bfloat16),
        torch.tensor([[1.0], [2.0]], dtype=torch.float16),
        torch.zeros(0, 3),
        torch.tensor(2.5),
        torch.tensor([True, False]),
        torch.arange(5),
        torch.tensor([1 + 2j]),
        torch.arange(12.0).reshape(3, 4).t(),
        torch.arange(12.0)[::3],
    ],
    ids=lambda t: f"{t.dtype}-{list(t.shape)}",
)
def test_tensors_arrive_to_the_last_bit(tensor):
    arrived = across({"t": [tensor]})["t"][0]
    assert type(arrived) is torch.Tensor
    assert (arrived.dtype, arrived.shape) == (tensor.dtype, tensor.shape)
    as_bytes = [t.contiguous().reshape(-1).view(torch.uint8).tolist() for t in (arrived, tensor)]
    assert as_bytes[0] == as_bytes[1]


def test_a_transposed_matrix_stays_one_and_a_view_with_gaps_too():
    assert across(torch.zeros(3, 4).t()).stride() == (1, 4)
    assert not across(torch.arange(12.0).reshape(6, 2)[:, ::2]).is_contiguous()


def test_gradients_parameters_and_numpys_numbers():
    assert type(across(torch.nn.Parameter(torch.ones(2)))) is torch.nn.Parameter
    assert not across(torch.ones(2, requires_grad=True) * 2).requires_grad
    assert across([np.float32(1.5), np.bool_(True), np.int64(3)]) == [1.5, True, 3]


class Odd:
    pass


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Odd(), "Odd"),
        ({1}, "set"),
        (b"x", "bytes"),
        (np.ones(2), "ndarray"),
        (2**5000, "int"),
        ((n for n in ()), "generator"),
        (torch.ones(2).to_sparse(), "sparse_coo float32 tensor"),
        (type("x" * 500, (), {})(), "x" * 40),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_what_is_no_plain_data_arrives_as_its_types_name_and_nothing_more(value, name):
    arrived = across([value])[0]
    assert isinstance(arrived, Foreign)
    assert type(arrived).__name__ == name


def test_a_list_that_holds_itself_comes_to_an_end():
    loop: list = []
    loop.append(loop)
    arrived = across(loop)
    for _ in range(20):
        (arrived,) = arrived
    assert arrived


@given(anything, st.binary(max_size=40))
def test_forged_data_is_refused_or_plain(data, payload):
    try:
        value = decode(data, payload)
    except Forged:
        return
    assert isinstance(value, (type(None), bool, int, float, str, list, tuple, dict, Foreign)) or (
        type(value) in (torch.Tensor, torch.nn.Parameter)
    )


@pytest.mark.parametrize(
    "tensor",
    [
        ["float32", [2**39, 2**39], [1, 1], 8, False],
        ["float32", [-2], [1], 8, False],
        ["float32", [2], [-1], 8, False],
        ["float32", [2], [1], 4, False],
        ["float32", [3], [1], 12, False],
        ["object", [1], [1], 8, False],
        ["float32", [True], [1], 8, False],
        ["float32", [2.0], [1], 8, False],
        ["float32", [2], [1], 8],
        ["float32", [2] * 20, [1] * 20, 8, False],
        "float32",
    ],
)
def test_forged_tensors_are_refused(tensor):
    with pytest.raises(Forged):
        decode({"tensor": tensor}, bytes(8))


def test_strides_that_overlap_or_reach_far_are_not_taken_over():
    told = {"tensor": ["float32", [2, 2], [0, 1], 16, False]}
    assert decode(told, bytes(16)).stride() == (2, 1)
    told["tensor"][2] = [2**39, 1]
    assert decode(told, bytes(16)).stride() == (2, 1)


def test_a_byte_that_is_no_truth_value_becomes_one():
    value = decode({"tensor": ["bool", [3], [1], 3, False]}, b"\x00\x02\xff")
    assert value.tolist() == [False, True, True]
    assert value.sum().item() == 2


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_message_arrives_with_its_bytes(pair):
    send(pair[0], {"a": 1}, [b"xy", b"z"])
    assert receive(pair[1], 1) == ({"a": 1}, b"xyz")


@pytest.mark.parametrize(
    "raw",
    [
        FRAME.pack(HEADER_LIMIT + 1, 0),
        FRAME.pack(2, 2**63) + b"{}",
        FRAME.pack(3, 0) + b"[1]",
        FRAME.pack(4, 0) + b"nope",
        FRAME.pack(200_000, 0) + b"[" * 200_000,
        FRAME.pack(20_000, 0) + b'{"a":' + b"9" * 19_994 + b"}",
    ],
    ids=["header too large", "payload too large", "no dict", "no JSON", "deep", "long number"],
)
def test_forged_messages_are_refused(pair, raw):
    pair[0].sendall(raw)
    with pytest.raises(Forged):
        receive(pair[1], 1)


def test_silence_and_slow_drops_end_in_time(pair):
    with pytest.raises(Late):
        receive(pair[1], 0.05)
    pair[0].sendall(struct.pack(">I", 1))
    with pytest.raises(Late):
        receive(pair[1], 0.05)
    pair[0].close()
    with pytest.raises(Closed):
        receive(pair[1], 1)
