"""The page of a report needs nothing else, says what the report says, and describes its figures."""

import html
from html.parser import HTMLParser

import numpy as np
import pytest

from mergelab import merge
from mergelab.errors import UserError
from mergelab.notebook.report_page import report_page, write_page
from mergelab.notebook.report_plots import conflict_map, magnitude_plot, removed_plot, report_plots
from mergelab.report import MergeReport, TensorReport, load_report


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def tensor(name, layer, removed, conflicts, **changes):
    return TensorReport(
        **{
            "name": name,
            "layer": layer,
            "entries": 100,
            "removed": removed,
            "conflicts": conflicts,
            "resolved": conflicts,
            "weights": (1.0, 1.0),
            "gram": ((9.0, 0.0), (0.0, 9.0)),
            "merged_square": 9.0,
            **changes,
        }
    )


@pytest.fixture
def report():
    tensors = [
        tensor("model.layers.0.mlp.up_proj.weight", 0, (10, 20), 5),
        tensor("model.layers.0.mlp.down_proj.weight", 0, (30, 40), 15),
        tensor("model.layers.1.mlp.up_proj.weight", 1, (50, 60), 25, merged_square=36.0),
    ]
    notes = ["a <note> & more"]
    return MergeReport(
        "ties", ["one", "two"], "base", "task_vectors", 0, "trimmed", tensors, notes=notes
    )


METHODS = {
    "ties": {"density": 0.5},
    "dare_linear": {"density": 0.5},
    "linear": {},
    "slerp": {"space": "weights"},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_page_needs_nothing_else_and_describes_its_figures(tiny, tmp_path, method):
    out = merge(tiny.recipe(method, parameters=METHODS[method]), tmp_path / "out").path
    text = write_page(out, load_report(out)).read_text()
    page = Page(text)
    assert page.open == []
    assert not page.all("script") + page.all("link") + page.all("iframe")
    assert "url(" not in text and "@import" not in text and "://" not in text
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    images = page.all("img")
    assert len(images) == len(report_plots(load_report(out))) > 0
    assert all(len(image["alt"]) > 20 for image in images)
    assert all("scope" in cell for cell in page.all("th"))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    words = "".join(page.words)
    assert ("Trimmed by" in text) == (method == "ties")
    assert ("Dropped by" in text) == (method == "dare_linear")
    assert f"merge_method: {method}" in words
    total = load_report(out).total()
    for said in (f"{total.conflicts:,}", f"{total.magnitude_kept:.3f}", "torch", "layer 2"):
        assert said in words


def test_models_without_a_base_have_no_conflicts_to_show(tiny, tmp_path):
    report = merge(tiny.recipe("linear", "first", "second")).report
    page = Page(report_page(report, title="merged"))
    assert "Sign conflicts" not in "".join(page.words)
    assert len(page.all("img")) == len(report_plots(report))


def test_a_merge_that_merged_nothing_has_a_page_too():
    empty = MergeReport("ties", ["one"], "base", "task_vectors", 0, "trimmed", copied_entries=7)
    page = Page(report_page(empty, title="empty"))
    assert not page.all("img")
    assert "7: 0 merged, 7 copied" in "".join(page.words)


def test_names_and_notes_cannot_break_the_page(report):
    report.sources[0] = '<b>"one"&'
    text = report_page(report, title="<script>", recipe="model: <i>")
    page = Page(text)
    assert not page.all("b") + page.all("script") + page.all("i") + page.all("note")
    assert html.escape("a <note> & more") in text
    assert "<script>" in page.words and "model: <i>" in page.words


def test_shares_are_drawn_for_each_layer_and_source(report):
    lines = removed_plot(report).figure.axes[0].get_lines()
    drawn = {line.get_label(): line.get_ydata().tolist() for line in lines}
    assert drawn == {"one": [0.2, 0.5], "two": [0.3, 0.6]}
    assert "one 30%, two 40%" in removed_plot(report).alt


def test_magnitude_is_drawn_for_each_layer(report):
    (drawn,) = [
        line.get_ydata().tolist()
        for line in magnitude_plot(report).figure.axes[0].get_lines()
        if line.get_marker() == "o"
    ]
    assert drawn == pytest.approx([1.0, 2.0])  # sqrt(18) over it, and 6 over 3


def test_the_map_of_conflicts_has_a_row_for_each_kind_of_tensor(report):
    axis = conflict_map(report).figure.axes[0]
    (image,) = axis.get_images()
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "mlp.up_proj",
        "mlp.down_proj",
    ]
    grid = np.ma.filled(image.get_array(), np.nan)
    np.testing.assert_array_equal(grid, [[0.05, 0.25], [0.15, np.nan]])
    assert "25% of the entries, are in mlp.up_proj of layer 1" in conflict_map(report).alt


def test_a_page_replaces_an_earlier_one_whole(report, tmp_path):
    file = tmp_path / "page.html"
    file.write_text("old")
    write_page(tmp_path, report, file)
    assert file.read_text().startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [file]


def test_a_page_that_cannot_be_written_is_one_line(report, tmp_path):
    with pytest.raises(UserError, match=r"page\.html: cannot be written \(No such file"):
        write_page(tmp_path, report, tmp_path / "nowhere" / "page.html")
