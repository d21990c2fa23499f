"""Predictions: guesses are kept, compared with the truth, and may be left empty."""

import pytest

from mergelab.notebook.predictions import Note, Predictions


@pytest.fixture
def book():
    return Predictions()


def test_an_empty_guess_asks_for_one_and_the_result_still_shows(book):
    assert "no guess yet" in str(book.range("score"))
    assert "no guess yet" in str(book.choice("winner", None, among=("a", "b")))
    assert str(book.reveal("score", 0.5)) == "Score: measured 0.50; you made no guess."
    assert str(book.reveal("winner", "a")) == "Winner: a; you made no guess."
    assert "No predictions to look back on" in str(book.calibration())


def test_a_result_without_any_question_shows_too(book):
    assert "you made no guess" in str(book.reveal("never asked", 0.25))


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.4, 0.6, "right"),
        (0.1, 0.2, "too low"),
        (0.8, 0.9, "too high"),
        (0.5, 0.5, "right"),
        (0.6, 0.4, "right"),  # given the wrong way round
    ],
)
def test_a_range_is_judged_by_where_the_truth_lies(book, low, high, outcome):
    book.range("score", low=low, high=high)
    assert str(book.reveal("score", 0.5)).endswith(f"which is {outcome}.")


def test_a_choice_outside_the_list_is_turned_down(book):
    assert "is not one of a, b" in str(book.choice("winner", "c", among=("a", "b")))
    book.choice("winner", "b", among=("a", "b"))
    assert "you guessed b, which is not it" in str(book.reveal("winner", "a"))


def test_a_guess_changed_after_the_result_does_not_count(book):
    book.range("score", low=0.1, high=0.2)
    book.reveal("score", 0.5)
    assert "does not count" in str(book.range("score", low=0.4, high=0.6))
    assert "No predictions to look back on" in str(book.calibration())


def test_running_the_same_cell_again_changes_nothing(book):
    book.range("score", low=0.1, high=0.6)
    book.reveal("score", 0.5)
    assert "does not count" not in str(book.range("score", low=0.1, high=0.6))
    assert "You caught 1 of 1" in str(book.calibration())


def test_a_guess_may_be_changed_before_the_result(book):
    book.range("score", low=0.1, high=0.2)
    book.range("score", low=0.4, high=0.6)
    book.reveal("score", 0.5)
    assert "You caught 1 of 1" in str(book.calibration())


def test_calibration_counts_ranges_and_gives_advice(book):
    for n, (low, high) in enumerate([(0.4, 0.6), (0.1, 0.2), (0.7, 0.8), (0.45, 0.55)]):
        book.range(f"q{n}", low=low, high=high)
        book.reveal(f"q{n}", 0.5)
    book.choice("winner", "a", among=("a", "b"))
    book.reveal("winner", "a")
    said = str(book.calibration())
    assert "You caught 3 of 5 predictions." in said
    assert "Of your 4 ranges, 50% held the measured value; the aim was 80%." in said
    assert "too narrow" in said


def test_half_a_range_is_no_guess(book):
    assert "no guess yet" in str(book.range("score", low=0.4))


def test_notes_escape_what_they_show():
    assert "&lt;b&gt;" in Note("<b>")._repr_html_()
