"""A pytest plugin: in CI, what was skipped or expected to fail fails the run and is named.

What is not run has not been shown to work. Active where `CI=true` is in the environment, with or
without pytest-xdist: only the process that gathers the reports keeps the list.
"""

from __future__ import annotations

import os

import pytest


class NothingLeftOut:
    """Collects the tests that were left out and fails a run that would have passed."""

    def __init__(self) -> None:
        self.left_out: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.left_out[report.nodeid] = "xfailed" if hasattr(report, "wasxfail") else "skipped"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.left_out[report.nodeid] = "skipped while collecting"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.left_out and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name, how in sorted(self.left_out.items()):
            terminalreporter.write_line(f"FAILED in CI, {how}: {name}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    if os.environ.get("CI", "").lower() == "true" and not is_worker:
        config.pluginmanager.register(NothingLeftOut(), "nothing-left-out-list")
