"""Evaluation: suites, replies, scores, intervals, tables.

`evaluate(model, tokenizer)` asks a `transformers` model the shipped suites and returns an
`Evaluation`; `compare` holds two of them against each other item by item.
"""

from mergelab.evaluation.choosing_scorers import Scorer, choose_scorer
from mergelab.evaluation.digests import Digest
from mergelab.evaluation.generation import generate_replies
from mergelab.evaluation.leads import Paired, holm, lead, p_value, paired
from mergelab.evaluation.results import (
    Evaluation,
    Outcome,
    SkillResult,
    compare,
    evaluate,
    results_table,
    score_replies,
)
from mergelab.evaluation.scorers import Score, score
from mergelab.evaluation.statistics import (
    Interval,
    mean_of_rates,
    paired_difference,
    rate_interval,
)
from mergelab.evaluation.suites import Item, ToolCall, load_suite, load_suite_file

__all__ = [
    "Digest",
    "Evaluation",
    "Interval",
    "Item",
    "Outcome",
    "Paired",
    "Score",
    "Scorer",
    "SkillResult",
    "ToolCall",
    "choose_scorer",
    "compare",
    "evaluate",
    "generate_replies",
    "holm",
    "lead",
    "load_suite",
    "load_suite_file",
    "mean_of_rates",
    "p_value",
    "paired",
    "paired_difference",
    "rate_interval",
    "results_table",
    "score",
    "score_replies",
]
