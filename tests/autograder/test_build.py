"""Building lessons: what goes through, what is refused, and that nothing is given away."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from small_lessons import HEADER, lesson_text
from typer.testing import CliRunner

from autograder import build
from autograder.courses import Course
from autograder.release import leak, swap
from autograder.source import read_lesson
from mergelab.errors import UserError

# What to replace in a good text, by what, and the message that names the mistake.
REFUSED_BEFORE_RUNNING = {
    "wrong points": (
        '"points": 3',
        '"points": 2',
        r"cell trim_hidden: points must be 3, as the record of ties/trim says",
    ),
    "wrong grade id": (
        '"grade_id": "trim_visible"',
        '"grade_id": "trim_test"',
        r"its grade_id must be trim_visible",
    ),
    "another function": (
        'trim, part="visible"',
        'trimmed, part="visible"',
        r"passes trimmed, but ties/trim is about trim",
    ),
    "more than the call": (
        'grade("ties/trim", trim, part="visible")',
        'points = grade("ties/trim", trim, part="visible")',
        r"cell trim_visible: must be one call",
    ),
    "unknown exercise": (
        'grade("ties/trim", trim, part="visible")',
        'grade("ties/prune", trim, part="visible")',
        r"ties/prune: no such exercise",
    ),
    "no statement": (
        "<!-- exercise: ties/trim -->",
        "Write trim.",
        r"wants one markdown line <!-- exercise: ties/trim -->, found 0",
    ),
    "hidden test in the open": (
        "### BEGIN HIDDEN TESTS\n",
        "",
        r"cell trim_hidden: its call must stand between ### BEGIN HIDDEN TESTS",
    ),
    "solution in the open": (
        "    ### BEGIN SOLUTION\n",
        "",
        r"its solution must stand between ### BEGIN SOLUTION",
    ),
    "another signature": (
        "def trim(delta, density):",
        "def trim(tensor, share):",
        r"defines trim\(tensor, share\); the record says trim\(delta, density\)",
    ),
    "no hidden cell": (
        'grade("ties/trim", trim, part="hidden")',
        'grade("ties/trim", trim, part="visible")',
        r"cell trim_hidden: grades the visible part of ties/trim",
    ),
    "one id twice": (
        '"grade_id": "trim_hidden"',
        '"grade_id": "trim_visible"',
        r"share a grade_id",
    ),
    "pairing metadata": (
        "# jupyter:\n",
        "# jupyter:\n#   jupytext:\n#     formats: ipynb,py:percent\n",
        r"holds pairing metadata; remove `formats:`",
    ),
}

REFUSED_AFTER_RUNNING = {
    "a failing cell": ("depth = 3\nratio = depth / 0", r"this cell stops with ZeroDivisionError"),
    "a warning": (
        "import warnings\nwarnings.warn('an old call')",
        r"this cell writes to stderr: .*an old call",
    ),
    "a memory address": ("object()", r"this cell prints a memory address: at 0x"),
    "a path": (
        "import os\nprint(os.getcwd())",
        r"this cell prints a path of this machine: .*course",
    ),
    "too much output": (
        "print('x' * 300_000)",
        r"this cell has 300 kB of output; the limit is 200",
    ),
}


def build_cell(make_course, source: str) -> Course:
    course = make_course(HEADER.partition("\n# %%")[0] + f"\n# %%\n{source}\n")
    build.build(course, "90_small")
    return course


@pytest.mark.parametrize("case", REFUSED_BEFORE_RUNNING)
def test_a_text_that_disagrees_with_its_exercise_is_refused_with_one_line(case, make_course):
    good, bad, message = REFUSED_BEFORE_RUNNING[case]
    text = lesson_text("trim")
    assert good in text
    course = make_course(text.replace(good, bad))
    with pytest.raises(UserError, match=message) as error:
        build.build(course, "90_small")
    assert "\n" not in str(error.value)
    assert not course.lessons.exists()


@pytest.mark.parametrize("case", REFUSED_AFTER_RUNNING)
def test_a_cell_unfit_to_ship_is_refused_with_the_line_of_the_text(case, make_course):
    source, message = REFUSED_AFTER_RUNNING[case]
    # Eight lines of header, a line with the cell's mark, then the cell.
    with pytest.raises(UserError, match=rf"90_small\.py:10: {message}"):
        build_cell(make_course, source)


def test_a_failed_build_leaves_notebook_and_release_as_they_were(make_course, tmp_path):
    course = build_cell(make_course, "1 + 1")
    before = {p: p.read_bytes() for p in course.root.rglob("*.ipynb")}
    text = course.solutions / "90_small" / "90_small.py"
    text.write_text(text.read_text() + "\n# %%\n1 / 0\n")
    with pytest.raises(UserError, match="ZeroDivisionError"):
        build.build(course, "90_small")
    assert {p: p.read_bytes() for p in course.root.rglob("*.ipynb")} == before
    assert not list(course.root.rglob("*partial*"))


def test_a_second_build_gives_the_same_bytes(make_course):
    source = "import ipywidgets\nprint('a')\nprint('b')\nipywidgets.IntSlider()"
    course = build_cell(make_course, source)
    before = {p: p.read_bytes() for p in course.root.rglob("*.ipynb")}
    assert build.build(course, "90_small") == {"notebook": False, "release": False}
    assert {p: p.read_bytes() for p in course.root.rglob("*.ipynb")} == before


def test_widgets_leave_nothing_in_the_instructor_notebook(make_course):
    course = build_cell(make_course, "import ipywidgets\nipywidgets.IntSlider()")
    assert "widget" not in json.dumps(
        [
            [cell.get("outputs"), cell.metadata]
            for cell in nbformat.read(build.notebook_path(course, "90_small"), 4).cells
        ]
    )


def test_cell_ids_stay_when_a_cell_is_inserted(make_course, tmp_path):
    text = lesson_text("trim")
    first = read_lesson(make_course(text).solutions / "90_small" / "90_small.py")
    longer = tmp_path / "other.py"
    longer.write_text(text.replace("# %%\nimport math", "# %%\n2 + 2\n\n# %%\nimport math"))
    second = read_lesson(longer)
    assert [cell.id for cell in first.cells] == [
        cell.id for cell in second.cells if cell.source != "2 + 2"
    ]
    ids = [cell.id for cell in second.cells]
    assert len(set(ids)) == len(ids)


def test_the_release_keeps_the_text_and_drops_answers_tests_and_outputs(built_course):
    release = nbformat.read(built_course.release("90_small"), as_version=4)
    cells = {cell.id: cell for cell in release.cells}
    assert cells["trim"].source == (
        "def trim(delta, density):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    )
    assert cells["trim_hidden"].source.strip() == "# Hidden cases run when you submit."
    assert cells["trim_visible"].source == 'grade("ties/trim", trim, part="visible")'
    assert cells["why_sign_election"].source == "YOUR ANSWER HERE"
    assert not any(cell.get("outputs") for cell in release.cells)
    text = built_course.release("90_small").read_text()
    assert "keep the entries of the task vector `delta`" in text
    for secret in ("BEGIN", "how_many", "Two changes of opposite sign", "jupytext", 'part=\\"hid'):
        assert secret not in text
    assert [p.name for p in (built_course.lessons / "90_small").iterdir()] == ["90_small.ipynb"]


def test_a_solution_line_shown_elsewhere_in_the_lesson_is_refused(make_course):
    line = "return torch.where(delta.abs() >= limit, delta, torch.zeros_like(delta))"
    shown = f"\n# %% [markdown]\n# ```\n# {line}\n# ```\n"
    course = make_course(lesson_text("trim", extra=shown))
    with pytest.raises(UserError, match=r"the release gives a solution away in 90_small\.ipynb"):
        build.build(course, "90_small")


def with_a_text_source(folder: Path) -> None:
    (folder / "90_small.py").write_text("x = 1")


def with_pairing(folder: Path) -> None:
    edit(folder / "90_small.ipynb", lambda notebook: notebook.metadata.update(jupytext={}))


def with_a_hidden_test(folder: Path) -> None:
    cell = nbformat.v4.new_code_cell('grade("ties/trim", trim, part="hidden")')
    edit(folder / "90_small.ipynb", lambda notebook: notebook.cells.append(cell))


def with_the_model_answer(folder: Path) -> None:
    cell = nbformat.v4.new_markdown_cell(
        "Two changes of opposite sign would cancel; one side is elected, and the other keeps out."
    )
    edit(folder / "90_small.ipynb", lambda notebook: notebook.cells.append(cell))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (with_a_text_source, "holds a source file"),
        (with_pairing, "jupytext's pairing metadata"),
        (with_a_hidden_test, "shows a hidden test"),
        (with_the_model_answer, "gives a solution away"),
    ],
)
def test_a_leak_in_a_release_is_found(spoil, message, built_course, tmp_path):
    folder = tmp_path / "release"
    shutil.copytree(built_course.lessons / "90_small", folder)
    notebook = nbformat.read(build.notebook_path(built_course, "90_small"), as_version=4)
    assert leak(notebook, folder) is None
    spoil(folder)
    assert message in leak(notebook, folder)


def edit(path: Path, change) -> None:
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def copy_of(course: Course, tmp_path: Path) -> Course:
    shutil.copytree(course.root, tmp_path / "copy")
    return Course(tmp_path / "copy", course.state)


def test_the_check_agrees_with_what_was_just_built(built_course):
    assert build.check(built_course, "90_small") == []


def test_the_check_names_a_text_that_was_changed_since(built_course, tmp_path):
    course = copy_of(built_course, tmp_path)
    text = build.text_path(course, "90_small")
    text.write_text(text.read_text().replace("# A small lesson", "# A smaller lesson"))
    assert build.check(course, "90_small") == [
        "90_small: the instructor notebook is not the text's; run `mergelab lessons 90_small`"
    ]


def test_the_check_names_a_release_that_was_edited(built_course, tmp_path):
    course = copy_of(built_course, tmp_path)
    edit(course.release("90_small"), lambda nb: nb.cells.pop(0))
    assert build.check(course, "90_small") == [
        "90_small: the release is not the instructor notebook's; run `mergelab lessons 90_small`"
    ]


def test_the_check_names_a_notebook_that_was_not_executed(built_course, tmp_path):
    course = copy_of(built_course, tmp_path)

    def forget(notebook):
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None

    edit(build.notebook_path(course, "90_small"), forget)
    assert "was not executed" in build.check(course, "90_small")[0]


def test_without_execution_outputs_are_kept_and_a_new_cell_is_refused(built_course, tmp_path):
    course = copy_of(built_course, tmp_path)
    text = build.text_path(course, "90_small")
    text.write_text(text.read_text().replace("# A small lesson", "# A smaller lesson"))
    changed = build.build(course, "90_small", execute=False)
    assert changed == {"notebook": True, "release": True}
    assert build.check(course, "90_small") == []
    text.write_text(text.read_text() + "\n# %%\n1 + 1\n")
    with pytest.raises(UserError, match="was not executed"):
        build.build(course, "90_small", execute=False)


def test_swapping_replaces_a_folder_whole_and_tells_whether_it_differed(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, text in ((old, "1"), (new, "2")):
        folder.mkdir()
        (folder / "a.txt").write_text(text)
    (old / "gone.txt").write_text("x")
    assert swap(new, old) is True
    assert [(p.name, p.read_text()) for p in tmp_path.rglob("*.txt")] == [("a.txt", "2")]
    shutil.copytree(old, new)
    assert swap(new, old) is False
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


def test_the_command_says_which_lessons_there_are(built_course, monkeypatch):
    import typer

    from autograder.commands import lessons

    monkeypatch.setenv("MERGELAB_ROOT", str(built_course.root))
    monkeypatch.setenv("MERGELAB_COURSE", str(built_course.state))
    app = typer.Typer()
    app.command()(lessons)
    result = CliRunner().invoke(app, ["--check"])
    assert (result.exit_code, result.output) == (
        0,
        "1 lessons: text, notebook and release agree\n",
    )
    failed = CliRunner().invoke(app, ["91_none"])
    assert isinstance(failed.exception, UserError)
    assert "there are 90_small" in str(failed.exception)
