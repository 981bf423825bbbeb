"""The panel in a real JupyterLab in a real browser: every control, runs beside cells, keyboard, saving, themes, accessibility."""

import itertools
import json
import re
import subprocess
import sys

import pytest
from axe_playwright_python.sync_playwright import Axe
from frontend import environment
from lab import free_port, wait_for_server, write_notebook

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.providers import registry
from imagegen_magic.request import ImageRequest

pytestmark = pytest.mark.timeout(400)
LOAD = "%load_ext imagegen_magic\nfrom imagegen_magic import Panel"
KEY = "sk-typed-into-the-page-1a2b3c"
SILENT = re.compile(r"favicon|ResizeObserver loop")
MODELS = [(provider, model) for provider in registry.all_providers() for model in provider.models]


@pytest.fixture(scope="module")
def lab(jupyterlab, sandbox_process):
    """A workspace of this process's JupyterLab."""
    return jupyterlab.workspace("panel", IMAGEGEN_POLL_SECONDS="0.1", **sandbox_process.environ())


class Page:
    """A notebook whose second cell shows a panel, and what the page complained of meanwhile."""

    def __init__(self, notebook):
        self.notebook, self.page = notebook, notebook.page
        self.complaints = []
        self.page.set_default_timeout(60_000)
        self.page.on("console", lambda message: self._note(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.root = self.page.locator(".imagegen-panel")

    def _note(self, words):
        if not SILENT.search(words):
            self.complaints.append(words)

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

    def generate(self, prompt):
        """Type a prompt and press Ctrl+Enter in it."""
        self.prompt.fill(prompt)
        self.prompt.press("Control+Enter")

    def until(self, true, what):
        """Wait until something is true."""
        self.notebook.until(true, what)

    def holds(self, option, value):
        """Wait until this value of an option is the one in force."""
        self.until(lambda: self.python(f"panel._state.validation.chosen({option!r})") == value, f"{option} {value}")

    def python(self, expression):
        """Return the value of an expression, evaluated in the kernel as the page's own cell would."""
        code = f"import json; print(json.dumps({expression}))"
        return json.loads(
            self.page.evaluate(
                """code => new Promise(done => {
                  const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                  const future = kernel.requestExecute({code, store_history: false});
                  let text = "";
                  future.onIOPub = message => { text += message.content.text || message.content.evalue || ""; };
                  future.done.then(() => done(text));
                })""",
                code,
            )
        )


@pytest.fixture
def opened(lab, request):
    """Open a notebook with a panel of these presets; afterwards the page must have had nothing to complain of."""
    pages = []

    def open_panel(presets="", *cells, width=1100, **options):
        name = re.sub(r"\W+", "-", request.node.name) + ".ipynb"
        notebook = lab.open(name, [LOAD, f"panel = Panel({presets})\npanel", *cells], **options)
        notebook.page.set_viewport_size({"width": width, "height": 1500})
        pages.append(Page(notebook))
        return pages[-1].show()

    yield open_panel
    complaints = [words for page in pages for words in page.complaints]
    for page in pages:
        page.notebook.close()
    assert complaints == []


def values_of(model):
    """Return each option's values of a model, as the panel calls the bars."""
    bars = {
        "Resolution": model.resolutions,
        "Quality": model.qualities,
        "Background": model.backgrounds,
        "Moderation": model.moderations,
        "Format": model.formats,
    }
    return {name: values for name, values in bars.items() if len(values) > 1}


FIELDS = {
    "Resolution": "resolution",
    "Quality": "quality",
    "Background": "background",
    "Moderation": "moderation",
    "Format": "output_format",
}


@pytest.fixture(scope="module")
def panel_of(lab):
    """Show a panel of these presets in the one notebook for all models, in place of the one before."""
    notebook = lab.open("controls.ipynb", [f"{LOAD}\npanel = None", ""])
    page = Page(notebook)
    notebook.run(0)

    def show(presets):
        page.complaints.clear()
        notebook.write(1, f"if panel:\n    panel.close()\npanel = Panel({presets})\npanel")
        notebook.run(1)
        page.prompt.wait_for()
        return page

    yield show
    notebook.close()


@pytest.mark.parametrize(("provider", "model"), MODELS, ids=lambda each: each.name)
def test_every_control_of_every_model(panel_of, gateway, provider, model):
    """Each value of each control is enabled exactly where the plan takes it; what is chosen in the page is what a picture is asked with."""
    size = next(iter(model.sizes))
    panel = panel_of(f"provider={provider.name!r}, model={model.name!r}, size={size!r}")
    ratios = panel.root.get_by_role("radiogroup", name="Aspect ratio").get_by_role("radio")
    assert {name.strip() for name in ratios.all_inner_texts()} >= set(model.sizes)
    bars = values_of(model)
    assert {legend for legend in panel.root.locator("legend:visible").all_inner_texts() if legend} == set(bars)
    chosen = {"size": size}
    for name, values in bars.items():
        group = panel.root.get_by_role("group", name=name)
        offered = {one.get_attribute("value"): one.is_enabled() for one in group.get_by_role("radio").all()}
        offered.pop("", None)
        assert offered == {value: plans(provider, model, {**chosen, FIELDS[name]: value}) for value in values}
        last = [value for value, enabled in offered.items() if enabled][-1]
        group.get_by_role("radio", name=last, exact=True).check(force=True)
        chosen[FIELDS[name]] = last
        panel.holds(FIELDS[name], last)
    for ratio in [*model.sizes, *(["auto"] if model.auto_size else [])]:
        button = panel.root.locator(f'[role=radio][data-value="{ratio}"]')
        able = plans(provider, model, {**chosen, "size": ratio})
        panel.until(lambda button=button, able=able: (button.get_attribute("aria-disabled") is None) == able, f"{ratio} enabled: {able}")
        if able:
            button.click()
            panel.holds("size", ratio)
            chosen["size"] = ratio
        else:
            assert button.get_attribute("aria-description")
    choose_number_and_compression(panel, model, chosen)
    prompt = f"Every control of {provider.name} {model.name}"
    panel.generate(prompt)
    panel.until(lambda: panel.cards.count() == chosen["n"], "the pictures")
    plan = provider.plan(ImageRequest(prompt, model=model.name, **chosen))
    sent = [entry["json"] for entry in gateway.accepted(prompt)]
    assert sorted(map(json.dumps, sent)) == sorted(json.dumps(dict(call.json)) for call in plan.calls)
    assert panel.complaints == []


def choose_number_and_compression(panel, model, chosen):
    """Ask for one picture more than a task may have, or two; and for a compression where this format has one."""
    chosen["n"] = min(model.max_n + 1, 2)
    number = panel.root.get_by_label("Number")
    number.fill(str(chosen["n"]))
    number.press("Tab")
    panel.until(lambda: panel.python("panel.request.n") == chosen["n"], "the number")
    compression = panel.root.get_by_label("Compression")
    if not model.compressible:
        assert compression.count() == 0 or not compression.is_visible()
        return
    panel.until(lambda: compression.is_enabled() == (chosen.get("output_format") in model.compressible), "compression by the format")
    if compression.is_enabled():
        compression.fill("55")
        compression.press("Tab")
        panel.until(lambda: panel.python("panel.request.output_compression") == 55, "the compression")
        chosen["output_compression"] = 55


def plans(provider, model, options):
    """Say whether the gateway's own plan takes these options."""
    try:
        provider.plan(ImageRequest("a fox", model=model.name, **options))
    except UnsupportedOption:
        return False
    return True


def test_two_runs_while_a_cell_sleeps(opened, gateway):
    """Two runs are started and finished while a cell sleeps, each with its own progress and Cancel."""
    gateway.arm("slow", times=2, match="While a cell sleeps")
    panel = opened("provider='evolink', quality='low'", "import time\nwhile True: time.sleep(0.1)")
    panel.notebook.start(2)
    panel.until(lambda: panel.notebook.busy(2), "the cell to run")
    panel.generate("While a cell sleeps 1")
    panel.generate("While a cell sleeps 2")
    panel.until(lambda: panel.root.get_by_role("button", name="Cancel").count() == 2, "two rows")
    panel.until(lambda: panel.cards.count() == 2, "two pictures")
    assert panel.notebook.busy(2)
    panel.notebook.command("notebook:interrupt-kernel")


def test_cancel_and_dismiss_while_a_cell_sleeps(opened, gateway):
    """Cancel is obeyed while a cell sleeps; the row then says what goes on, until it is taken away."""
    gateway.arm("never-finishes", match="Cancelled by hand")
    panel = opened("provider='evolink', quality='low'", "import time\nwhile True: time.sleep(0.1)")
    panel.notebook.start(2)
    panel.generate("Cancelled by hand")
    panel.root.get_by_text(re.compile(r"^waiting \d")).first.wait_for()  # the task's id is known: from here on it can be collected
    panel.root.get_by_role("button", name="Cancel").click()
    panel.root.get_by_text("goes on at the gateway").first.wait_for()
    assert panel.notebook.busy(2)
    panel.root.get_by_role("button", name="Dismiss").click()
    panel.root.get_by_text("goes on at the gateway").first.wait_for(state="hidden")
    panel.notebook.command("notebook:interrupt-kernel")


def test_reload_in_the_middle_of_a_run(opened, gateway):
    """A run survives the page's reload: the panel is there again with its row, and the picture comes into it."""
    gateway.arm("slow", match="Reloaded meanwhile")
    panel = opened("provider='evolink', quality='low'")
    panel.notebook.save()
    panel.generate("Reloaded meanwhile")
    panel.until(lambda: gateway.accepted("Reloaded meanwhile"), "the submission")
    panel.notebook.load()
    panel.prompt.wait_for()
    panel.until(lambda: panel.cards.count() == 1, "the picture")
    assert panel.prompt.input_value() == "Reloaded meanwhile"
    early = "Comm not found"  # JupyterLab's own line: the run's messages arrive before it has asked the kernel for its comms
    panel.complaints[:] = [line for line in panel.complaints if not line.startswith(early)]
    gateway.disarm()


def test_use_as_reference_and_copy_as_cell(opened, gateway):
    """A picture becomes the reference of the next; that one's cell, copied and run, asks for the same again."""
    panel = opened("provider='evolink', quality='low', size='3:2'", "")
    panel.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel.generate("The first picture")
    panel.until(lambda: panel.cards.count() == 1, "the picture")
    panel.cards.first.hover()
    panel.cards.first.get_by_role("button", name="Use as reference").click()
    panel.root.get_by_role("button", name="Remove", exact=True).wait_for()
    panel.generate("The second picture")
    panel.until(lambda: panel.cards.count() == 2, "the second picture")
    panel.cards.first.hover()
    panel.cards.first.get_by_role("button", name="Copy as cell").click()
    panel.root.get_by_text("The cell is on the clipboard").wait_for()
    panel.page.locator(".jp-Notebook .jp-Cell .cm-content").nth(2).click()
    panel.page.keyboard.press("Control+V")
    panel.notebook.run(2)
    sent, again = gateway.accepted("The second picture")
    assert sent["json"]["image_urls"] == [panel.python("panel.images[1].url")]
    assert sent["json"] == again["json"]


def test_many_pictures_need_a_second_press(opened, gateway):
    """21 pictures are sent only if Generate is pressed again for the same request; a change in between asks again."""
    panel = opened("provider='evolink', quality='low', size='1:1', n=21")
    generate = panel.root.get_by_role("button", name="Generate")
    question = panel.root.get_by_text("This is 21 pictures. Nothing was sent: press Generate again to make them.")
    panel.generate("Twenty-one by hand")
    question.wait_for()
    panel.root.get_by_role("radio", name="3:2").click()
    panel.holds("size", "3:2")
    panel.root.get_by_label("Number").fill("22")
    panel.root.get_by_label("Number").press("Tab")
    panel.until(lambda: panel.python("panel.request.n") == 22, "the number")
    generate.click()
    panel.root.get_by_text("This is 22 pictures.").wait_for()
    assert gateway.submissions("Twenty-one by hand") == []
    generate.click()
    panel.until(lambda: panel.cards.count() == 22, "the pictures")
    assert question.count() == 0
    assert sum(entry["json"]["n"] for entry in gateway.accepted("Twenty-one by hand")) == 22


def test_compare_two(opened):
    """Two selected pictures stand under one slider, with what differs marked."""
    panel = opened("provider='evolink', sandbox=True, size='3:2', quality='low'")
    panel.generate("A red fox")
    panel.until(lambda: panel.cards.count() == 1, "the first")
    panel.root.get_by_role("radio", name="high", exact=True).check(force=True)
    panel.generate("A blue fox")
    panel.until(lambda: panel.cards.count() == 2, "the second")
    for card in panel.cards.all():
        select(panel, card)
    panel.root.locator(".imagegen-compare-knob").wait_for()
    words = panel.root.locator(".imagegen-compare").inner_text()
    assert "quality" in words
    assert {"red", "blue"} <= set(panel.root.locator(".imagegen-compare mark").all_inner_texts())
    assert panel.python("len(panel.selected)") == 2


def test_by_keyboard_alone(opened, gateway):
    """From the prompt to the picture enlarged, with TAB, arrows, space and Enter; the focus is always to be seen."""
    panel = opened("provider='evolink', size='3:2'")
    keyboard = panel.page.keyboard
    panel.prompt.focus()
    keyboard.type("Typed and never clicked")
    walked = list(itertools.islice(walk(panel), 14))
    assert [name for name, _ in walked[:4]] == ["Generate", "Gateway", "Model", "Sandbox: drawn here, no key, no cost"]
    assert [name for name, outlined in walked if not outlined] == []
    panel.root.get_by_role("radio", name="medium", exact=True).focus()
    keyboard.press("ArrowLeft")
    panel.until(lambda: panel.python("panel.request.quality") == "low", "the arrow key")
    panel.root.get_by_role("spinbutton", name="Number").focus()
    keyboard.press("ArrowUp")
    panel.until(lambda: panel.python("panel.request.n") == 2, "the number")
    panel.root.get_by_label("Gateway").focus()
    keyboard.press("ArrowUp")
    panel.until(lambda: panel.python("panel.provider") == "apimart", "the gateway")
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


def test_saved_notebook_has_the_sheet_and_no_key(opened, gateway, monkeypatch):
    """A typed key works and is nowhere in the saved notebook; reopened without a kernel, the pictures stand in the widget's place."""
    panel = opened("provider='xingchao', quality='low'")
    assert panel.root.get_by_label("No key is set").count() == 0
    panel.python("__import__('os').environ.pop('XINGCHAO_API_KEY')")
    panel.python("panel._submit(panel._set_option('size', '3:2'))")
    field = panel.root.get_by_label(re.compile("No key is set for Xingchao"))
    field.fill(KEY)
    panel.root.get_by_role("button", name="Use this key").click()
    panel.root.get_by_text("is kept until this kernel ends").wait_for()
    assert panel.root.locator("input[type=password]").input_value() == ""
    panel.generate("Kept until tomorrow")
    panel.until(lambda: panel.cards.count() == 1, "the picture")
    assert not panel.root.locator("xpath=ancestor::*[contains(@class,'jp-OutputArea-child')]/following-sibling::*").first.is_visible()
    panel.until(lambda: "1 picture" in str(panel.notebook.outputs(1)[1]), "the sheet")
    panel.notebook.save()
    text = panel.notebook.path.read_text(encoding="utf-8")
    assert KEY not in text
    panel.notebook.command("notebook:shutdown-kernel")
    panel.page.route("**/api/sessions*", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    panel.notebook.load(kernel=False)
    sheet = panel.notebook.output_area(1).locator(".imagegen-sheet")
    sheet.locator("img").wait_for()
    assert sheet.locator("img").evaluate("image => image.complete && image.naturalWidth > 0")
    assert "Kept until tomorrow" in sheet.inner_text()
    panel.page.wait_for_timeout(500)
    assert panel.notebook.output_area(1).get_by_text("model not found").count() == 0 or not (
        panel.notebook.output_area(1).get_by_text("model not found").is_visible()
    )
    panel.complaints.clear()  # that the kernel cannot be started is what was asked for


def test_looks_in_both_themes_and_widths(opened, gateway):
    """In both themes, narrow and wide, nothing scrolls sideways and axe-core has no serious finding."""
    gateway.arm("no-balance", match="Too dear")
    gateway.arm("never-finishes", match="Under way")
    panel = opened("provider='gccai', size='16:9', resolution='2k', quality='low'")
    panel.generate("A first picture")
    panel.until(lambda: panel.cards.count() == 1, "a picture")
    for prompt in ("Too dear", "Under way", "A second picture"):
        panel.generate(prompt)
    panel.until(lambda: panel.cards.count() == 2, "two pictures")
    for card in panel.cards.all():
        select(panel, card)
    panel.root.locator(".imagegen-compare-knob").wait_for()
    panel.root.evaluate("root => root.setAttribute('data-axe', '')")
    for theme, width in itertools.product(("JupyterLab Light", "JupyterLab Dark"), (600, 1600)):
        panel.notebook.change_theme(theme)
        panel.page.set_viewport_size({"width": width, "height": 1500})
        fits = "root => root.getBoundingClientRect().right <= innerWidth"
        panel.until(lambda fits=fits: panel.root.evaluate(fits), f"{theme} {width} to fit")
        assert scrolling(panel) == [], (theme, width)
        assert serious(panel) == [], (theme, width)


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


def serious(panel):
    """Return axe-core's serious findings and their markup."""
    found = Axe().run(panel.page, context="[data-axe]", options={"resultTypes": ["violations"]}).response["violations"]
    return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found if one["impact"] in ("serious", "critical")]


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
    """The panel stands alone, generates a picture, and the contact sheet behind it is not to be seen."""
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    page.get_by_label("Prompt").wait_for()
    page.get_by_role("button", name="Generate").click()
    page.locator(".imagegen-gallery-card").first.wait_for()
    assert page.locator(".imagegen-panel").count() == 1
    assert not page.locator(".imagegen-sheet").first.is_visible()
    assert faults == []
    page.close()
