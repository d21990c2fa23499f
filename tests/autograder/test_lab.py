"""`mergelab lab`: set-up, start page, and a server that needs no home folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from autograder.courses import Course
from autograder.lab import command, set_up
from autograder.startpage import start_page
from mergelab.errors import UserError


@pytest.fixture
def course(built_course: Course, tmp_path: Path) -> Course:
    root = tmp_path / "clone"
    shutil.copytree(built_course.root, root, ignore=shutil.ignore_patterns("work"))
    return Course(root, tmp_path / "state")


def test_setting_up_puts_lessons_start_page_and_exchange_in_place(course):
    assert set_up(course).new == ["90_small/90_small.ipynb"]
    assert (course.work / "START.md").read_text() == start_page(course)
    exchanged = course.exchange / "mergelab" / "outbound" / "90_small" / "90_small.ipynb"
    assert exchanged.read_bytes() == course.release("90_small").read_bytes()


def test_setting_up_again_takes_no_time_and_keeps_what_people_changed(course):
    set_up(course)
    (course.work / "START.md").write_text("my own notes")
    settings = Path(course.environment()["JUPYTERLAB_SETTINGS_DIR"])
    news = settings / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    news.write_text("{}")
    started = time.monotonic()
    assert set_up(course).new == []
    assert time.monotonic() - started < 1
    assert (course.work / "START.md").read_text() == "my own notes"
    assert news.read_text() == "{}"


def test_the_start_page_lists_each_lesson_with_time_exercises_and_points(course):
    page = start_page(course)
    assert "[A small lesson](90_small/90_small.ipynb)" in page
    assert "| 4 | 20 + 5 |" in page  # five of them for the written answer
    assert "mergelab submit 90_small" in page


def test_the_start_page_of_a_class_speaks_of_handing_in_not_of_grading_oneself(course):
    shutil.rmtree(course.solutions)  # as in an account to which the lessons were handed out
    page = start_page(course)
    assert "Nbgrader, Assignment List, *Submit*" in page
    assert "mergelab submit" not in page and "mergelab lab" not in page


def test_arguments_go_to_jupyterlab_as_they_are(course):
    line = command(course, ["--no-browser", "--port=0", "--ip=127.0.0.1"])
    assert line[-3:] == ["--no-browser", "--port=0", "--ip=127.0.0.1"]
    assert f"--ServerApp.root_dir={course.work}" in line
    everything = command(course, [], instructor=True)
    assert f"--ServerApp.root_dir={course.root}" in everything


def test_kernels_start_with_the_sentence_for_missing_names(course):
    set_up(course)
    startup = Path(course.environment()["IPYTHONDIR"]) / "profile_default" / "startup"
    found = {}
    exec((startup / "mergelab.py").read_text(), found)  # outside IPython it does nothing
    assert set(found) == {"__builtins__"}  # and a learner's names stay a learner's


def test_terminals_keep_the_path_that_finds_mergelab(course, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/bash")
    assert "--ServerApp.terminado_settings=shell_command=['/bin/bash']" in command(course, [])


def test_a_clone_without_lessons_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no lessons; run `mergelab lessons`"):
        set_up(Course(tmp_path, tmp_path / "state"))


def test_the_server_serves_lessons_and_assignments_and_leaves_the_home_folder_empty(course):
    home = course.root.parent / "home"
    home.mkdir()
    kept = ("PATH", "LANG", "VIRTUAL_ENV", "PYTHONPATH")
    variables = {name: os.environ[name] for name in kept if name in os.environ}
    variables |= {
        "HOME": str(home),
        "MERGELAB_ROOT": str(course.root),
        "MERGELAB_COURSE": str(course.state),
        "JUPYTER_TOKEN": "open-sesame",
    }
    server = subprocess.Popen(
        [Path(sys.executable).parent / "mergelab", "lab", "--no-browser", "--port=0"],
        env=variables,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        seen = ""
        for line in server.stdout:
            seen += line
            if "http://127.0.0.1:" in line:
                break
        found = re.search(r"http://127\.0\.0\.1:\d+/", seen)
        assert found, seen
        address = found[0]

        def get(path: str) -> bytes:
            request = urllib.request.Request(
                address + path, headers={"Authorization": "token open-sesame"}
            )
            # The address is printed a moment before the server listens to it.
            for _ in range(100):
                try:
                    with urllib.request.urlopen(request, timeout=30) as reply:
                        return reply.read()
                except urllib.error.URLError as error:
                    if not isinstance(error.reason, ConnectionRefusedError):
                        raise
                    time.sleep(0.2)
            raise AssertionError(f"{address}{path}: nobody listens")

        assert b"jupyter-config-data" in get("lab/tree/START.md")
        names = {item["name"] for item in json.loads(get("api/contents"))["content"]}
        assert {"START.md", "90_small"} <= names
        assignments = json.loads(get("assignments?course_id=mergelab"))
        assert assignments["success"], assignments
        assert [(a["assignment_id"], a["status"]) for a in assignments["value"]] == [
            ("90_small", "fetched")
        ]
        kernels = json.loads(get("api/kernelspecs"))["kernelspecs"]
        assert "python3" in kernels
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            raise
    assert [p for p in home.rglob("*") if p.is_file()] == []
