"""`mergelab bench kernels`: tables, JSON and files of what was checked, or one line."""

import json
import re
from pathlib import Path

import pytest

from mergelab.benchmarks import record
from mergelab.kernels import cpu_merge

SMALL = ("--size", "24x16", "--rank", "3", "--repeats", "2", "--backend", "cpu")


@pytest.fixture
def bench(run_cli):
    def run(*options):
        return run_cli("bench", "kernels", *SMALL, *options)

    return run


def test_every_kernel_has_a_line_for_each_kind_of_sources(bench):
    status, output, complaint = bench()
    assert (status, complaint) == (0, "")
    for kernel in (
        *("linear", "task_arithmetic", "slerp, inner products", "slerp, merge"),
        *("slerp of weights, inner products", "slerp of weights, merge"),
        *("ties, thresholds", "ties, thresholds given", "ties", "dare_linear", "dare_ties"),
    ):
        for kind in ("dense", "factors"):
            assert re.search(rf"│ {kernel} +│ {kind} +│", output), kernel
    assert "It says nothing about a GPU." in output


def test_json_says_what_was_measured_of_what_and_where(bench):
    status, output, _ = bench("--json", "--model-shape", "tiny", "--methods", "ties,linear")
    found = json.loads(output)
    assert status == 0
    assert found["command"] == (
        "mergelab bench kernels --size 24x16 --rank 3 --repeats 2 --backend cpu "
        "--model-shape tiny --methods ties,linear"
    )
    assert found["device"]["kind"] == "cpu"
    assert found["machine"]["cores"] >= 1
    assert {"python", "torch", "numba", "numpy"} <= set(found["versions"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert found["setting"] == {
        "device": "cpu",
        "backend": "cpu",
        "interpreted": False,
        "dtype": "bfloat16",
        "size": [24, 16],
        "sources": 2,
        "rank": 3,
        "density": 0.5,
        "repeats": 2,
    }
    assert [(k["kernel"], k["kind"]) for k in found["kernels"]] == [
        (kernel, kind)
        for kind in ("dense", "factors")
        for kernel in ("linear", "ties, thresholds", "ties, thresholds given", "ties")
    ]
    whole = found["kernels"][3]
    assert whole["fused"] is True
    assert whole["bytes"] == whole["copied"] == 4 * 24 * 16 * 2
    assert len(whole["seconds"]) == len(whole["copy_seconds"]) == 2
    assert whole["median_seconds"] == pytest.approx(sum(whole["seconds"]) / 2)
    share = whole["median_copy_seconds"] / whole["median_seconds"]
    assert whole["fraction_of_copy"] == pytest.approx(share)
    assert whole["checked"]["unit"] == "ulp"
    assert 0 < whole["checked"]["error"] <= whole["checked"]["allowed"] == 1
    assert found["model"]["shape"] == "tiny"
    assert found["model"]["ratio_to_copy"] > 0


def test_both_files_are_written_and_a_later_run_replaces_them(bench, tmp_path):
    out = tmp_path / "new" / "folder"
    for methods in ("ties", "linear"):
        status, output, _ = bench("--out", out, "--methods", methods, "--name", "kernels_here")
        assert status == 0
        assert f"Written to {out}: kernels_here.json, kernels_here.md" in output
        assert sorted(path.name for path in out.iterdir()) == [
            "kernels_here.json",
            "kernels_here.md",
        ]
        found = json.loads((out / "kernels_here.json").read_text())
        assert found["kernels"][0]["kernel"].startswith(methods)
        page = (out / "kernels_here.md").read_text()
        assert page.startswith("# Fused kernels: backend cpu, device cpu\n")
        assert f"| {methods} | dense |" in page
        assert page.rstrip().endswith(f"Made by `{found['command']}`.")
        assert str(tmp_path) not in page
        assert str(tmp_path) not in (out / "kernels_here.json").read_text()


def wrong(*arguments):
    square = merge_run(*arguments)
    arguments[5][7] ^= 0x40  # the seventh bit of a bf16 number
    return square


merge_run = cpu_merge.merge_run


@pytest.mark.parametrize("asked", [(), ("--json",), ("--methods", "dare_ties")])
def test_no_time_is_given_where_a_result_is_wrong(bench, monkeypatch, tmp_path, asked):
    monkeypatch.setattr(cpu_merge, "merge_run", wrong)
    status, output, complaint = bench(*asked, "--out", tmp_path / "out")
    assert status == 1
    assert output == ""
    assert len(complaint.splitlines()) == 1
    assert re.match(
        r"error: (linear|dare_ties) of dense sources, backend cpu: weights are off by", complaint
    )
    assert complaint.endswith("no times are given\n")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fails_leaves_what_there_was(bench, monkeypatch, tmp_path):
    assert bench("--methods", "linear", "--out", tmp_path)[0] == 0
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    write = Path.write_text

    def full(self, text, *rest):
        if ".md" in self.name:
            raise OSError(28, "No space left on device")
        return write(self, text, *rest)

    monkeypatch.setattr(record.Path, "write_text", full)
    status, _, complaint = bench("--methods", "ties", "--out", tmp_path)
    assert status == 2
    assert complaint == f"error: {tmp_path}: cannot be written (No space left on device)\n"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "options, complaint",
    [
        (("--backend", "triton"), "backend triton does not run on cpu"),
        (("--backend", "cuda"), "backend must be one of auto, torch, cpu, triton, got 'cuda'"),
        (("--device", "mps"), "--device mps: use cpu or cuda"),
        (("--device", "cuda:77", "--backend", "triton"), "device cuda:77: PyTorch finds none here"),
        (("--dtype", "float64"), "dtype float64: use float32"),
        (("--size", "24"), "--size 24: write rows and columns, such as 4096x6144"),
        (("--size", "0x5"), "--size 0x5: write rows"),
        (("--size", "3000000x3000000"), "--size 3000000x3000000: too large for the memory of cpu"),
        (("--methods", "ties,tise"), "--methods: 'tise' is not one of linear, task_arithmetic"),
        (("--methods", "slerp", "--sources", "3"), "slerp joins exactly 2, not --sources 3"),
        (("--model-shape", "9b"), "--model-shape: '9b' is not one of tiny, 1b, 3b, 8b"),
        (("--name", "../up"), "--name ../up: a name of letters"),
        (("--out", __file__), "is no folder that can be written to; choose another"),
        (("--repeats", "0"), "--repeats"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_anything_is_measured(
    bench, monkeypatch, options, complaint
):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    status, output, said = bench(*options)
    assert (status, output) == (2, "")
    assert complaint in said
    assert len(said.splitlines()) == 1


def test_more_sources_than_two_leave_slerp_out_and_say_so(bench):
    status, output, _ = bench("--sources", "3", "--dtype", "float32")
    assert status == 0
    assert "slerp is not there: it joins exactly two." in output
    assert "slerp, merge" not in output


def test_plain_pytorch_is_measured_too_and_called_what_it_is(bench):
    status, output, _ = bench("--backend", "torch", "--methods", "ties")
    assert status == 0
    assert "plain PyTorch, in parts" in output


def test_what_the_kernels_do_not_take_is_named(bench, monkeypatch):
    monkeypatch.setattr(cpu_merge, "takes", lambda merge: False)
    status, output, _ = bench("--methods", "linear,dare_ties")
    assert status == 0
    assert "Done in parts, for the kernels do not take them: dare_ties, linear." in output
