"""Item analysis: shares, intervals and correlations by hand, on classes large and small."""

import csv
import io
import json

import pytest
from classes import ClassBook, record
from PIL import Image

from autograder.courses import Course
from autograder.gradebook.commands import items
from autograder.gradebook.items import analyse, correlation, write_items
from autograder.gradebook.records import read_class
from mergelab.errors import UserError


@pytest.fixture
def book(tmp_path, monkeypatch):
    course = Course(tmp_path / "course", tmp_path / "state")
    monkeypatch.setenv("MERGELAB_ROOT", str(course.root))
    monkeypatch.setenv("MERGELAB_COURSE", str(course.state))
    monkeypatch.delenv("MERGELAB_GRADEBOOK", raising=False)
    return ClassBook(course)


def fill(book, points, records=None):
    """A class whose students earn these points of 4 for trim and of 4 for elect_sign."""
    book.lesson("l1", {"ties/trim": (1, 3), "ties/elect_sign": (2, 2)}, {"why": 5})
    for number, (trim, elect) in enumerate(points):
        earned = {"trim_visible": 0, "trim_hidden": trim}
        earned |= {"elect_sign_visible": elect, "elect_sign_hidden": 0}
        shown = records[number] if records else None
        book.submission("l1", f"s{number:02}", earned, records=shown)
    return {item.exercise: item for item in analyse(read_class(book.course))}


# Points of 4 in trim and in elect_sign, of ten students.
TEN = [(4, 4), (4, 4), (4, 2), (4, 3), (2, 2), (2, 0), (0, 2), (0, 0), (0, 0), (0, 3)]


def test_shares_and_the_interval_of_the_mean_are_those_by_hand(book):
    item = fill(book, TEN)["ties/trim"]

    # The mean share is 20/40; Wilson's interval for 5 of 10 with t(9) = 2.262157 has the centre
    # (.5 + t²/20) / (1 + t²/10) = .5 and the half width t/(1 + t²/10) √(.25/10 + t²/400).
    assert (item.submissions, item.mean, item.zero, item.full) == (10, 0.5, 0.4, 0.4)
    assert (item.low, item.high) == pytest.approx((0.209093, 0.790907), abs=1e-6)


def test_discrimination_is_the_correlation_with_the_other_exercises(book):
    found = fill(book, TEN)

    # Sums over trim x and elect_sign y: Σx = 20, Σy = 20, Σxx = 72, Σyy = 62, Σxy = 56; so
    # r = (56 - 40) / √((72 - 40)(62 - 40)) = 16 / √704 = 0.603023. Fisher: atanh r = 0.697884,
    # its error 1/√7 = 0.377964, the limits tanh(0.697884 ± 1.959964 × 0.377964).
    for exercise in ("ties/trim", "ties/elect_sign"):
        value, low, high = found[exercise].discrimination
        assert value == pytest.approx(0.603023, abs=1e-6)
        assert (low, high) == pytest.approx((-0.042774, 0.893407), abs=1e-3)


def test_points_of_the_exercise_itself_do_not_count_in_its_total(book):
    # elect_sign is the same for all: against a total with trim in it, trim would correlate at 1.
    found = fill(book, [(trim, 2) for trim in (0, 1, 2, 3, 4, 0, 1, 2, 3, 4)])

    assert found["ties/trim"].discrimination is None
    assert found["ties/trim"].discrimination_text() == "undefined"


def test_nine_students_give_no_correlation_and_wide_intervals(book):
    item = fill(book, TEN[:9])["ties/trim"]

    assert item.discrimination is None and item.discrimination_text() == "n < 10"
    assert item.high - item.low > 0.55


def test_one_student_says_next_to_nothing(book):
    item = fill(book, [(4, 4)])["ties/trim"]

    # Wilson for 1 of 1 with the normal quantile: from 1 / (1 + 1.96²) to 1.
    assert (item.mean, item.low, item.high) == pytest.approx((1, 0.2065, 1), abs=1e-4)


def test_a_perfect_correlation_and_no_spread_are_told_apart():
    rising = list(range(10))

    assert correlation(rising, [2 * x for x in rising]) == (1, 1, 1)
    assert correlation(rising, [-x for x in rising]) == (-1, -1, -1)
    assert correlation(rising, [0.1 + 0.2] * 10) is None


def test_kinds_and_misconceptions_are_counted_once_for_a_submission(book):
    wrong = {"a draw": False, "a plain vector": True}
    found = fill(
        book,
        [(0, 4)] * 4,
        [
            [
                record("ties/trim", "visible", wrong, misconception="keeps_smallest"),
                record("ties/trim", "hidden", wrong, misconception="keeps_smallest"),
            ],
            [record("ties/trim", "hidden", wrong | {"density 0": False})],
            [record("ties/trim", "visible", {}), record("ties/trim", "hidden", {})],  # not written
            [record("ties/elect_sign", "visible", {"a plain vector": True})],
        ],
    )["ties/trim"]

    assert found.failed == {"a draw": 2, "density 0": 1}
    assert found.misconceptions == {"keeps_smallest": 1}
    assert (found.submissions, found.ran, found.unwritten) == (4, 2, 1)
    assert found.lines() == [
        "not written, or could not run, in 1 of 4",
        "most often wrong on a draw (2), density 0 (1), of 2 that ran",
        "misconceptions: keeps_smallest (1)",
    ]


def test_a_submission_that_waits_for_a_person_does_not_count_yet(book):
    fill(book, [(4, 4), (0, 0)])
    with book.book() as gradebook:
        grade = gradebook.find_grade("trim_hidden", "l1", "l1", "s01")
        grade.needs_manual_grade = True
        gradebook.db.commit()

    found = {item.exercise: item for item in analyse(read_class(book.course))}

    assert found["ties/trim"].submissions == 1 and found["ties/elect_sign"].submissions == 2


def test_extra_credit_makes_no_share_above_one(book):
    fill(book, [(4, 4), (4, 4)])
    with book.book() as gradebook:
        gradebook.find_grade("trim_hidden", "l1", "l1", "s00").extra_credit = 3.0
        gradebook.db.commit()

    found = {item.exercise: item for item in analyse(read_class(book.course))}

    assert found["ties/trim"].mean == found["ties/trim"].full == 1


def test_written_answers_are_no_items_and_the_order_is_the_lessons(book):
    assert list(fill(book, TEN)) == ["ties/trim", "ties/elect_sign"]


def test_the_command_prints_a_table_and_writes_table_and_figure(
    book, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "140")
    told = [record("ties/trim", "hidden", {"\x1b[2J": False}, misconception="keeps_smallest")]
    fill(book, TEN, [told] * 10)
    items(["l1"], out=tmp_path / "new" / "analysis")

    printed = capsys.readouterr().out
    assert "0.50 [0.21, 0.79]" in printed and "corrected item-total" in printed
    assert "ties/trim: most often wrong on ?[2J (10), of 10 that ran" in printed
    assert "\x1b[2J" not in printed
    folder = tmp_path / "new" / "analysis"
    assert sorted(path.name for path in folder.iterdir()) == ["items.csv", "items.png"]
    rows = list(csv.DictReader(io.StringIO((folder / "items.csv").read_text("utf-8"))))
    assert [(row["exercise"], row["mean_share"], row["zero_share"]) for row in rows] == [
        ("ties/trim", "0.5", "0.4"),
        ("ties/elect_sign", "0.5", "0.3"),
    ]
    with Image.open(folder / "items.png") as picture:
        assert picture.width > 1000
        assert "ties/trim: 10 submissions, mean share of points 0.50" in picture.text["Description"]


def test_the_figure_reads_in_grey(book, tmp_path):
    """The three shares of the bars are told apart by lightness or hatch, not by hue."""
    fill(book, TEN)
    from autograder.gradebook.items_plot import items_plot

    figure = items_plot(analyse(read_class(book.course)))
    bars = figure.axes[1].containers
    looks = [(bar[0].get_facecolor(), bar[0].get_hatch()) for bar in bars]
    grey = [sum(colour[:3]) / 3 if not hatch else "hatched" for colour, hatch in looks]

    assert grey[0] == "hatched" and grey[1] - grey[2] > 0.3
    assert [axis.get_xlabel() for axis in figure.axes if not axis.get_xlabel()] == []


def test_json_is_what_the_table_shows_and_more(book, capsys):
    fill(book, TEN[:3])
    items(as_json=True)

    (trim, _) = json.loads(capsys.readouterr().out)
    assert (trim["lesson"], trim["submissions"], trim["discrimination"]) == ("l1", 3, None)


def test_a_folder_that_cannot_be_made_is_said_in_one_line(book, tmp_path):
    fill(book, TEN[:2])
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match="cannot be created"):
        write_items(analyse(read_class(book.course)), tmp_path / "file" / "analysis")


def test_a_lesson_of_written_answers_alone_has_no_items(book):
    book.lesson("l2", {}, {"why": 5})
    book.submission("l2", "s1", {"why": 0})

    with pytest.raises(UserError, match="l2: no exercise has been graded yet"):
        analyse(read_class(book.course, ["l2"]))
