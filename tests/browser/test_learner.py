"""A learner's day in JupyterLab: start page, lessons, exercises, mistakes, submitting."""

import re

import nbformat
import pytest
from browsers import serious_findings
from lab_page import PATIENCE, Lab, Notebook
from lab_server import TOKEN
from playwright.sync_api import expect
from small_lessons import SOLUTIONS

from autograder.courses import Course

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser-learner")]

LARGEST_DROPPED = """\
def trim(delta, density):
    kept = torch.zeros_like(delta)
    smallest = delta.abs().flatten().argsort()[: max(1, math.floor(density * delta.numel() + 0.5))]
    kept.view(-1)[smallest] = delta.flatten()[smallest]
    return kept
"""


def cells(course: Course, lesson: str) -> int:
    return len(nbformat.read(course.release(lesson), as_version=4).cells)


def solution(course: Course, lesson: str, name: str) -> str:
    """The instructor's cell for an exercise, as a learner could have written it."""
    notebook = nbformat.read(course.solutions / lesson / f"{lesson}.ipynb", as_version=4)
    (source,) = (
        cell.source
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade_id") == name
    )
    return source.replace("### BEGIN SOLUTION", "").replace("### END SOLUTION", "")


@pytest.fixture
def small_lesson(lab: Lab, course: Course) -> Notebook:
    """The small lesson as it was released, in front, its kernel fresh."""
    path = course.work / "90_small" / "90_small.ipynb"
    path.write_bytes(course.release("90_small").read_bytes())
    return lab.open("90_small/90_small.ipynb", cells(course, "90_small"))


def test_the_start_page_leads_to_the_first_lesson(lab, course):
    lab.page.goto(f"{lab.address}?token={TOKEN}")
    page = lab.page.locator(".jp-MarkdownViewer")
    expect(page.get_by_role("heading", name="Merging language models")).to_be_visible()
    assert serious_findings(lab.page, ".jp-MarkdownViewer") == []
    page.get_by_role("link", name="Start here").first.click()
    expect(lab.page.locator(".lm-TabBar-tabLabel", has_text="00_start_here.ipynb")).to_be_visible()
    notebook = lab.notebook(cells(course, "00_start_here"))
    expect(notebook.cells.first.get_by_role("heading")).to_contain_text("Start here")


def test_a_lesson_runs_up_to_its_first_exercise_and_an_answer_passes(lab, course):
    notebook = lab.open("04_ties/04_ties.ipynb", cells(course, "04_ties"))
    exercise = notebook.cell("def trim(delta, density)")
    exercise.place.locator(".cm-content").click()
    lab.menu("Run", "Run All Above Selected Cell")
    notebook.wait_until_run(notebook.cell("of_noise = nb.norm_kept"))
    picture = notebook.cell("nb.patch_plot(").output.get_by_role("img")
    expect(picture).to_have_attribute("alt", re.compile("persona"))
    assert "measured" in notebook.cell('predictions.reveal("share of the norm').text()
    exercise.run()
    check = notebook.cell('check("ties/trim"')
    assert "trim is not written yet" in check.run()
    exercise.write(solution(course, "04_ties", "trim"))
    exercise.run()
    assert check.run().startswith("✓ trim: all")
    assert "1 of 1 points" in notebook.cell('grade("ties/trim", trim, part="visible")').run()


def test_a_wrong_answer_gets_its_reason_and_the_right_one_passes(small_lesson):
    small_lesson.cell("import math").run()
    check, answer = small_lesson.cell('check("ties/trim"'), small_lesson.cell("def trim(")
    answer.write(LARGEST_DROPPED)
    answer.run()
    assert "smallest" in check.run()
    answer.write(SOLUTIONS["trim"].strip())
    answer.run()
    assert check.run().startswith("✓ trim: all")


def test_a_check_before_its_function_says_what_to_run(lab, small_lesson):
    check = small_lesson.cell('check("ties/trim"')
    said = check.run()
    assert "There is no `check` yet" in said
    assert "Run All Above Selected Cell" in said
    check.place.locator(".cm-content").click()
    lab.menu("Run", "Run All Above Selected Cell")
    small_lesson.wait_until_run(small_lesson.cell("def trim("))
    assert "trim is not written yet" in check.run()
    small_lesson.restart_kernel()
    small_lesson.cell("import math").run()
    said = check.run()
    assert "There is no `trim` yet" in said
    assert "autograder" not in said  # the traceback holds the learner's cell alone


def test_empty_exercises_get_a_sentence_each_and_no_traceback(lab, small_lesson):
    lab.menu("Run", "Run All Cells")
    small_lesson.wait_until_run(small_lesson.cell('grade("ties/ties", ties, part="visible")'))
    for name in SOLUTIONS:
        for call in (f'check("ties/{name}"', f'grade("ties/{name}"'):
            cell = small_lesson.cell(call)
            sentence = f"{name} is not written yet: replace raise NotImplementedError()"
            expect(cell.output).to_contain_text(sentence)
    expect(small_lesson.panel.get_by_text("Traceback")).to_have_count(0)


def test_validate_names_the_open_exercises_and_is_content_when_all_are_right(small_lesson):
    said = small_lesson.validate()
    assert said.count("The following cell failed") == 5  # four functions, one written answer
    assert 'grade("ties/trim", trim, part="visible")' in said
    for name, source in SOLUTIONS.items():
        small_lesson.cell(f"def {name}(").write(source.strip())
    written = small_lesson.cells.last
    written.dblclick()
    written.locator(".cm-content").fill("The side with the greater mass is kept.")
    assert "Success! Your notebook passes all the tests." in small_lesson.validate()


def test_a_submission_from_the_assignment_list_reaches_the_exchange(lab, course, small_lesson):
    lab.menu("Nbgrader", "Assignment List")
    fetched = lab.page.locator("#fetched_assignments_list .list_item", has_text="90_small")
    fetched.get_by_role("button", name="Submit").click()
    submitted = lab.page.locator("#submitted_assignments_list .list_item", has_text="90_small")
    expect(submitted.first).to_be_visible()
    inbound = course.exchange / "mergelab" / "inbound"
    (handed_in,) = inbound.glob("*+90_small+*")
    assert (handed_in / "90_small.ipynb").is_file()


def test_submitting_in_a_terminal_leaves_feedback_that_opens_offline(lab, course, small_lesson):
    small_lesson.cell("def trim(").write(LARGEST_DROPPED)
    small_lesson.save()
    feedback = course.state / "self-study" / "90_small.html"
    done = course.work / "done"
    lab.terminal(f"mergelab submit 90_small > {done}.partial && mv {done}.partial {done}")
    for _ in range(2 * PATIENCE // 250):
        if done.exists():
            break
        lab.page.wait_for_timeout(250)
    assert "90_small: " in done.read_text()
    assert "smallest" in done.read_text()
    lab.page.goto(feedback.as_uri())
    expect(lab.page.get_by_role("heading", name="A small lesson")).to_be_visible()
    expect(lab.page.get_by_text("smallest").first).to_be_visible()
