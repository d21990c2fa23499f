"""What a graded notebook says of itself, and under which names; loads nothing heavy.

A cell's outputs may be the learner's own work in stock mode, so a verdict found there is a claim.
The notebook's metadata are the grader's, in every mode.
"""

from collections.abc import Mapping
from typing import Any

from autograder.courses import STOCK, TRUSTED

# The output of a grade cell that holds its verdict, as `judging.Verdict.record` makes it.
MIME = "application/vnd.mergelab.verdict+json"
# The entry of the metadata: mode, notes on what was set right, and why it was refused.
ABOUT = "mergelab"


def records_in(cell: Mapping[str, Any]) -> list[Any]:
    """Everything that claims to be a verdict in a cell's outputs.

    >>> records_in({"outputs": [{"data": {MIME: {"score": 1.0}}}, {"text": "hello"}]})
    [{'score': 1.0}]
    """
    found = [output.get("data", {}) for output in cell.get("outputs", ())]
    return [data[MIME] for data in found if MIME in data]


def mode_of(notebook: Mapping[str, Any]) -> str:
    """How a graded notebook was graded: "trusted" if the grader says so, else "stock".

    >>> mode_of({"metadata": {"mergelab": {"mode": "trusted"}}}), mode_of({"metadata": {}})
    ('trusted', 'stock')
    """
    return TRUSTED if notebook["metadata"].get(ABOUT, {}).get("mode") == TRUSTED else STOCK
