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
        "claims_verdict",
        "dial_sentence",
        "edges_sentence",
        "finals_table",
        "finals_verdict",
        "kept_table",
        "stock_sentence",
        "weakest",
    ),
    "dare_dice": ("DareDice",),
    "dare_plots": (
        "drop_plot",
        "drop_sweep_plot",
        "noise_plot",
        "scaled_plot",
        "survival_plot",
    ),
    "dare_rolls": (
        "clashes",
        "drops_table_rows",
        "layer_inputs",
        "layer_noise",
        "lead",
        "roll",
    ),
    "dare_words": (
        "clash_sentence",
        "ninety_verdict",
        "noise_sentence",
        "pair_verdict",
        "rolls_table",
        "scaled_verdict",
        "speed_sentence",
        "spread_sentence",
    ),
    "evaluate_advice": (
        "advice_table",
        "advise",
        "techniques_table",
    ),
    "evaluate_chooser": ("StrategyChooser",),
    "evaluate_numbers": (
        "bootstrap_scores",
        "items_needed",
        "luckiest",
        "standard_error",
    ),
    "evaluate_patients": (
        "causes",
        "patients",
        "symptoms_table",
    ),
    "evaluate_plots": (
        "bootstrap_plot",
        "luck_plot",
        "rates_plot",
        "suite_size_figure",
        "suite_size_sentence",
    ),
    "evaluate_size_explorer": ("SuiteSizeExplorer",),
    "evaluate_tables": (
        "PUBLISHED",
        "all_beat_verdict",
        "leader_sentence",
        "order_verdict",
        "overview_rates",
        "published_table",
    ),
    "experiments": (
        "CONFLICT",
        "ITEMS",
        "LOW",
        "measure",
        "measure_alone",
        "recipe",
        "sized",
    ),
    "interference_explorer": ("InterferenceExplorer",),
    "interference_figure": (
        "explorer_figure",
        "look",
        "merged_by_each",
    ),
    "interference_plots": (
        "ledger_plot",
        "one_weight_plot",
        "overlap_plot",
        "pair_plot",
    ),
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
    "kernel_demos": (
        "all_programs",
        "seconds_table",
        "threshold_of",
    ),
    "kernel_plots": (
        "factor_tile_plot",
        "passes_plot",
        "rounding_plot",
        "tiles_plot",
    ),
    "ladder_dial": (
        "ConflictDial",
        "rung_sentence",
    ),
    "ladder_figure": ("ladder_plot",),
    "layer_plots": (
        "fate_plot",
        "patch_plot",
        "trim_plot",
        "vote_plot",
    ),
    "learner": (
        "attempt",
        "merge_with",
    ),
    "learner_results": (
        "attempt_like",
        "attempt_number",
    ),
    "linear_lines": (
        "Line",
        "LinearLines",
        "lines_figure",
    ),
    "linear_loss": (
        "barrier",
        "measure_loss",
        "reply_loss",
        "right_reply",
    ),
    "linear_plots": (
        "line_plot",
        "loss_plot",
        "plane_of",
        "plane_plot",
        "scale_plot",
    ),
    "linear_verdicts": (
        "barrier_sentence",
        "cancelled",
        "dominated_sentence",
        "one_skill",
        "plateau_sentence",
        "tenable_sentence",
    ),
    "machine": (
        "about",
        "best_times",
        "peak_memory",
    ),
    "memory_plan": (
        "MODELS",
        "in_gb",
        "plan_memory",
        "plan_sentence",
    ),
    "memory_planner": ("MemoryPlanner",),
    "memory_plots": ("memory_plot",),
    "picture": ("Picture",),
    "plots": (
        "differences_plot",
        "score_plot",
        "size_plot",
        "sweep_plot",
    ),
    "predictions": (
        "Note",
        "Predictions",
    ),
    "result_tables": (
        "differences_table",
        "merge_report_table",
        "replies_table",
        "scores_table",
        "sizes_table",
        "sweep_table",
    ),
    "rounding": (
        "codes",
        "errors_of_change",
        "round_trip",
        "shares_left",
    ),
    "scale_slider": ("ScaleSlider",),
    "slerp_circle": ("SlerpCircle",),
    "slerp_plots": (
        "slerp_figure",
        "t_plot",
        "t_rows",
    ),
    "slerp_walk": (
        "Walk",
        "walk_between",
        "walk_sentence",
    ),
    "slerp_weights": (
        "relative_size",
        "weight_slerp",
        "weight_slerp_table",
    ),
    "slerp_words": (
        "published_lead",
        "size_or_path",
        "slerp_edges",
    ),
    "start_models": (
        "answer_to",
        "conversation",
        "neurons_shuffled",
        "on_the_line",
        "score",
        "talk_to",
        "task_vector_of",
        "training_over_merging",
        "training_ratio",
        "weights_of",
        "write_outsiders",
    ),
    "start_plots": (
        "arrows_plot",
        "basin_plot",
        "parts_plot",
        "spine_plot",
    ),
    "stepper": (
        "Example",
        "TiesStepper",
        "layer_example",
        "ten_examples",
    ),
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
        "paired_at",
        "scale_or_election",
    ),
    "weights": (
        "changes",
        "fates",
        "norm_kept",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
