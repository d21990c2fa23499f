"""Hostile submissions among honest ones: nothing is gained, and nobody else is harmed.

Each shard is a class of its own: an honest student, the attackers, an honest student who has solved
half, in the order of the alphabet. What the attacks are lies in `tests/support/attacks/`.
"""

import html
import json
import os
import re
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path

import nbformat
import psutil
import pytest
from attacks import STUB, Attack, elect_sign, everything, harm
from bs4 import BeautifulSoup
from small_lessons import SOLUTIONS, hand_in, lesson_text, own_course

from autograder import build
from autograder.courses import Course
from autograder.exercise import find
from autograder.feedback import MIME
from autograder.grading import ClassReport, Graded, grade_class
from autograder.sandbox.host import FIRST_USER, USERS, Limits

pytestmark = pytest.mark.slow

SHARDS = 8
SEED = "attacked"
# Less than a class gets, so that what never ends costs the tests little.
LIMITS = Limits(memory=700_000_000, cells=10.0, call=6.0, exercise=25.0, restarts=1)
LESSON = "90_small"
FIRST, LAST = "a_honest", "z_honest"
SECOND = "ties/elect_sign"
ATTACKS = everything()


class Short(Executor):
    """Processes that judge under `LIMITS`."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(2, mp_context=get_context("spawn"))

    def submit(self, judge, work) -> Future:
        return self.pool.submit(judge, work, LIMITS)

    def users(self) -> set[int]:
        return {FIRST_USER + pid % USERS for pid in self.pool._processes or ()}


@pytest.fixture(scope="session")
def judges() -> Iterator[Short]:
    short = Short()
    yield short
    short.pool.shutdown()


@pytest.fixture(scope="session")
def lesson(tmp_path_factory) -> Course:
    root = tmp_path_factory.mktemp("attacked")
    course = Course(root / "course", root / "state")
    folder = course.solutions / LESSON
    folder.mkdir(parents=True)
    (folder / f"{LESSON}.py").write_text(lesson_text("trim", "elect_sign"))
    build.build(course, LESSON)
    return course


@dataclass
class Field:
    """A course under attack, and what on this machine must stay as it is."""

    course: Course
    files: dict[str, Path]
    words: dict[str, str]
    listeners: list[socket.socket]

    def fill_in(self, text: str) -> str:
        for word, stands_for in self.words.items():
            text = text.replace(word, stands_for)
        return text

    def touched(self) -> list[str]:
        """Files that have changed, and connections that have come."""
        found = [word for word, path in self.files.items() if path.read_text("utf-8") != word]
        for listener in self.listeners:
            try:
                listener.accept() if listener.type == socket.SOCK_STREAM else listener.recv(1)
                found.append(f"a connection to {listener.getsockname()!r}")
            except BlockingIOError:
                pass
        return found


@pytest.fixture
def field(lesson: Course, tmp_path: Path, monkeypatch) -> Iterator[Field]:
    course = own_course(tmp_path / "mine", lesson.root, tmp_path / "state")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MERGELAB_ROOT", str(course.root))
    monkeypatch.setenv("MERGELAB_COURSE", str(course.state))
    monkeypatch.setenv("MERGELAB_HIDDEN_SEED", SEED)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        files = {
            "@COURSE@": course.root / "canary.txt",
            "@HOME@": home / "canary.txt",
            "@TMP@": Path(folder) / "canary.txt",
        }
        for word, path in files.items():
            path.write_text(word)
        listeners = [socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
        abstract = f"attacked-{os.getpid()}-{time.monotonic_ns()}"
        for listener, place in zip(
            listeners, (("127.0.0.1", 0), f"\0{abstract}", f"{folder}/socket"), strict=True
        ):
            listener.bind(place)
            listener.listen()
            listener.setblocking(False)
        words = {word: str(path) for word, path in files.items()}
        words |= {
            "@SOLUTION@": str(course.solutions / LESSON / f"{LESSON}.ipynb"),
            "@GRADEBOOK@": str(course.state / "gradebook.db"),
            "@PORT@": str(listeners[0].getsockname()[1]),
            "@ABSTRACT@": abstract,
            "@SOCKET@": f"{folder}/socket",
        }
        yield Field(course, files, words, listeners)
        for listener in listeners:
            listener.close()


def pairs() -> list[tuple[Attack, Attack | None]]:
    """The attacks as submissions: one of its own, or two by two where they are code alone."""
    code = [each for each in ATTACKS if each.code is not None and each not in harm.ATTACKS]
    alone = [(each, None) for each in ATTACKS if each not in code]
    half = (len(code) + 1) // 2
    return alone + list(zip_longest(code[:half], code[half:]))


def name_of(attack: Attack, second: Attack | None = None) -> str:
    return attack.student or f"m_{attack.name}{'-' + second.name if second else ''}"


def submit(field: Field, student: str, attack: Attack, second: Attack | None = None) -> None:
    """Put a submission into the exchange, as a learner with a file manager could."""
    answers = {**SOLUTIONS, **attack.answers}
    if second is not None:
        answers["elect_sign"] = elect_sign(second)
    answers = {name: field.fill_in(source) for name, source in answers.items()}
    path = hand_in(field.course, answers, attack.extra, attack.change)
    inbound = field.course.exchange / "mergelab" / "inbound"
    stamp = "2030-01-01 00:00:00.000000 UTC"
    folder = inbound / f"{student}+{LESSON}+{stamp}"
    folder.mkdir(parents=True)
    notebook = folder / f"{LESSON}.ipynb"
    notebook.write_bytes(path.read_bytes())
    (folder / "timestamp.txt").write_text(stamp)
    if attack.files is not None:
        attack.files(folder)
        for each in sorted(folder.rglob("*")):
            if each.is_symlink() and "@" in os.readlink(each):
                target = field.fill_in(os.readlink(each))
                each.unlink()
                each.symlink_to(target)
            elif each.is_file() and not each.is_symlink():
                content = each.read_bytes()
                if b"@COURSE@" in content:
                    each.write_bytes(content.replace(b"@COURSE@", field.words["@COURSE@"].encode()))


@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_attack_earns_points_or_harms_the_class(shard, field, judges, lesson) -> None:
    attacks = SUBMISSIONS[shard::SHARDS]
    before = (lesson.solutions / LESSON / f"{LESSON}.ipynb").read_bytes()
    submit(field, FIRST, Attack(FIRST, ""))
    submit(field, LAST, Attack(LAST, "", {"trim": "# not done yet\n" + STUB}))
    for attack, second in attacks:
        submit(field, name_of(attack, second), attack, second)

    report = grade_class(field.course, LESSON, executor=judges)

    assert (lesson.solutions / LESSON / f"{LESSON}.ipynb").read_bytes() == before
    graded = {each.student: each for each in report.submissions}
    wrong = [f"{FIRST}: {graded[FIRST]}"] if points(graded[FIRST]) != (4.0, 4.0) else []
    wrong += [f"{LAST}: {graded[LAST]}"] if points(graded[LAST]) != (0.0, 4.0) else []
    for attack, second in attacks:
        name = name_of(attack, second)
        wrong += [f"{name}: {each}" for each in problems(attack, second, report, graded)]
    wrong += [f"{name}: {each}" for name in graded for each in shown_wrong(field, name)]
    wrong += [f"changed: {each}" for each in field.touched()]
    wrong += [f"still runs: {each}" for each in left_over(judges)]
    expected = {name_of(*each) for each in attacks if each[0].points is not None}
    if graded.keys() != {FIRST, LAST} | expected:
        wrong.append(f"graded: {graded.keys() ^ expected}")
    wrong += [f"hidden values in {each}" for each in told(field, report)]
    assert not wrong, "\n" + "\n".join(wrong)


def points(graded: Graded) -> tuple[float, float]:
    return graded.scores.get("ties/trim", -1.0), graded.scores.get("ties/elect_sign", -1.0)


def problems(
    attack: Attack, second: Attack | None, report: ClassReport, graded: dict[str, Graded]
) -> Iterator[str]:
    if attack.points is None:
        if attack.note and not any(attack.note in note for note in report.notes):
            yield f"no note says that it is no submission: {report.notes}"
        return
    found = graded.get(name_of(attack, second))
    if found is None:
        yield "has no grade"
        return
    wanted = attack.points if second is None else (0.0, 0.0)
    if points(found) != wanted:
        yield f"{points(found)} points, not {wanted}: {found}"
    parts = {"ties/trim": attack} if second is None else {"ties/trim": attack, SECOND: second}
    for name, each in parts.items():
        reason = found.reasons.get(name, "")
        if not reason and wanted[0] < 4:
            yield f"{name}: no reason is given"
        if each.reason not in reason or "own process down" in reason:
            yield f"{each.name}: reason {reason!r}, not {each.reason!r}"
    if attack.refused not in found.refused or bool(attack.refused) != bool(found.refused):
        yield f"refused {found.refused!r}, not {attack.refused!r}"


def shown_wrong(field: Field, student: str) -> Iterator[str]:
    """What a browser would run in a student's feedback or autograded notebook."""
    path = field.course.state / "feedback" / student / LESSON / f"{LESSON}.html"
    if not path.is_file():
        yield "has no feedback"
        return
    page = BeautifulSoup(path.read_text("utf-8"), "html.parser")
    honest = field.course.state / "feedback" / FIRST / LESSON / f"{LESSON}.html"
    wanted = active_tags(BeautifulSoup(honest.read_text("utf-8"), "html.parser"))
    for tag, count in (active_tags(page) - wanted).items():
        yield f"feedback has {count} more of {tag}"
    yield from (f"feedback: {each}" for each in active_attributes(page))
    for text in page.find_all(string=re.compile(r"\\(href|mmlToken|require)\b")):
        if not {"pre", "code", "script", "style"} & {parent.name for parent in text.parents}:
            yield f"feedback: MathJax would read {text[:60]!r}"
    notebook = nbformat.read(
        field.course.state / "autograded" / student / LESSON / f"{LESSON}.ipynb", as_version=4
    )
    if "widgets" in notebook.metadata or "title" in notebook.metadata:
        yield "autograded notebook has the learner's settings"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for output in cell.outputs:
                if set(output.get("data", {})) != {"text/html", "text/plain", MIME}:
                    yield f"autograded notebook has an output {output}"
        else:
            part = BeautifulSoup(cell.source, "html.parser")
            yield from (f"autograded notebook: {each}" for each in active_attributes(part))
            yield from (f"autograded notebook has {each}" for each in active_tags(part))
            if cell.get("attachments"):
                yield "autograded notebook has attachments"


ACTIVE = "script style link meta iframe frame object embed base form svg math video audio applet"


def active_tags(page: BeautifulSoup) -> Counter[str]:
    return Counter(tag.name for tag in page.find_all(ACTIVE.split()))


def active_attributes(page: BeautifulSoup) -> Iterator[str]:
    for tag in page.find_all(True):
        for name, value in tag.attrs.items():
            text = "".join(html.unescape(str(value)).split()).lower()
            text = re.sub(r"[\x00-\x20]", "", text)
            if tag.name != "script" and name.lower().startswith("on"):
                yield f"{tag.name} has {name}"
            if re.match(r"(javascript:|vbscript:|data:text|data:application|data:image/svg)", text):
                yield f"{tag.name} has {name}={text[:40]}"


@cache
def hidden_values() -> frozenset[str]:
    """Texts of the hidden inputs that stand nowhere else in the lesson."""
    found: set[str] = set()
    for name in ("ties/trim", "ties/elect_sign"):
        for case in find(name).cases("hidden", SEED):
            for value in case.args[0] if isinstance(case.args[0], list) else [case.args[0]]:
                found |= {repr(x) for x in value.double().flatten().tolist()}
    return frozenset(each for each in found if len(each.lstrip("-")) >= 7)


def told(field: Field, report: ClassReport) -> Iterator[str]:
    """Files that hold the values of hidden inputs."""
    values = re.compile("|".join(map(re.escape, sorted(hidden_values()))))
    if values.search(json.dumps(report.to_dict())):
        yield "the report"
    state = field.course.state
    for folder in ("feedback", "autograded", "verdicts", "checked"):
        for path in sorted((state / folder).rglob("*")):
            if path.is_file() and values.search(path.read_text("utf-8", "replace")):
                yield str(path.relative_to(state))


def left_over(judges: Short) -> Iterator[str]:
    """Processes of a sandbox that have outlived the grading."""
    users = judges.users() if os.getuid() == 0 else set()
    workers = set(judges.pool._processes or ())
    for process in psutil.process_iter():
        try:
            inside = process.uids().real in users or process.name() == "bwrap"
            ours = bool(workers & {parent.pid for parent in process.parents()})
            if process.uids().real in users or (inside and ours):
                yield f"{process.pid} {process.cmdline()[-6:]}"
        except psutil.Error:
            pass


SUBMISSIONS = pairs()


def test_the_gradebook_of_the_class_holds_what_the_report_says(field, judges) -> None:
    """A class of one attacker who writes to the gradebook and one honest student."""
    import sqlite3

    attack = next(each for each in ATTACKS if each.name == "files_of_the_host")
    submit(field, FIRST, Attack(FIRST, ""))
    submit(field, name_of(attack), attack)
    grade_class(field.course, LESSON, executor=judges)
    with closing(sqlite3.connect(field.course.state / "gradebook.db")) as database:
        rows = database.execute(
            "select s.student_id, sum(g.auto_score) from grade g join submitted_notebook n on"
            " g.notebook_id = n.id join submitted_assignment s on n.assignment_id = s.id"
            " group by 1 order by 1"
        ).fetchall()
    assert rows == [(FIRST, 8.0), (name_of(attack), 4.0)]


def test_there_are_many_attacks_and_each_says_what_it_tries() -> None:
    assert len(ATTACKS) >= 130
    assert all(attack.trick for attack in ATTACKS)
