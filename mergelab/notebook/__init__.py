"""What lessons show: figures with descriptions, tables, predictions, and the explorers.

Everything a lesson needs is named here and loaded when it is first used.

>>> from mergelab.notebook import ten_parameters
>>> len(ten_parameters())
2
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "experiments": ("CONFLICT", "ITEMS", "LOW", "measure", "measure_alone", "recipe", "sized"),
    "kernel_demos": ("all_programs", "seconds_table", "threshold_of"),
    "kernel_plots": ("factor_tile_plot", "passes_plot", "rounding_plot", "tiles_plot"),
    "layer_plots": ("fate_plot", "patch_plot", "trim_plot", "vote_plot"),
    "learner": ("attempt", "merge_with"),
    "machine": ("about", "best_times", "peak_memory"),
    "memory_plan": ("MODELS", "in_gb", "plan_memory", "plan_sentence"),
    "memory_planner": ("MemoryPlanner",),
    "memory_plots": ("memory_plot",),
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
    "rounding": ("codes", "errors_of_change", "round_trip"),
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
