"""What lessons show: figures with descriptions, tables, predictions, and the explorers.

Everything a lesson needs is named here and loaded when it is first used.

>>> from mergelab.notebook import ten_parameters
>>> len(ten_parameters())
2
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "capstone_board": ("fits", "leaderboard", "on_fresh_items"),
    "capstone_mixer": ("ThreeMixer", "mixer_figure"),
    "capstone_table": ("THREE", "best_on_dev", "finals", "mixed", "three_recipe", "three_table"),
    "capstone_words": (
        "dial_sentence",
        "finals_table",
        "finals_verdict",
        "kept_table",
        "order_verdict",
        "stock_sentence",
        "weakest",
    ),
    "experiments": ("CONFLICT", "ITEMS", "LOW", "measure", "measure_alone", "recipe", "sized"),
    "interference_explorer": ("InterferenceExplorer",),
    "interference_figure": ("explorer_figure", "look", "merged_by_each"),
    "interference_plots": ("ledger_plot", "one_weight_plot", "overlap_plot", "pair_plot"),
    "interference_views": (
        "by_layer",
        "cosine",
        "ledger",
        "overlap_curve",
        "shares_by_chance",
        "wrong_manner",
    ),
    "interference_words": (
        "chance_sentence",
        "cosine_sentence",
        "layer_table",
        "ledger_sentence",
        "manner_sentence",
        "manner_table",
        "overlap_verdict",
        "shares_and_scores",
        "ten_table",
    ),
    "layer_plots": ("fate_plot", "patch_plot", "trim_plot", "vote_plot"),
    "learner": ("attempt", "merge_with"),
    "picture": ("Picture",),
    "plots": ("differences_plot", "score_plot", "size_plot", "sweep_plot"),
    "predictions": ("Note", "Predictions"),
    "result_tables": (
        "differences_table",
        "merge_report_table",
        "replies_table",
        "scores_table",
        "sizes_table",
        "sweep_table",
    ),
    "stepper": ("Example", "TiesStepper", "layer_example", "ten_examples"),
    "steps": ("follow",),
    "steps_plot": ("steps_figure",),
    "tables": ("Table",),
    "ten": ("ten_parameters",),
    "verdicts": (
        "beyond_noise",
        "conflicts_sentence",
        "density_verdict",
        "difference_sentence",
        "ends_verdict",
        "overruled_sentence",
        "scale_or_election",
    ),
    "weights": ("changes", "fates", "norm_kept"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
