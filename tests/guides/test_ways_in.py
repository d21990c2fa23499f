"""The files by which other tools open the project: they parse, and install what `make` installs."""

import json
import os
import re
import tomllib

import pytest
import yaml
from guides import ROOT

PINNED = re.compile(r"torch==([\d.]+)")
INSTALL = "-c constraints.txt -e '.[kernels]'"


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def pinned() -> str:
    (version,) = re.findall(r"^torch==(\S+)$", text("constraints.txt"), re.MULTILINE)
    return version


@pytest.mark.parametrize("name", ["Makefile", "README.md", ".binder/postBuild"])
def test_whoever_installs_takes_the_pinned_torch_first_and_the_rest_by_the_constraints(name):
    found = PINNED.findall(text(name))
    assert found and set(found) == {pinned()}
    lines = [line for line in text(name).splitlines() if "pip install" in line]
    torch = next(n for n, line in enumerate(lines) if "torch==" in line)
    rest = [n for n, line in enumerate(lines) if "-e " in line]
    assert rest and all("-c constraints.txt" in lines[n] for n in rest)
    assert torch < rest[0]


def test_binder_builds_with_a_python_that_the_project_takes():
    assert os.access(ROOT / ".binder/postBuild", os.X_OK)
    assert INSTALL in text(".binder/postBuild") and INSTALL in text("Makefile")
    version = text(".binder/runtime.txt").strip().removeprefix("python-")
    asked = tomllib.loads(text("pyproject.toml"))["project"]["requires-python"]
    assert version == asked.removeprefix(">=")


def test_the_development_container_installs_by_the_makefile():
    settings = json.loads(text(".devcontainer/devcontainer.json"))
    target = settings["postCreateCommand"].rpartition("make ")[2]
    assert re.search(rf"^{re.escape(target)}:", text("Makefile"), re.MULTILINE)
    assert "bubblewrap" in settings["postCreateCommand"]


def test_the_citation_names_this_version_and_nobody_who_is_not_there():
    found = yaml.safe_load(text("CITATION.cff"))
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    assert str(found["version"]) == project["version"]
    assert found["license"] == project["license"]
    assert found["authors"] == [{"name": "The mergelab contributors"}]
    assert f"## {project['version']}" in text("CHANGELOG.md")


@pytest.mark.parametrize("name", ["bug", "lesson", "method"])
def test_a_form_for_an_issue_has_what_the_site_asks_for(name):
    form = yaml.safe_load(text(f".github/ISSUE_TEMPLATE/{name}.yml"))
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    assert all(field["type"] in ("input", "textarea") for field in form["body"])
    assert all(field["attributes"]["label"] for field in form["body"])
    assert any(field.get("validations", {}).get("required") for field in form["body"])
