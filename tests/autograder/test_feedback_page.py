"""The page a learner gets back: what it says, what it never says, and that it can do nothing."""

import re
import warnings
from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from small_lessons import SOLUTIONS

from autograder.compare import shown
from autograder.courses import PACKAGE, STOCK, TRUSTED, Course, api, environment
from autograder.exercise import find
from autograder.feedback import MIME, Feedback
from autograder.feedback_content import content
from autograder.feedback_page import page
from autograder.gradebook.submission import Points, Recorded
from autograder.grading import grade_class
from autograder.judging import call_text, expected, judge
from autograder.safe_text import CODE_LIMIT, CUT, code, markdown
from autograder.sandbox.host import unavailable

NAMES = ("trim", "elect_sign", "disjoint_merge", "ties")
EXTERNAL = {"src", "srcset", "action", "formaction", "data", "poster", "background", "ping"}
PLAIN_TAGS = """
    html head meta title style body main header footer article div h1 h2 h3 p a span strong em del
    code pre table caption thead tbody tfoot tr th td details summary ul ol li br hr
"""
TAGS = set(PLAIN_TAGS.split())


class Read(HTMLParser):
    """A page taken apart: tags with attributes, links, headings, text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.cdata_elem is None:  # else it is the style sheet
            self.text += data

    def handle_endtag(self, tag):
        self.text += " " if tag in ("td", "th") else ""

    def attribute(self, name: str) -> list[str]:
        return [found[name] or "" for _, found in self.tags if name in found]

    def words(self) -> str:
        return " ".join(self.text.split())


def record(name: str, function: object, part: str) -> dict:
    verdict = judge(find(f"ties/{name}"), function, part)
    return Feedback(verdict, function, graded=True).bundle()


class Submission:
    """A graded notebook of four exercises and an answer, and what the gradebook knows of it."""

    def __init__(self, functions: dict, sources: dict | None = None, answer: str = "Because."):
        self.notebook = new_notebook(metadata={"mergelab": {"mode": TRUSTED}})
        self.grades: list[Points] = []
        self.sources: dict[str, str] = {}
        self.comments: dict[str, str] = {}
        self.penalty, self.student = 0.0, "ada"
        for name in NAMES:
            source = (sources or {}).get(name, f"def {name}(): pass")
            self.add(new_code_cell(source), name, solution=True)
            for part in ("visible", "hidden"):
                data = record(name, functions.get(name), part)
                cell = new_code_cell("", outputs=[new_output("execute_result", data)])
                grade_id = f"{name}_{part}"
                self.add(cell, grade_id, f'grade("ties/{name}", {name}, part="{part}")')
                score, full = data[MIME]["score"], data[MIME]["maximum"]
                self.grades.append(Points(grade_id, score, full, score, None, False))
        self.add(new_markdown_cell(answer), "why_sign_election", solution=True)
        self.grades.append(Points("why_sign_election", 0, 5, None, None, True))

    def add(self, cell, name: str, source: str = "", solution: bool = False) -> None:
        cell.metadata["nbgrader"] = {"grade_id": name, "solution": solution}
        self.notebook.cells.append(cell)
        self.sources[name] = source

    def grade(self, name: str, **changed) -> None:
        kept = [grade for grade in self.grades if grade.cell != name]
        old = next(grade for grade in self.grades if grade.cell == name)
        self.grades = [*kept, Points(**{**vars(old), **changed})]

    def page(self, release: Path = Path("none")) -> str:
        when = datetime(2026, 3, 1, 9, 30)
        known = Recorded(
            "90_small", self.student, when, self.penalty, self.grades, self.comments, self.sources
        )
        return page(content(self.notebook, known, release))

    def read(self, release: Path = Path("none")) -> Read:
        return Read(self.page(release))


def references() -> dict[str, Callable]:
    return {name: find(f"ties/{name}").reference for name in NAMES}


def wrong(name: str, misconception: str):
    found = find(f"ties/{name}").misconceptions
    return next(each for each in found if each.name == misconception)


def test_full_marks_are_said_without_hints_or_faults():
    shown_page = Submission(references()).read()
    assert "20 of 20 points; 5 more are for a person to give" in shown_page.words()
    assert "Hidden cases: all 16 kinds of input pass" in shown_page.words()
    assert "Hint 1" not in shown_page.text
    assert "✗" not in shown_page.text


def test_a_lost_point_comes_with_its_reason_its_kinds_hints_and_the_place_to_read(built_course):
    fault = wrong("trim", "exactly k")
    submission = Submission({**references(), "trim": fault.function})
    found = submission.read()
    words = found.words()
    assert fault.sentence in words
    assert "Visible cases: 7 of 8 kinds of input pass" in words
    assert "Hidden cases: 15 of 16 kinds of input pass" in words
    assert "fails: equal magnitudes at the threshold" in words
    assert "passes: a plain vector" in words
    assert "got [0, 0, 1, 2, 0]" in words  # the example is one of those that a learner can check
    assert words.count("Hint 1") == 1
    summaries = sum(tag == "summary" for tag, _ in found.tags)
    assert summaries == sum(tag == "details" for tag, _ in found.tags) > 0


def test_the_lesson_says_its_title_the_section_to_read_again_and_the_task(tmp_path):
    lesson = new_notebook(
        cells=[
            new_markdown_cell("# Sparse merging"),
            new_markdown_cell("## 3 ▸ Trim: keep what matters\n\nText."),
            new_code_cell('grade("ties/trim", trim, part="visible")'),
            new_markdown_cell("## In your own words · 5 points · read by a person\n\nSay why."),
            new_markdown_cell("YOUR ANSWER HERE"),
        ]
    )
    names = {2: "trim_visible", 4: "why_sign_election"}
    for number, name in names.items():
        lesson.cells[number].metadata["nbgrader"] = {"grade_id": name}
    nbformat.write(lesson, tmp_path / "release.ipynb")
    words = Submission({}).read(tmp_path / "release.ipynb").words()
    assert "Sparse merging" in words
    assert "Read again: “3 Trim: keep what matters” in the lesson." in words
    assert "In your own words not read yet" in words
    assert "what a full answer holds Say why." in words


def test_hidden_inputs_and_expected_values_are_nowhere():
    """Every function fails on every hidden case, in each way that feedback describes."""

    def stops(*given, **named):
        raise ValueError(f"{given} {named}")

    for function in (stops, lambda *given, **named: given, lambda *given, **named: given[0]):
        source = Submission(dict.fromkeys(NAMES, function)).page()
        text = Read(source).words()
        for name in NAMES:
            exercise = find(f"ties/{name}")
            seen = {call_text(exercise, case) for case in exercise.visible}
            seen |= {shown(expected(exercise, case)) for case in exercise.visible}
            for case in exercise.cases("hidden"):
                for secret in (call_text(exercise, case), shown(expected(exercise, case))):
                    if len(secret) > 12 and secret not in seen:
                        assert " ".join(secret.split()) not in text
        assert text.count("Hidden cases: ") == len(NAMES)


HOSTILE = """</div></main><script>alert(1)</script><style>body{display:none}</style>
<img src=//evil.example/x onerror=alert(1)> <svg onload=alert(1)><form action=//evil.example>
[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html,x) [d](//evil.example/x)
![i](https://evil.example/i.png) [e](vbscript:x) <javascript:alert(1)> [f](java\tscript:x)
[g](https://good.example/"onmouseover=alert(1)) <https://good.example> [h](mailto:a@good.example)

# A heading of mine

[r]: javascript:alert(1)
[s][r] <details open ontoggle=alert(1)> <meta http-equiv=refresh content=0> <base href=//evil>
&lt;script&gt;alert(2)&lt;/script&gt; &amp;lt;script&amp;gt; <iframe srcdoc="<script>x</script>">
"""


def hostile() -> Submission:
    def spoiled(*given, **named):
        raise ValueError("`" + HOSTILE)

    source = f'def trim(): "{HOSTILE}'
    submission = Submission(
        {"trim": spoiled, "ties": lambda *_, **__: HOSTILE}, {"trim": source}, HOSTILE
    )
    submission.student = "<script>alert(3)</script>"
    submission.comments = {"trim": HOSTILE, "why_sign_election": HOSTILE, "<b>": HOSTILE}
    submission.notebook.metadata["mergelab"]["notes"] = [f"the cell {HOSTILE} is there twice"]
    return submission


@pytest.mark.parametrize("refused", ["", f"it is {HOSTILE}"])
def test_nothing_of_a_learner_or_grader_becomes_part_of_the_page(refused):
    submission = hostile()
    submission.notebook.metadata["mergelab"]["refused"] = refused
    found = submission.read()
    assert {tag for tag, _ in found.tags} <= TAGS
    for tag, attributes in found.tags:
        assert not EXTERNAL & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "style" not in attributes or re.fullmatch(r"width:[\d.]+%", attributes["style"])
    assert all(re.match(r"#[\w-]+$|https://good\.|mailto:", a) for a in found.attribute("href"))
    assert found.attribute("http-equiv") == ["Content-Security-Policy"]
    assert "<script>alert(1)</script>" in found.text  # shown as the text it is
    clean = Submission({}).read()
    headings = [[tag for tag, _ in each.tags if tag in ("h1", "h2")] for each in (found, clean)]
    assert refused or headings[0] == [*headings[1], "h2"]  # one more, for the comment on `<b>`


def test_the_page_may_load_and_run_nothing():
    source = Submission({}).page()
    first = next(attributes for _, attributes in Read(source).tags if "http-equiv" in attributes)
    rules = [rule.strip() for rule in (first["content"] or "").split(";")]
    assert rules[:3] == ["default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"]
    assert not re.search(r"url\(|@import|https?:", source)
    assert not re.search(r"<script|<link|<form|<iframe", source)


def test_headings_are_in_order_and_labels_lead_somewhere():
    found = hostile().read()
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = found.attribute("id")
    assert len(ids) == len(set(ids))
    links = [target[1:] for target in found.attribute("href") if target.startswith("#")]
    assert {*links, *found.attribute("aria-labelledby")} <= set(ids)
    assert found.attribute("lang") == ["en"]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_enough_in_both_schemes(scheme):
    style = (PACKAGE / "feedback_page.css").read_text()
    rules = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[0 if scheme == "light" else 1]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", rules))
    pairs = [("good", "good-ground"), ("poor", "poor-ground"), ("ink", "poor-ground")]
    for ink in ("ink", "soft", "link", "good", "poor", "keyword", "string", "number", "comment"):
        pairs += [(ink, "ground"), (ink, "raised")]
    for ink, ground in pairs:
        light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_stock_mode_is_said_plainly_and_a_record_cannot_deny_it():
    submission = Submission(references())
    assert "stock mode" not in submission.read().words()
    for about in ({"mode": STOCK}, {}):
        submission.notebook.metadata["mergelab"] = about
        words = submission.read().words()
        assert "Graded in stock mode." in words
        assert "ran in a sandbox" not in words


@pytest.mark.parametrize(
    "forged",
    [
        {},
        {"kinds": ["a"], "says": "text", "example": {"a": 1}, "reason": None},
        {"kinds": {"<b>": "yes", "": None}, "says": [1, None, "<i>"], "example": [[]]},
        {"kinds": {str(n): False for n in range(10_000)}, "says": ["x"] * 10_000},
        "no record",
    ],
    ids=range(5),
)
def test_a_forged_record_is_shown_as_far_as_it_goes(forged):
    submission = Submission(references())
    for cell in submission.notebook.cells:
        for output in cell.get("outputs", ()):
            output.data[MIME] = forged
    source = submission.page()
    assert {tag for tag, _ in Read(source).tags} <= TAGS
    assert len(source) < 100_000


def test_cells_that_stopped_in_stock_mode_say_why():
    submission = Submission({})
    for cell, name, value in zip(
        [c for c in submission.notebook.cells if c.get("outputs")][:3],
        ("NameError", "KeyboardInterrupt", ""),
        ("name 'trim' is not defined", "", ""),
        strict=True,
    ):
        error = new_output("error", ename=name, evalue=value, traceback=[])
        cell.outputs = [error] if name else []
    words = submission.read().words()
    assert "trim is not defined: its cell is missing or stops with an error." in words
    assert "Grading stopped with KeyboardInterrupt." in words
    assert "The cell gave no result." in words


def test_the_text_of_a_locked_cell_is_not_shown():
    submission = Submission(references())
    submission.add(new_code_cell("assert secret(3) == 41"), "own_test", "assert secret(3) == 41")
    submission.grades.append(Points("own_test", 0, 2, 0, None, False))
    words = submission.read().words()
    assert "0 of 2 points" in words
    assert "41" not in words


def test_odd_submissions_say_what_was_odd():
    submission = Submission(references())
    submission.notebook.metadata["mergelab"]["notes"] = ["the cell trim is there twice"]
    words = submission.read().words()
    assert "About your notebook: The cell trim is there twice." in words
    submission.notebook.metadata["mergelab"]["refused"] = "holds no exercise; is it another one?"
    words = submission.read().words()
    assert "could not be graded: holds no exercise; is it another one? Repair" in words
    assert "Your code" not in words


def test_manual_points_comments_and_a_late_penalty_count_and_are_shown():
    submission = Submission({**references(), "trim": wrong("trim", "keeps the smallest").function})
    submission.comments = {"trim": "Look at **abs**.", "why_sign_election": "Clear. <b>"}
    submission.grade("why_sign_election", score=4.5, manual=4.5, open=False)
    submission.grade("trim_hidden", score=1.5, manual=1.5)
    submission.penalty = 2.0
    found = submission.read()
    words = found.words()
    assert words.count("From the person who read it") == 2
    assert "Look at abs." in words
    assert "Clear. <b>" in words
    assert "4.5 of 5 points" in words
    assert "hidden cases were changed by hand, from 0 to 1.5." in words
    assert "Handed in late −2" in words
    assert "20 of 25 points" in words  # 16 of the others, 1.5 and 4.5 by hand, less 2
    submission.penalty = 100.0
    assert "0 of 25 points" in submission.read().words()


def test_an_answer_left_empty_counts_in_a_class_but_not_for_who_studies_alone():
    submission = Submission(references())
    submission.grade("why_sign_election", automatic=0, open=False)
    assert "20 of 25 points" in submission.read().words()
    submission.student = "me"
    words = submission.read().words()
    assert "20 of 20 points" in words
    assert "There is no answer yet." in words
    assert "for me" not in words


def test_long_texts_are_cut_and_hidden_characters_shown():
    assert len(code("x = 1\n" * 100_000)) < 10 * CODE_LIMIT
    assert CUT in markdown("word " * 100_000)
    assert "\u202e" not in code("a = '\u202e'")
    assert "\u202e" not in markdown("a \u202e b")


@pytest.mark.parametrize("piece", ["[", "> ", "**a", "`a``", "'\\", '"""', "$$\n", "a." * 9, "&"])
def test_texts_made_to_be_slow_are_not(piece):
    """Each would take minutes in a renderer whose time grows with the square of the length."""
    text = piece * (CODE_LIMIT // len(piece))
    assert markdown(text)
    assert code(text)


@pytest.fixture(scope="module")
def graded(built_course: Course, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A class of two: one with a wrong function and an answer, one with something else."""
    course = Course(built_course.root, tmp_path_factory.mktemp("class"))
    notebook = nbformat.read(course.release("90_small"), as_version=4)
    answers = {"trim": SOLUTIONS["trim"].strip(), "why_sign_election": "If $a < b$, **cancel**."}
    kept = []
    for cell in notebook.cells:
        cell.source = answers.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
        kept += [cell] if cell.id != "ties" else []
    notebook.cells = kept
    for student, text in (("ada", nbformat.writes(notebook)), ("bo", "{")):
        folder = course.state / "submitted" / student / "90_small"
        folder.mkdir(parents=True)
        (folder / "90_small.ipynb").write_text(text)
        (folder / "timestamp.txt").write_text("2026-03-01 09:30:00 UTC")
    grade_class(course, "90_small", stock=bool(unavailable()))
    return course


def feedback(course: Course, student: str) -> Path:
    return course.state / "feedback" / student / "90_small" / "90_small.html"


def test_a_graded_class_gets_pages_and_nbgraders_own_step_writes_the_same(graded):
    ada, bo = (Read(feedback(graded, student).read_text()).words() for student in ("ada", "bo"))
    assert ("Graded in stock mode." in ada) == bool(unavailable())
    assert "for ada, handed in on 1 March 2026 at 09:30 UTC" in ada
    assert "4 of 20 points" in ada
    assert "The cell ties is missing" in ada
    assert "If a < b, cancel." in ada
    assert "could not be graded: cannot be read as a notebook" in bo
    before = feedback(graded, "ada").read_text()
    feedback(graded, "ada").unlink()
    with environment(graded.prepare()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert api(graded).generate_feedback("90_small")["success"]
    assert feedback(graded, "ada").read_text() == before


def test_what_a_person_gives_is_kept_by_regrading_and_shown(graded):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{graded.state / 'gradebook.db'}") as gradebook:
        about = ("90_small", "90_small", "ada")
        gradebook.find_grade("why_sign_election", *about).manual_score = 3.5
        gradebook.find_comment("why_sign_election", *about).manual_comment = "Name a **cost**."
        gradebook.find_comment("trim", *about).manual_comment = "Well named."
        gradebook.find_submission_notebook(*about).late_submission_penalty = 1.0
        gradebook.db.commit()
    for again in (False, True):
        grade_class(graded, "90_small", stock=bool(unavailable()), again=again)
        words = Read(feedback(graded, "ada").read_text()).words()
        assert "3.5 of 5 points" in words
        assert "Name a cost." in words
        assert "Well named." in words
    # Grading anew sets the penalty anew, too: nobody was late.
    assert "7.5 of 25 points" in words
