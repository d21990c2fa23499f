"""Grades as others read them: the points by hand, the shapes of Canvas and Moodle, no formulas."""

import csv
import io
import json

import pytest
from classes import ClassBook, record

from autograder.courses import Course
from autograder.gradebook import exports
from autograder.gradebook.commands import Format, grades
from autograder.gradebook.records import read_class
from mergelab.errors import UserError

FULL = {"trim_visible": 1, "trim_hidden": 3, "slerp_visible": 1, "slerp_hidden": 5}


@pytest.fixture
def book(tmp_path, monkeypatch):
    """Two lessons; `a` is late and partly marked by hand, `b` handed in one lesson, `c` none."""
    course = Course(tmp_path / "course", tmp_path / "state")
    book = ClassBook(course)
    monkeypatch.setenv("MERGELAB_ROOT", str(course.root))
    monkeypatch.setenv("MERGELAB_COURSE", str(course.state))
    monkeypatch.delenv("MERGELAB_GRADEBOOK", raising=False)
    (course.state / "course.toml").write_text("[late]\nshare_per_day = 0.1\n")
    due = {"duedate": "2030-05-01 12:00:00 UTC"}
    book.lesson("01_one", {"slerp/slerp": (1, 5), "ties/trim": (1, 3)}, {"why": 5}, **due)
    book.lesson("02_two", {"ties/ties": (2, 2.5)})
    book.student("a", last_name="Älpha", first_name="Ann", email="a@x.example", lms_user_id="77")
    book.student("b", last_name="=HYPERLINK(1)", first_name="+1", email="@b")
    book.student("c", last_name="Gamma, the\nthird", email="c@x.example")
    book.submission(
        "01_one",
        "a",
        FULL | {"trim_hidden": 1.5},
        {"why": 4, "slerp_hidden": 3},  # a person took two points away
        timestamp="2030-05-01 12:00:01 UTC",
        records=[
            record("ties/trim", "hidden", {"plain": True}),
            record("slerp/slerp", "hidden", {"plain": True}),
        ],
        mode="trusted",
    )
    book.submission("01_one", "b", FULL, timestamp="2030-05-01 11:00:00 UTC", records=[])
    book.submission(
        "02_two",
        "a",
        {"ties_visible": 2, "ties_hidden": 0},
        records=[
            record("ties/ties", "visible", {"plain": True}),
            record("ties/ties", "hidden", {"plain": False}, mode="trusted"),
        ],
    )
    return book


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_lesson_adds_up_automatic_manual_and_late_points(book):
    rows = {(row["student"], row["lesson"]): row for row in table(_csv(book))}

    # a: 1 + 1.5 by the grader for trim, 1 for slerp; 4 + 3 by a person; one day begun costs 10%
    # of 10.5. The answer of b waits.
    expected = {
        ("a", "01_one"): ["3.5", "7", "1.05", "9.45", "15", "graded", "0", "trusted"],
        ("b", "01_one"): ["10", "0", "0", "10", "15", "waits for a person", "0", "stock"],
        ("c", "01_one"): ["", "", "", "", "15", "not handed in", "", ""],
        ("a", "02_two"): ["2", "0", "0", "2", "4.5", "graded", "0", "stock"],
        ("b", "02_two"): ["", "", "", "", "4.5", "not handed in", "", ""],
        ("c", "02_two"): ["", "", "", "", "4.5", "not handed in", "", ""],
    }
    names = ["automatic", "manual", "penalty", "total", "maximum", "status", "hours_late", "mode"]
    assert {key: [row[name] for name in names] for key, row in rows.items()} == expected
    assert rows["a", "01_one"]["handed_in"] == "2030-05-01T12:00:01Z"


def test_an_exercise_shows_its_own_points_and_its_part_of_the_penalty(book):
    rows = [row for row in table(_csv(book, exercises=True)) if row["student"] == "a"]

    assert [
        [row[name] for name in ("exercise", "automatic", "manual", "penalty", "total", "maximum")]
        for row in rows
    ] == [
        ["slerp/slerp", "1", "3", "0.4", "3.6", "6"],
        ["ties/trim", "2.5", "0", "0.25", "2.25", "4"],
        ["why", "0", "4", "0.4", "3.6", "5"],
        ["ties/ties", "2", "0", "0", "2", "4.5"],
    ]


def _csv(book, **options):
    return exports.csv_text(read_class(book.course), **options)


def test_canvas_reads_a_column_per_lesson_and_the_points_in_the_second_row(book):
    text = exports.canvas_text(read_class(book.course))

    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["Student", "ID", "SIS Login ID", "Section", "01_one", "02_two"],
        ["    Points Possible", "", "", "", "15", "4.5"],
        ["'=HYPERLINK(1), +1", "", "b", "", "10", ""],
        ["Gamma, the\nthird", "", "c", "", "", ""],
        ["Älpha, Ann", "77", "a", "", "9.45", "2"],
    ]


def test_moodle_finds_students_by_email_or_id_number(book):
    text = exports.moodle_text(read_class(book.course))

    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["First name", "Last name", "ID number", "Email address", "01_one", "02_two"],
        ["'+1", "'=HYPERLINK(1)", "b", "'@b", "10", ""],
        ["", "Gamma, the\nthird", "c", "c@x.example", "", ""],
        ["Ann", "Älpha", "77", "a@x.example", "9.45", "2"],
    ]


@pytest.mark.parametrize(
    "name",
    ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", "－1", "＋1", "＠1"],
)
def test_no_text_is_taken_for_a_formula(name):
    assert exports.table_text([[name]]).lstrip('"').startswith("'")


@pytest.mark.parametrize("name", ["plain", "a=b", "x-y", "me@x.example", "'quoted", ""])
def test_other_text_and_numbers_below_zero_stay_as_they_are(name):
    assert exports.table_text([[name, -2.5]]) == f"{name},-2.5\n"


def test_a_submissions_mode_is_what_the_grader_wrote_down_and_no_record_can_claim_another(book):
    modes = {(g.student.id, g.lesson): g.mode for g in read_class(book.course).grades}

    assert modes == {("a", "01_one"): "trusted", ("b", "01_one"): "stock", ("a", "02_two"): "stock"}


@pytest.mark.parametrize(
    "outputs",
    [
        [{"exercise": "ties/ties", "part": "hidden", "kinds": [], "mode": "trusted"}],
        [record("ties/trim", "hidden", {}, mode="trusted")],  # speaks of another exercise
        [record("ties/ties", "hidden", {}, mode="trusted")] * 2,  # and which of two to believe?
        ["text"],
    ],
)
def test_a_record_that_does_not_fit_its_cell_is_not_believed(book, outputs):
    path = book.course.state / "autograded" / "a" / "02_two" / "02_two.ipynb"
    data = [{"data": {"application/vnd.mergelab.verdict+json": each}} for each in outputs]
    cell = {"metadata": {"nbgrader": {"grade_id": "ties_hidden"}}, "outputs": data}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}}))

    found = {(g.student.id, g.lesson): g for g in read_class(book.course).grades}["a", "02_two"]

    assert (found.mode, found.verdicts) == ("stock", {})


@pytest.mark.parametrize("text", ["", "{}", '{"cells": [3]}', '{"cells": [{"metadata": 1}]}'])
def test_a_graded_notebook_that_cannot_be_read_has_an_unknown_mode(book, text):
    (book.course.state / "autograded" / "a" / "02_two" / "02_two.ipynb").write_text(text)

    found = {(g.student.id, g.lesson): g for g in read_class(book.course).grades}["a", "02_two"]

    assert (found.mode, found.total) == ("unknown", 2)


def test_json_has_the_rows_with_null_for_what_is_missing(book):
    rows = json.loads(exports.json_text(read_class(book.course, ["02_two"])))

    assert [(row["student"], row["total"], row["mode"]) for row in rows] == [
        ("b", None, None),
        ("c", None, None),
        ("a", 2, "stock"),
    ]


def test_extra_credit_counts_as_points_by_a_person(book):
    with book.book() as gradebook:
        grade = gradebook.find_grade("ties_hidden", "02_two", "02_two", "a")
        grade.extra_credit = 1.5
        gradebook.db.commit()

    (grade,) = read_class(book.course, ["02_two"]).grades

    assert (grade.automatic, grade.manual, grade.total) == (2, 1.5, 3.5)


def test_the_command_writes_the_file_whole_and_says_what_to_know(book, tmp_path, capsys):
    out = tmp_path / "canvas.csv"
    grades(["01_one"], format=Format.canvas, out=out)

    printed = capsys.readouterr()
    assert printed.out == f"Written to {out}\n"
    assert out.read_text("utf-8").splitlines()[0] == "Student,ID,SIS Login ID,Section,01_one"
    assert "1 submission still waits for a person" in printed.err
    assert "1 submission was graded in stock mode" in printed.err
    assert "1 late penalty differs from what nbgrader recorded" in printed.err
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_json_has_two_names(book, capsys):
    grades(as_json=True)
    short = capsys.readouterr().out
    grades(format=Format.json)
    assert short == capsys.readouterr().out and short.startswith("[")


def test_a_file_that_cannot_be_written_is_said_and_nothing_is_left(book, tmp_path):
    (tmp_path / "folder").mkdir()
    for out in (tmp_path / "folder", tmp_path / "missing" / "grades.csv"):
        with pytest.raises(UserError, match="cannot be written"):
            grades(format=Format.csv, out=out)
    assert not list(tmp_path.glob("*partial*"))


def test_the_table_shows_names_and_steers_no_terminal(book, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    with book.book() as gradebook:
        gradebook.update_or_create_student("a", first_name="\x1b[2J[bold]Ann[/bold]")
    grades(["02_two"])

    printed = capsys.readouterr().out
    assert "?[2J[bold]Ann[/bold] Älpha" in printed and "\x1b[2J" not in printed
    assert "not handed in" in printed and "stock" in printed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lessons": ["03_three"]}, "03_three: is not in the gradebook; there are 01_one, 02_two"),
        ({"out": "grades.txt"}, "--format"),
        ({"format": Format.canvas, "exercises": True}, "--exercises"),
        ({"format": Format.canvas, "as_json": True}, "--json and --format canvas"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(book, options, says):
    with pytest.raises(UserError) as stopped:
        grades(**options)

    assert says in str(stopped.value)


def test_a_class_without_grades_is_no_empty_file(book, tmp_path):
    book.lesson("03_three", {"ties/sce": (1, 1)})
    book.submission("03_three", "a", {})  # handed in, and its grading failed

    with pytest.raises(UserError, match="03_three: no grades yet"):
        grades(["03_three"], format=Format.csv, out=tmp_path / "grades.csv")

    assert not (tmp_path / "grades.csv").exists()
