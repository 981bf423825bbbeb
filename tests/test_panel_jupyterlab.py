"""The panel in a real JupyterLab in a real browser: its controls, runs beside cells, keyboard, saving, themes, accessibility."""

import itertools
import re
import subprocess
import sys

import pytest
from frontend import environment
from lab import free_port, serious_violations, wait_for_server, write_notebook

from imagegen_magic.providers import registry
from imagegen_magic.request import ImageRequest

pytestmark = pytest.mark.timeout(400)
LOAD = "%load_ext imagegen_magic\nfrom imagegen_magic import Panel"
KEY = "sk-typed-into-the-page-1a2b3c"
SLEEP = "import time\nwhile True: time.sleep(0.1)"


@pytest.fixture(scope="module")
def lab(jupyterlab, sandbox_process):
    """A workspace of this process's JupyterLab."""
    return jupyterlab.workspace("panel", IMAGEGEN_POLL_SECONDS="0.1", **sandbox_process.environ())


class Page:
    """A notebook whose second cell shows a panel."""

    def __init__(self, notebook):
        self.notebook, self.page = notebook, notebook.page
        self.root = self.page.locator(".imagegen-panel")
        self.until = notebook.until
        self.value = notebook.value

    def show(self):
        """Run the first two cells and wait for the panel."""
        self.notebook.run(0)
        self.notebook.run(1)
        self.prompt.wait_for()
        return self

    @property
    def prompt(self):
        """The prompt's field."""
        return self.root.get_by_label("Prompt")

    @property
    def cards(self):
        """The gallery's pictures."""
        return self.root.locator(".imagegen-gallery-card")

    def button(self, name, **options):
        """Return a button of the panel."""
        return self.root.get_by_role("button", name=name, **options)

    def generate(self, prompt):
        """Type a prompt and press Ctrl+Enter in it."""
        self.prompt.fill(prompt)
        self.prompt.press("Control+Enter")

    def wait_for_option(self, option, value):
        """Wait until this value of an option is the chosen one."""
        self.notebook.wait_for_value(f"panel._state.validation.chosen({option!r})", value)


@pytest.fixture
def opened(lab, request):
    """Open a panel with these presets, in the shared notebook or one of its own; the console must stay without errors."""
    pages = []

    def open_panel(presets="", *cells, own=False, load=LOAD):
        name = re.sub(r"\W+", "-", request.node.name) + ".ipynb"
        cells = [load, f"panel = Panel({presets})\npanel", *cells]
        notebook = lab.open(name, cells) if own else lab.shared(cells)
        notebook.page.set_viewport_size({"width": 1100, "height": 1500})
        pages.append(Page(notebook))
        return pages[-1].show()

    yield open_panel
    console_errors = [error for page in pages for error in page.notebook.console_errors]
    for page in pages:
        page.notebook.close()
    assert console_errors == []


BARS = {"Resolution": "resolution", "Quality": "quality", "Background": "background", "Moderation": "moderation", "Format": "output_format"}


def test_every_control(opened, gateway):
    """What is chosen in the page, in each control of a model that has them all, is what a picture is requested with.

    tests/test_panel_form.py tries every value of every model.
    """
    provider = registry.get_provider("gccai")
    model = provider.model("gpt-image-2-official")
    panel = opened(f"provider={provider.name!r}, model={model.name!r}, size='16:9'")
    legends = [legend for legend in panel.root.locator("legend:visible").all_inner_texts() if legend]
    assert sorted(legends) == sorted(BARS)
    chosen = {"resolution": "1k", "quality": "low", "background": "opaque", "moderation": "low", "output_format": "webp"}
    for legend, option in BARS.items():
        panel.root.get_by_role("group", name=legend).get_by_role("radio", name=chosen[option], exact=True).check(force=True)
        panel.wait_for_option(option, chosen[option])
    ratios = panel.root.get_by_role("radiogroup", name="Aspect ratio")
    assert {name.strip() for name in ratios.get_by_role("radio").all_inner_texts()} >= {*model.sizes, "auto"}
    ratios.get_by_role("radio", name="3:2", exact=True).click()
    panel.wait_for_option("size", "3:2")
    for field, option, value in (("Number", "n", 2), ("Compression", "output_compression", 55)):
        panel.until(panel.root.get_by_label(field).is_enabled, f"{field} to be enabled")
        panel.root.get_by_label(field).fill(str(value))
        panel.root.get_by_label(field).press("Tab")
        panel.notebook.wait_for_value(f"panel.request.{option}", value)
    panel.generate("Every control")
    panel.until(lambda: panel.cards.count() == 2, "the pictures")
    plan = provider.plan(ImageRequest("Every control", model=model.name, size="3:2", n=2, output_compression=55, **chosen))
    assert [entry["json"] for entry in gateway.accepted("Every control")] == [dict(call.json) for call in plan.calls]


def test_impossible_values_are_disabled(opened):
    """A value that the plan refuses is disabled in the page, with its reason."""
    panel = opened("provider='apimart', size='1:1'")
    large = panel.root.get_by_role("group", name="Resolution").get_by_role("radio", name="4k", exact=True)
    assert large.is_disabled()
    panel.root.locator('[role=radio][data-value="16:9"]').click()
    panel.until(large.is_enabled, "4k at 16:9 to be enabled")
    large.check(force=True)
    square = panel.root.locator('[role=radio][data-value="1:1"]')
    panel.until(lambda: square.get_attribute("aria-disabled") == "true", "1:1 at 4k to be disabled")
    assert square.get_attribute("aria-description")


def test_send_anyway_beside_the_reason(opened, gateway):
    """One click lifts the check of what the page refuses, with a warning that names the page; the same button restores it."""
    panel = opened("provider='apimart', size='1:1', quality='low', background='transparent'")
    reason = panel.root.locator(".imagegen-problem")
    reason.wait_for()
    panel.button("Send anyway").click()
    panel.root.locator(".imagegen-warning", has_text="not checked: ").wait_for()
    panel.until(lambda: reason.count() == 0, "the reason to go")
    panel.generate("Sent anyway")
    panel.until(lambda: panel.cards.count() == 1, "the picture")
    assert [entry["json"]["background"] for entry in gateway.accepted("Sent anyway")] == ["transparent"]
    panel.button("Check against the page again").click()
    reason.wait_for()
    panel.button("Send anyway").wait_for()


def test_balance_in_the_price_line(opened, gateway):
    """A small button asks the gateway, and the line shows what the account has; readable in both themes, and hidden where none is known."""
    panel = opened("provider='evolink', size='1:1', quality='low'")
    line = panel.root.get_by_role("status", name="What will happen")
    assert "balance" not in line.inner_text()
    panel.button("Balance").click()
    panel.until(lambda: "balance: " in line.inner_text() and " credits used" in line.inner_text(), "the balance")
    panel.button("Compare services").click()
    panel.root.get_by_role("table", name="Services that can make this").wait_for()
    for theme, width in (("JupyterLab Light", 600), ("JupyterLab Dark", 1100)):
        panel.notebook.change_theme(theme)
        panel.page.set_viewport_size({"width": width, "height": 1500})
        panel.until(lambda: panel.button("Balance").is_visible(), "the button")
        assert scrolling(panel) == [], (theme, width)
        assert serious_violations(panel.page, ".imagegen-panel") == [], (theme, width)
    panel.root.get_by_label("Service", exact=True).select_option(label="GCCAI")
    panel.button("Balance").wait_for(state="hidden")


def test_runs_while_a_cell_sleeps(opened, gateway):
    """While a cell sleeps, two runs start, each with its own progress and Cancel; one is cancelled and dismissed, one finishes."""
    gateway.arm("held", times=2, match="While a cell sleeps")
    panel = opened("provider='evolink', quality='low'", SLEEP)
    panel.notebook.start(2)
    panel.until(lambda: panel.notebook.busy(2), "the cell to run")
    panel.generate("While a cell sleeps, cancelled")
    panel.root.get_by_text(re.compile(r"^waiting \d")).first.wait_for()  # the task's id is known: from here on it can be collected
    panel.generate("While a cell sleeps, finished")
    panel.until(lambda: panel.button("Cancel").count() == 2, "two rows")
    panel.page.get_by_title("Stop waiting for: While a cell sleeps, cancelled").click()
    panel.root.get_by_text("goes on at the service").first.wait_for()
    panel.until(lambda: len(gateway.accepted("While a cell sleeps, finished")) == 1, "the second submission")
    gateway.disarm()
    panel.until(lambda: panel.cards.count() == 1, "the picture")
    panel.page.get_by_title("Remove: While a cell sleeps, cancelled").click()
    panel.root.get_by_text("goes on at the service").first.wait_for(state="hidden")
    assert panel.notebook.busy(2)
    panel.notebook.command("notebook:interrupt-kernel")


def test_reload_in_the_middle_of_a_run(opened, gateway):
    """A run survives the page's reload: the panel is there again with its row, and the picture comes into it."""
    gateway.arm("held", match="Reloaded meanwhile")
    panel = opened("provider='evolink', quality='low'", own=True)
    panel.notebook.save()
    panel.generate("Reloaded meanwhile")
    panel.until(lambda: gateway.accepted("Reloaded meanwhile"), "the submission")
    panel.notebook.load()
    panel.button("Cancel").wait_for()
    gateway.disarm()
    panel.until(lambda: panel.cards.count() == 1, "the picture")
    assert panel.prompt.input_value() == "Reloaded meanwhile"
    early = "Comm not found"  # JupyterLab's own line: the run's messages arrive before it has asked the kernel for its comms
    panel.notebook.console_errors[:] = [line for line in panel.notebook.console_errors if not line.startswith(early)]


def test_use_as_reference_and_copy_as_cell(opened, gateway):
    """A picture becomes the reference of the next; the cell of that one, copied and run, makes the same request."""
    panel = opened("provider='evolink', quality='low', size='3:2'", "")
    panel.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel.generate("The first picture")
    panel.until(lambda: panel.cards.count() == 1, "the picture")
    panel.cards.first.hover()
    panel.cards.first.get_by_role("button", name="Use as reference").click()
    panel.button("Remove", exact=True).wait_for()
    panel.generate("The second picture")
    panel.until(lambda: panel.cards.count() == 2, "the second picture")
    panel.cards.first.hover()
    panel.cards.first.get_by_role("button", name="Copy as cell").click()
    panel.root.get_by_text("The cell is on the clipboard").wait_for()
    panel.page.locator(".jp-Notebook .jp-Cell .cm-content").nth(2).click()
    panel.page.keyboard.press("Control+V")
    panel.notebook.run(2)
    sent, again = gateway.accepted("The second picture")
    assert sent["json"]["image_urls"] == [panel.value("''.join(panel.images[1].url)")]
    assert sent["json"] == again["json"]


def test_many_pictures_need_a_second_press(opened, gateway):
    """More pictures than the limit are sent only if Generate is pressed again for the same request; a change in between asks again."""
    panel = opened("provider='evolink', quality='low', size='1:1', n=3", load=f"{LOAD}\n%config ImageGenMagics.ask_above_pictures = 2")
    question = panel.root.get_by_text("This is 3 pictures. Nothing was sent: press Generate again to make them.")
    panel.generate("Many by hand")
    question.wait_for()
    panel.root.get_by_role("radio", name="3:2").click()
    panel.wait_for_option("size", "3:2")
    panel.root.get_by_label("Number").fill("4")
    panel.root.get_by_label("Number").press("Tab")
    panel.notebook.wait_for_value("panel.request.n", 4)
    panel.button("Generate").click()
    panel.root.get_by_text("This is 4 pictures.").wait_for()
    assert gateway.submissions("Many by hand") == []
    panel.button("Generate").click()
    panel.until(lambda: panel.cards.count() == 4, "the pictures")
    assert question.count() == 0
    assert sum(entry["json"]["n"] for entry in gateway.accepted("Many by hand")) == 4


def test_by_keyboard_alone(opened, gateway):
    """From the prompt to the picture enlarged, with TAB, arrows, space and Enter; the focus is always visible."""
    panel = opened("provider='evolink', size='3:2'")
    keyboard = panel.page.keyboard
    panel.prompt.focus()
    keyboard.type("Typed and never clicked")
    walked = list(itertools.islice(walk(panel), 14))
    assert [name for name, _ in walked[:5]] == ["Generate", "Compare services", "Balance", "Service", "Model"]
    assert [name for name, outlined in walked if not outlined] == []
    panel.root.get_by_role("radio", name="medium", exact=True).focus()
    keyboard.press("ArrowLeft")
    panel.notebook.wait_for_value("panel.request.quality", "low")
    panel.root.get_by_role("spinbutton", name="Number").focus()
    keyboard.press("ArrowUp")
    panel.notebook.wait_for_value("panel.request.n", 2)
    panel.root.get_by_label("Service", exact=True).focus()
    for name in ("azure-openai", "apimart"):
        keyboard.press("ArrowUp")
        panel.notebook.wait_for_value("panel.provider", name)
    panel.prompt.focus()
    keyboard.press("Tab")
    keyboard.press("Enter")
    panel.until(lambda: panel.cards.count() == 2, "the pictures")
    assert len(gateway.accepted("Typed and never clicked")) == 1
    panel.cards.first.locator("button").first.focus()
    keyboard.press("Enter")
    panel.page.get_by_role("dialog").wait_for()
    keyboard.press("Escape")
    panel.page.get_by_role("dialog").wait_for(state="hidden")


FOCUS = """() => { const at = document.activeElement; const near = at.closest('.imagegen-choice-bar') || at;
  const style = getComputedStyle(near);
  const name = at.getAttribute('aria-label') || at.labels?.[0]?.innerText || at.innerText || at.title;
  return [name.trim(), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1 || style.boxShadow !== 'none']; }"""


def walk(panel):
    """Yield the name of each stop of TAB, and whether its focus is drawn."""
    while True:
        panel.page.keyboard.press("Tab")
        yield tuple(panel.page.evaluate(FOCUS))


def test_saved_notebook_has_the_sheet_and_no_key(opened):
    """A typed key works and is nowhere in the saved notebook; reopened, the pictures stand in the widget's place."""
    panel = opened("provider='xingchao', quality='low'", own=True)
    assert panel.root.get_by_label("No key is set").count() == 0
    panel.value("__import__('os').environ.pop('XINGCHAO_API_KEY')")
    panel.value("panel._submit(panel._set_option('size', '3:2'))")
    field = panel.root.get_by_label(re.compile("No key is set for Xingchao"))
    field.fill(KEY)
    panel.button("Use this key").click()
    panel.root.get_by_text("is kept until this kernel ends").wait_for()
    assert panel.root.locator("input[type=password]").input_value() == ""
    panel.generate("Kept until tomorrow")
    panel.until(lambda: panel.cards.count() == 1, "the picture")
    assert not panel.root.locator("xpath=ancestor::*[contains(@class,'jp-OutputArea-child')]/following-sibling::*").first.is_visible()
    panel.until(lambda: "1 picture" in str(panel.notebook.outputs(1)[1]), "the sheet")
    panel.notebook.save()
    text = panel.notebook.path.read_text(encoding="utf-8")
    assert KEY not in text
    panel.notebook.reopen_with_broken_widget(1)
    sheet = panel.notebook.output_area(1).locator(".imagegen-sheet")
    sheet.locator("img").wait_for()
    panel.until(lambda: sheet.locator("img").evaluate("image => image.complete && image.naturalWidth > 0"), "the picture to be drawn")
    assert "Kept until tomorrow" in sheet.inner_text()


def test_looks_in_both_themes_and_widths(opened, gateway):
    """Two pictures compared, a failed and a waiting run: nothing scrolls sideways, and axe-core has no serious finding."""
    gateway.arm("no-balance", match="Too dear")
    gateway.arm("never-finishes", match="Running")
    panel = opened("provider='gccai', size='3:2', quality='low'")
    panel.generate("A red fox")
    panel.until(lambda: panel.cards.count() == 1, "a picture")
    for prompt in ("Too dear", "Running"):
        panel.generate(prompt)
    panel.root.get_by_role("radio", name="medium", exact=True).check(force=True)
    panel.generate("A blue fox")
    panel.until(lambda: panel.cards.count() == 2, "two pictures")
    for card in panel.cards.all():
        select(panel, card)
    panel.root.locator(".imagegen-compare-knob").wait_for()
    assert "quality" in panel.root.locator(".imagegen-compare").inner_text()
    assert {"red", "blue"} <= set(panel.root.locator(".imagegen-compare mark").all_inner_texts())
    assert panel.value("len(panel.selected)") == 2
    for theme, width in (("JupyterLab Light", 600), ("JupyterLab Dark", 1600)):
        panel.notebook.change_theme(theme)
        panel.page.set_viewport_size({"width": width, "height": 1500})
        fits = "root => root.getBoundingClientRect().right <= innerWidth"
        panel.until(lambda fits=fits: panel.root.evaluate(fits), f"{theme} {width} to fit")
        assert scrolling(panel) == [], (theme, width)
        assert serious_violations(panel.page, ".imagegen-panel") == [], (theme, width)


def select(panel, card):
    """Select a picture for comparing, and wait until it is: the gallery may be drawn again meanwhile."""
    box = card.get_by_role("checkbox")
    card.hover()
    box.click()
    panel.until(box.is_checked, "the picture to be selected")


def scrolling(panel):
    """Return the classes of what scrolls sideways."""
    return panel.root.evaluate(
        "root => [root, ...root.querySelectorAll('*')].filter(one => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0 &&"
        " ['auto', 'scroll'].includes(getComputedStyle(one).overflowX)).map(one => one.className)"
    )


# --- without a notebook around it


@pytest.fixture
def address(tmp_path):
    """Voilà with a notebook of one panel."""
    write_notebook(tmp_path / "panel.ipynb", ["from imagegen_magic import Panel\nPanel(sandbox=True, prompt='A fox in an application')"])
    port = free_port()
    command = [sys.executable, "-m", "voila", "panel.ipynb", "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]
    with (tmp_path / "voila.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stdout=log, stderr=log)
        try:
            wait_for_server(f"http://127.0.0.1:{port}/voila/static/", server, tmp_path / "voila.log")
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(20)


def test_panel_in_voila(browser, address):
    """The panel stands alone, generates a picture, and the contact sheet behind it is hidden."""
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page_errors = []
    page.on("pageerror", lambda error: page_errors.append(str(error)))
    page.goto(address)
    page.get_by_label("Prompt").wait_for()
    page.get_by_role("button", name="Generate").click()
    page.locator(".imagegen-gallery-card").first.wait_for()
    assert page.locator(".imagegen-panel").count() == 1
    assert not page.locator(".imagegen-sheet").first.is_visible()
    assert page_errors == []
    page.close()
