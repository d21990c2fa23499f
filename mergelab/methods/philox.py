"""Random numbers that anyone can repeat: a counter goes in, random bits come out.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11) turns a
counter and a key into four 32-bit words. Nothing is remembered between calls, so entry 17 of a
tensor gets the same number on a CPU and on a GPU, in a tile and in the whole, in any order.
"""

import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
_ROUNDS = 10


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], seed: int) -> list[Tensor]:
    """Four words of random bits for each counter.

    `counter`: four int64 tensors of one shape, each holding 32-bit words; `seed`: 64 bits, the
    key. Returns four int64 tensors of that shape with values in [0, 2**32).

    Source: Salmon et al. 2011, Philox4x32 with 10 rounds.

    >>> zero = torch.zeros(1, dtype=torch.int64)
    >>> [hex(int(word)) for word in philox((zero, zero, zero, zero), seed=0)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = seed & _WORD, (seed >> 32) & _WORD
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return [c0, c1, c2, c3]


def _multiply(word: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """High and low half of a 32 x 32 bit product; int64 wraps, which leaves both halves right."""
    product = word * factor
    return (product >> 32) & _WORD, product & _WORD


def random_words(size: int, *, seed: int, stream: int, offset: int = 0, device=None) -> Tensor:
    """Words `offset` to `offset + size` of the random sequence that `(seed, stream)` names.

    Entry i is word `i % 4` of counter `(i // 4, stream)`. Returns an int64 tensor `[size]` with
    values in [0, 2**32). `seed` and `stream` are taken modulo 2**64.

    >>> whole = random_words(10, seed=1, stream=2)
    >>> bool((whole[3:7] == random_words(4, seed=1, stream=2, offset=3)).all())
    True
    """
    first, last = offset // 4, -(-(offset + size) // 4)
    block = torch.arange(first, last, dtype=torch.int64, device=device)
    fill = torch.zeros_like(block)
    words = philox(
        (block & _WORD, block >> 32, fill + (stream & _WORD), fill + ((stream >> 32) & _WORD)), seed
    )
    start = offset - 4 * first
    return torch.stack(words, dim=1).flatten()[start : start + size]
