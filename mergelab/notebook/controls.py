"""What the lessons' widgets have in common: labelled controls, and a sentence that is read out."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets as widgets


def labelled(kind: Any, text: str, **settings: Any) -> Any:
    """A control with its label; each has a layout of its own, so that one can be hidden alone.

    >>> labelled(widgets.IntSlider, "step", min=1, max=4).description
    'step'
    """
    return kind(
        description=text,
        style={"description_width": "11em"},
        layout=widgets.Layout(width="29em"),
        **settings,
    )


def spoken(text: str) -> str:
    """A sentence as HTML that screen readers read out when it changes.

    Widgets set lines as far apart as their controls are high; a sentence wants less.

    >>> spoken("1 < 2")
    '<p role="status" aria-live="polite" style="margin:.4em 0;line-height:1.5">1 &lt; 2</p>'
    """
    style = "margin:.4em 0;line-height:1.5"
    return f'<p role="status" aria-live="polite" style="{style}">{html.escape(text)}</p>'
