"""Every control of every widget, moved once by keyboard or mouse: what it governs must change."""

import nbformat
import pytest
from lab_page import Notebook, Widget
from playwright.sync_api import expect

from autograder.courses import Course

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser-widgets")]

# Two small lines with made-up scores; all else is the course's own.
PREPARE = """\
import torch
from mergelab import notebook as nb
from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.suites import Item

torch.set_num_threads(1)

def scored(persona, agentic):
    skills = {}
    for skill, right in (("persona", persona), ("agentic", agentic)):
        outcomes = [
            Outcome(Item(id=f"{n}", template=f"{n}", input="?", expected="yes"), "yes",
                    Score(int(n < right), 1.0, "right"))
            for n in range(20)
        ]
        skills[skill] = SkillResult.of(skill, outcomes)
    return Evaluation("merge", "dev", skills)

alpha_line = nb.Line("alpha", {0.0: scored(19, 0), 0.5: scored(14, 17), 1.0: scored(0, 19)},
                     {0.0: 1.0, 0.5: 0.7, 1.0: 1.0})
lambda_line = nb.Line("lambda", {0.5: scored(14, 17), 1.0: scored(18, 18), 2.0: scored(9, 8)},
                      {0.5: 0.7, 1.0: 1.4, 2.0: 2.8})
"""
# As the lessons make them, with less to compute where that takes long.
WIDGETS = {
    "ConflictDial": "nb.ConflictDial()",
    "DareDice": 'nb.DareDice({"ten parameters": nb.ten_parameters()[0], "ones": torch.ones(10)})',
    "InterferenceExplorer": "nb.InterferenceExplorer(nb.changes(*nb.LOW))",
    "LinearLines": "nb.LinearLines(alpha_line, lambda_line)",
    "MemoryPlanner": "nb.MemoryPlanner()",
    "ScaleSlider": 'nb.ScaleSlider({"persona": "task_api_persona", "agentic": "task_api_agentic"}, '
    '["What can you do?", "Mark task 12 as done."], scales=(1.0, 1.5))',
    "SlerpCircle": "nb.SlerpCircle({})",
    "StrategyChooser": "nb.StrategyChooser()",
    "SuiteSizeExplorer": "nb.SuiteSizeExplorer()",
    "ThreeMixer": "nb.ThreeMixer()",
    "TiesStepper": "nb.TiesStepper(nb.ten_examples())",
}


@pytest.fixture(scope="module")
def notebook(window, learner_address: str, course: Course) -> Notebook:
    """A notebook with all widgets, each in a cell of its own, run."""
    sources = [PREPARE, *WIDGETS.values()]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    written = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(written, course.work / "widgets.ipynb")
    with window.lab(learner_address) as lab:
        opened = lab.open("widgets.ipynb", len(sources))
        lab.menu("Run", "Run All Cells")
        opened.wait_until_run(opened.cell("nb.TiesStepper("))
        yield opened


def test_no_cell_with_a_widget_warns_or_fails(notebook):
    expect(
        notebook.panel.locator("[data-mime-type='application/vnd.jupyter.stderr']")
    ).to_have_count(0)
    expect(
        notebook.panel.locator("[data-mime-type='application/vnd.jupyter.error']")
    ).to_have_count(0)


@pytest.mark.parametrize("name", WIDGETS)
def test_moving_a_control_changes_what_the_widget_shows(notebook, name):
    widget = Widget(notebook.cell(f"nb.{name}("))
    # The choices first: what a slider governs can depend on them, and the other way round.
    for choice in widget.choices.all():
        if choice.locator("option").count() > 1:
            assert widget.changes_after(lambda choice=choice: widget.choose_next(choice))
    for slider in widget.sliders.all():
        assert widget.changes_after(lambda slider=slider: widget.step(slider))
    for tick in widget.ticks.all():
        assert widget.changes_after(tick.click)
    for button in widget.buttons.all():
        assert widget.changes_after(button.click)


@pytest.mark.parametrize("name", WIDGETS)
def test_no_label_of_a_control_is_cut(notebook, name):
    widget = Widget(notebook.cell(f"nb.{name}("))
    for label in widget.place.locator(".widget-label:visible").all():
        cut = label.evaluate("each => each.scrollWidth > each.clientWidth")
        assert not cut, label.inner_text()


def test_a_slider_moved_step_after_step_ends_where_it_was_left(notebook):
    widget = Widget(notebook.cell("nb.SuiteSizeExplorer("))
    handle = widget.sliders.first.locator(".noUi-handle")
    handle.focus()
    for _ in range(5):
        notebook.page.keyboard.press("ArrowLeft")
    value = float(handle.get_attribute("aria-valuenow"))
    expect(widget.place.get_by_role("status")).to_contain_text(
        f"at a rate of {value:.2f}".replace(" 0.", " .")
    )
