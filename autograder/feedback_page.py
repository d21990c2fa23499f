"""The page a learner gets back: one self-contained HTML file per submission.

nbgrader writes it through `FeedbackPage`, which its configuration names as the exporter: so
`mergelab grade`, `mergelab submit`, `nbgrader generate_feedback` and Formgrader's button make the
same page, where nbgrader releases and fetches it.
"""

from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbconvert.exporters import Exporter
from nbformat import NotebookNode

from autograder import safe_text
from autograder.courses import PACKAGE, TRUSTED, find_course
from autograder.feedback_content import Content, content
from autograder.gradebook.submission import recorded
from autograder.graded_notebook import ABOUT
from autograder.submit import LEARNER
from mergelab.files import write_whole

TEMPLATE = "feedback_page.html"


class FeedbackPage(Exporter):
    """nbgrader's step from a graded notebook to feedback, without running or showing outputs."""

    file_extension = ".html"

    def from_notebook_node(
        self, nb: NotebookNode, resources: Any = None, **_: Any
    ) -> tuple[str, Any]:
        resources = self._init_resources(resources)
        about = resources["nbgrader"]
        lesson, student = about["assignment"], about["student"]
        release = find_course().lessons / lesson / f"{lesson}.ipynb"
        known = recorded(about["db_url"], lesson, student)
        return page(content(nb, known, release)), resources


def page(content: Content) -> str:
    """The page as HTML."""
    made = _template().render(page=content, trusted=content.mode == TRUSTED)
    return made.encode("utf-8", "replace").decode()


def note_down(folder: Path, lesson: str, notes: list[str], refused: str = "") -> None:
    """Write into a graded notebook what was odd about the submission, for its page to say."""
    if not (notes or refused):
        return
    path = folder / f"{lesson}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    about = dict(notebook.metadata.get(ABOUT, {}))
    notebook.metadata[ABOUT] = {**about, "notes": list(notes), "refused": refused}
    write_whole(path, nbformat.writes(notebook))


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["headed"] = lambda title: title[:1].upper() + title[1:]
    environment.filters["sentence"] = safe_text.sentence
    environment.filters["code"] = safe_text.code
    environment.filters["markdown"] = safe_text.markdown
    environment.filters["own_markdown"] = safe_text.own_markdown
    environment.globals["learner"] = LEARNER
    environment.globals["style"] = Markup((PACKAGE / "feedback_page.css").read_text("utf-8"))
    return environment.get_template(TEMPLATE)


def number(value: float) -> str:
    """Points as people write them.

    >>> number(3.0), number(0.675)
    ('3', '0.68')
    """
    return f"{round(value, 2):g}"
