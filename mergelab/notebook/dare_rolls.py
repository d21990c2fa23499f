"""Random drops, rolled many times: what the dice widget, the plots and the verdicts count with."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from mergelab.evaluation.generation import generate_replies
from mergelab.evaluation.results import Evaluation, SkillResult, compare, score_replies
from mergelab.evaluation.statistics import LEVEL, Interval
from mergelab.evaluation.suites import load_suite
from mergelab.methods.dare import dare, drop
from mergelab.notebook.weights import Changes
from mergelab.paths import data_path


@dataclass(frozen=True)
class Rolls:
    """Results of several seeds: `results` holds one evaluation each, in the order of the seeds."""

    name: str
    results: tuple[Evaluation, ...]
    size: float

    def rates(self, skill: str = "combined") -> list[float]:
        """The share of items right, seed by seed."""
        return [
            each.combined.estimate if skill == "combined" else each.skills[skill].rate.estimate
            for each in self.results
        ]

    def mean(self, skill: str = "combined") -> float:
        return mean(self.rates(skill))

    def spread(self, skill: str = "combined") -> float:
        """Standard deviation from seed to seed; 0 for a single one."""
        rates = self.rates(skill)
        return stdev(rates) if len(rates) > 1 else 0.0


def lead(first: Rolls, second: Rolls) -> Interval:
    """The mean over seeds of first minus second, with a 95% interval that counts both chances.

    Which items were drawn: the paired comparison of all seeds' answers, by template. Which seeds
    were drawn: the spread of the gap from seed to seed. Both must hold the same items and seeds.
    """
    items = compare(_pooled(first), _pooled(second))["combined"]
    gaps = [a - b for a, b in zip(first.rates(), second.rates(), strict=True)]
    seeds = 0.0
    if len(gaps) > 1:
        from scipy.stats import t

        seeds = float(t.ppf(0.5 + LEVEL / 2, len(gaps) - 1)) * stdev(gaps) / math.sqrt(len(gaps))
    middle = items.estimate
    return Interval(
        middle,
        middle - math.hypot(middle - items.low, seeds),
        middle + math.hypot(items.high - middle, seeds),
    )


def _pooled(rolls: Rolls) -> Evaluation:
    """All seeds' answers as one evaluation; an item's answers stay in its template's cluster."""
    one = rolls.results[0]
    skills = {
        skill: SkillResult.of(
            skill, [outcome for each in rolls.results for outcome in each.skills[skill].outcomes]
        )
        for skill in one.skills
    }
    return Evaluation(rolls.name, one.split, skills)


def roll(
    name: str,
    recipe: Mapping[str, Any],
    *,
    seeds: Sequence[int] = range(5),
    items: int = 60,
    skills: Sequence[str] = ("persona", "agentic"),
    split: str = "dev",
) -> Rolls:
    """Merge with each seed in turn and score every merge on the first `items` of each suite."""
    import mergelab

    asked = {skill: load_suite(skill, split)[:items] for skill in skills}
    results = []
    for seed in seeds:
        merged = mergelab.merge(dict(recipe), seed=seed)
        # All prompts in one go: for a small model that is quicker than suite by suite.
        replies = iter(
            generate_replies(*merged.load(), [item for s in asked.values() for item in s])
        )
        scored = {
            skill: score_replies(skill, each, list(islice(replies, len(each))))
            for skill, each in asked.items()
        }
        results.append(Evaluation(name, split, scored))
    return Rolls(name, tuple(results), merged.report.total().magnitude_kept)


@dataclass(frozen=True)
class TableRow:
    """A line of the committed table of random drops; rates are means over `seeds` seeds."""

    models: str
    method: str
    scale: float
    rescale: bool
    density: float
    skill: str
    items: int
    seeds: int
    mean: float
    low: float
    high: float
    spread: float


def drops_table_rows(path: Path | None = None) -> list[TableRow]:
    """The committed table `data/tables/dare.csv`, made by `mergelab tables`.

    >>> {row.models for row in drops_table_rows()} == {"persona", "agentic", "pair"}
    True
    """
    with (path or data_path("tables", "dare.csv")).open(newline="") as file:
        lines = list(csv.DictReader(file))
    return [
        TableRow(
            models=line["models"],
            method=line["method"],
            scale=float(line["scale"]),
            rescale=line["rescale"] == "yes",
            density=float(line["density"]),
            skill=line["skill"],
            items=int(line["items"]),
            seeds=int(line["seeds"]),
            mean=float(line["mean"]),
            low=float(line["low"]),
            high=float(line["high"]),
            spread=float(line["spread"] or 0.0),
        )
        for line in lines
    ]


@dataclass(frozen=True)
class Noise:
    """What a drop does to one layer, as root mean squares over outputs and seeds.

    `weight`: noise of one changed weight over its change. `change`: noise of one output over the
    part of it that the adapter brings. `output`: noise of one output over the whole output.
    """

    drop_rate: float
    weight: float
    change: float
    output: float


def layer_noise(
    base: Tensor, delta: Tensor, inputs: Tensor, drop_rates: Sequence[float], seeds: int = 40
) -> list[Noise]:
    """Roll one layer's drop with many seeds and measure the noise, in its weights and outputs.

    `base` and `delta`: `[out, in]`; `inputs`: `[tokens, in]`, what the layer is given.

    >>> found = layer_noise(torch.ones(4, 64), torch.ones(4, 64), torch.ones(1, 64), [0.5])
    >>> round(found[0].weight, 1), found[0].change < 0.2
    (1.0, True)
    """
    brought = inputs @ delta.T
    whole = brought + inputs @ base.T
    found = []
    for rate in drop_rates:
        rolled = [dare(delta, 1 - rate, seed=seed) for seed in range(seeds)]
        in_weights = torch.stack([(each - delta).square().sum() for each in rolled]).mean()
        in_output = torch.stack(
            [(inputs @ each.T - brought).square().sum() for each in rolled]
        ).mean()
        found.append(
            Noise(
                rate,
                float((in_weights / delta.square().sum()).sqrt()),
                float((in_output / brought.square().sum()).sqrt()),
                float((in_output / whole.square().sum()).sqrt()),
            )
        )
    return found


def layer_inputs(model: Any, tokenizer: Any, layer: str, prompt: str) -> Tensor:
    """What one layer of a model is given for a prompt: `[tokens, in]`, fp32.

    `layer` is the name of its weight, such as "model.layers.1.self_attn.q_proj.weight".
    """
    seen: list[Tensor] = []
    module = model.get_submodule(layer.removesuffix(".weight"))
    hook = module.register_forward_hook(lambda _m, given, _out: seen.append(given[0][0].float()))
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    try:
        with torch.inference_mode():
            model(**tokenizer(text, return_tensors="pt", add_special_tokens=False))
    finally:
        hook.remove()
    return seen[0].clone()


@dataclass(frozen=True)
class Clash:
    """Where two task vectors oppose each other: entries, and what they take from each other.

    `entries` is a share of all entries; `cancelled` the smaller of the two opposing changes,
    added up over the entries, as a share of all change there is.
    """

    entries: float
    cancelled: float


def clashes(found: Changes, density: float = 1.0, *, seed: int = 0) -> Clash:
    """The conflicts of a pair, before (density 1) or after a drop with rescaling.

    >>> pair = [torch.tensor([1.0, 1.0]), torch.tensor([-1.0, 1.0])]
    >>> clashes(Changes(("a", "b"), {"w": torch.zeros(2)}, {"w": pair}))
    Clash(entries=0.5, cancelled=0.25)
    """
    entries = opposed = 0
    amount = total = 0.0
    for number, (first, second) in enumerate(found.deltas.values()):
        a = dare(first, density, seed=seed, stream=2 * number)
        b = dare(second, density, seed=seed, stream=2 * number + 1)
        clash = a * b < 0
        entries += a.numel()
        opposed += int(clash.sum())
        amount += float(torch.minimum(a.abs(), b.abs())[clash].double().sum())
        total += float(first.abs().double().sum() + second.abs().double().sum())
    return Clash(opposed / entries, amount / total)


def rolled(delta: Tensor, drop_rate: float, seed: int) -> tuple[Tensor, Tensor]:
    """One roll: what the drop leaves, and the same rescaled.

    >>> [float(each.sum()) for each in rolled(torch.ones(4), 0.5, seed=0)]
    [1.0, 2.0]
    """
    return drop(delta, 1 - drop_rate, seed=seed), dare(delta, 1 - drop_rate, seed=seed)
