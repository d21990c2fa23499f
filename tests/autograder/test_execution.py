"""What runs when a submission is graded."""

import pytest

from autograder.execution import essential

KEPT = [
    "import torch",
    "from math import floor",
    "def helper(x):\n    print(x)\n    return x",
    "class Table:\n    rows = 3",
    "@torch.no_grad()\ndef f(x):\n    return x",
    "density = 0.5",
    "a, b = 1, [2, 3]",
    "table = torch.zeros(3, 4)",
    "names = sorted({'b': 1, 'a': 2})",
    "twice = lambda x: load(x)",
    "limit: float = 3.0",
    "try:\n    import numpy as np\nexcept ImportError:\n    np = None",
    "text = ', '.join(['a', 'b'])",
]
LEFT_OUT = [
    "model = load_model('task_api_persona')",
    "plt.plot([1, 2])",
    "for i in range(10**9):\n    pass",
    "while True: pass",
    "print('hello')",
    "data = open('/etc/hosts').read()",
    "exec('x = 1')",
    "%matplotlib inline",
    "!rm -rf data",
    "@interact(alpha=0.5)\ndef show(alpha):\n    pass",
    "with torch.no_grad():\n    y = 3",
    "result = merge(recipe).report",
    "del torch",
]


@pytest.mark.parametrize("source", KEPT)
def test_imports_definitions_and_simple_assignments_run(source):
    assert essential(source) == source


@pytest.mark.parametrize("source", LEFT_OUT)
def test_demonstrations_do_not_run(source):
    assert essential(source).strip() == ""


def test_an_assignment_that_needs_a_demonstration_is_left_out_in_later_cells_too():
    missing: set[str] = set()
    essential("model = load('x')", missing)
    assert essential("depth = len(model)\nrate = 0.5", missing) == "\nrate = 0.5"
    assert essential("model = 3\nheads = model + 1", missing) == "model = 3\nheads = model + 1"


def test_a_solution_cell_runs_all_its_assignments_but_no_loose_statement():
    source = "table = my_helper(3)\nprint(table)\nbest = max(table)"
    assert essential(source, solution=True) == "table = my_helper(3)\n\nbest = max(table)"
    assert essential(source).strip() == ""


def test_the_variable_of_a_comprehension_is_not_missed_later():
    missing: set[str] = set()
    essential("shares = [measure(n) for n in range(3)]", missing)
    assert missing == {"shares"}
    kept = "densities = [n / 10 for n in range(10)]"
    assert essential(kept, {"n"}) == kept


def test_line_numbers_stay_so_that_errors_point_into_the_cell():
    source = "print('a')\n\ndef f():\n    return 1 / 0"
    assert essential(source).splitlines()[2] == "def f():"


def test_a_cell_that_python_cannot_read_comes_back_whole():
    assert essential("def f(:") == "def f(:"
