"""`mergelab hub` on free ports for the length of a block, and people who use it by its pages."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from accounts import opened_to_others
from server_process import PYTHONPATH, REPOSITORY, running

PATIENCE = 180


@contextmanager
def hub_server(clone: Path, shared: Path, group: str, extra: dict[str, str]) -> Iterator[str]:
    """Serve a class; gives the Hub's address. All servers are stopped at the end."""
    port, internal, proxy = _free_ports(3)
    needed = [Path(sys.base_prefix), Path(sys.prefix), REPOSITORY]
    aside = shared.with_name("aside")
    aside.mkdir()
    line = [*opened_to_others(needed, aside), sys.executable, "-m", "mergelab", "hub"]
    line += [f"--instructors={group}", f"--folder={shared}"]
    line += [f"--url=http://127.0.0.1:{port}"]
    line += [f"--JupyterHub.hub_port={internal}"]
    line += [f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{proxy}"]
    variables = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": PYTHONPATH,
        "MERGELAB_ROOT": str(clone),
        **extra,
    }
    log = shared.with_name("hub.log")
    address = f"http://127.0.0.1:{port}"
    try:
        with running(line, log, env=variables, cwd="/", patience=60) as server:
            _wait(lambda: _answers(f"{address}/hub/api/"), log, server)
            yield address
    finally:
        # A Hub that had to be killed leaves its proxy, which has a session of its own.
        left = shared / "hub" / "proxy.pid"
        if left.exists():
            with suppress(ProcessLookupError):
                os.kill(int(left.read_text()), signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=10).ok
    except requests.RequestException:
        return False


def _wait(happened: Any, log: Path, server: subprocess.Popen[bytes] | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > end or (server and server.poll() is not None):
            raise AssertionError(f"not in {PATIENCE} s, or ended:\n{log.read_text()}")
        time.sleep(0.2)


class Person:
    """Somebody with an account, logged in by the Hub's own page; the password is the name."""

    def __init__(self, name: str, hub: str, home: Path, log: Path) -> None:
        self.name, self.hub, self.home, self.log = name, hub, home, log
        session = requests.Session()
        page = f"{hub}/hub/login"
        session.get(page, timeout=PATIENCE)
        form = {"username": name, "password": name, "_xsrf": self._secret(session)}
        reply = session.post(f"{page}?next=/hub/token", data=form, timeout=PATIENCE)
        assert reply.ok and reply.url.endswith("/hub/token"), f"{name}: {reply.url}\n{reply.text}"
        made = session.post(
            f"{hub}/hub/api/users/{name}/tokens",
            headers={"X-XSRFToken": self._secret(session), "Referer": f"{hub}/hub/token"},
            json={},
            timeout=PATIENCE,
        )
        assert made.ok, made.text
        self.token = made.json()["token"]

    @staticmethod
    def _secret(session: requests.Session) -> str:
        return session.cookies.get("_xsrf", path="/hub/")

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """A request to the Hub or to anybody's server, with this person's rights."""
        headers = {"Authorization": f"token {self.token}"}
        return requests.request(
            method, f"{self.hub}/{path}", headers=headers, timeout=PATIENCE, **more
        )

    def own(self, method: str, path: str, **more: Any) -> requests.Response:
        """A request to one's own server, which must succeed."""
        reply = self.ask(method, f"user/{self.name}/{path}", **more)
        assert reply.ok, f"{self.name}: {path}: {reply.status_code} {reply.text}"
        return reply

    def start_server(self) -> None:
        """Start one's own server, and wait until it is there."""
        assert self.ask("POST", f"hub/api/users/{self.name}/server").status_code in (201, 202)

        def ready() -> bool:
            found = self.ask("GET", f"hub/api/users/{self.name}").json()
            return found["servers"].get("", {}).get("ready", False)

        _wait(ready, self.log)

    def assignments(self, action: str = "", lesson: str = "") -> list[dict[str, Any]]:
        """What the Assignment List shows, after one of its buttons if `action` names it."""
        if action:
            data = {"course_id": "mergelab", "assignment_id": lesson}
            found = self.own("POST", f"assignments/{action}", data=data).json()
        else:
            found = self.own("GET", "assignments?course_id=mergelab").json()
        assert found["success"], found
        return found["value"]

    def run(self, command: str) -> tuple[int, str]:
        """Type a command into a terminal of one's own server; gives its status and its output."""
        from websocket import create_connection

        said = self.home / "said"
        name = self.own("POST", "api/terminals").json()["name"]
        address = f"{self.hub.replace('http', 'ws', 1)}/user/{self.name}/terminals/websocket/{name}"
        header = [f"Authorization: token {self.token}"]
        terminal = create_connection(address, header=header, timeout=PATIENCE)
        try:
            line = f"( {command} ) > {said} 2>&1; printf 'ended:%d:' $?\n"
            terminal.send(json.dumps(["stdin", line]))
            shown = ""
            while not (found := re.search(r"ended:(\d+):", shown)):
                kind, *rest = json.loads(terminal.recv())
                shown += rest[0] if kind == "stdout" else ""
        finally:
            terminal.close()
        self.own("DELETE", f"api/terminals/{name}")
        return int(found[1]), said.read_text()
