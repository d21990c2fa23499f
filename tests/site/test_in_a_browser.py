"""The site as people use it: read by a screen reader, by keyboard, on a phone, with the search."""

from pathlib import Path

import pytest
from browsers import browser, serious_findings
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("site")]

KINDS = (
    "index",
    "lessons/04_ties/04_ties",
    "lessons/GUIDE",
    "data/tables/strategies",
    "data/tables/claims",
    "api/mergelab.methods",
    "commands",
)
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


def shown(chromium, site: Path, name: str, **settings) -> Page:
    page = chromium.new_context(**settings).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / f"{name}.html").as_uri())
    assert all(url.startswith(("file:", "data:")) for url in asked), asked
    return page


@pytest.mark.parametrize("scheme", ("light", "dark"))
@pytest.mark.parametrize("name", KINDS)
def test_axe_finds_nothing_serious(chromium, site, name, scheme):
    page = shown(chromium, site, name, color_scheme=scheme)
    found = serious_findings(page)
    page.context.close()
    assert found == []


def test_axe_finds_what_is_wrong(chromium):
    page = chromium.new_page()
    page.set_content("<img src='data:,'><p style='color: #ccc'>hardly to be read</p>")
    found = serious_findings(page)
    page.close()
    assert {name for name, *_ in found} >= {"image-alt", "color-contrast"}


@pytest.mark.parametrize("name", KINDS)
def test_a_phone_never_scrolls_sideways(chromium, site, name):
    page = shown(chromium, site, name, viewport=PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    page.context.close()
    assert width <= PHONE["width"]


def test_the_search_finds_a_lesson(chromium, site):
    page = shown(chromium, site, "search")
    page.goto((site / "search.html").as_uri() + "?q=sign+conflict")
    results = page.locator("#search-results li a")
    expect(results.filter(has_text="TIES").first).to_be_visible()
    page.context.close()


def test_the_keyboard_gets_to_the_text_and_to_the_next_page(chromium, site):
    page = shown(chromium, site, "lessons/04_ties/04_ties")
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    expect(focused).to_have_text("Skip to main content")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main-content"
    for _ in range(400):
        page.keyboard.press("Tab")
        if "next" in (page.evaluate("document.activeElement.className") or ""):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/05_dare.html")
    page.context.close()
