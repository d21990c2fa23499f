"""What lesson 03_slerp works out by hand is right."""

import math
import re

import pytest

from autograder.courses import PACKAGE

LESSON = "03_slerp"
PERSONA = [0.08, 0.002, 0.15, -0.20, 0.06, -0.07, -0.001, 0.004, -0.04, 0.005]
AGENTIC = [-0.05, -0.001, 0.02, -0.11, -0.06, -0.06, 0.02, 0.17, 0.03, -0.006]


def test_the_ten_parameters_worked_by_hand_are_right():
    """From the two rows alone: norms, angle, factor, and both rows of the solution."""
    text = (PACKAGE.parent / "solutions" / LESSON / f"{LESSON}.py").read_text()
    a, b = (math.sqrt(sum(x * x for x in row)) for row in (PERSONA, AGENTIC))
    dot = sum(x * y for x, y in zip(PERSONA, AGENTIC, strict=True))
    assert f"persona is {a:.3f}, that of agentic {b:.3f}".replace("0.", ".") in text
    assert f"inner product is {dot:.4f}".replace("0.", ".", 1) in text
    half = math.acos(dot / a / b) / 2
    factor = math.sin(half) / math.sin(2 * half)
    for name, times in (("linear", 0.5), ("slerp", factor)):
        row = re.findall(rf"# \| \*{name}\* \|([^\n]+)", text)[-1]
        printed = [float(cell.replace("−", "-")) for cell in row.strip(" |").split("|")]
        exact = [times * (x + y) for x, y in zip(PERSONA, AGENTIC, strict=True)]
        assert printed == pytest.approx(exact, abs=0.00055)
