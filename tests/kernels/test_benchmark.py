"""`mergelab bench kernels` checks before it times, counts bytes right, and compares like with like.

`make test` runs Triton's kernels in its interpreter; `pytest -m gpu tests/kernels` on a GPU.
"""

import math
import os
from itertools import pairwise

import naive
import numpy as np
import pytest
import torch

from mergelab.benchmarks import checking, kernels
from mergelab.benchmarks.cases import (
    KERNELS,
    KINDS,
    METHODS,
    Kernel,
    bytes_moved,
    merge_of,
    random_tensors,
)
from mergelab.benchmarks.checking import WrongResult, check
from mergelab.benchmarks.kernels import Setting, checked_merge, merged_into, time_kernels
from mergelab.benchmarks.reference import Reference
from mergelab.benchmarks.stopwatch import Copy, Stopwatch
from mergelab.benchmarks.whole_model import time_model
from mergelab.kernels import choose, cpu_merge, open_merge
from mergelab.kernels.operands import LowRank, dense

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ONE_OF_EACH = [
    Kernel(method + " of weights" * joined, method, in_weights=joined)
    for method in METHODS
    for joined in ((False, True) if method == "slerp" else (False,))
]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def triton_device(request):
    """Where Triton's kernels run: in the interpreter, or on a GPU."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    assert interpreted == (request.param == "cpu"), "Triton was set up for the other device"
    return request.param


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_what_is_right_passes_the_check(kind, backend):
    for dtype in DTYPES:
        for sources in (1, 2, 3):
            tensors = random_tensors(kind, (37, 29), sources, dtype=dtype, rank=5)
            for kernel in ONE_OF_EACH:
                if kernel.method != "slerp" or sources == 2:
                    checked = checked_merge(merge_of(kernel, tensors, choose(backend)), "it")
                    assert 0 < checked.error <= (2 if dtype == torch.float32 else 0.5001)
                    assert checked.unsure <= (5 if kind == "factors" or sources > 2 else 0)


def test_tritons_kernels_are_checked_and_timed(triton_device, monkeypatch):
    monkeypatch.setattr(kernels, "WARM_UP", 0)
    backend = choose("triton", device=triton_device)
    setting = Setting((6, 20), torch.bfloat16, 2, 3, triton_device, backend, repeats=1)
    timings = time_kernels(setting, ["slerp", "ties", "dare_linear"])
    assert all(timing.fused and timing.fraction > 0 for timing in timings)
    assert [timing.kind for timing in timings] == ["dense"] * 8 + ["factors"] * 8


def values(operand):
    return dense(operand).double().flatten().tolist()


def test_the_reference_is_that_of_plain_loops():
    tensors = random_tensors("dense", (7, 9), 2)
    one, other = map(values, tensors.changes)
    merges = {k.name: merge_of(k, tensors, choose("torch")) for k in ONE_OF_EACH}

    def made(name):
        return Reference(merges[name]).rows(0, 7).change.flatten().tolist()

    assert made("ties") == pytest.approx(naive.ties([one, other], [0.5, 0.5], [1.0, 0.5]))
    total = naive.weighted_sum([one, other], [1.0, 0.5])
    assert made("linear") == pytest.approx([x / 1.5 for x in total])
    assert made("task_arithmetic") == pytest.approx([0.75 * x for x in total])
    on_arc = naive.slerp(np.array(one), np.array(other), 0.25)
    assert made("slerp") == pytest.approx(on_arc.tolist())

    def dropped(change, stream):
        kept = [naive.random_word(i, 0, stream) < 2**31 for i in range(len(change))]
        return [2 * x if keep else 0.0 for x, keep in zip(change, kept, strict=True)]

    left = [dropped(one, 0), dropped(other, 1)]
    assert made("dare_linear") == pytest.approx(naive.weighted_sum(left, [1.0, 0.5]))
    assert made("dare_ties") == pytest.approx(naive.ties(left, [1.0, 1.0], [1.0, 0.5]))


def test_the_bytes_that_must_move_are_those_counted_by_hand():
    dense_ones = random_tensors("dense", (3, 5), 2, dtype=torch.float16)
    # base 15 * 2 = 30, two sources 60, output 30
    expected = {
        "linear": 120,
        "slerp, inner products": 60,
        "slerp of weights, inner products": 90,
        "ties, thresholds": 60,
        "ties, thresholds given": 120,
        "ties": 120,
        "dare_ties": 120,
    }
    found = {kernel.name: bytes_moved(kernel, dense_ones) for kernel in KERNELS}
    assert found.items() >= expected.items()
    factored = random_tensors("factors", (3, 5), 3, dtype=torch.float16, rank=2)
    # each source (3 + 5) * 2 * 4 = 64 in fp32, base and output 60
    found = {kernel.name: bytes_moved(kernel, factored) for kernel in KERNELS}
    assert found["ties"] == 3 * 64 + 60
    assert found["ties, thresholds"] == 3 * 64


class Counting:
    """A stopwatch without a clock: a copy takes one second, anything else four."""

    order: list

    def __init__(self, device):
        Counting.order = []

    def seconds(self, work):
        work()
        self.order.append(work)
        return 1.0 if isinstance(work, Copy) else 4.0


def test_a_rate_is_a_fraction_of_the_copies_made_in_turns_with_it(monkeypatch):
    monkeypatch.setattr(kernels, "Stopwatch", Counting)
    setting = Setting((16, 8), torch.bfloat16, backend=choose("cpu"), repeats=3)
    by_name = {(t.kernel, t.kind): t for t in time_kernels(setting, ["linear", "ties"])}
    assert len(by_name) == 8
    for (name, _), timing in by_name.items():
        assert timing.copied == timing.bytes
        assert timing.fraction == (0.125 if name == "ties" else 0.25)  # "ties" is both its passes
        assert timing.seconds == ((8.0 if name == "ties" else 4.0),) * 3
        assert timing.copy_seconds == (1.0,) * 3
    copies = [i for i, work in enumerate(Counting.order) if isinstance(work, Copy)]
    # One copy after each run, of one pass or two, the two that warm up included.
    assert {b - a for a, b in pairwise(copies)} == {2, 3}
    assert len(copies) == 8 * (2 + 3)


def test_a_copy_moves_as_many_bytes_as_it_says():
    copy = Copy(4096, "cpu")
    copy()
    assert copy.moved == copy._source.nbytes + copy._target.nbytes == 4096
    assert copy._target.all()


def test_the_stopwatch_waits_for_the_end_of_the_work(triton_device):
    def work():
        x = torch.ones(512, 512, device=triton_device)
        for _ in range(20):
            x = x @ x

    watch = Stopwatch(triton_device)
    work()
    assert watch.seconds(work) > 5 * watch.seconds(lambda: None) > 0


def off_by_two_ulps(merge_run):
    def wrong(deltas, base, offset, how, value, bits, counts):
        square = merge_run(deltas, base, offset, how, value, bits, counts)
        bits[3] += 2
        return square

    return wrong


def ten_more_conflicts(merge_run):
    def wrong(*arguments):
        arguments[-1][-2] += 10
        return merge_run(*arguments)

    return wrong


def one_not_written(merge_run):
    def wrong(deltas, base, offset, how, value, bits, counts):
        square = merge_run(deltas, base, offset, how, value, bits, counts)
        bits[-1] = 0x7FC0  # NaN
        return square

    return wrong


def squared_twice(merge_run):
    return lambda *arguments: 1.001 * merge_run(*arguments)


def next_larger(magnitude_at):
    return lambda *arguments: float(np.nextafter(np.float32(magnitude_at(*arguments)), np.inf))


def one_product_larger(gram_run):
    def wrong(deltas, base, sums):
        gram_run(deltas, base, sums)
        sums[1, 0] *= 1.0001

    return wrong


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "method, in_weights, loop, wrong, complaint",
    [
        ("linear", False, "merge_run", off_by_two_ulps, "weights are off by"),
        ("dare_ties", False, "merge_run", off_by_two_ulps, "weights are off by"),
        ("ties", False, "merge_run", one_not_written, "weights are off by nan ulp, 1 is allowed"),
        ("ties", False, "merge_run", ten_more_conflicts, "how many entries conflict is"),
        ("linear", False, "merge_run", squared_twice, "the square of the change is"),
        ("slerp", True, "gram_run", one_product_larger, "(weights are|the square|an inner)"),
    ],
)
def test_a_wrong_kernel_is_found(monkeypatch, kind, method, in_weights, loop, wrong, complaint):
    tensors = random_tensors(kind, (40, 25), 2, dtype=torch.bfloat16, rank=3)
    merge = merge_of(Kernel(method, method, in_weights=in_weights), tensors, choose("cpu"))
    checked_merge(merge, "it")
    monkeypatch.setattr(cpu_merge, loop, wrong(getattr(cpu_merge, loop)))
    with pytest.raises(WrongResult, match=f"^it, backend cpu: {complaint}"):
        checked_merge(merge, "it")


def test_a_threshold_that_misses_one_entry_is_found(monkeypatch):
    tensors = random_tensors("dense", (40, 25), 2)
    merge = merge_of(Kernel("ties", "ties"), tensors, choose("cpu"))
    monkeypatch.setattr(cpu_merge, "magnitude_at", next_larger(cpu_merge.magnitude_at))
    with pytest.raises(WrongResult):
        checked_merge(merge, "it")


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_error_is_measured_in_units_of_the_last_place(dtype):
    """One entry moved by what is 0.9 or 1.1 ulp of it, or by 1.9 or 2.1 of the largest error."""
    tensors = random_tensors("dense", (8, 8), 2, dtype=dtype)
    merge = merge_of(Kernel("linear", "linear"), tensors, choose("cpu"))
    run = open_merge(merge, dtype)
    made = merged_into(run, torch.zeros(8, 8, dtype=dtype)).clone()
    exact = Reference(merge).rows(0, 8).weights

    class Pretended:
        """Weights that say they are of `dtype` and are not rounded to it."""

        def __init__(self, factor):
            self.dtype, self.values = dtype, made.double()
            size = abs(float(exact[2, 3]))
            unit = 2.0 ** math.floor(math.log2(size)) * torch.finfo(dtype).eps
            if dtype == torch.float32:
                unit = float((made.double() - exact).abs().max())
            self.values[2, 3] = exact[2, 3] + factor * unit

        def __getitem__(self, rows):
            return self.values[rows]

        def numel(self):
            return self.values.numel()

    most = 2.0 if dtype == torch.float32 else 1.0
    assert check(run, Pretended(most - 0.1), merge).error == pytest.approx(most - 0.1, rel=1e-2)
    with pytest.raises(WrongResult, match=f"{most:g} is allowed"):
        check(run, Pretended(most + 0.1), merge)


def test_where_nearly_every_entry_may_fall_on_either_side_nothing_is_said(monkeypatch):
    tensors = random_tensors("factors", (20, 30), 2, dtype=torch.bfloat16, rank=2)
    merge = merge_of(Kernel("ties", "ties"), tensors, choose("cpu"))
    monkeypatch.setattr("mergelab.benchmarks.reference.ROUNDING", 0.01)
    with pytest.raises(WrongResult, match="entries are too near to tell"):
        checked_merge(merge, "it")


def test_only_entries_next_to_a_threshold_or_a_draw_may_fall_on_either_side():
    tensors = random_tensors("factors", (60, 50), 2, rank=4)
    merge = merge_of(Kernel("ties", "ties"), tensors, choose("cpu"))
    wide = Reference(merge)
    largest = checking._largest_margins(wide)
    exact = [c.b.double() @ c.a.double() for c in merge.changes if isinstance(c, LowRank)]
    made = [c.b @ c.a for c in merge.changes]
    for right, rounded, margin in zip(exact, made, wide.margins(0, 60), strict=True):
        assert bool(((rounded - right).abs() <= margin).all())
    unsure = checking._unsure(wide, wide.rows(0, 60), wide.margins(0, 60), largest)
    # The two that the thresholds are taken from are surely among them, and hardly any other.
    assert 2 <= int(unsure.sum()) <= 8


def test_a_model_is_timed_matrix_by_matrix_beside_a_copy_of_its_base(monkeypatch):
    monkeypatch.setattr("mergelab.benchmarks.whole_model.Stopwatch", Counting)
    setting = Setting((1, 1), torch.bfloat16, rank=4, backend=choose("cpu"), repeats=2)
    timing = time_model("tiny", setting)
    assert timing.matrices == 2 * 7
    # A layer: 64 x 64 twice, 32 x 64 twice, 96 x 64 three times.
    assert timing.merged_values == 2 * 30720
    # Beside them 1200 x 64 embeddings, five norms of 64; two bytes each.
    assert timing.base_bytes == 2 * (2 * 30720 + 76800 + 5 * 64)
    assert timing.seconds == (14 * 8.0,) * 2  # thresholds and merge pass
    assert timing.copy_seconds == (14 * 4.0,) * 2
    assert timing.rest_seconds == (6 * 1.0,) * 2
    assert timing.ratio == 2.0
    assert timing.whole_ratio == (112 + 6) / (56 + 6)
    assert timing.fused


def test_a_wrong_matrix_of_a_model_is_found_before_any_time(monkeypatch):
    monkeypatch.setattr(cpu_merge, "merge_run", off_by_two_ulps(cpu_merge.merge_run))
    setting = Setting((1, 1), torch.bfloat16, rank=4, backend=choose("cpu"), repeats=1)
    with pytest.raises(WrongResult, match=r"^ties of a matrix of 64 x 64, backend cpu"):
        time_model("tiny", setting)
