"""Small courses in temporary folders."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_lessons import own_course, small_course

from autograder.courses import Course


@pytest.fixture
def make_course(tmp_path: Path) -> Callable[..., Course]:
    """Write a course with one lesson, `90_small`, from its text."""

    def make(text: str, lesson: str = "90_small") -> Course:
        course = Course(tmp_path / "course", tmp_path / "state")
        folder = course.solutions / lesson
        folder.mkdir(parents=True)
        (folder / f"{lesson}.py").write_text(text)
        return course

    return make


@pytest.fixture(scope="session")
def built_course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A course whose lesson `90_small` holds all four exercises and a written answer, built."""
    return small_course(tmp_path_factory.mktemp("built"))


@pytest.fixture
def course(built_course: Course, tmp_path: Path, monkeypatch) -> Course:
    """The built course with a work folder and a state folder of one's own."""
    course = own_course(tmp_path / "mine", built_course.root, tmp_path / "state")
    monkeypatch.setenv("MERGELAB_ROOT", str(course.root))
    monkeypatch.setenv("MERGELAB_COURSE", str(course.state))
    return course
