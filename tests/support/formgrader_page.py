"""nbgrader's Formgrader as an instructor uses it, inside a tab of JupyterLab."""

import re

from lab_page import Lab
from playwright.sync_api import Locator, expect


class Formgrader:
    """The Formgrader tab."""

    def __init__(self, lab: Lab) -> None:
        lab.menu("Nbgrader", "Formgrader")
        self.frame = lab.frame()

    def row(self, name: str) -> Locator:
        """A line of the table in front; its cells have nbgrader's names as classes."""
        return self.frame.locator("tbody tr").filter(has_text=name)

    def click(self, name: str, column: str) -> str:
        """Click what a line has in a column, and close the message; gives what it says."""
        self.row(name).locator(f"td.{column} a").click()
        message = self.frame.locator(".modal.in")
        expect(message.locator(".modal-title")).to_have_text(re.compile("Success|Error"))
        said = message.inner_text()
        message.get_by_role("button").last.click()
        message.wait_for(state="detached")
        return said

    def submissions(self, lesson: str) -> None:
        """Go from the list of lessons to who has handed in one of them."""
        self.row(lesson).locator("td.num-submissions a").click()
        self.frame.locator("td.autograde").first.wait_for()

    def grade_by_hand(self, lesson: str) -> None:
        """Open the first submission on the grading page."""
        self.frame.get_by_role("link", name="Manual Grading").first.click()
        path = self.frame.locator("ol.breadcrumb")
        self.row(lesson).locator("td.name a").click()
        expect(path).to_contain_text(lesson)  # now in front: its notebooks, of the same name
        self.row(lesson).locator("td.name a").click()
        self.frame.locator("td.name a:visible", has_text="Submission #1").click()

    def give(self, cell: str, points: float, comment: str) -> None:
        """Type points and a comment for a cell; each is saved when the cursor leaves it."""
        score = self.frame.locator(f"#{cell}")
        score.fill(f"{points:g}")
        score.press("Tab")
        text = self.frame.locator(f"#{cell}-comment")
        text.fill(comment)
        text.press("Tab")
