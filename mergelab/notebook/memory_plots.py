"""Stacked bars of what is in memory at the peak of a merge, against what the machine has."""

from __future__ import annotations

from collections.abc import Mapping

from mergelab.notebook.memory_plan import GB, MemoryPlan, in_gb, plan_sentence
from mergelab.notebook.picture import Picture
from mergelab.notebook.style import CONFLICT, INK, SOURCES, new_figure, styled

_LOOK = {
    "base as stored": ("#6B6B6B", ""),
    "sources as stored": (SOURCES[0], "////"),
    "task vectors in float32": (SOURCES[1], ""),
    "result in float32": (SOURCES[2], "...."),
}


@styled
def memory_plot(
    plans: Mapping[str, MemoryPlan], *, limit: float = 16 * GB, title: str = ""
) -> Picture:
    """A bar for each plan, in GB, with a line at `limit` bytes."""
    figure = new_figure(9.4, 1.75 + 0.55 * len(plans))
    axis = figure.subplots()
    widest = max(limit, *(plan.total for plan in plans.values())) / GB
    for row, plan in enumerate(plans.values()):
        left = 0.0
        for name, size in plan.parts.items():
            colour, hatch = _LOOK[name]
            axis.barh(
                row,
                size / GB,
                0.6,
                left,
                facecolor=colour,
                edgecolor="white",
                linewidth=0.6,
                hatch=hatch,
                label=name if row == 0 else None,
            )
            left += size / GB
        over = plan.total > limit
        axis.text(
            left + widest * 0.012,
            row,
            in_gb(plan.total) + (" ✗" if over else " ✓"),
            va="center",
            fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            zorder=3,
        )
    # Behind the words: a small plan's words begin left of the limit and end right of it.
    axis.axvline(limit / GB, color=CONFLICT, linestyle="--", linewidth=2, zorder=2.5)
    axis.text(limit / GB, -0.62, f" {in_gb(limit)} of memory", color=INK, va="bottom", fontsize=10)
    axis.set_yticks(range(len(plans)), list(plans))
    axis.set_ylim(len(plans) - 0.45, -0.62)
    axis.set_xlim(0, widest * 1.16)
    axis.set_xlabel("in memory at the peak (GB)")
    axis.grid(axis="y", visible=False)
    if title:
        axis.set_title(title, pad=22)
    figure.legend(loc="outside lower center", ncols=4)
    said = " ".join(f"{name}: {plan_sentence(plan, limit)}" for name, plan in plans.items())
    return Picture(figure, f"{title or 'Memory at the peak'}. {said}")
