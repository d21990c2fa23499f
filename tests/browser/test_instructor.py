"""An instructor's way through a lesson: its cells, its release, its submissions, its feedback."""

import nbformat
import pytest
from formgrader_page import Formgrader
from playwright.sync_api import expect
from small_lessons import SOLUTIONS, hand_in

from autograder.courses import Course, api, environment, succeed

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser-instructor")]

ANSWER = "Opposite changes would cancel, so the heavier side is kept."
COMMENT = "Right. Say what happens when both sides weigh the same."


def submit(course: Course) -> None:
    """A learner's submission: all but one function right, and a written answer."""

    def answer(notebook: nbformat.NotebookNode) -> None:
        notebook.cells[-1].source = ANSWER

    answers = {name: source.strip() for name, source in SOLUTIONS.items() if name != "ties"}
    path = hand_in(course, answers, change=answer)
    from nbgrader.utils import capture_log

    with environment(course.prepare()):
        grader = api(course)
        grader.coursedir.assignment_id = "90_small"
        sender = grader.exchange.Submit(
            coursedir=grader.coursedir, authenticator=grader.authenticator, parent=grader
        )
        sender.assignment_dir = str(path.parent.parent)
        succeed(capture_log(sender), "90_small: cannot be submitted")


def test_create_assignment_shows_what_each_cell_is(instructor_lab, course):
    path = course.solutions / "90_small" / "90_small.ipynb"
    cells = len(nbformat.read(path, as_version=4).cells)
    instructor_lab.open("solutions/90_small/90_small.ipynb", cells)
    instructor_lab.menu("Nbgrader", "Create assignment")
    panel = instructor_lab.page.locator(".nbgrader-CreateAssignmentWidget")
    expect(panel.get_by_label("Total points:")).to_have_value("25")
    shown = panel.locator(".nbgrader-CellWidget")
    expect(shown).to_have_count(cells)
    marked = shown.evaluate_all(
        """all => all.map(cell => [
            cell.querySelector('.nbgrader-CellId input').value,
            cell.querySelector('.nbgrader-CellType select').value,
            cell.querySelector('.nbgrader-CellPoints input')?.value,
        ]).filter(([id]) => id)"""
    )
    assert ["trim", "solution", "0"] in marked
    assert ["trim_hidden", "tests", "3"] in marked
    assert ["why_sign_election", "manual", "5"] in marked
    assert len(marked) == 3 * len(SOLUTIONS) + 1


def test_a_lesson_goes_through_formgrader_from_release_to_feedback(instructor_lab, course):
    outbound = course.exchange / "mergelab" / "outbound" / "90_small"
    instructor_lab.go()
    formgrader = Formgrader(instructor_lab)
    expect(formgrader.row("04_ties")).to_have_count(1)
    expect(formgrader.row("90_small").locator("td.status")).to_have_text("released")

    assert "Successfully created the student version" in formgrader.click("90_small", "assign")
    assert "Successfully unreleased" in formgrader.click("90_small", "release")
    assert not outbound.exists()
    assert "Successfully released" in formgrader.click("90_small", "release")
    assert (outbound / "90_small.ipynb").read_bytes() == course.release("90_small").read_bytes()

    submit(course)
    assert "Successfully collected" in formgrader.click("90_small", "collect")
    formgrader.submissions("90_small")
    assert "Successfully autograded" in formgrader.click("needs autograding", "autograde")
    expect(formgrader.frame.locator("td.status")).to_have_text("needs manual grading")
    expect(formgrader.frame.locator("td.score")).to_have_text("13 / 25")

    formgrader.grade_by_hand("90_small")
    expect(formgrader.frame.get_by_text(ANSWER)).to_be_visible()
    expect(formgrader.frame.get_by_text("ties is not written yet").first).to_be_visible()
    with instructor_lab.page.expect_response("**/formgrader/api/grade/*") as saved:
        formgrader.give("why_sign_election", 4, COMMENT)
    assert saved.value.ok

    formgrader.frame.get_by_role("link", name="Manual Grading").first.click()
    formgrader.frame.get_by_role("link", name="Manage Assignments").click()
    assert "Successfully generated feedback" in formgrader.click("90_small", "generate-feedback")
    (feedback,) = (course.state / "feedback").glob("*/90_small/90_small.html")
    instructor_lab.page.goto(feedback.as_uri())
    page = instructor_lab.page
    expect(page.get_by_role("heading", name="A small lesson")).to_be_visible()
    expect(page.get_by_text("17 of 25 points").first).to_be_visible()
    expect(page.get_by_text(COMMENT)).to_be_visible()
    expect(page.get_by_text("ties is not written yet").first).to_be_visible()
