"""In CI a test that was not run, or was expected to fail, fails the run and is named.

And tests that share what takes long to set up run in one process, as `make test` asks.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SUPPORT = Path(__file__).with_name("support")

LEFT_OUT = {
    "test_skipped": "@pytest.mark.skip\ndef test_skipped(): pass",
    "test_skips_itself": "def test_skips_itself(): pytest.skip('not here')",
    "test_xfailed": "@pytest.mark.xfail\ndef test_xfailed(): assert False",
}


def run(folder: Path, source: str, *options: str, ci: bool = True) -> tuple[int, str]:
    (folder / "test_it.py").write_text(f"import pytest\n\ndef test_runs(): pass\n\n{source}\n")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        "CI": "true" if ci else "",
        "PYTHONPATH": str(SUPPORT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    options = ("-p", "nothing_left_out", "-c", os.devnull, "--rootdir", str(folder), *options)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "1")], ids=["alone", "with workers"])
def test_every_kind_of_leaving_out_fails_the_run_and_is_named(tmp_path, options):
    status, output = run(tmp_path, "\n\n".join(LEFT_OUT.values()), *options)
    assert status == 1
    for name in LEFT_OUT:
        assert any("FAILED in CI" in line and name in line for line in output.splitlines()), output


def test_a_file_that_skips_itself_while_collected_fails_the_run(tmp_path):
    status, output = run(tmp_path, "pytest.importorskip('no_such_package')")
    assert status == 1
    assert "FAILED in CI, skipped while collecting: test_it.py" in output


def test_a_run_in_which_all_tests_ran_passes(tmp_path):
    assert run(tmp_path, "")[0] == 0


def test_outside_ci_a_skipped_test_is_only_skipped(tmp_path):
    assert run(tmp_path, LEFT_OUT["test_skipped"], ci=False)[0] == 0


def test_tests_of_one_group_run_in_one_process(tmp_path):
    source = """
    @pytest.mark.xdist_group("one")
    @pytest.mark.parametrize("number", range(4))
    def test_group(number, worker_id):
        open(worker_id, "w").close()
    """
    options = ("-p", "xdist", "-n", "2", "--dist", "loadgroup")
    assert run(tmp_path, textwrap.dedent(source), *options)[0] == 0
    assert len([*tmp_path.glob("gw?")]) == 1
