"""A class on a real JupyterHub: an instructor and three learners, each with an account."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from accounts import accounts
from hub_server import Person, hub_server
from lab_page import PATIENCE, Lab
from playwright.sync_api import expect, sync_playwright
from postgres_server import ESCAPED, Server, postgres_server
from small_lessons import SOLUTIONS, small_course

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hub")]

CHROMIUM = "/usr/bin/chromium"
LESSON = "90_small"
SEED = "a seed that learners must not see"
# What each learner writes, and the points it is worth of 20; a person gives 5 more.
ANSWERS = {
    "anna": (SOLUTIONS, 20),
    "ben": ({name: SOLUTIONS[name] for name in ("trim", "elect_sign")}, 8),
    "cleo": ({}, 0),
}


@dataclass
class Class:
    """A class that has been through a lesson, from its release to its feedback."""

    teacher: Person
    learners: dict[str, Person]
    folder: Path
    server: Server

    @property
    def clone(self) -> Path:
        return self.folder / "course"

    @property
    def shared(self) -> Path:
        return self.folder / "shared"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that every account can enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="mergelab-hub-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def started(folder: Path) -> Iterator[Class]:
    """The Hub, everybody logged in, and the teacher's and the first learner's server running."""
    if os.geteuid() != 0:
        pytest.fail("only root can make accounts")
    mark = f"mlhub{os.getpid()}"
    group = f"{mark}-teachers"
    names = {short: f"{mark}-{short}" for short in ("teacher", *ANSWERS)}
    small_course(folder)
    (folder / "homes").mkdir()
    with (
        postgres_server() as server,
        accounts([*names.values()], folder / "homes", group, [names["teacher"]]),
    ):
        server.socket.chmod(0o711)  # other accounts reach the socket; the password keeps them out
        _for_the_group(folder / "course", group)
        secrets = {
            "MERGELAB_GRADEBOOK": server.create("gradebook"),
            "MERGELAB_HIDDEN_SEED": SEED,
        }
        with hub_server(folder / "course", folder / "shared", group, secrets) as address:
            people = {
                short: Person(name, address, folder / "homes" / name, folder / "hub.log")
                for short, name in names.items()
            }
            start(people["teacher"], people["anna"])
            yield Class(people.pop("teacher"), people, folder, server)


def start(*people: Person) -> None:
    """Start the servers of several people at once, as a class does."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(Person.start_server, people))


def _for_the_group(clone: Path, group: str) -> None:
    """What the guide does with a clone: instructors own it, nobody else may enter."""
    for path in (clone, *clone.rglob("*")):
        shutil.chown(path, group=group)
        path.chmod(path.stat().st_mode & 0o770)


@pytest.fixture(scope="module")
def done(started: Class) -> Class:
    """The class, after a lesson: released, worked on, handed in, graded, feedback fetched."""
    teacher, learners = started.teacher, started.learners
    release = f"formgrader/api/assignment/{LESSON}/release"
    assert teacher.own("POST", release).json()["success"]
    # One is there already and fetches the lesson; the others find it in place when they come.
    learners["anna"].assignments("fetch", LESSON)
    start(learners["ben"], learners["cleo"])
    for name, (answers, _) in ANSWERS.items():
        _write(learners[name], answers)
        learners[name].assignments("submit", LESSON)
    for command in (f"mergelab grade {LESSON} --workers 2", f"nbgrader release_feedback {LESSON}"):
        status, said = teacher.run(command)
        assert status == 0, said
    for learner in learners.values():
        learner.assignments("fetch_feedback", LESSON)
    return started


def _write(learner: Person, answers: dict[str, str]) -> None:
    """Open the lesson's notebook, write answers into its cells, and save it."""
    path = f"api/contents/{LESSON}/{LESSON}.ipynb"
    notebook = learner.own("GET", path).json()["content"]
    for cell in notebook["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        cell["source"] = answers.get(grade_id, cell["source"])
    learner.own("PUT", path, json={"type": "notebook", "format": "json", "content": notebook})


def test_a_learner_who_logs_in_finds_what_is_released_and_the_start_page(done):
    work = done.learners["ben"].home / "mergelab" / "work"
    assert (work / LESSON / f"{LESSON}.ipynb").is_file()
    page = (work / "START.md").read_text()
    assert done.learners["ben"].own("GET", "").url.endswith("/lab/tree/START.md")
    assert "[A small lesson](90_small/90_small.ipynb)" in page
    assert "Assignment List" in page and "mergelab submit" not in page


def test_mergelab_check_works_in_a_learners_terminal(done):
    status, said = done.learners["anna"].run(f"mergelab check {LESSON} trim")
    assert status == 0 and "trim: all" in said


def test_the_points_are_in_the_postgresql_gradebook(done):
    rows = done.server.query(
        "gradebook",
        "select student.id, sum(grade.auto_score) from grade"
        " join submitted_notebook on submitted_notebook.id = grade.notebook_id"
        " join submitted_assignment on submitted_assignment.id = submitted_notebook.assignment_id"
        " join student on student.id = submitted_assignment.student_id group by student.id",
    )
    assert dict(rows) == {done.learners[name].name: points for name, (_, points) in ANSWERS.items()}
    assert not (done.shared / "course" / "gradebook.db").exists()


def test_each_learner_gets_their_own_feedback(done):
    pages = {}
    for name, learner in done.learners.items():
        folder = learner.home / "mergelab" / "work" / LESSON / "feedback"
        (page,) = folder.rglob("*.html")
        pages[name] = page.read_text()
    for name, (_, points) in ANSWERS.items():
        assert f"{points} of 25 points" in pages[name]


def test_only_the_instructor_has_formgrader_and_everybody_validates(done):
    assert "formgrader" in done.teacher.own("GET", "formgrader/").text.lower()
    for learner in done.learners.values():
        assert learner.ask("GET", f"user/{learner.name}/formgrader/").status_code == 404
        page = learner.own("GET", "lab").text
        assert '"@jupyter/nbgrader:formgrader"' in page.partition("disabledExtensions")[2]
    path = {"path": f"{LESSON}/{LESSON}.ipynb"}
    assert done.learners["ben"].own("POST", "assignments/validate", data=path).json()["success"]


@pytest.mark.browser
def test_the_instructor_logs_in_and_sees_the_class_in_formgrader(done):
    name = done.teacher.name
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{done.teacher.hub}/hub/login?next=/user/{name}/lab")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(name)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("menuitem", name="File", exact=True).wait_for()
        lab = Lab(page, done.teacher.hub)
        lab.menu("Nbgrader", "Formgrader")
        lesson = lab.frame().locator("tr", has_text=LESSON)
        expect(lesson.locator("td.num-submissions")).to_have_text("3")
        chromium.close()


def test_nobody_opens_another_ones_server(done):
    anna, ben = done.learners["anna"], done.learners["ben"]
    for other in (ben, done.teacher):
        assert anna.ask("GET", f"user/{other.name}/api/contents").status_code == 403


def test_a_learner_reads_nothing_of_the_others_or_of_the_instructors(done):
    anna, ben = done.learners["anna"], done.learners["ben"]
    inbound = done.shared / "exchange" / "mergelab" / "inbound"
    assert len(list(inbound.iterdir())) == 3
    closed = [
        inbound,
        done.shared / "exchange" / "mergelab" / "feedback",
        done.shared / "course",
        done.shared / "course" / "submitted" / ben.name / LESSON / f"{LESSON}.ipynb",
        done.shared / "hub" / "jupyterhub.sqlite",
        done.clone / "solutions" / LESSON / f"{LESSON}.ipynb",
        ben.home / "mergelab" / "work" / LESSON / f"{LESSON}.ipynb",
    ]
    for path in closed:
        assert path.exists(), path
        status, said = anna.run(f"ls {path} || cat {path}")
        assert status and "Permission denied" in said, f"{path}: {said}"
    assert anna.run("ls $MERGELAB_COURSE/exchange/mergelab/outbound")[0] == 0


def test_a_learner_learns_neither_the_gradebooks_address_nor_the_seed(done):
    anna = done.learners["anna"]
    status, said = anna.run("env; ps axww -o args; cat /proc/[0-9]*/environ")
    assert "JUPYTERHUB_USER=" in said and "Permission denied" in said
    for secret in (SEED, "postgresql:", ESCAPED):
        assert secret not in said
    assert SEED in done.teacher.run("env")[1]
    program = "import psycopg; psycopg.connect(host={!r}, user='grader', dbname='gradebook')"
    status, said = anna.run(f'python -c "{program.format(str(done.server.socket))}"')
    assert status and "password" in said
