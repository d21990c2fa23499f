"""Compiles every Triton kernel for GPUs that need not be here, and prints a line of JSON for each.

A kernel that only the interpreter accepts fails here. The arguments are the GPUs' generations, as
90 for sm_90. A line says what was found in the assembly that would make results differ.
"""

import json
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mergelab.kernels import triton_kernels, triton_selection
from mergelab.kernels.triton_sources import RUN, SQUARE

DENSE, FACTORS, TUNED, NOTHING = range(4)
POINTERS = {
    "out": "*bf16",
    "base": "*bf16",
    "squares": "*fp64",
    "numbers": "*fp32",
    "counts": "*i32",
    "counters": "*i32",
    **dict.fromkeys(("drops", "above", "state", "wanted", "bounds", "sums"), "*i64"),
    **dict.fromkeys(("rows", "columns", "every"), "i32"),
}
FIRST = {DENSE: "*fp32", FACTORS: "*fp32", TUNED: "*bf16", NOTHING: "*fp32"}
SWITCHES = ("IN_WEIGHTS", "DROPS", "TRIMS", "ELECTS", "BY_COUNT", "UNWEIGHTED", "DIVIDES")
PLAIN = {**dict.fromkeys(SWITCHES, False), "ADDS_BASE": True, "ALIGNED": True}
TIES = {"TRIMS": True, "ELECTS": True, "DIVIDES": True}


def compiled(kernel, generation, kinds=(), types=(), **constants):
    """The machine code of a kernel for sources of these kinds."""
    types = {
        **POINTERS,
        "firsts": tuple(FIRST[kind] for kind in kinds),
        "seconds": ("*fp32",) * len(kinds),
        "ranks": ("i32",) * len(kinds),
        **dict(types),
    }
    if kinds:
        tile = SQUARE if FACTORS in kinds else RUN
        constants |= {"KINDS": kinds, "HAS_BASE": True}
        constants |= {"TILE_ROWS": tile.rows, "TILE_COLUMNS": tile.columns}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    signature = {n: "constexpr" if n in constants else types[n] for n in kernel.arg_names}
    source = ASTSource(kernel, signature, places)
    options = {"enable_fp_fusion": False, "num_warps": 8, "num_stages": 1}
    return triton.compile(source, target=GPUTarget("cuda", generation, 32), options=options)


def variants():
    """Kernels, the sources they run on, and their switches."""
    merge, gram = triton_kernels.merge_kernel, triton_kernels.gram_kernel
    digits = triton_selection.digits_kernel
    yield merge, (DENSE, NOTHING), {**PLAIN, "IN_WEIGHTS": True}
    yield merge, (FACTORS, DENSE), {**PLAIN, **TIES}
    yield merge, (TUNED,), {**PLAIN, "ELECTS": True, "BY_COUNT": True, "UNWEIGHTED": True}
    yield merge, (DENSE, DENSE), {**PLAIN, "DROPS": True}
    yield merge, (DENSE, FACTORS), {**PLAIN, **TIES, "DROPS": True, "ALIGNED": False}
    yield merge, (DENSE,) * 16, {**PLAIN, **TIES}
    yield gram, (DENSE, FACTORS, NOTHING), {"IN_WEIGHTS": False}
    yield gram, (TUNED, DENSE), {"IN_WEIGHTS": True}
    yield digits, (FACTORS,), {"ALIGNED": True, "DROPS": False, "SEARCHES": (0,), "SIDE": 256}
    yield (
        digits,
        (TUNED, DENSE),
        {"ALIGNED": True, "DROPS": True, "SEARCHES": (0, 1, 1), "SIDE": 1024},
    )
    square = {"SIDE": 1024}
    yield triton_selection.sums_kernel, (), {**square, "AT_ONCE": triton_selection.AT_ONCE}
    yield triton_selection.guess_kernel, (), {**square, "WHOLE": 11}
    yield triton_selection.narrow_kernel, (), {**square, "WHOLE": 11}


if __name__ == "__main__":
    for generation in map(int, sys.argv[1:]):
        for kernel, kinds, constants in variants():
            types = {"sums": "*fp64"} if kernel is triton_kernels.gram_kernel else {}
            code = compiled(kernel, generation, kinds, types, **constants)
            text = code.asm["ptx"]
            print(
                json.dumps(
                    {
                        "kernel": kernel.__name__,
                        "generation": generation,
                        "factors": FACTORS in kinds,
                        "machine_code": len(code.asm["cubin"]),
                        "flushes_subnormals": ".ftz" in text,
                        "divides_roughly": "div.full" in text or "div.approx" in text,
                        "joins_products_and_sums": "fma.rn.f32" in text,
                        "rounds_to_tf32": "tf32" in text,
                    }
                )
            )
