"""A class is graded to its last submission: collected, judged in a sandbox, recorded, resumed."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from clusters import local_cluster
from nbgrader.api import Gradebook
from small_lessons import SOLUTIONS

from autograder import build
from autograder.collecting import collect
from autograder.courses import Course
from autograder.grading import grade_class
from autograder.sandbox import host
from mergelab.errors import UserError

pytestmark = pytest.mark.slow

LESSON = "90_small"
TRIM = SOLUTIONS["trim"].strip()
FULL = {"ties/trim": 4.0, "ties/elect_sign": 4.0, "ties/disjoint_merge": 5.0, "ties/ties": 7.0}


def notebook(course: Course, **answers: str) -> nbformat.NotebookNode:
    """The release with these answers."""
    found = nbformat.read(course.release(LESSON), as_version=4)
    for cell in found.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name in answers:
            cell.source = answers[name]
    return found


def solved(course: Course) -> nbformat.NotebookNode:
    return nbformat.read(build.notebook_path(course, LESSON), as_version=4)


def hand_in(course: Course, student: str, content: nbformat.NotebookNode | bytes) -> Path:
    path = course.state / "submitted" / student / LESSON / f"{LESSON}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else nbformat.writes(content).encode()
    path.write_bytes(data)
    return path


def send(course: Course, student: str, when: str, content: nbformat.NotebookNode) -> Path:
    """Put a submission into the exchange, the way nbgrader's submit does."""
    folder = course.exchange / "mergelab" / "inbound" / f"{student}+{LESSON}+{when}+x"
    folder.mkdir(parents=True)
    nbformat.write(content, folder / f"{LESSON}.ipynb")
    (folder / "timestamp.txt").write_text(when)
    return folder


def scores(report) -> dict[str, float]:
    return {each.student: each.score for each in report.submissions}


def recorded(course: Course) -> dict[tuple[str, str], float | None]:
    """Every automatic score in the gradebook."""
    with sqlite3.connect(course.state / "gradebook.db") as database:
        rows = database.execute(
            "select sa.student_id, gc.name, g.auto_score from grade g"
            " join submitted_notebook sn on sn.id = g.notebook_id"
            " join submitted_assignment sa on sa.id = sn.assignment_id"
            " join base_cell gc on gc.id = g.cell_id"
        ).fetchall()
    return {(student, name): score for student, name, score in rows}


def test_each_submission_gets_its_grade_and_a_bad_one_stops_nobody(course):
    hand_in(course, "ada", solved(course))
    hand_in(course, "bob", notebook(course, trim=TRIM))
    hand_in(course, "cy", b"{ not a notebook")
    hand_in(course, "dee", notebook(course, trim="while True: pass"))
    hand_in(
        course, "eve", notebook(course, trim="import os\nos._exit(1)\ndef trim(d, k): return d")
    )
    hand_in(course, "fay", solved(course)).unlink()
    hand_in(course, "zoe", solved(course))
    report = grade_class(course, LESSON, workers=2)
    assert scores(report) == {
        "ada": 20, "bob": 4, "cy": 0, "dee": 0, "eve": 0, "fay": 0, "zoe": 20,
    }  # fmt: skip
    by_name = {each.student: each for each in report.submissions}
    assert by_name["ada"].scores == FULL
    assert "cannot be read as a notebook" in by_name["cy"].refused
    assert "there is no notebook of this lesson" in by_name["fay"].refused
    assert by_name["bob"].reasons["ties/ties"].startswith("`ties` is not written yet")
    for student in by_name:
        page = course.state / "feedback" / student / LESSON / f"{LESSON}.html"
        assert page.is_file()
    book = recorded(course)
    assert sum(v for (s, name), v in book.items() if s == "ada" and "why" not in name) == 20
    assert book["cy", "trim_hidden"] == 0


def test_the_newest_submission_is_taken_from_the_exchange_and_links_are_not_followed(
    course, tmp_path
):
    secret = tmp_path / "secret.ipynb"
    nbformat.write(solved(course), secret)
    send(course, "ada", "2026-01-01 10:00:00.000000 UTC", notebook(course))
    send(course, "ada", "2026-01-02 10:00:00.000000 UTC", solved(course))
    folder = send(course, "bob", "2026-01-01 10:00:00.000000 UTC", notebook(course))
    (folder / f"{LESSON}.ipynb").unlink()
    (folder / f"{LESSON}.ipynb").symlink_to(secret)
    send(course, "cy", "2026-01-01 10:00:00.000000 UTC", solved(course))
    (course.exchange / "mergelab" / "inbound" / f"dee+{LESSON}+2026-01-01 10:00:00 UTC").symlink_to(
        tmp_path
    )
    report = grade_class(course, LESSON)
    assert scores(report) == {"ada": 20, "bob": 0, "cy": 20}
    assert any("bob" in note and "not followed" in note for note in report.notes)
    with Gradebook(f"sqlite:///{course.state / 'gradebook.db'}") as gradebook:
        submission = gradebook.find_submission(LESSON, "ada")
        assert str(submission.timestamp) == "2026-01-02 10:00:00"


def test_nobody_can_hand_in_for_another_account(course, monkeypatch):
    accounts = {"ada": 4001, "bob": 4002}
    monkeypatch.setattr(
        "pwd.getpwnam", lambda name: SimpleNamespace(pw_uid={**accounts, "root": 0}[name])
    )
    owners = {"2026-01-01 10:00:00.000000 UTC": 4001, "2026-01-02 10:00:00.000000 UTC": 4002}
    real = Path.lstat

    def owned(path: Path):
        found = real(path)
        for when, user in owners.items():
            if path.name.startswith(f"ada+{LESSON}+{when}"):
                values = list(found)
                values[4] = user
                return os.stat_result(values)
        return found

    monkeypatch.setattr(Path, "lstat", owned)
    for when in owners:
        send(course, "ada", when, notebook(course, trim=f"# {when}"))
    send(course, "nobody-here", "2026-01-01 10:00:00.000000 UTC", notebook(course))
    (note,) = collect(course, LESSON)
    assert "2026-01-02" in note and note.endswith("belongs to another account and was not taken")
    taken = course.state / "submitted" / "ada" / LESSON / f"{LESSON}.ipynb"
    assert "2026-01-01" in taken.read_text()
    assert (course.state / "submitted" / "nobody-here" / LESSON).is_dir()


def test_what_has_not_changed_is_not_graded_again_and_manual_points_stay(course, monkeypatch):
    hand_in(course, "ada", notebook(course, trim=TRIM))
    hand_in(course, "bob", solved(course))
    grade_class(course, LESSON)
    with Gradebook(f"sqlite:///{course.state / 'gradebook.db'}") as gradebook:
        grade = gradebook.find_grade("why_sign_election", LESSON, LESSON, "bob")
        grade.manual_score = 4
        gradebook.db.commit()
    hand_in(course, "ada", solved(course))
    judged = []
    monkeypatch.setattr(
        "autograder.grading.judge_all",
        lambda works, *_: ((d, judged.append(d) or _judge(w)) for d, w in works.items()),
    )
    report = grade_class(course, LESSON)
    assert scores(report) == {"ada": 20, "bob": 20}
    assert {each.student: each.unchanged for each in report.submissions} == {
        "ada": False,
        "bob": True,
    }
    again = grade_class(course, LESSON, again=True)
    assert scores(again) == {"ada": 20, "bob": 20}
    # Same code as bob's: the verdict is known. Nothing was judged twice.
    assert judged == []
    with Gradebook(f"sqlite:///{course.state / 'gradebook.db'}") as gradebook:
        assert gradebook.find_grade("why_sign_election", LESSON, LESSON, "bob").manual_score == 4
    assert len(list((course.state / "backups").glob("*.db"))) >= 1
    (course.state / "gradebook.db").unlink()  # another gradebook takes its place
    assert scores(grade_class(course, LESSON)) == {"ada": 20, "bob": 20}
    assert recorded(course)["bob", "trim_hidden"] == 3


def _judge(work):
    from autograder.trusted import judge_work

    return judge_work(work)


def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_gradebook(
    course, built_course, tmp_path
):
    from small_lessons import own_course

    other = own_course(tmp_path / "other", built_course.root, tmp_path / "other-state")
    for number in range(5):
        answers = {"trim": f"# {number}\n{TRIM}"} if number % 2 else {}
        for each in (course, other):
            hand_in(each, f"s{number}", notebook(each, **answers))
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from autograder.courses import Course\n"
        "from autograder.grading import grade_class\n"
        "def stop(student, done, total):\n"
        "    if done == 2: os.kill(os.getpid(), 9)\n"
        f"grade_class(Course(Path({str(other.root)!r}), Path({str(other.state)!r})), {LESSON!r},"
        " progress=stop)\n"
    )
    path = tmp_path / "run.py"
    path.write_text(f"if __name__ == '__main__':\n{_indented(program)}")
    killed = subprocess.run([sys.executable, str(path)], env={**os.environ, **other.environment()})
    assert killed.returncode == -9
    resumed = grade_class(other, LESSON)
    assert scores(resumed) == scores(grade_class(course, LESSON))
    assert sum(each.unchanged for each in resumed.submissions) >= 1
    assert recorded(other) == recorded(course)


def _indented(program: str) -> str:
    return "".join(f"    {line}\n" for line in program.splitlines())


def test_without_a_sandbox_a_class_is_not_graded_unless_stock_mode_is_named(course, monkeypatch):
    hand_in(course, "ada", solved(course))
    monkeypatch.setattr("autograder.grading.unavailable", lambda: "bubblewrap is not installed")
    with pytest.raises(UserError, match="bubblewrap is not installed; --stock grades without one"):
        grade_class(course, LESSON)
    report = grade_class(course, LESSON, stock=True)
    assert (report.mode, scores(report)) == ("stock", {"ada": 20})


def test_grades_say_in_which_mode_they_were_made(course):
    hand_in(course, "ada", solved(course))
    grade_class(course, LESSON)
    graded = course.state / "autograded" / "ada" / LESSON / f"{LESSON}.ipynb"
    assert nbformat.read(graded, as_version=4).metadata.mergelab.mode == "trusted"


def test_judging_on_a_dask_cluster_gives_the_same_grades(course):
    hand_in(course, "ada", solved(course))
    hand_in(course, "bob", notebook(course, trim=TRIM))
    with local_cluster(2) as cluster, cluster.get_client() as client:
        report = grade_class(course, LESSON, executor=client.get_executor())
    assert scores(report) == {"ada": 20, "bob": 4}


def test_the_command_prints_a_table_or_json(course, capfd, monkeypatch):
    from mergelab.cli import main

    hand_in(course, "ada", solved(course))
    hand_in(course, "bob", b"")
    monkeypatch.setattr(sys, "argv", ["mergelab", "grade", LESSON, "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None)
    (told,) = json.loads(capfd.readouterr().out)
    assert [each["student"] for each in told["submissions"]] == ["ada", "bob"]
    assert told["submissions"][0]["score"] == 20
    monkeypatch.setattr(sys, "argv", ["mergelab", "grade"])
    with pytest.raises(SystemExit):
        main()
    out = capfd.readouterr().out
    assert "90_small: 2 submissions" in out
    assert "bob: not graded: cannot be read as a notebook" in out


def test_a_sandbox_that_does_not_start_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    host.unavailable.cache_clear()
    try:
        assert host.unavailable() == "bubblewrap is not installed: apt install bubblewrap"
    finally:
        host.unavailable.cache_clear()
