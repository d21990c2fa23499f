"""A figure with its description in words, for readers who see it and for those who cannot.

JupyterLab drops the description of an ordinary image output, so a picture shows itself as HTML.
"""

from __future__ import annotations

import html
import io
from base64 import b64encode
from functools import cached_property

import matplotlib
from matplotlib.figure import Figure

from mergelab.notebook.style import DOTS_PER_INCH, STYLE

# On a page, an inch of a figure takes this many pixels; it is drawn finer, for sharp screens.
PIXELS_PER_INCH = 84


class Picture:
    """A matplotlib figure and its alternative text.

    >>> from mergelab.notebook.style import new_figure
    >>> Picture(new_figure(4, 2), "An empty frame.")
    An empty frame.
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        self.figure, self.alt = figure, " ".join(alt.split())

    @cached_property
    def png(self) -> bytes:
        """The figure as a PNG of at most 256 colours, a third of the size of a plain one."""
        from PIL import Image

        whole = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(whole, format="png", dpi=DOTS_PER_INCH)
        small = io.BytesIO()
        # Small patches of rare colours, such as the ends of a colour bar, keep their colour.
        reduced = (
            Image.open(whole)
            .convert("RGB")
            .quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        reduced.save(small, format="png", optimize=True)
        return small.getvalue()

    def img(self) -> str:
        """The figure as an HTML image with its description."""
        width = round(self.figure.get_size_inches()[0] * PIXELS_PER_INCH)
        return (
            f'<img alt="{html.escape(self.alt)}" width="{width}" style="max-width:100%;height:auto"'
            f' src="data:image/png;base64,{b64encode(self.png).decode()}">'
        )

    def _repr_html_(self) -> str:
        return self.img()

    def __repr__(self) -> str:
        return self.alt
