"""How exact a merge is: the merged change held against its float64 computation.

`python tests/benchmarks/precision.py` merges two rank-16 adapters into a small random base with
seven 512 x 512 projections, for several dtypes, sizes of the adapters' changes and methods, and
writes `data/benchmarks/precision.json` and `.md`. The measure is the relative error
`|change - exact| / |exact|` (Frobenius norms over all projections), where `change` is the merged
weight as it is stored minus the base weight. Its floor is the error that one rounding of the exact
weights to the stored dtype makes: no weights of that dtype come nearer.

- mergekit: as it comes, everything in the base's dtype.
- mergekit, fp32: `dtype: float32`, `out_dtype` the base's, `--lora-merge-dtype float32`.
- PEFT: `add_weighted_adapter` with the combination of the method's name (`linear` acts on the
  factors one by one, `ties_svd` returns to rank 16), then merged into the base.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import exact
from exact import Lora, Model
from reporting import FOLDER, circumstances, save, table
from scipy.stats import t as student
from torch import Tensor

from mergelab import merge
from mergelab.zoo.shapes import DTYPES, Shape, write_models

SHAPE = Shape(512, 1, 512, 8, 8, 64, vocabulary=1200)
SIZES = (0.0025, 0.01, 0.05, 0.16)
FORMULAS = {
    "linear": exact.linear,
    "task_arithmetic": exact.task_arithmetic,
    "ties": exact.ties,
    "slerp": exact.slerp_of_task_vectors,
}
WEIGHT = {"linear": 0.5, "task_arithmetic": 1.0, "ties": 1.0, "slerp": 0.5}
COLUMNS = ("floor", "mergelab", "mergekit", "mergekit, fp32", "PEFT")

Weights = dict[str, Tensor]


def errors(folder: Path, method: str, dtype: str) -> dict[str, float]:
    """The relative error of each tool on the models in `folder`, and the floor."""
    base, adapters = Model(folder / "base"), [Lora(folder / f"adapter_{n}") for n in (1, 2)]
    names = adapters[0].names
    origin = {name: base[name].double() for name in names}
    wanted = {
        name: FORMULAS[method](origin[name], [adapter.delta(name) for adapter in adapters])
        for name in names
    }
    stored = {name: (origin[name] + wanted[name]).to(DTYPES[dtype]) for name in names}
    found = {
        "floor": stored,
        "mergelab": by_mergelab(folder, method),
        "mergekit": by_mergekit(folder, method, dtype, exactly=False),
        "mergekit, fp32": by_mergekit(folder, method, dtype, exactly=True),
    }
    if method in _PEFT:
        found["PEFT"] = by_peft(folder, method)
    whole = _norm(wanted.values())
    result = {}
    for tool, weights in found.items():
        assert {weights[name].dtype for name in names} == {DTYPES[dtype]}, tool
        apart = [weights[name].double() - origin[name] - wanted[name] for name in names]
        result[tool] = _norm(apart) / whole
    return result


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float((tensor * tensor).sum()) for tensor in tensors))


def by_mergelab(folder: Path, method: str) -> Weights:
    """Ours, in memory."""
    settings = {
        "linear": {"weight": 0.5},
        "task_arithmetic": {"weight": 1.0},
        "ties": {"density": exact.DENSITY},
        "slerp": {"t": 0.5, "space": "task_vectors"},
    }
    recipe = {
        "merge_method": method,
        "base_model": str(folder / "base"),
        "models": [{"model": str(folder / f"adapter_{n}")} for n in (1, 2)],
        "parameters": settings[method],
    }
    return merge(recipe).tensors


def by_mergekit(folder: Path, method: str, dtype: str, *, exactly: bool) -> Weights:
    """mergekit's own run on the same files; `exactly` asks it to compute in fp32 throughout."""
    from mergekit.config import MergeConfiguration
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    base = folder / "base"
    own: dict[str, float] = {"weight": WEIGHT[method]}
    if method == "ties":
        own["density"] = exact.DENSITY
    recipe = {
        "merge_method": "nuslerp" if method == "slerp" else method,
        "models": [
            {"model": f"{base}+{folder / f'adapter_{n}'}", "parameters": own} for n in (1, 2)
        ],
        "dtype": "float32" if exactly else dtype,
        "out_dtype": dtype,
    }
    if method != "linear":
        recipe["base_model"] = str(base)
    LoaderCache.loaders.clear()  # it would hand out the copies of an earlier run
    with tempfile.TemporaryDirectory() as out:
        options = MergeOptions(
            lora_merge_cache=str(folder / f"loras_{exactly}"),
            lora_merge_dtype="float32" if exactly else None,
            write_model_card=False,
            copy_tokenizer=False,
            quiet=True,
        )
        run_merge(MergeConfiguration.model_validate(recipe), out, options)
        merged = Model(Path(out))
        return {name: merged[name] for name in merged.names}


_PEFT: dict[str, dict[str, object]] = {
    "linear": {"combination_type": "linear"},
    "task_arithmetic": {"combination_type": "linear"},
    "ties": {"combination_type": "ties_svd", "density": exact.DENSITY},
}


def by_peft(folder: Path, method: str) -> Weights:
    """PEFT's combination of the two adapters, merged into the base in its dtype."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype="auto")
    model = PeftModel.from_pretrained(base, folder / "adapter_1", adapter_name="first")
    model.load_adapter(folder / "adapter_2", adapter_name="second")
    weights = [WEIGHT[method]] * 2
    model.add_weighted_adapter(["first", "second"], weights, "merged", **_PEFT[method])
    return dict(model.merge_and_unload(adapter_names=["merged"]).state_dict())


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean of the seeds' values with its 95% interval (Student's).

    >>> {key: round(value, 3) for key, value in interval([1.0, 2.0, 3.0]).items()}
    {'mean': 2.0, 'low': -0.484, 'high': 4.484}
    """
    mean = statistics.fmean(values)
    error = statistics.stdev(values) / math.sqrt(len(values))
    half = float(student.ppf(0.975, len(values) - 1)) * error
    return {"mean": mean, "low": mean - half, "high": mean + half}


def measured(seeds: int, report: Callable[[str], None]) -> list[dict[str, object]]:
    """One row for each dtype, size and method: the intervals of every tool's error."""
    rows = []
    for dtype in DTYPES:
        for size in SIZES:
            found: dict[str, list[dict[str, float]]] = {method: [] for method in FORMULAS}
            for seed in range(seeds):
                with tempfile.TemporaryDirectory() as temporary:
                    folder = Path(temporary) / "models"
                    write_models(SHAPE, folder, size=size, dtype=DTYPES[dtype], seed=seed)
                    for method in FORMULAS:
                        found[method].append(errors(folder, method, dtype))
            report(f"{dtype}, |change| / |weight| {size:.2%}: done")
            for method, each in found.items():
                intervals = {tool: interval([one[tool] for one in each]) for tool in each[0]}
                rows.append({"dtype": dtype, "size": size, "method": method, "errors": intervals})
    return rows


def markdown(rows: Sequence[dict], seeds: int) -> list[str]:
    """The paragraphs and tables of the report, one table for each dtype."""
    parts = [
        "Relative error of the merged change, `|change - exact| / |exact|`: mean of "
        f"{seeds} seeds ± half the width of its 95% interval. Floor: the error of one rounding of "
        "the exact weights to the stored dtype. mergekit, fp32: told to compute everything in "
        "fp32. PEFT: `add_weighted_adapter`, `linear` on the factors, `ties_svd` at rank 16, "
        "which compute something else than the method does on whole changes. Base: seven random "
        "512 x 512 projections; two LoRA adapters of rank 16 with fp32 factors; ties at density "
        f"{exact.DENSITY}; slerp half way between the changes (mergekit: nuslerp)."
    ]
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        cells = [
            [row["method"], f"{row['size']:.2%}", *(_cell(row["errors"].get(c)) for c in COLUMNS)]
            for row in rows
            if row["dtype"] == dtype
        ]
        header = ["method", "size of a change", *COLUMNS]
        parts += [f"## Base in {dtype}", table(header, cells)]
    return parts


def _cell(found: dict[str, float] | None) -> str:
    """An error as text: in per cent, or as a power of ten where it is tiny.

    >>> _cell({"mean": 0.1234, "low": 0.1204, "high": 0.1264})
    '12 ± 0.3 %'
    >>> _cell({"mean": 1.4e-5, "low": 1.3e-5, "high": 1.5e-5})
    '1.4e-05 ± 1e-06'
    """
    if found is None:
        return ""
    mean, half = found["mean"], (found["high"] - found["low"]) / 2
    if mean < 1e-4:
        return f"{mean:.1e} ± {half:.0e}"
    digits = max(0, 1 - math.floor(math.log10(100 * mean)))
    return f"{100 * mean:.{digits}f} ± {100 * half:.1g} %"


def main() -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description="Measure how exact merges are.")
    parser.add_argument("--seeds", type=int, default=5, help="how many random models (5)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the table")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error(f"--seeds {options.seeds}: an interval needs at least 2")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    about = circumstances(f"python tests/benchmarks/precision.py --seeds {options.seeds}")
    rows = measured(options.seeds, lambda line: print(line, file=sys.stderr, flush=True))
    parts = markdown(rows, options.seeds)
    save(options.out, "precision", "Precision of merged changes", about, {"rows": rows}, parts)
    print("\n\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
