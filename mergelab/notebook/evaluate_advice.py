"""Which method for which job: the published advice, as a recipe to start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mergelab.advice import DISTINCT, SIMILAR, first_choice
from mergelab.notebook.tables import Table


@dataclass(frozen=True)
class Advice:
    """What to start from: a method with its parameters, the reason, and what to compare it with."""

    method: str
    parameters: dict[str, Any]
    reason: str
    baseline: str
    doubt: str

    def recipe(self) -> str:
        """The recipe as YAML, with placeholders for the models."""
        lines = [f"merge_method: {self.method}", "base_model: YOUR_BASE", "models:"]
        lines += ["  - model: FIRST_ADAPTER", "  - model: SECOND_ADAPTER  # and so on"]
        if self.parameters:
            lines.append("parameters:")
            lines += [f"  {name}: {value}" for name, value in self.parameters.items()]
        return "\n".join(lines)


def advise(
    models: int, kind: str, *, compressed: bool = False, little_memory: bool = False
) -> Advice:
    """The published advice for so many models, "similar" or "distinct".

    `compressed`: the change must be stored sparsely; `little_memory`: the merge must not hold whole
    models.

    >>> advise(2, "distinct").method, advise(2, "distinct").parameters
    ('ties', {'density': 0.5})
    >>> advise(2, "similar").method
    'slerp'
    """
    baseline = "linear, and a sum (task_arithmetic) of the same size"
    memory = (
        " Memory: mergelab merges tensor by tensor and keeps adapters as factors, so the choice of "
        "method hardly matters for it."
        if little_memory
        else ""
    )
    method, parameters = first_choice(models, kind, compressed=compressed)
    if compressed:
        return Advice(
            method,
            parameters,
            "DARE drops 70% of each task vector and scales up the rest, so that the expected "
            "change stays; TIES then settles the conflicts." + memory,
            baseline,
            "Zeros save room only where the change is stored sparsely. Never trust one seed.",
        )
    if method == "slerp":
        return Advice(
            method,
            parameters,
            "SLERP takes exactly two and keeps the length that an average loses." + memory,
            baseline,
            "Between full weights of close fine-tunes it is almost linear; between task vectors at "
            "t .5 it is nearly a sum times .71.",
        )
    reason = "TIES trims what is small and settles the sign conflicts by a vote."
    if models > 2:
        reason += " It takes any number of models; try densities from .4 to .6."
    return Advice(
        method,
        parameters,
        reason + memory,
        baseline,
        "An election by mass favours the louder adapter. Look at each skill, not at the mean.",
    )


def techniques_table() -> Table:
    """The methods side by side: mechanism, best use, conflicts, memory."""
    rows = [
        (
            "linear",
            "weighted average",
            "a baseline; similar data; one adapter that dominates (alpha .8 or more)",
            "no: they cancel",
            "one tensor of each model",
        ),
        (
            "slerp",
            "turns from one vector to the other on an arc",
            "two similar models",
            "no: averages them, at full length",
            "two tensors, two norms and an angle",
        ),
        (
            "ties",
            "trim, elect a sign, merge what agrees",
            "distinct skills; three models and more",
            "yes, by a vote",
            "one tensor of each model, a threshold each",
        ),
        (
            "dare (dare_linear)",
            "drop at random, scale up the rest",
            "a preprocessor; sparse storage",
            "partly: fewer entries meet",
            "one tensor of each model; drops are drawn, not stored",
        ),
        (
            "dare_ties",
            "drop, scale up, then elect and merge",
            "distinct skills, strongly compressed",
            "yes, by a vote after the drop",
            "as dare, and a vote",
        ),
    ]
    return Table(
        ["technique", "core mechanism", "best for", "handles conflicts", "memory while merging"],
        rows,
        text_columns=range(5),
        caption="The techniques side by side, as they are usually described",
    )


def advice_table() -> Table:
    """The published advice in one table."""
    cases = [
        ("two similar models", advise(2, SIMILAR)),
        ("two distinct models", advise(2, DISTINCT)),
        ("two distinct, compressed", advise(2, DISTINCT, compressed=True)),
        ("three or more", advise(3, DISTINCT)),
    ]
    rows = []
    for job, advice in cases:
        dials = ", ".join(f"{name} {value:g}" for name, value in advice.parameters.items())
        dials = dials.replace("0.", ".")
        rows.append((job, f"{advice.method}, {dials}", advice.reason, advice.doubt))
    return Table(
        ["you have", "start from (published)", "because", "before you believe it"],
        rows,
        text_columns=range(4),
        caption="The published advice. Always beside it: a linear baseline.",
    )
