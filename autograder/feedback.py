"""A verdict in words: plain text for terminals and graders, a coloured box for notebooks."""

import html
from typing import Any

from autograder.compare import shown
from autograder.graded_notebook import MIME
from autograder.judging import Verdict, call_text, describe, expected, listed, unmet

PRINTED_LINES = 5
# Begins the line that lists kinds of input, for those who show the kinds themselves.
NOT_YET = "Not right yet: "
SHOWN = 1_000  # characters of a result

# Dark text on a light ground in either theme; mark and words carry the meaning, not the hue.
COLOURS = {True: ("#0b6e4f", "#e7f5ef"), False: ("#8a4b08", "#fdf3e3")}


class Feedback:
    """What a learner reads after a check or a grade cell, as text and as HTML."""

    def __init__(self, verdict: Verdict, function: Any, *, graded: bool = False) -> None:
        self.verdict = verdict
        self.head = _head(verdict, graded)
        self.lines = _remarks(verdict) if verdict.passed else _body(verdict, function)
        self.details = [] if verdict.passed else _details(verdict)

    def __repr__(self) -> str:
        return "\n".join([self.head, *self.lines, *("    " + line for line in self.details)])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {**self.bundle(), "text/plain": repr(self)}

    def bundle(self) -> dict[str, Any]:
        """The feedback for eyes and for programs."""
        record = {**self.verdict.record(), "says": self.lines, "example": self.details}
        return {"text/html": self.html(), MIME: record}

    def html(self) -> str:
        """The feedback as a small self-contained box: no script, no style sheet."""
        ink, ground = COLOURS[self.verdict.passed]
        parts = [f"<strong>{_marked(self.head)}</strong>"]
        parts += [f"<div>{_marked(line)}</div>" for line in self.lines]
        if self.details:
            text = html.escape("\n".join(self.details))
            parts.append(
                f'<pre style="margin:.4em 0 0;background:transparent;color:inherit">{text}</pre>'
            )
        return (
            f'<div role="status" style="border-left:4px solid {ink};background:{ground};'
            f'color:#1f2328;padding:.5em .8em;line-height:1.5">{"".join(parts)}</div>'
        )


def _head(verdict: Verdict, graded: bool) -> str:
    name = verdict.exercise.function
    kinds = verdict.kinds()
    points = f" {verdict.score:g} of {verdict.maximum:g} points." if graded else ""
    hidden = "hidden " if verdict.part == "hidden" else ""
    if verdict.passed:
        return f"✓ {name}: {_all(len(kinds), hidden)}.{points}"
    if not kinds:
        return f"✗ {name}: not yet.{points}"
    right = sum(kinds.values())
    but = ", but your function changes its inputs" if right == len(kinds) else ""
    return f"✗ {name}: not yet, {right} of {len(kinds)} {hidden}kinds of input pass{but}.{points}"


def _all(count: int, hidden: str) -> str:
    if count == 1:
        return f"the one {hidden}kind of input passes"
    return f"all {count} {hidden}kinds of input pass"


def _remarks(verdict: Verdict) -> list[str]:
    """What an exercise says of right results; of visible cases only."""
    remark = verdict.exercise.remark
    if remark is None or verdict.part == "hidden":
        return []
    return [remark(outcome.call.value, outcome.case) for outcome in verdict.outcomes]


def _body(verdict: Verdict, function: Any) -> list[str]:
    if verdict.summary:
        return [verdict.summary]
    lines = []
    if verdict.misconception is not None:
        lines.append(verdict.misconception.sentence)
    else:
        lines.append(describe(verdict))
        if verdict.mutated and verdict.first_problem() is not None:
            lines.append("It also changes the tensors it is given: work on a copy (`.clone()`).")
    if verdict.misconception is not None and verdict.failing():
        lines.append(f"{NOT_YET}{listed(verdict.failing())}.")
    undefined = [o.case.kind for o in verdict.outcomes if o.problem and "NaN" in o.problem]
    if undefined and "NaN" not in lines[0] and "0 by 0" not in lines[0]:
        lines.append(f"On {undefined[0]} it returns NaN, often a sign of 0 / 0.")
    broken = unmet(verdict.exercise, function)
    if broken:
        names = " and ".join(f"`{name}`" for name in broken)
        lines.append(f"It may call your {names}, not right yet: repair that first.")
    return lines


def _details(verdict: Verdict) -> list[str]:
    """A small example with both results; for visible cases only."""
    first = verdict.first_problem()
    if verdict.part == "hidden" or first is None:
        return []
    lines = [call_text(verdict.exercise, first.case)]
    if verdict.exercise.judged is None:  # else one right result among many would give it away
        lines.append(f"expected  {shown(expected(verdict.exercise, first.case))}")
    if first.call.failure is None:
        got = shown(first.call.value)
        lines.append(f"got       {got[:SHOWN]}{' ...' if len(got) > SHOWN else ''}")
    printed = [line for line in first.call.printed.splitlines() if line.strip()]
    if printed:
        lines.append("printed   " + "\n          ".join(printed[:PRINTED_LINES]))
    return lines


def _marked(text: str) -> str:
    """Escaped, with `code` in backticks set as code."""
    pieces = html.escape(text).split("`")
    return "".join(
        f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces)
    )
