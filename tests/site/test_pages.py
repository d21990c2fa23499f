"""What the site's pages hold: nothing missing, nothing from afar, no solution."""

import inspect
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from server_process import REPOSITORY
from site_builder import built

from mergelab import methods

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]

LESSONS = sorted(path.stem for path in (REPOSITORY / "lessons").glob("*/*.ipynb"))
VERDICT = "application/vnd.mergelab.verdict+json"
WIDGETS = (
    "ConflictDial|DareDice|InterferenceExplorer|LinearLines|MemoryPlanner|ScaleSlider|SlerpCircle|"
    "StrategyChooser|SuiteSizeExplorer|ThreeMixer|TiesStepper"
)
# What a browser loads by itself; a link to another place is only followed by a person.
LOADED = {"img": "src", "script": "src", "iframe": "src", "link": "href", "source": "src"}


class Page(HTMLParser):
    """The ids of a page, what it points to, what it loads, its pictures, and its words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {value for name, value in attrs if name in ("id", "name") and value}
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if tag in LOADED and found.get(LOADED[tag]) and found.get("rel") not in ("next", "prev"):
            self.loaded.append(str(found[LOADED[tag]]))
        if tag == "img" or (tag == "svg" and found.get("role") == "img"):
            self.pictures.append(found)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@cache
def page(path: Path) -> Page:
    return Page(path)


def pages(site: Path) -> list[Path]:
    """Every page but the templates that the theme keeps among its pictures and scripts."""
    return [path for path in site.rglob("*.html") if "_static" not in path.parts]


def test_every_link_and_picture_is_there(site):
    broken = {
        f"{path.relative_to(site)}: {target}"
        for path in pages(site)
        for target in [*page(path).links, *page(path).loaded]
        if not leads_somewhere(path, target)
    }
    assert broken == set()


def leads_somewhere(path: Path, target: str) -> bool:
    """Whether a link leads to a file, and to a place in it; others' sites are not asked."""
    parts = urlsplit(target)
    if parts.scheme:
        return parts.scheme in ("http", "https", "mailto", "data")
    found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not found.is_file():
        return False
    return not parts.fragment or unquote(parts.fragment) in page(found).ids


def test_nothing_is_loaded_from_elsewhere(site):
    for path in pages(site):
        assert [url for url in page(path).loaded if re.match(r"(https?:)?//", url)] == [], path


def test_every_picture_says_what_it_shows(site):
    for path in pages(site):
        for picture in page(path).pictures:
            words = (
                picture.get("alt") or picture.get("aria-label") or picture.get("aria-labelledby")
            )
            assert words or picture.get("aria-hidden"), f"{path.relative_to(site)}: {picture}"


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_shows_its_pictures_and_keeps_its_solutions(site, lesson):
    path = site / f"lessons/{lesson}/{lesson}.html"
    executed = nbformat.read(REPOSITORY / f"solutions/{lesson}/{lesson}.ipynb", as_version=4)
    release = nbformat.read(REPOSITORY / f"lessons/{lesson}/{lesson}.ipynb", as_version=4)
    drawn = {
        alt
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if VERDICT not in output.get("data", {})
        for alt in re.findall(r'<img alt="([^"]*)"', output.get("data", {}).get("text/html", ""))
    }
    raw = path.read_text("utf-8")
    assert drawn
    assert drawn <= set(re.findall(r'<img alt="([^"]*)"', raw))
    moved = [cell for cell in release.cells if re.search(rf"^nb\.({WIDGETS})\(", cell.source, re.M)]
    assert raw.count("Here stands a widget") == len(moved) > 0
    words = "".join(page(path).words)
    assert "YOUR CODE HERE" in words
    given = "".join(cell.source for cell in release.cells)  # a hint may quote a line
    for cell in executed.cells:
        solved = re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", cell.source, re.DOTALL)
        for line in {line.strip() for part in solved for line in part.splitlines()}:
            assert len(line) < 15 or line in given or line not in words, f"{cell.id}: {line}"


def test_the_reference_has_every_command_and_method(site):
    commands = "".join(page(site / "commands.html").words)
    for name in ("merge", "compare", "tune", "inspect", "grade", "submit", "tables"):
        assert f"mergelab {name}" in commands
    written = page(site / "api/mergelab.methods.html").ids
    for name in methods.__all__:
        if inspect.isroutine(getattr(methods, name)) or inspect.isclass(getattr(methods, name)):
            assert f"mergelab.methods.{name}" in written


def test_a_folder_that_is_no_site_stays_as_it_is(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = built(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path}: is there and is no site")
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.txt"]
