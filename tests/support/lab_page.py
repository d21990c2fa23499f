"""JupyterLab as a person uses it: menus, notebooks, cells, terminals."""

import re
from collections.abc import Callable
from functools import cached_property

from lab_server import TOKEN
from playwright.sync_api import FrameLocator, Locator, Page, expect

# What a widget tells: its tables and sentences, and the words and dots of its pictures.
SHOWN = """place => [...place.querySelectorAll('.widget-html')].map(
    part => part.innerText
        + [...part.querySelectorAll('img')].map(image => image.alt + image.src).join()
).join('\\n')"""

# A kernel that imports torch on a busy machine takes its time.
PATIENCE = 120_000
expect.set_options(timeout=PATIENCE)


class Lab:
    """One JupyterLab window."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        page.set_default_timeout(PATIENCE)

    def go(self, path: str = "") -> "Lab":
        """Open a file by its address, as a link from elsewhere would."""
        place = f"lab/tree/{path}" if path else "lab"
        self.page.goto(f"{self.address}{place}?reset&token={TOKEN}")
        self.page.get_by_role("menuitem", name="File", exact=True).wait_for()
        return self

    def shut_down(self) -> None:
        """End all kernels, so that none takes time from the tests that follow."""
        headers = {"Authorization": f"token {TOKEN}"}
        kernels = f"{self.address}api/kernels"
        for kernel in self.page.request.get(kernels, headers=headers).json():
            self.page.request.delete(f"{kernels}/{kernel['id']}", headers=headers)

    def open(self, path: str, cells: int) -> "Notebook":
        """Open a notebook that has so many cells, and wait for its kernel."""
        self.go(path)
        return self.notebook(cells)

    def notebook(self, cells: int) -> "Notebook":
        """The notebook in front, once all its cells are there and its kernel waits."""
        shown = Notebook(self.page)
        expect(shown.cells).to_have_count(cells)
        shown.wait_until_idle()
        return shown

    def menu(self, *names: str) -> None:
        """Choose an item of a menu: `menu("File", "New", "Terminal")`."""
        self.page.get_by_role("menuitem", name=names[0], exact=True).click()
        for name in names[1:]:
            item = self.page.locator(".lm-Menu-item").filter(
                has=self.page.get_by_text(re.compile(f"^{re.escape(name)}(…|\\.\\.\\.)?$"))
            )
            # The first name opens a menu; a pointer that rests on an item opens the next.
            item.last.hover()
            if name == names[-1]:
                item.last.click()

    def terminal(self, command: str) -> None:
        """Type a command into a new terminal."""
        with self.page.expect_websocket(lambda socket: "/terminals/" in socket.url) as opened:
            self.menu("File", "New", "Terminal")
        opened.value.wait_for_event("framereceived")  # the shell has said its first word
        self.page.locator(".jp-Terminal").click()
        self.page.keyboard.type(f"{command}\n")

    def frame(self) -> FrameLocator:
        """What a tab shows that holds a page of its own, such as Formgrader."""
        return self.page.frame_locator(".lm-DockPanel-widget:not(.lm-mod-hidden) iframe")


class Notebook:
    """The notebook in front."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        self.cells = self.panel.locator(".jp-Notebook .jp-Cell")

    def wait_until_idle(self) -> None:
        indicator = self.panel.locator(".jp-Notebook-ExecutionIndicator")
        expect(indicator).to_have_attribute("data-status", "idle")

    def cell(self, text: str) -> "Cell":
        """The one code cell whose source holds `text`."""
        source = self.page.locator(".jp-InputArea").filter(has_text=text)
        return Cell(self, self.panel.locator(".jp-Notebook .jp-CodeCell").filter(has=source))

    def wait_until_run(self, cell: "Cell") -> None:
        """Wait until a cell has run, as the last of many."""
        expect(cell.prompt).to_have_text(re.compile(r"\[\d+\]:"))
        self.wait_until_idle()

    def numbers(self) -> list[str]:
        """The prompts of all code cells."""
        return self.panel.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()

    def validate(self) -> str:
        """Press nbgrader's Validate; gives what its dialog says."""
        self.panel.get_by_role("button", name="Validate").click()
        return Dialog(self.page).accept()

    def restart_kernel(self) -> None:
        """Restart the kernel from the toolbar, and say yes."""
        self.panel.locator("[data-jp-item-name=restart]").get_by_role("button").click()
        with self.page.expect_response(re.compile("/restart")):
            Dialog(self.page).accept()
        self.wait_until_idle()

    def save(self) -> None:
        with self.page.expect_response(
            lambda reply: reply.request.method == "PUT" and "/api/contents/" in reply.url
        ):
            self.panel.locator("[data-jp-item-name=save]").get_by_role("button").click()


class Cell:
    """One code cell of a notebook."""

    def __init__(self, notebook: Notebook, place: Locator) -> None:
        self.notebook, self.place = notebook, place
        self.prompt = place.locator(".jp-InputPrompt")
        self.output = place.locator(".jp-Cell-outputArea")

    def write(self, source: str) -> None:
        """Replace what the cell holds. Find the cell anew after that if its text was its name."""
        self.place.locator(".cm-content").fill(source)

    def run(self) -> str:
        """Run the cell with Shift+Enter; gives the text of its output."""
        before = self.prompt.inner_text()
        self.place.locator(".cm-content").click()
        self.notebook.page.keyboard.press("Shift+Enter")
        expect(self.prompt).not_to_have_text(before)
        self.notebook.wait_until_run(self)
        return self.text()

    def text(self) -> str:
        # What lies outside the window has no visible text.
        self.output.scroll_into_view_if_needed()
        return "\n".join(self.output.all_inner_texts())


class Dialog:
    """The dialog in front."""

    def __init__(self, page: Page) -> None:
        self.place = page.locator(".jp-Dialog-content")

    def accept(self) -> str:
        """Press the button that goes on; gives what the dialog said."""
        self.place.wait_for()
        said = self.place.inner_text()
        self.place.locator(".jp-mod-accept").click()
        self.place.wait_for(state="hidden")
        return said


class Widget:
    """A live widget in a cell's output: its controls, its picture and its sentence."""

    def __init__(self, cell: Cell) -> None:
        self.page, self.place = cell.notebook.page, cell.output

    @cached_property
    def sliders(self) -> Locator:
        return self.place.locator(".widget-hslider:visible")

    @cached_property
    def choices(self) -> Locator:
        return self.place.locator("select:visible")

    @cached_property
    def ticks(self) -> Locator:
        return self.place.locator("input[type=checkbox]:visible")

    @cached_property
    def buttons(self) -> Locator:
        return self.place.locator("button.jupyter-button:visible")

    def shown(self) -> str:
        """What the widget tells, pictures included."""
        return self.place.evaluate(SHOWN)

    def changes_after(self, move: Callable[[], None]) -> bool:
        """Make a move and wait until the widget tells something new."""
        before = self.shown()
        move()
        self.page.wait_for_function(
            f"([place, before]) => ({SHOWN})(place) !== before",
            arg=[self.place.element_handle(), before],
        )
        return True

    def step(self, slider: Locator) -> None:
        """Move a slider by one step from the keyboard."""
        handle = slider.locator(".noUi-handle")
        handle.focus()
        at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        self.page.keyboard.press("ArrowLeft" if at_end else "ArrowRight")

    def choose_next(self, choice: Locator) -> None:
        """Choose the entry below the chosen one, or the first."""
        index, count = choice.evaluate("each => [each.selectedIndex, each.options.length]")
        choice.select_option(index=(index + 1) % count)
