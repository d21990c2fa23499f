"""`mergelab submit`: nbgrader's whole round trip on one's own work, in one step."""

import json
from pathlib import Path

import nbformat
import pytest
from carried import answer
from small_lessons import SOLUTIONS, hand_in, own_course
from typer.testing import CliRunner

from autograder import build
from autograder.courses import Course
from autograder.exercise import find
from autograder.submit import _private_course, locate, read_submission, submit
from mergelab.errors import UserError

pytestmark = pytest.mark.slow

NAMES = ("trim", "elect_sign", "disjoint_merge", "ties")
# Three wrong implementations of each exercise, by the names their records give them.
WRONG = {
    "trim": ("keeps the smallest", "exactly k", "in place"),
    "elect_sign": ("count for mass", "zero sum counted as plus", "forgets the weights"),
    "disjoint_merge": ("divides by all", "divides by the count", "NaN where none agrees"),
    "ties": ("sign vote before trim", "forgets lam", "weights only in the election"),
}


@pytest.fixture
def course(built_course: Course, tmp_path: Path, monkeypatch) -> Course:
    """The built course with a work folder of its own; the state folder is shared."""
    course = own_course(tmp_path / "mine", built_course.root, built_course.state)
    monkeypatch.setenv("MERGELAB_ROOT", str(course.root))
    monkeypatch.setenv("MERGELAB_COURSE", str(course.state))
    return course


def known(name: str, function) -> str:
    """A cell that defines an exercise's function as one of those known for it."""
    exercise = find(f"ties/{name}")
    wrong = [each.function for each in exercise.misconceptions]
    if function in wrong:
        return answer(exercise, f"exercise.misconceptions[{wrong.index(function)}].function")
    right = next(key for key, each in exercise.alternatives.items() if each is function)
    return answer(exercise, f"exercise.alternatives[{right!r}]")


def scores(submission) -> dict[str, float]:
    return {r.id.split("/")[-1]: r.score for r in submission.results if not r.written}


def test_the_reference_solution_earns_full_marks(course):
    path = course.work / "90_small" / "90_small.ipynb"
    path.parent.mkdir(parents=True)
    path.write_bytes(build.notebook_path(course, "90_small").read_bytes())
    found = submit(course, "90_small")
    assert scores(found) == {"trim": 4, "elect_sign": 4, "disjoint_merge": 5, "ties": 7}
    assert (found.score, found.maximum) == (20, 20)
    assert not any(result.reasons for result in found.results)
    written = [(r.id, r.score, r.maximum) for r in found.results if r.written]
    assert written == [("why_sign_election", 0, 5)]


def test_the_untouched_release_scores_exactly_zero_and_is_not_changed(course):
    path = hand_in(course, {})
    before = path.read_bytes()
    found = submit(course, "90_small")
    assert found.score == 0
    assert set(scores(found).values()) == {0}
    assert all("not written yet" in r.reasons[0] for r in found.results if not r.written)
    assert [r.reasons for r in found.results if r.written] == [["No answer yet."]]
    assert path.read_bytes() == before
    assert sorted(p.name for p in course.work.rglob("*")) == ["90_small", "90_small.ipynb"]


@pytest.mark.parametrize("number", range(3))
def test_wrong_implementations_land_in_their_band_each_with_its_own_sentence(course, number):
    chosen = {
        name: next(m for m in find(f"ties/{name}").misconceptions if m.name == WRONG[name][number])
        for name in NAMES
    }
    hand_in(course, {name: known(name, wrong.function) for name, wrong in chosen.items()})
    found = {r.id.split("/")[-1]: r for r in submit(course, "90_small").results}
    for name, wrong in chosen.items():
        low, high = wrong.band
        assert low <= found[name].score / found[name].maximum <= high
        assert wrong.sentence in found[name].reasons
    assert len({w.sentence for w in chosen.values()}) == len(NAMES)


@pytest.mark.parametrize("number", range(2))
def test_allowed_alternatives_earn_full_marks(course, number):
    chosen = {n: list(find(f"ties/{n}").alternatives.values())[number] for n in NAMES}
    hand_in(course, {name: known(name, function) for name, function in chosen.items()})
    found = submit(course, "90_small")
    assert found.score == found.maximum == 20


def test_a_learners_own_way_of_working_is_graded_fairly(course):
    """Helpers in extra cells, slow demonstrations, broken cells, copies, and answers left empty."""

    def change(notebook):
        trim = next(i for i, cell in enumerate(notebook.cells) if cell.id == "trim")
        helper = nbformat.v4.new_code_cell(
            "import sys\n"
            "raise_at_the_end = True\n"
            "def how_many(size, density):\n"
            "    return max(1, math.floor(density * size + 0.5)) if density and size else 0"
        )
        demonstration = nbformat.v4.new_code_cell(
            "while True:\n    pass\nprint('noise', file=sys.stderr)\n1 / 0"
        )
        broken = nbformat.v4.new_code_cell("def half done(")
        copied = nbformat.from_dict(dict(notebook.cells[trim]))
        copied.id = "a-copy"
        copied.source = "pass"
        notebook.cells[trim + 1 : trim + 1] = [demonstration, broken, copied]
        notebook.cells.insert(trim, helper)
        notebook.cells = [c for c in notebook.cells if c.id not in ("ties", "trim_visible")]

    trim = (
        "def trim(delta, density):\n"
        "    print('called')\n"
        "    k = how_many(delta.numel(), density)\n"
        "    if k == 0:\n"
        "        return delta * 0\n"
        "    return delta * (delta.abs() >= delta.abs().flatten().topk(k).values[-1])\n"
        "trim(torch.ones(3), 0.5) / 0\n"
        "1 / 0"
    )
    hand_in(course, {"trim": trim, "elect_sign": SOLUTIONS["elect_sign"].strip()}, change=change)
    found = submit(course, "90_small")
    assert scores(found) == {"trim": 4, "elect_sign": 4, "disjoint_merge": 0, "ties": 0}
    reasons = {r.id.split("/")[-1]: r.reasons for r in found.results}
    (reason,) = reasons["ties"]
    assert reason.startswith("`ties` is not defined: its cell is missing, or names it otherwise.")
    assert "has a syntax error in line 1" in reason  # an extra cell that cannot be read
    assert found.notes == [
        "the cell trim is there twice; the first one counts",
        "the cell ties is missing; it counts only what other cells define",
    ]


def test_a_run_that_was_killed_early_does_not_stand_in_the_way(built_course, tmp_path):
    course = Course(built_course.root, tmp_path / "state")
    hand_in_at = Course(tmp_path / "mine", course.state)
    hand_in_at.root.mkdir()
    (hand_in_at.root / "lessons").symlink_to(course.lessons)
    path = hand_in(hand_in_at, {"trim": SOLUTIONS["trim"].strip()})
    private = _private_course(course, "90_small")
    (private.root / "gradebook.db").write_bytes(b"half a")
    (private.exchange / "mergelab" / "outbound" / "90_small").mkdir(parents=True)
    assert submit(course, str(path)).score == 4


def test_a_folder_that_cannot_be_written_is_said_in_one_line(built_course, tmp_path):
    (tmp_path / "state").write_text("a file")
    course = Course(built_course.root, tmp_path / "state")
    with pytest.raises(UserError, match=r"state.*cannot be written"):
        submit(course, str(build.notebook_path(built_course, "90_small")))


def test_the_command_prints_a_table_and_where_the_feedback_is(course):
    import typer

    from autograder.commands import submit as command

    app = typer.Typer()
    app.command()(command)
    hand_in(course, {"trim": SOLUTIONS["trim"].strip()})
    shown = CliRunner().invoke(app, ["90_small"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    assert "90_small: 4 of 20 points" in shown.output
    assert "✓ trim" in shown.output
    assert "stock mode" not in shown.output
    plain = CliRunner().invoke(app, ["90_small", "--json"])
    data = json.loads(plain.stdout)
    assert (data["score"], data["maximum"], data["mode"]) == (4, 20, "trusted")
    assert [e["score"] for e in data["exercises"]] == [4, 0, 0, 0]
    assert data["exercises"][1]["parts"][0]["reason"].startswith("`elect_sign` is not written yet")
    assert data["written"] == [{"id": "why_sign_election", "maximum": 5, "answered": False}]
    feedback = Path(data["feedback"]).read_text()
    assert "<code>elect_sign</code> is not written yet" in feedback


def test_without_a_sandbox_ones_own_work_is_graded_in_stock_mode_and_said_so(course, monkeypatch):
    why = "bubblewrap is not installed"
    monkeypatch.setattr("autograder.sandbox.host.unavailable", lambda: why)
    hand_in(course, {"trim": SOLUTIONS["trim"].strip()})
    found = submit(course, "90_small")
    assert (found.mode, found.why_stock) == ("stock", "bubblewrap is not installed")
    assert scores(found) == {"trim": 4, "elect_sign": 0, "disjoint_merge": 0, "ties": 0}


UNREADABLE = {
    "empty": b"",
    "no JSON": b"{",
    "another JSON": b"[1, 2]",
    "no notebook": b'{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "binary": bytes(range(256)),
    "an old format": b'{"worksheets": [], "nbformat": 3, "nbformat_minor": 0, "metadata": {}}',
    "a foreign notebook": b'{"cells": [], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_notebook_that_cannot_be_graded_is_said_in_one_line(case, tmp_path, built_course):
    path = tmp_path / "90_small.ipynb"
    path.write_bytes(UNREADABLE[case])
    release = nbformat.read(built_course.release("90_small"), as_version=4)
    with pytest.raises(UserError) as error:
        read_submission(path, release, [])
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_huge_notebook_is_refused_before_it_is_read(tmp_path, built_course):
    path = tmp_path / "90_small.ipynb"
    with open(path, "wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(UserError, match="30 MB is too large to grade; clear the outputs"):
        read_submission(path, nbformat.v4.new_notebook(), [])


def test_changed_metadata_is_set_right_before_grading(course):
    def change(notebook):
        for cell in notebook.cells:
            if cell.id == "trim_hidden":
                cell.metadata.nbgrader.points = 100
                cell.metadata.nbgrader.schema_version = 99
                cell.metadata.nbgrader.locked = False

    path = hand_in(course, {}, change=change)
    release = nbformat.read(course.release("90_small"), as_version=4)
    notebook = read_submission(path, release, [])
    metadata = next(c for c in notebook.cells if c.id == "trim_hidden").metadata.nbgrader
    assert (metadata.points, metadata.schema_version, metadata.locked) == (3, 3, True)


def test_a_lesson_is_found_by_name_folder_or_notebook(course):
    path = hand_in(course, {})
    for target in ("90_small", "90_small/", str(path.parent), str(path)):
        lesson, found = locate(course, target)
        assert (lesson, found.resolve()) == ("90_small", path.resolve())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("91_none", "91_none: no such lesson; there are 90_small"),
        ("90_small", r"90_small\.ipynb: there is no notebook to submit; `mergelab lab` puts"),
        ("elsewhere/90_small.ipynb", r"elsewhere/90_small\.ipynb: there is no notebook to submit"),
    ],
)
def test_a_target_that_is_not_there_is_said_in_one_line(course, target, message):
    with pytest.raises(UserError, match=message):
        locate(course, target)
