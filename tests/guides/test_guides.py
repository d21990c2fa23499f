"""The README and the guides: every block does what it says, in a copy of the repository.

Blocks that need what a test machine lacks are marked in the files and only looked at; how many of
them there are is written down here, so that none is added in silence.
"""

import ast
import shutil
from pathlib import Path

import pytest
import yaml
from command_lines import problems
from guides import FILE, ROOT, STARTED, Block, Reader, blocks, differs, links, spans

from mergelab.methods import REGISTRY
from mergelab.recipes import make_plan, parse_recipe

# Each file, and how many of its blocks are not run.
NOT_RUN = {
    "README.md": 2,
    "lessons/GUIDE.md": 0,
    "autograder/GUIDE.md": 8,
    "CONTRIBUTING.md": 2,
}
RUN = ("bash", "python")
DATA = ("yaml", "toml", "csv")
HUB_ID = "meta-llama/"
each_file = pytest.mark.parametrize("name", NOT_RUN)


@pytest.fixture
def reader(tmp_path):
    reader = Reader(tmp_path)
    yield reader
    reader.leave()


def hand_in(clone: Path, lesson: str = "04_ties") -> None:
    """What a teacher has by the time the README speaks of grading: a submission."""
    folder = clone / "autograder/course/submitted/student01" / lesson
    folder.mkdir(parents=True)
    shutil.copy(clone / f"solutions/{lesson}/{lesson}.ipynb", folder)


@pytest.mark.slow
@each_file
def test_every_block_does_what_it_says(name, reader):
    if name == "README.md":
        hand_in(reader.clone)
    printed, last = "", ""
    for block in blocks(ROOT / name):
        if block.language == "text":
            assert last, f"{block.place}: no command stands above this"
            wrong = differs(block.text, printed)
            assert not wrong, f"{block.place}: not what {last} prints: {wrong}\n{printed}"
        elif not block.not_run and (block.language in RUN or block.comment.startswith(FILE)):
            printed, last = reader.follow(block), block.place


@each_file
def test_what_is_not_run_is_counted_and_would_be_understood(name):
    left = [block for block in blocks(ROOT / name) if block.not_run]
    assert len(left) == NOT_RUN[name], [block.place for block in left]
    for block in left:
        if block.language == "python":
            ast.parse(block.text)
        else:
            assert block.language == "bash"


@each_file
def test_every_command_line_would_be_understood(name):
    shown = [block.text for block in blocks(ROOT / name) if block.language == "bash"]
    assert [said for text in [*shown, *spans(ROOT / name)] for said in problems_of(text)] == []


def problems_of(text: str) -> list[str]:
    """Problems of a block, or of a piece of code in a sentence if that is a command line."""
    is_command = "\n" in text or text.startswith(("mergelab ", "make ", "nbgrader "))
    return problems(text.replace("...", "x")) if is_command else []


@each_file
def test_data_in_a_block_can_be_read_and_a_recipe_be_planned(name):
    for block in blocks(ROOT / name):
        assert block.language in (*RUN, *DATA, "text"), f"{block.place}: which language?"
        if block.language == "yaml":
            plan(block)


def plan(block: Block) -> None:
    value = yaml.safe_load(block.text)
    if "merge_method" not in value:
        return
    if value["merge_method"] not in REGISTRY:  # the guide adds it, and merges by this recipe
        assert block.comment.startswith(FILE)
        return
    recipe = parse_recipe(value, block.place)
    if HUB_ID not in block.text:
        assert make_plan(recipe).tensors


@each_file
def test_every_link_leads_somewhere(name):
    beside = (ROOT / name).parent
    assert [link for link in links(ROOT / name) if not (beside / link).exists()] == []


@each_file
def test_servers_are_started_not_left_out(name):
    for block in blocks(ROOT / name):
        if block.language == "bash" and any(w in block.text for w in ("make lab", "mergelab lab")):
            assert block.comment == STARTED or block.not_run


def test_text_is_compared_line_by_line_with_dots_for_what_may_be_there():
    assert differs("a\n...\nc", "a\nb\nb\nc\n") == ""
    assert differs("a\n...", "a\nb") == ""
    assert differs("took 1.2 s", "took _ s") == ""
    assert differs("a\nc", "a\nb\nc") == "c"
    assert differs("a\n...\nd", "a\nb\nc") == "d"
    assert differs("a", "a\nb") == "after the end: b"
