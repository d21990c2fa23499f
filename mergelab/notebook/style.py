"""One look for every figure of the course: sizes, and colours that always mean the same thing.

The colours come from the Okabe-Ito palette and its neighbours, which stay apart for colour-blind
readers; no figure says anything by colour alone, a marker, a hatch or a word says it too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import matplotlib.colors
from matplotlib.figure import Figure

INK = "#1F2328"
FAINT = "#66707A"
# The sources of a merge, in the order they are listed.
SOURCES = ("#0072B2", "#E69F00", "#009E73", "#8C6BB1")
SOURCE_OF = {
    "persona": SOURCES[0],
    "agentic": SOURCES[1],
    "third": SOURCES[2],
    "digest": SOURCES[2],
}
# What becomes of an entry.
DROPPED = "#D3D6DA"
AGREE = "#5B6066"
CONFLICT = "#D55E00"
CONFLICT_HATCH = "////"
# Methods: colour and marker.
METHODS = {
    "linear": ("#6B6B6B", "o"),
    "task_arithmetic": ("#3A9BD9", "s"),
    "slerp": ("#8A8A1C", "^"),
    "ties": ("#882255", "D"),
    "dare_linear": ("#44AA99", "<"),
    "dare_ties": ("#117733", "v"),
}
PUBLISHED = INK
# Blue below zero, white at zero, orange above: for signed changes.
SIGNED = "PuOr_r"

DOTS_PER_INCH = 144

STYLE: dict[str, Any] = {
    "font.size": 11,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.edgecolor": "#8C9196",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E6E8EA",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 2.0,
    "lines.markersize": 7,
    "hatch.linewidth": 1.2,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def source_colour(name: str, position: int = 0) -> str:
    """The colour of a source: by its skill if its name tells, else by its place in the list.

    >>> source_colour("task_api_persona") == source_colour("persona", 5) == SOURCES[0]
    True
    >>> source_colour("formal", 1) == SOURCES[1]
    True
    """
    for skill, colour in SOURCE_OF.items():
        if skill in name:
            return colour
    return SOURCES[position % len(SOURCES)]


def ink_on(name: str, position: int = 0) -> str:
    """The colour of text on a source's colour: white on dark, ink on light.

    >>> ink_on("persona"), ink_on("agentic") == INK
    ('white', True)
    """
    red, green, blue = matplotlib.colors.to_rgb(source_colour(name, position))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else INK


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: draw with the course's style, leaving the learner's own settings alone."""

    @wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches, known to no window or global list, so none is ever leaked.

    >>> new_figure(6, 3).get_size_inches().tolist()
    [6.0, 3.0]
    """
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
