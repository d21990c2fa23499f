"""The gradebook's place: a file, or a real PostgreSQL server that grades the same class alike."""

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from postgres_server import ESCAPED, PASSWORD, Server, postgres_server
from small_lessons import SOLUTIONS

from autograder.courses import Course, api, configuration, environment, find_course
from autograder.gradebook.database import gradebook_url
from autograder.gradebook.items import analyse
from autograder.gradebook.records import read_class
from mergelab.errors import UserError

pytestmark = pytest.mark.slow

LESSON = "90_small"
HOME = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch, postgres_server() as running:
        patch.setenv("PGPASSWORD", "")  # what the tests set is gone after them
        yield running


def instructors_copy(built_course: Course, root: Path, gradebook: str = "") -> Course:
    course = Course(root / "course", root / "state", gradebook)
    shutil.copytree(built_course.solutions, course.solutions)
    (course.root / "lessons").mkdir()
    course.state.mkdir()
    return course


def hand_in(built_course: Course, course: Course, student: str, answers: dict[str, str]) -> None:
    """Lay a submission where `nbgrader collect` would, two hours after the lesson was due."""
    notebook = nbformat.read(built_course.release(LESSON), as_version=4)
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = answers.get(grade_id, cell.source)
    folder = course.state / "submitted" / student / LESSON
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{LESSON}.ipynb")
    (folder / "timestamp.txt").write_text("2030-05-01 14:00:00.000000 UTC")


def grade(built_course: Course, course: Course) -> dict[str, list[tuple[str, float, float, int]]]:
    """Prepare the lesson, grade two submissions, and read the grades back."""
    (course.state / "course.toml").write_text("[late]\nshare_per_day = 0.25\n")
    complete = {name: SOLUTIONS[name] for name in SOLUTIONS} | {"why_sign_election": "Because."}
    hand_in(built_course, course, "s1", complete)
    hand_in(built_course, course, "s2", {"elect_sign": SOLUTIONS["elect_sign"]})
    with environment(course.prepare()):
        grader = api(course)
        assert grader.generate_assignment(LESSON)["success"]
        with grader.gradebook as book:
            book.update_or_create_assignment(LESSON, duedate="2030-05-01T12:00:00Z")
        for student in ("s1", "s2"):
            result = grader.autograde(LESSON, student)
            assert result["success"], result
        with grader.gradebook as book:
            written = book.find_grade("why_sign_election", LESSON, LESSON, "s1")
            written.manual_score, written.needs_manual_grade = 4.0, False
            book.db.commit()
            recorded = book.find_submission(LESSON, "s1").late_submission_penalty
            # A quarter of 20: the 4 points for the written answer came later.
            assert recorded == 5
    return {
        found.student.id: [
            *((part.id, part.automatic, part.manual, part.waiting) for part in found.parts),
            ("late", found.late, found.penalty, 0),
        ]
        for found in read_class(course).grades
    }


@pytest.fixture(scope="module")
def graded(built_course, server, tmp_path_factory) -> dict[str, tuple[Course, dict]]:
    found = {}
    for kind, url in (("file", ""), ("server", server.create("class"))):
        course = instructors_copy(built_course, tmp_path_factory.mktemp(kind), url)
        found[kind] = (course, grade(built_course, course))
    return found


def test_a_server_holds_the_grades_that_a_file_holds(graded):
    # The exercises are worth 4, 4, 5 and 7 points; handed in two hours late costs a quarter.
    expected = {
        "s1": [
            ("ties/trim", 4, 0, 0),
            ("ties/elect_sign", 4, 0, 0),
            ("ties/disjoint_merge", 5, 0, 0),
            ("ties/ties", 7, 0, 0),
            ("why_sign_election", 0, 4, 0),
            ("late", 7200, 6, 0),
        ],
        "s2": [
            ("ties/trim", 0, 0, 0),
            ("ties/elect_sign", 4, 0, 0),
            ("ties/disjoint_merge", 0, 0, 0),
            ("ties/ties", 0, 0, 0),
            ("why_sign_election", 0, 0, 0),
            ("late", 7200, 1, 0),
        ],
    }
    assert graded["file"][1] == expected
    assert graded["server"][1] == expected
    assert (graded["file"][0].state / "gradebook.db").is_file()
    assert not (graded["server"][0].state / "gradebook.db").exists()


def test_item_analysis_reads_the_verdicts_of_notebooks_that_were_really_graded(graded):
    found = {item.exercise: item for item in analyse(read_class(graded["server"][0]))}

    # s1 solved everything; s2 left all but elect_sign as it was.
    assert {name: (item.mean, item.ran, item.unwritten) for name, item in found.items()} == {
        "ties/trim": (0.5, 1, 1),
        "ties/elect_sign": (1, 2, 0),
        "ties/disjoint_merge": (0.5, 1, 1),
        "ties/ties": (0.5, 1, 1),
    }


def nbgrader(course: Course, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run an nbgrader command with nothing on PATH but the system's own programs."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("MERGELAB")}
    return subprocess.run(
        [sys.executable, "-m", "nbgrader", *words],
        cwd=course.root,
        env={
            **known,
            "PYTHONPATH": os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")]),
            "JUPYTER_CONFIG_PATH": str(HOME / "autograder"),
            "MERGELAB_ROOT": str(course.root),
            "MERGELAB_COURSE": str(course.state),
            "PATH": "/usr/bin:/bin",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_nbgraders_own_commands_use_the_server_named_in_the_environment(server, tmp_path):
    url = server.create("commands")
    course = Course(tmp_path / "course", tmp_path / "state")
    (course.root / "solutions").mkdir(parents=True)

    added = nbgrader(course, "db", "student", "add", "s1", MERGELAB_GRADEBOOK=url)
    upgraded = nbgrader(course, "db", "upgrade", MERGELAB_GRADEBOOK=url)

    assert added.returncode == upgraded.returncode == 0, added.stderr + upgraded.stderr
    assert f"grader@/commands?host={server.socket}" in upgraded.stderr
    assert PASSWORD not in upgraded.stderr and ESCAPED not in upgraded.stderr
    assert server.query("commands", "select id from student") == [("s1",)]
    assert not list(tmp_path.rglob("*.db"))


def test_an_nbgrader_command_stops_in_one_line_rather_than_use_another_gradebook(tmp_path):
    course = Course(tmp_path / "course", tmp_path / "state")
    (course.root / "solutions").mkdir(parents=True)
    url = f"postgresql://me:{PASSWORD}@/class?host={tmp_path}"

    stopped = nbgrader(course, "db", "student", "list", MERGELAB_GRADEBOOK=url)

    assert stopped.returncode == 1
    assert stopped.stderr.startswith("error: MERGELAB_GRADEBOOK: no connection to class on ")
    assert stopped.stderr.count("\n") == 1 and PASSWORD not in stopped.stderr
    assert not list(tmp_path.rglob("*.db"))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_way_to_write_the_scheme_means_psycopg_3(server, tmp_path, scheme):
    url = gradebook_url(server.url("postgres", scheme=scheme), tmp_path / "unused.db")

    # The password goes another way than the URL, which nbgrader logs.
    assert url == f"postgresql+psycopg://grader@/postgres?host={server.socket}"
    assert os.environ["PGPASSWORD"] == PASSWORD


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("hidden-word", "is no database URL"),
        ("postgresql://me:hidden-word@host:port/class", "is no database URL"),
        ("postgresql://me:hidden-word@localhost", "names no database"),
        ("postgresql+psycopg2://me:hidden-word@localhost/class", "postgresql+psycopg2://"),
        ("mysql://me:hidden-word@localhost/class", "mysql:// is not supported"),
        ("sqlite:///gradebook.db", "absolute path"),
        ("sqlite://", "absolute path"),
        ("sqlite:////no/such/folder/gradebook.db", "a folder that exists"),
        ("postgresql://me:hidden-word@/class?host=/no/such/folder", "/no/such/folder"),
        ("postgresql://me@/class?host=/no/such/folder&password=hidden-word", "user:password@"),
        ("postgresql://me:hidden-word@/class?nonsense=1&host=/no/such/folder", "nonsense"),
    ],
)
def test_a_wrong_url_is_one_line_without_the_password(tmp_path, url, says):
    with pytest.raises(UserError) as stopped:
        gradebook_url(url, tmp_path / "unused.db")

    assert str(stopped.value).startswith("MERGELAB_GRADEBOOK: ") and says in str(stopped.value)
    assert "hidden-word" not in str(stopped.value)
    assert "hidden-word" not in "".join(traceback.format_exception(stopped.value))


def test_a_wrong_password_and_a_wrong_database_are_said_in_the_servers_words(server, tmp_path):
    for url, says in (
        (server.url("postgres", password="hidden-word"), "password authentication failed"),
        (server.url("no_such"), 'database "no_such" does not exist'),
    ):
        with pytest.raises(UserError) as stopped:
            gradebook_url(url, tmp_path / "unused.db")

        assert says in str(stopped.value)
        assert "hidden-word" not in str(stopped.value) and PASSWORD not in str(stopped.value)


def test_a_missing_driver_is_named_with_its_remedy(server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(UserError, match=r"pip install 'mergelab\[postgres\]'"):
        gradebook_url(server.url("another"), tmp_path / "unused.db")


def test_self_study_never_writes_to_the_gradebook_of_the_class(monkeypatch, tmp_path):
    monkeypatch.setenv("MERGELAB_GRADEBOOK", "sqlite:////srv/class.db")
    (tmp_path / "lessons").mkdir()
    monkeypatch.setenv("MERGELAB_ROOT", str(tmp_path))
    found = find_course()

    private = Course(tmp_path / "private", tmp_path / "private")

    assert found.gradebook == "sqlite:////srv/class.db"
    url = configuration(private).CourseDirectory.db_url
    assert url == f"sqlite:///{tmp_path / 'private' / 'gradebook.db'}"


def test_reading_makes_no_gradebook(tmp_path, server):
    (tmp_path / "course" / "solutions").mkdir(parents=True)
    for url in ("", server.create("empty")):
        course = Course(tmp_path / "course", tmp_path / "state", url)
        with pytest.raises(UserError, match="no grades yet"):
            read_class(course)
    assert not list(tmp_path.rglob("*.db"))
