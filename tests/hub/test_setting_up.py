"""`mergelab hub` before JupyterHub starts: what is missing is said, folders get their modes."""

import grp
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from autograder.hub import command
from autograder.hub.command import find_proxy, hub
from autograder.hub.shared import Shared, link, open_to_others
from mergelab.errors import UserError

GROUP = "root"  # the one group that every machine has


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine on which nothing is missing, and no JupyterHub that would really start."""
    (tmp_path / "lessons").mkdir()
    monkeypatch.setenv("MERGELAB_ROOT", str(tmp_path))
    monkeypatch.setattr(command.os, "geteuid", lambda: 0)
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(command.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(command.os, "execve", lambda *line: pytest.fail(f"started: {line}"))
    return monkeypatch


def start(folder: Path, group: str = GROUP, url: str = "http://127.0.0.1:1") -> None:
    hub([], instructors=group, folder=folder, url=url)


def test_somebody_who_is_not_root_is_told_so(machine, tmp_path):
    machine.setattr(command.os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="only root can start servers for other accounts"):
        start(tmp_path)


def test_a_missing_jupyterhub_is_named_with_its_command(machine, tmp_path):
    machine.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -c constraints.txt '.\[hub\]'"):
        start(tmp_path)


@pytest.mark.parametrize(
    "missing, told", [("node", "apt install nodejs"), (command.PROXY, "npm install --prefix")]
)
def test_a_missing_program_is_named_with_its_command(machine, tmp_path, missing, told):
    machine.setattr(command.shutil, "which", lambda name: None if name == missing else name)
    machine.setattr(command.sys, "prefix", str(tmp_path))
    with pytest.raises(UserError, match=told):
        start(tmp_path)


def test_the_proxy_beside_this_python_is_found(machine, tmp_path):
    machine.setattr(command.shutil, "which", lambda name: None)
    machine.setattr(command.sys, "prefix", str(tmp_path))
    program = tmp_path / "hub/node_modules/.bin" / command.PROXY
    program.parent.mkdir(parents=True)
    program.touch()
    assert find_proxy() == str(program)


def test_a_group_that_is_not_there_is_named(machine, tmp_path):
    with pytest.raises(UserError, match="no-such-group: no such group"):
        start(tmp_path, group="no-such-group")


def test_a_place_that_is_taken_is_named(machine, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"{url}: Address already in use"):
            start(tmp_path, url=url)


@pytest.mark.parametrize("url", ["8000", "ftp://127.0.0.1", "http://127.0.0.1:many"])
def test_an_address_that_is_none_is_named(machine, tmp_path, url):
    with pytest.raises(UserError, match=f"{url}: is no address"):
        start(tmp_path, url=url)


def test_a_python_that_only_root_can_run_is_named(machine, tmp_path):
    closed = tmp_path / "closed" / "python"
    closed.parent.mkdir(mode=0o700)
    closed.touch(mode=0o755)
    machine.setattr(command.sys, "executable", str(closed))
    with pytest.raises(UserError, match="other accounts cannot run this Python"):
        start(tmp_path, url="http://127.0.0.1:0")


def test_solutions_that_everybody_may_read_are_noticed():
    with tempfile.TemporaryDirectory() as folder:  # not pytest's: those are closed to others
        outside, inside = Path(folder), Path(folder, "solutions")
        inside.mkdir()
        inside.chmod(0o755)
        outside.chmod(0o755)
        assert open_to_others(inside)
        inside.chmod(0o750)
        assert not open_to_others(inside)
        inside.chmod(0o755)
        outside.chmod(0o750)
        assert not open_to_others(inside)


def own_group() -> str:
    return grp.getgrgid(os.getgid()).gr_name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_shared_folders_have_the_modes_that_keep_people_apart(tmp_path):
    shared = Shared(tmp_path / "class")
    group = own_group()
    shared.prepare(group)
    exchange = shared.exchange / "mergelab"
    assert mode(shared.exchange) == 0o1777
    assert mode(exchange / "outbound") == 0o2775
    assert mode(exchange / "inbound") == 0o2773  # put in, not look in
    assert mode(exchange / "feedback") == 0o2771
    assert mode(shared.course) == 0o2770
    assert mode(shared.hub) == 0o700
    shared.course.chmod(0o777)
    shared.prepare(group)
    assert mode(shared.course) == 0o2770
    assert (shared.course / "exchange").resolve() == shared.exchange.resolve()


def test_a_link_in_the_place_of_a_shared_folder_is_refused(tmp_path):
    shared = Shared(tmp_path / "class")
    shared.folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    shared.exchange.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is not root's own folder"):
        shared.prepare(own_group())


def test_a_link_is_made_anew_and_a_folder_never_replaced(tmp_path):
    place, old, new = tmp_path / "place", tmp_path / "old", tmp_path / "new"
    link(place, old)
    link(place, new)
    assert os.readlink(place) == str(new)
    link(place, new)
    place.unlink()
    place.mkdir()
    with pytest.raises(UserError, match="belongs to the class's set-up; move it away"):
        link(place, new)


def test_jupyterhub_starts_with_the_courses_settings_and_open_solutions_are_noted(machine, capsys):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "solutions").mkdir()
        (folder / "python").touch(mode=0o755)
        started = []
        machine.chdir(folder)
        machine.setenv("MERGELAB_ROOT", name)
        machine.setattr(command.sys, "executable", f"{folder}/python")
        machine.setattr(command.os, "execve", lambda *line: started.append(line))
        hub(["--debug"], instructors=own_group(), folder=folder / "class", url="http://127.0.0.1:1")
        ((program, line, variables),) = started
        settings = Path(command.__file__).with_name("jupyterhub_config.py")
        assert program == f"{folder}/python"
        assert line[1:4] == ["-m", "jupyterhub", f"--config={settings}"]
        assert line[4:] == ["--JupyterHub.bind_url=http://127.0.0.1:1", "--debug"]
        assert variables["MERGELAB_ROOT"] == name
        noted = capsys.readouterr().err
        assert f"every account can read {folder}/solutions" in noted
        (folder / "solutions").chmod(0o750)
        hub([], instructors=own_group(), folder=folder / "class", url="http://127.0.0.1:1")
        assert capsys.readouterr().err == ""
