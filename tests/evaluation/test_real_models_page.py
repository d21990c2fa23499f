"""The page on real models: what needs the course's models alone is run, the rest would parse."""

import ast
import shlex

from command_lines import problems
from guides import FILE, ROOT, blocks, links

from mergelab.evaluation.suites import Item

PAGE = ROOT / "mergelab/evaluation/REAL_MODELS.md"
# The merge, the evaluation and the comparison of a model of billions of weights; the harness twice.
NOT_RUN = 5


def test_command_lines_are_understood_and_few_are_not_run():
    shown = list(blocks(PAGE))
    assert [p for b in shown if b.language == "bash" for p in problems(b.text)] == []
    assert sum(bool(block.not_run) for block in shown) == NOT_RUN


def test_links_lead_to_files():
    targets = [target for target in links(PAGE) if target]
    assert len(targets) > 4
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []


def test_every_field_of_an_item_is_told_of():
    text = PAGE.read_text(encoding="utf-8")
    assert [field for field in Item.model_fields if f"`{field}`" not in text] == []


def test_every_block_for_the_courses_models_does_what_it_says(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = []
    for block in blocks(PAGE):
        if block.not_run:
            continue
        if block.comment.startswith(FILE):
            (tmp_path / block.comment.removeprefix(FILE)).write_text(block.text)
        elif block.language == "python":
            ran.append("python")
            exec(compile(ast.parse(block.text), block.place, "exec"), {})
        elif block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                command, *arguments = shlex.split(line)
                ran.append(command)
                assert run_cli(*arguments)[::2] == (0, ""), line
    assert ran == [".venv/bin/mergelab"] * 4 + ["python"]
    assert (tmp_path / "replies.json").exists()
