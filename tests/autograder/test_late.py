"""What late work costs: both edges of every limit, time zones, and nbgrader's own record of it."""

import pytest
from classes import ClassBook
from nbgrader.api import Gradebook

from autograder.courses import Course, configuration
from autograder.gradebook.late import LateRule, late_rule
from autograder.gradebook.records import read_class
from mergelab.errors import UserError

HOUR, DAY = 3600, 24 * 3600
# 10 points are due at 23:59 on the last day of May 2030, in a zone two hours ahead of UTC.
DUE = "2030-05-31T23:59:00+02:00"
RULE = """
[late]
grace_minutes = 15
share_per_day = 0.1
at_most = 0.25
zero_after_days = 5
"""


@pytest.fixture
def book(tmp_path):
    return ClassBook(Course(tmp_path / "course", tmp_path / "state"))


def penalties(book, due=DUE, extension=0, **handed_in):
    """Points lost of 10 by students who hand in at these times."""
    book.lesson("l1", {"ties/trim": (4, 6)}, duedate=due)
    for student, time in handed_in.items():
        points = {"trim_visible": 4, "trim_hidden": 6}
        book.submission("l1", student, points, timestamp=time)
    if extension:
        with book.book() as gradebook:
            for student in handed_in:
                gradebook.grant_extension("l1", student, hours=extension)
    found = read_class(book.course)
    return {grade.student.id: grade.penalty for grade in found.grades}


@pytest.mark.parametrize(
    ("seconds", "share"),
    [
        (0, 0.0),
        (15 * 60, 0.0),  # the whole grace period is on time
        (15 * 60 + 1, 0.1),  # one second more, and the first day counts from the due date
        (DAY, 0.1),
        (DAY + 1, 0.2),
        (2 * DAY, 0.2),
        (2 * DAY + 1, 0.25),  # three days would be 0.3: never more than at_most
        (5 * DAY, 0.25),
        (5 * DAY + 1, 1.0),
    ],
)
def test_each_limit_holds_to_the_second(seconds, share):
    rule = LateRule(grace_minutes=15, share_per_day=0.1, at_most=0.25, zero_after_days=5)

    assert rule.share(seconds) == pytest.approx(share)
    assert rule.penalty(8.0, seconds) == pytest.approx(8 * share)


def test_without_a_rule_late_work_costs_nothing(tmp_path):
    assert late_rule(tmp_path) == LateRule()
    assert [LateRule().share(seconds) for seconds in (0, 1, 100 * DAY)] == [0, 0, 0]


def test_days_alone_take_everything_in_the_end_and_no_more():
    rule = LateRule(share_per_day=0.3)

    assert [rule.share(days * DAY) for days in (3, 4, 40)] == pytest.approx([0.9, 1.0, 1.0])


def test_a_cutoff_of_zero_days_begins_after_the_grace_period():
    rule = LateRule(grace_minutes=1, zero_after_days=0)

    assert [rule.share(seconds) for seconds in (0, 60, 61)] == [0, 0, 1]


def test_points_below_zero_lose_nothing():
    assert LateRule(zero_after_days=0).penalty(-1.0, DAY) == 0


def test_times_in_any_zone_are_compared_in_utc(book):
    (book.course.state / "course.toml").write_text(RULE)

    lost = penalties(
        book,
        on_time="2030-05-31T23:59:00+02:00",
        utc="2030-05-31 22:14:00 UTC",  # 15 minutes after 21:59 UTC
        second_more="2030-05-31 22:14:01 UTC",
        far_west="2030-06-01T11:58:00-10:00",  # 21:58 UTC on the next day
        new_york="2030-06-01 18:00 America/New_York",  # 22:00 UTC on the next day: day two
        india="2030-06-06T03:29:00+05:30",  # 21:59 UTC on the 5th: five days to the minute
        over="2030-06-05 21:59:01 UTC",
    )

    assert lost == pytest.approx(
        {
            "on_time": 0,
            "utc": 0,
            "second_more": 1,
            "far_west": 1,
            "new_york": 2,
            "india": 2.5,
            "over": 10,
        }
    )


def test_a_named_zone_follows_its_summer_time(book):
    (book.course.state / "course.toml").write_text("[late]\nzero_after_days = 0\n")

    # Berlin is at +01:00 until 01:00 UTC on 31 March 2030, and at +02:00 after it.
    lost = penalties(
        book,
        due="2030-03-31 12:00 Europe/Berlin",
        before="2030-03-31 10:00:00 UTC",
        after="2030-03-31 10:00:01 UTC",
    )

    assert lost == {"before": 0, "after": 10}


def test_an_extension_moves_the_due_date_of_one_student(book):
    (book.course.state / "course.toml").write_text(RULE)

    lost = penalties(
        book, extension=48, inside="2030-06-02 21:59:00 UTC", outside="2030-06-03 21:59:01 UTC"
    )

    assert lost == pytest.approx({"inside": 0, "outside": 2})


def test_without_a_due_date_nothing_is_late(book):
    (book.course.state / "course.toml").write_text("[late]\nzero_after_days = 0\n")

    assert penalties(book, due=None, any="2040-01-01 00:00:00 UTC") == {"any": 0}


def test_nbgrader_records_what_the_rule_says_when_it_grades(book):
    from nbformat.v4 import new_notebook
    from nbgrader.preprocessors import AssignLatePenalties

    (book.course.state / "course.toml").write_text(RULE)
    penalties(book, late="2030-06-01 22:00:00 UTC", early="2030-05-01 00:00:00 UTC")
    step = AssignLatePenalties(config=configuration(book.course))
    for student in ("late", "early"):
        asked = {"notebook": "l1", "assignment": "l1", "student": student, "db_url": book.url}
        step.preprocess(new_notebook(), {"nbgrader": asked})

    with Gradebook(book.url, "mergelab") as gradebook:
        recorded = {
            student: gradebook.find_submission("l1", student).late_submission_penalty
            for student in ("late", "early")
        }
    assert recorded == pytest.approx({"late": 2, "early": 0})


def test_the_penalty_follows_points_that_a_person_gives_later(book):
    (book.course.state / "course.toml").write_text("[late]\nshare_per_day = 0.1\n")
    book.lesson("l1", {"ties/trim": (4, 6)}, {"why": 10}, duedate="2030-05-01 00:00:00 UTC")
    book.submission(
        "l1",
        "s1",
        {"trim_visible": 4, "trim_hidden": 6},
        {"why": 8},
        timestamp="2030-05-01 01:00:00 UTC",
    )

    (grade,) = read_class(book.course).grades

    assert (grade.penalty, grade.total) == pytest.approx((1.8, 16.2))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[late]\ngrace_minute = 5", "late.grace_minute"),
        ("[late]\nshare_per_day = 10", "late.share_per_day"),
        ("[late]\nshare_per_day = nan", "late.share_per_day"),
        ("[late]\nzero_after_days = -1", "late.zero_after_days"),
        ('[late]\nat_most = "half"', "late.at_most"),
        ("late = 3", "late:"),
        ("[lat]\nat_most = 1", "'lat'"),
        ("[late\n", "is not TOML"),
        ("[late]\n# \xff", "is not TOML"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(tmp_path, text, says):
    (tmp_path / "course.toml").write_bytes(text.encode("latin-1"))

    with pytest.raises(UserError) as stopped:
        late_rule(tmp_path)

    assert says in str(stopped.value) and "course.toml" in str(stopped.value)


def test_a_wrong_rule_stops_every_use_of_the_gradebook(book):
    (book.course.state / "course.toml").write_text("[late]\nshare = 1\n")

    with pytest.raises(UserError, match=r"course\.toml: late\.share"):
        configuration(book.course)
