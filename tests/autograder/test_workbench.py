"""Placing lessons into work/ never overwrites what a learner has written."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograder.workbench import RECORD, place
from mergelab.errors import UserError

NAMES = ("04_ties/04_ties.ipynb", "04_ties/figure.png", "05_dare/05_dare.ipynb")
ACTIONS = st.one_of(
    st.tuples(st.just("release"), st.sampled_from(NAMES), st.sampled_from("abc")),
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from("abcxyz")),
    st.tuples(st.just("write new"), st.sampled_from(NAMES), st.sampled_from("xyz")),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.just("")),
    st.tuples(st.just("lose record"), st.just(""), st.just("")),
    st.tuples(st.just("place"), st.just(""), st.just("")),
)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def beside(work: Path, name: str) -> Path:
    path = work / name
    return path.with_name(f"{path.stem}.new{path.suffix}")


@given(st.lists(ACTIONS, max_size=14))
def test_whatever_happens_no_word_of_a_learner_is_lost(actions):
    with tempfile.TemporaryDirectory() as folder:
        lessons, work = Path(folder) / "lessons", Path(folder) / "work"
        lessons.mkdir()
        mine: dict[Path, str] = {}
        for action, name, text in [*actions, ("place", "", "")]:
            if action == "release":
                write(lessons / name, text)
            elif action == "write":
                write(work / name, "mine " + text)
                mine[work / name] = "mine " + text
            elif action == "write new":
                write(beside(work, name), "mine " + text)
                mine[beside(work, name)] = "mine " + text
            elif action == "delete":
                (work / name).unlink(missing_ok=True)
                mine.pop(work / name, None)
            elif action == "lose record":
                (work / RECORD).unlink(missing_ok=True)
            else:
                place(lessons, work)
                assert {p: p.read_text() for p in mine} == mine
                # Every release can be found: in place, beside, or already answered by the learner.
                for released in lessons.rglob("*.*"):
                    assert (work / released.relative_to(lessons)).exists()
        assert not list(Path(folder).rglob("*partial*"))


@pytest.fixture
def places(tmp_path):
    lessons, work = tmp_path / "lessons", tmp_path / "work"
    write(lessons / NAMES[0], "first")
    return lessons, work


def test_a_second_run_does_nothing(places):
    lessons, work = places
    assert place(lessons, work).new == [NAMES[0]]
    again = place(lessons, work)
    assert (again.new, again.updated, again.beside) == ([], [], [])


def test_an_untouched_file_follows_an_update(places):
    lessons, work = places
    place(lessons, work)
    write(lessons / NAMES[0], "second")
    assert place(lessons, work).updated == [NAMES[0]]
    assert (work / NAMES[0]).read_text() == "second"


def test_an_update_of_a_changed_file_goes_beside_it_once(places):
    lessons, work = places
    place(lessons, work)
    write(work / NAMES[0], "my answer")
    write(lessons / NAMES[0], "second")
    assert place(lessons, work).beside == ["04_ties/04_ties.new.ipynb"]
    assert (work / NAMES[0]).read_text() == "my answer"
    assert beside(work, NAMES[0]).read_text() == "second"
    assert place(lessons, work).beside == []
    beside(work, NAMES[0]).unlink()
    assert place(lessons, work).beside == []


def test_a_changed_new_file_is_kept_and_the_next_gets_a_number(places):
    lessons, work = places
    place(lessons, work)
    write(work / NAMES[0], "my answer")
    write(lessons / NAMES[0], "second")
    place(lessons, work)
    write(beside(work, NAMES[0]), "I went on here")
    write(lessons / NAMES[0], "third")
    assert place(lessons, work).beside == ["04_ties/04_ties.new2.ipynb"]
    assert beside(work, NAMES[0]).read_text() == "I went on here"


def test_a_link_to_elsewhere_is_left_alone(places, tmp_path):
    lessons, work = places
    (work / "04_ties").mkdir(parents=True)
    (work / NAMES[0]).symlink_to(tmp_path / "nowhere.ipynb")
    place(lessons, work)
    assert (work / NAMES[0]).is_symlink()
    assert not (tmp_path / "nowhere.ipynb").exists()


def test_a_file_in_the_place_of_a_folder_is_named(places):
    lessons, work = places
    write(work / "04_ties", "a note")
    with pytest.raises(UserError, match="is a file where a lesson's folder belongs"):
        place(lessons, work)
    assert (work / "04_ties").read_text() == "a note"
