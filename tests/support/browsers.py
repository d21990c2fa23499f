"""Debian's Chromium, which asks nothing of the internet by itself, and what axe finds in a page."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless browser with a fresh profile. Fails the test where there is no Chromium."""
    if not CHROMIUM.is_file():
        pytest.fail(f"{CHROMIUM} is missing; install Debian's package chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


def serious_findings(page: Page, within: str | None = None) -> list[tuple[str, str, list[str]]]:
    """What axe-core calls serious or critical: the rule, what it asks for, and where it is broken.

    `within` is a CSS selector, for a page that is only in part ours.
    """
    found = Axe().run(page, context=within).response["violations"]
    return [
        (each["id"], each["help"], [node["html"][:200] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
