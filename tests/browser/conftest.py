"""A browser, servers to look at, and the rule for all of it: nothing is asked of the internet."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browsers import browser
from lab_page import Lab
from lab_server import lab_server
from playwright.sync_api import BrowserContext, Page
from server_process import REPOSITORY
from small_lessons import small_course

from autograder.courses import Course

AT_HOME = re.compile(r"(http://127\.0\.0\.1[:/]|file:|data:|blob:|about:)")
# Pictures of the tests that fail are kept here.
FAILURES = Path(os.environ.get("MERGELAB_BROWSER_FAILURES") or Path(__file__).parent / "failures")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    if report.failed:
        for name, fixture in getattr(item, "funcargs", {}).items():
            page = getattr(fixture, "page", None)
            if isinstance(page, Page) and not page.is_closed():
                FAILURES.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=FAILURES / f"{item.name}-{report.when}-{name}.png")
    return report


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A built course of one small lesson."""
    return small_course(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def course(small: Course, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """The small lesson between two real ones, with work and grading folders of their own."""
    root = tmp_path_factory.mktemp("browser")
    mine = Course(root / "course", root / "state")
    for step in ("solutions", "lessons"):
        for lesson in ("00_start_here", "04_ties"):
            shutil.copytree(REPOSITORY / step / lesson, mine.root / step / lesson)
        shutil.copytree(small.root / step / "90_small", mine.root / step / "90_small")
    return mine


class Window:
    """A browser window of its own, and what it asked for and what broke in it."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.asked: list[str] = []
        self.broken: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("weberror", lambda found: self.broken.append(str(found.error)))

    @contextmanager
    def lab(self, address: str) -> Iterator[Lab]:
        """A new tab for one test; at the end nothing may have been asked of the internet."""
        self.asked.clear()
        self.broken.clear()
        lab = Lab(self.context.new_page(), address)
        yield lab
        lab.shut_down()
        lab.page.close()
        assert [url for url in self.asked if not AT_HOME.match(url)] == []
        assert self.broken == []


# A module at a time: while Playwright runs, it holds this thread's event loop.
@pytest.fixture(scope="module")
def window(course: Course) -> Iterator[Window]:
    with browser() as chromium:
        yield Window(chromium.new_context(viewport={"width": 1366, "height": 900}))


@pytest.fixture(scope="module")
def learner_address(course: Course) -> Iterator[str]:
    with lab_server(course, course.root.parent / "learner.log") as address:
        yield address


@pytest.fixture(scope="module")
def instructor_address(course: Course) -> Iterator[str]:
    with lab_server(course, course.root.parent / "instructor.log", instructor=True) as address:
        yield address


@pytest.fixture
def lab(window: Window, learner_address: str) -> Iterator[Lab]:
    """A learner's JupyterLab."""
    with window.lab(learner_address) as opened:
        yield opened


@pytest.fixture
def instructor_lab(window: Window, instructor_address: str) -> Iterator[Lab]:
    """An instructor's JupyterLab."""
    with window.lab(instructor_address) as opened:
        yield opened
