"""The random words are Philox4x32-10's, whatever part of the sequence is asked for."""

import naive
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods.philox import philox, random_words

# Published with Random123 (Salmon et al. 2011), file kat_vectors, "philox4x32 10":
# counter, key, result.
KNOWN_ANSWERS = [
    (
        (0x00000000, 0x00000000, 0x00000000, 0x00000000),
        (0x00000000, 0x00000000),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

words64 = st.integers(0, 2**64 - 1)


def words_of(counter, key):
    tensors = tuple(torch.tensor([word], dtype=torch.int64) for word in counter)
    return tuple(int(word) for word in philox(tensors, key[0] | key[1] << 32))


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_the_published_known_answers_come_out(counter, key, expected):
    assert words_of(counter, key) == expected


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_the_independent_reference_of_these_tests_gives_the_published_answers(
    counter, key, expected
):
    assert tuple(naive.philox(counter, key)) == expected


@given(st.tuples(*[st.integers(0, 2**32 - 1)] * 4), st.tuples(*[st.integers(0, 2**32 - 1)] * 2))
def test_any_counter_and_key_give_what_whole_number_arithmetic_gives(counter, key):
    assert words_of(counter, key) == tuple(naive.philox(counter, key))


@given(st.integers(0, 40), st.integers(0, 40), words64, words64)
def test_a_tile_of_the_sequence_is_that_part_of_the_whole(offset, size, seed, stream):
    tile = random_words(size, seed=seed, stream=stream, offset=offset)
    expected = [naive.random_word(offset + i, seed, stream) for i in range(size)]
    assert tile.tolist() == expected


def test_tiles_far_beyond_32_bits_of_counter_are_those_of_the_whole():
    offset = 4 * 2**32 + 5
    tile = random_words(6, seed=7, stream=8, offset=offset)
    assert tile.tolist() == [naive.random_word(offset + i, 7, 8) for i in range(6)]


def test_words_fill_32_bits_evenly():
    drawn = random_words(1 << 16, seed=3, stream=5)
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < 2**32
    for bit in range(32):
        ones = int((drawn >> bit & 1).sum())
        # 5 standard deviations of a fair coin thrown 65,536 times
        assert abs(ones - (1 << 15)) < 5 * (1 << 8) / 2


def test_seeds_and_streams_name_different_sequences():
    drawn = {
        tuple(random_words(8, seed=seed, stream=stream).tolist())
        for seed in (0, 1, 2**32, 2**63)
        for stream in (0, 1, 2**32, 2**63)
    }
    assert len(drawn) == 16


def test_seed_and_stream_count_modulo_64_bits():
    low = random_words(5, seed=1, stream=2**64 - 1)
    assert random_words(5, seed=1 + 2**64, stream=-1).equal(low)
