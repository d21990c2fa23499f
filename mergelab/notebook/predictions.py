"""Predict, then reveal: guesses written down before a measurement, and how good they were.

A guess is a range ("between .8 and .9") or one of several answers. It stands in the notebook's own
cell, so it is saved with it. Left empty, everything runs on and says so.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# Someone well calibrated catches the truth this often with ranges meant to.
AIM = 0.8


class Note:
    """A sentence in a quiet box: HTML in a notebook, plain text elsewhere."""

    def __init__(self, text: str) -> None:
        self.text = text[:1].upper() + text[1:]

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return (
            '<div role="note" style="border-left:4px solid #6e7781;background:#f3f5f7;'
            f'color:#1f2328;padding:.5em .8em;line-height:1.5">{html.escape(self.text)}</div>'
        )


@dataclass
class _Question:
    show: Callable[[float | str], str]
    low: float | None = None
    high: float | None = None
    answer: str | None = None
    kind: str = "range"
    truth: float | str | None = None
    late: bool = False

    @property
    def empty(self) -> bool:
        return self.answer is None and (self.low is None or self.high is None)

    @property
    def right(self) -> bool:
        if self.kind == "choice":
            return self.answer == self.truth
        return self.low <= self.truth <= self.high


@dataclass
class Predictions:
    """The guesses of one lesson, in the order they were made; a question is known by its text.

    >>> book = Predictions()
    >>> book.range("score of the average", low=0.5, high=0.7)
    Score of the average: you guess between 0.50 and 0.70.
    >>> book.reveal("score of the average", 0.78)
    Score of the average: measured 0.78; you guessed between 0.50 and 0.70, which is too low.
    >>> book.calibration()
    You caught 0 of 1 predictions. ...
    """

    _questions: dict[str, _Question] = field(default_factory=dict)

    def range(
        self,
        question: str,
        *,
        low: float | None = None,
        high: float | None = None,
        form: str = "{:.2f}",
    ) -> Note:
        """Write down a range for a number; `form` is how numbers are shown.

        The range should be wide enough to catch the truth four times out of five.
        """
        if low is not None and high is not None and low > high:
            low, high = high, low
        return self._record(question, _Question(form.format, low=low, high=high))

    def choice(self, question: str, answer: str | None = None, *, among: Sequence[str]) -> Note:
        """Write down one of several answers; anything else is turned down with the list."""
        if answer is not None and answer not in among:
            return Note(f"{question}: '{answer}' is not one of {', '.join(among)}.")
        return self._record(question, _Question(str, answer=answer, kind="choice"))

    def reveal(self, question: str, truth: float | str) -> Note:
        """Put the measured value beside the guess."""
        asked = self._questions.setdefault(question, _Question(_plain))
        asked.truth = truth
        measured = f"{question}: {'' if isinstance(truth, str) else 'measured '}{asked.show(truth)}"
        if asked.empty:
            return Note(f"{measured}; you made no guess.")
        return Note(f"{measured}; you guessed {_guess(asked)}, which is {_outcome(asked)}.")

    def calibration(self) -> Note:
        """How often the guesses of this lesson caught the truth."""
        revealed = [q for q in self._questions.values() if q.truth is not None]
        made = [q for q in revealed if not q.empty and not q.late]
        if not made:
            return Note(
                "No predictions to look back on: you left them empty, or the cells with the results"
                " have not run. Guessing first is what makes a result stay in mind."
            )
        caught = sum(q.right for q in made)
        text = f"You caught {caught} of {len(made)} predictions."
        ranges = [q for q in made if q.kind == "range"]
        if ranges:
            share = sum(q.right for q in ranges) / len(ranges)
            text += (
                f" Of your {len(ranges)} ranges, {share:.0%} held the measured value; the aim was "
                f"{AIM:.0%}. " + _advice(share, len(ranges))
            )
        skipped = len(revealed) - len(made)
        if skipped:
            text += f" {skipped} had no guess, or one made after the result."
        return Note(text)

    def _record(self, question: str, new: _Question) -> Note:
        before = self._questions.get(question)
        if before is not None and before.truth is not None:
            changed = (before.low, before.high, before.answer) != (new.low, new.high, new.answer)
            new.truth, new.late = before.truth, before.late or changed
        self._questions[question] = new
        if new.empty:
            return Note(
                f"{question}: no guess yet. Replace None and run this cell before you go on."
            )
        late = " The result was shown before, so this one does not count." if new.late else ""
        return Note(f"{question}: you guess {_guess(new)}.{late}")


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def _guess(question: _Question) -> str:
    if question.kind == "choice":
        return str(question.answer)
    return f"between {question.show(question.low)} and {question.show(question.high)}"


def _outcome(question: _Question) -> str:
    if question.right:
        return "right"
    if question.kind == "choice":
        return "not it"
    return "too low" if question.high < question.truth else "too high"


def _advice(share: float, count: int) -> str:
    if count < 3:
        return "Too few to judge by; go on guessing."
    if share < 0.6:
        return "Your ranges are too narrow: make them wider next time."
    if share == 1:
        return "If they felt wide, make them a little narrower next time."
    return "That is well calibrated."
