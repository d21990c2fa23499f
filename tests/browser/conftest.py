"""A browser, servers to look at, and the rule for all of it: nothing is asked of the internet."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab_page import Lab
from lab_server import REPOSITORY, lab_server
from playwright.sync_api import Browser, Page, sync_playwright
from small_lessons import small_course

from autograder.courses import Course

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
AT_HOME = re.compile(r"(http://127\.0\.0\.1[:/]|file:|data:|blob:|about:)")
# Pictures of the tests that fail are kept here.
FAILURES = Path(os.environ.get("MERGELAB_BROWSER_FAILURES") or Path(__file__).parent / "failures")

Window = Callable[[str], Lab]


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


# A module at a time: while Playwright runs, it holds this thread's event loop.
@pytest.fixture(scope="module")
def browser(course: Course) -> Iterator[Browser]:
    if not CHROMIUM.is_file():
        pytest.fail(f"{CHROMIUM} is missing; install Debian's package chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)


@contextmanager
def window(browser: Browser, address: str) -> Iterator[Lab]:
    """A window without history; at its end, what it asked for and what broke is looked at."""
    with browser.new_context(viewport={"width": 1366, "height": 900}) as context:
        asked, broken = [], []
        context.on("request", lambda request: asked.append(request.url))
        context.on("weberror", lambda found: broken.append(str(found.error)))
        yield Lab(context.new_page(), address)
    assert [url for url in asked if not AT_HOME.match(url)] == []
    assert broken == []


@pytest.fixture(scope="module")
def learner_address(course: Course) -> Iterator[str]:
    with lab_server(course, course.root.parent / "learner.log") as address:
        yield address


@pytest.fixture(scope="module")
def instructor_address(course: Course) -> Iterator[str]:
    with lab_server(course, course.root.parent / "instructor.log", instructor=True) as address:
        yield address


@pytest.fixture
def lab(browser: Browser, learner_address: str) -> Iterator[Lab]:
    """A learner's window."""
    with window(browser, learner_address) as opened:
        yield opened


@pytest.fixture
def instructor_lab(browser: Browser, instructor_address: str) -> Iterator[Lab]:
    """An instructor's window."""
    with window(browser, instructor_address) as opened:
        yield opened
