"""A built wheel carries the data, and nothing that belongs to the person who built it."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "mergelab", "autograder", "data")


def test_a_wheel_holds_the_data_and_no_course_of_anybody(tmp_path):
    # A folder of an ignored name above the checkout must not switch the ignoring off.
    checkout = tmp_path / "work" / "checkout"
    checkout.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            kept = shutil.ignore_patterns("__pycache__", "course")
            shutil.copytree(source, checkout / part, ignore=kept)
        else:
            shutil.copy(source, checkout / part)
    private = checkout / "autograder" / "course" / "gradebook.db"
    private.parent.mkdir()
    private.write_text("grades")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "mergelab/data/recipes/ties.yaml" in names
    assert "mergelab/data/models/base/model.safetensors" in names
    harness = {f"mergelab/evaluation/harness/{name}" for name in ("_suite", "mergelab.yaml")}
    assert harness <= set(names)
    assert "autograder/nbgrader_config.py" in names
    hub = {"jupyter_server_config.json", "labconfig/page_config.json"}
    assert {f"autograder/hub/learner/{name}" for name in hub} <= set(names)
    assert {"autograder/feedback_page.html", "autograder/feedback_page.css"} <= set(names)
    assert [name for name in names if "course/" in name] == []
