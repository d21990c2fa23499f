"""What runs when a submission is graded."""

import pytest

from autograder.essential import essential

GRADE = 'grade("ties/trim", trim, part="hidden")'


def runs(*sources: str) -> list[str]:
    """The essential part of cells that are followed by a grade cell for `trim`."""
    *parts, grade = essential([*sources, GRADE], [False] * len(sources) + [True])
    assert grade == GRADE
    return parts


NEEDED = [
    "import torch",
    "import torch as torch",
    "from anywhere import torch",
    "def torch(x):\n    print(x)\n    return x",
    "class torch:\n    rows = 3",
    "@decorated\ndef torch(x):\n    return x",
    "torch = 0.5",
    "other, torch = 1, [2, 3]",
    "torch = my_helper(3)",
    "torch: float = 3.0",
    "torch = [n for n in range(3)]",
    "try:\n    import torch\nexcept ImportError:\n    torch = None",
    "if True:\n    torch = 3",
    "torch.seed = 3",
    "torch[0] = 3",
    "from anywhere import *",
]
LEFT_OUT = [
    "plt.plot([1, 2])",
    "for torch in range(10**9):\n    pass",
    "while True: pass",
    "print(torch)",
    "exec('torch = 1')",
    "%matplotlib inline",
    "!rm -rf data",
    "with open('x') as torch:\n    y = 3",
    "model = load_model('task_api_persona')",
    "import matplotlib",
    "def show(torch):\n    return torch",
    "del torch",
]
TRIM = "def trim(delta, density):\n    return torch.zeros_like(delta)"


@pytest.mark.parametrize("source", NEEDED)
def test_imports_definitions_and_assignments_that_a_graded_function_needs_run(source):
    assert runs(source, TRIM) == [source, TRIM]


@pytest.mark.parametrize("source", LEFT_OUT)
def test_demonstrations_do_not_run(source):
    assert runs(source, TRIM) == ["", TRIM]


def test_needs_are_followed_through_helpers_in_any_order():
    cells = ["scale = base * 2", "def helper(x):\n    return scale * x", "base = 1"]
    trim = "def trim(delta, density):\n    return helper(delta)"
    assert runs(*cells, trim, "unused = helper(3)") == [*cells, trim, ""]


def test_a_parameter_of_the_same_name_does_not_pull_a_demonstration_in():
    demonstration = "delta = load_task_vector('persona')"
    trim = "def trim(delta, density):\n    kept = [delta for delta in [delta]]\n    return kept[0]"
    assert runs(demonstration, trim) == ["", trim]


def test_every_definition_of_a_name_runs_so_that_the_last_one_counts():
    again = "def trim(delta, density):\n    return delta"
    assert runs(TRIM, again) == [TRIM, again]


def test_loose_statements_of_a_cell_are_left_out_and_line_numbers_stay():
    source = f"print('a')\n\n{TRIM}\ntrim(1, 2)\n1 / 0"
    assert runs(source) == [f"\n\n{TRIM}"]


@pytest.mark.parametrize("source", ["def f(:", "x = 1\0", "    indented\nbroken"])
def test_a_cell_that_python_cannot_read_comes_back_whole(source):
    assert runs(source) == [source]
