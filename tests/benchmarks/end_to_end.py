"""What a merge costs from start to end: ours, mergekit's, and a plain copy, in one run.

`python tests/benchmarks/end_to_end.py` merges two rank-16 adapters into a base of a real shape
with random weights, by several methods, each time in a fresh process, and writes
`data/benchmarks/end_to_end_1b.json` and `.md`. A ratio is given only where the outputs agree
(`agreement.py`). `--shapes 1b,3b --ours-only` says how our memory grows with the model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agreement import compare
from costs import GB, MERGEKIT, OURS, Cost, growth, markdown, ratios
from measuring import Measurement, measure, size_of
from reporting import FOLDER, circumstances, save

import mergelab
from mergelab.zoo.shapes import SHAPES, write_models

METHODS = ("ties", "linear", "dare_ties", "slerp")
_ADAPTERS = ("adapter_1", "adapter_2")


def our_recipe(method: str) -> dict[str, object]:
    """The recipe for `mergelab merge`: adapters as bare folders."""
    settings = {
        "ties": {"density": 0.5},
        "linear": {"weight": 0.5},
        "dare_ties": {"density": 0.5},
        "slerp": {"t": 0.5, "space": "weights"},
    }
    return {
        "merge_method": method,
        "base_model": "base",
        "models": [{"model": name} for name in _ADAPTERS],
        "parameters": settings[method],
        "dtype": "bfloat16",
    }


def mergekit_recipe(method: str) -> dict[str, object]:
    """The same merge in mergekit's form: adapters as `base+adapter`.

    Its dare_ties adds up what agrees unless told to normalize; ours takes the mean.
    """
    own = {
        "ties": {"weight": 1.0, "density": 0.5},
        "linear": {"weight": 0.5},
        "dare_ties": {"weight": 1.0, "density": 0.5},
        "slerp": {},
    }
    names = [f"base+{name}" for name in _ADAPTERS]
    recipe: dict[str, object] = {
        "merge_method": method,
        "models": [{"model": name, "parameters": own[method]} for name in names],
        "dtype": "bfloat16",
    }
    if method == "slerp":
        recipe |= {"base_model": names[0], "parameters": {"t": 0.5}}
    elif method != "linear":
        recipe["base_model"] = "base"
    if method == "dare_ties":
        recipe["parameters"] = {"normalize": True}
    return recipe


class Bench:
    """Measures in the folder `work`, where the models stay and outputs come and go."""

    def __init__(self, work: Path, layers: int | None, repeats: int) -> None:
        self.work, self.layers, self.repeats = work, layers, repeats

    def shape(self, shape: str, methods: Sequence[str], with_mergekit: bool) -> list[dict]:
        """One result for each method: costs, agreement, and ratios where they may be given."""
        models = self._models(shape)
        # At most the outputs of both and mergekit's two full copies lie there at once.
        self._check_disk(models, 4.5 if with_mergekit else 1.5)
        copy = self._copy(self.work / "run_copy", models)
        return [self._method(shape, name, models, copy, with_mergekit) for name in methods]

    def _method(
        self, shape: str, method: str, models: Path, copy: Cost, with_mergekit: bool
    ) -> dict:
        runs = {tool: self.work / f"run_{tool}" for tool in (OURS, MERGEKIT)}
        costs = {"copy": copy, OURS: self._ours(method, runs[OURS], models)}
        outputs = [runs[OURS] / "out"]
        if with_mergekit:
            costs[MERGEKIT] = self._mergekit(method, runs[MERGEKIT], models)
            outputs.append(runs[MERGEKIT] / "out")
        say(f"{shape} {method}: comparing the outputs")
        agreement = compare(method, models, *outputs)
        for folder in runs.values():
            shutil.rmtree(folder, ignore_errors=True)
        return {
            "shape": shape,
            "method": method,
            "costs": costs,
            "agreement": agreement,
            "ratios": ratios(costs) if agreement["agree"] else None,
            "recipes": {OURS: our_recipe(method), MERGEKIT: mergekit_recipe(method)},
        }

    def _copy(self, run: Path, models: Path) -> Cost:
        script = 'cp -r base "$0" && sync "$0"/*'
        runs = self._runs(["sh", "-c", script, str(run / "out")], run, models)
        shutil.rmtree(run)
        return Cost("cp -r base OUT && sync OUT/*", runs)

    def _ours(self, method: str, run: Path, models: Path) -> Cost:
        recipe = self._recipe(our_recipe(method), OURS)
        command = [tool("mergelab"), "merge", str(recipe), str(run / "out")]
        return Cost("mergelab merge RECIPE OUT", self._runs(command, run, models))

    def _mergekit(self, method: str, run: Path, models: Path) -> Cost:
        recipe = self._recipe(mergekit_recipe(method), MERGEKIT)
        flags = ["--no-cuda", "--lazy-unpickle", "--random-seed", "0", "--quiet"]
        flags.append("--no-write-model-card")  # the card would look the models up on the network
        command = [tool("mergekit-yaml"), str(recipe), str(run / "out"), *flags]
        command += ["--lora-merge-cache", str(run / "scratch" / "loras")]
        text = f"mergekit-yaml RECIPE OUT {' '.join(flags)} --lora-merge-cache CACHE"
        return Cost(text, self._runs(command, run, models, repeats=1))

    def _runs(
        self, command: list[str], run: Path, models: Path, repeats: int | None = None
    ) -> list[Measurement]:
        runs = []
        for number in range(repeats or self.repeats):
            runs.append(measure(command, run, models))
            last, name = runs[-1], Path(command[0]).name
            say(f"{name}, run {number + 1}: {last.seconds:.1f} s, {last.peak_bytes / GB:.2f} GB")
        return runs

    def _recipe(self, recipe: dict[str, object], who: str) -> Path:
        path = self.work / f"{who}.yaml"
        path.write_text(json.dumps(recipe, indent=1), "utf-8")  # JSON is YAML
        return path

    def _models(self, shape: str) -> Path:
        models = self.work / "models" / f"{shape}_{self.layers or 'all'}"
        if not models.exists():
            say(f"writing random weights of shape {shape}")
            sizes = SHAPES[shape]
            write_models(replace(sizes, layers=self.layers or sizes.layers), models)
        return models

    def _check_disk(self, models: Path, outputs: float) -> None:
        needed = outputs * size_of(models / "base")
        free = shutil.disk_usage(self.work).free
        if free < needed:
            raise SystemExit(
                f"{self.work}: {needed / GB:.0f} GB needed, {free / GB:.0f} GB free; "
                "name another folder with --work"
            )


def tool(name: str) -> str:
    """The command of that name that belongs to this Python."""
    return str(Path(sys.executable).with_name(name))


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Run what the command line asks for; return 1 where outputs that should agree do not."""
    parser = argparse.ArgumentParser(description="Measure merges from start to end.")
    parser.add_argument("--shapes", default="1b", help="which, such as 1b,3b (1b)")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"({','.join(METHODS)})")
    parser.add_argument("--layers", type=int, help="only so many layers of a shape, to try it out")
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours and of the copy (3)")
    parser.add_argument("--ours-only", action="store_true", help="leave mergekit out")
    parser.add_argument("--work", type=Path, help="folder for models and outputs (temporary)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the tables")
    options = parser.parse_args()
    for what, known in (("shapes", tuple(SHAPES)), ("methods", METHODS)):
        for name in getattr(options, what).split(","):
            if name not in known:
                parser.error(f"--{what}: {name} is not one of {', '.join(known)}")
    if options.repeats < 1 or (options.layers is not None and options.layers < 1):
        parser.error("--repeats and --layers: at least 1")
    # A polite end, by which the command that is measured ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # The command shall use the package that is imported here, whatever else is installed.
    os.environ["PYTHONPATH"] = str(Path(mergelab.__file__).parents[1])
    about = circumstances(_command(options))
    with tempfile.TemporaryDirectory(prefix="end_to_end_") as temporary:
        work = (options.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(work, options.layers, options.repeats)
        results = []
        for shape in options.shapes.split(","):
            results += bench.shape(shape, options.methods.split(","), not options.ours_only)
            if options.work is None:
                shutil.rmtree(work / "models")
    parts = markdown(results)
    plain = [
        result | {"costs": {name: cost.to_dict() for name, cost in result["costs"].items()}}
        for result in results
    ]
    name = "_".join(["end_to_end", *options.shapes.split(",")])
    title = f"End to end: {options.shapes.replace(',', ', ')}"
    if options.layers:
        name += f"_{options.layers}_layers"
        title += f", {options.layers} layers only"
    save(options.out, name, title, about, {"results": plain, "growth": growth(results)}, parts)
    print("\n\n".join(parts))
    return 0 if all(result["agreement"]["agree"] for result in results) else 1


def _command(options: argparse.Namespace) -> str:
    """The command that repeats this, without the folders of this machine."""
    words = ["python", os.path.join("tests", "benchmarks", "end_to_end.py")]
    words += ["--shapes", options.shapes]
    if options.methods != ",".join(METHODS):
        words += ["--methods", options.methods]
    if options.layers:
        words += ["--layers", str(options.layers)]
    if options.repeats != 3:
        words += ["--repeats", str(options.repeats)]
    return " ".join([*words, "--ours-only"] if options.ours_only else words)


if __name__ == "__main__":
    sys.exit(main())
