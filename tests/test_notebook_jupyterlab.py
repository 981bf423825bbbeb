"""Cells in a real JupyterLab in a real browser, in front of a gateway's dialect on a socket."""

import re

import pytest
from lab import PATIENCE, violations, write_notebook

LOAD = "%load_ext imagegen_magic"


@pytest.fixture(scope="module")
def lab(jupyterlab, sandbox_process):
    """A workspace of this process's JupyterLab."""
    return jupyterlab.workspace("cells", IMAGEGEN_POLL_SECONDS="0.1", **sandbox_process.environ())


def opened(lab, *cells, name=""):
    """Open the shared notebook, or one of that name, and load the extension in its first cell."""
    notebook = lab.open(name, [LOAD, *cells]) if name else lab.shared([LOAD, *cells])
    notebook.run(0)
    return notebook


def mimes(outputs):
    """Return the MIME types of outputs."""
    return [sorted(output.get("data", {output["output_type"]: 0})) for output in outputs]


def wait_for_images(notebook, cell, count):
    """Wait until the page has drawn so many images of a cell."""
    images = notebook.output_area(cell).locator("img")
    is_drawn = "all => all.filter(img => img.complete && img.naturalWidth > 0).length"
    notebook.until(lambda: images.evaluate_all(is_drawn) == count, f"{count} images")


PICTURE, LINE = ["image/jpeg", "text/html", "text/plain"], ["text/html", "text/plain"]


def test_cell_from_typing_to_picture(lab, gateway):
    """Typed and run, a cell shows its progress with a Cancel button, and then the picture with its caption in its place."""
    with opened(lab, "") as notebook:
        gateway.arm("held", match="A red fox in the snow")  # until the page has shown its progress
        notebook.type("%%imagegen -p evolink -q low --size 3:2\nA red fox in the snow", cell=1)
        notebook.page.keyboard.press("Shift+Enter")
        area = notebook.output_area(1)
        area.get_by_role("button", name="Cancel").wait_for()
        area.get_by_text(re.compile(r"waiting \d+ s")).wait_for()
        gateway.disarm()
        area.locator("img").wait_for()
        wait_for_images(notebook, 1, 1)
        assert area.get_by_role("button", name="Cancel").count() == 0
        assert mimes(notebook.outputs(1)) == [LINE, PICTURE]
        picture, link = area.get_by_role("link").all()
        assert picture.locator("img").get_attribute("alt") == "A red fox in the snow"
        assert link.inner_text().startswith("imagegen/red-fox-snow-")
        assert re.match(r"1536×1024 · evolink gpt-image-2 · (\d+ min )?\d+ s · ", area.inner_text().strip())


def test_picture_is_not_gigantic(lab):
    """A preview of 1024 pixels is drawn at most 640 wide and 480 high, so that it is sharp on a dense screen."""
    with opened(lab, "%%imagegen -p evolink -q low --size 1:1\nA round fox") as notebook:
        notebook.run(1)
        box = notebook.output_area(1).locator("img").bounding_box()
        assert (round(box["width"]), round(box["height"])) == (480, 480)


def test_cancel_while_the_cell_runs(lab, gateway):
    """A click on Cancel ends the running cell with one line; the gateway goes on, and resume collects the picture."""
    gateway.arm("held", match="Cancelled in the page")
    with opened(lab, "%%imagegen -p evolink -q low -n 2\nCancelled in the page", "%imagegen resume") as notebook:
        notebook.start(1)
        button = notebook.output_area(1).get_by_role("button", name="Cancel")
        button.wait_for()
        notebook.until(lambda: gateway.accepted("Cancelled in the page"), "the submission")
        button.click()
        notebook.until(lambda: not notebook.busy(1), "the cell to end")
        assert notebook.outputs(1)[-1]["ename"] == "WaitingStopped"
        assert notebook.output_area(1).get_by_role("button").count() == 0
        gateway.disarm()
        notebook.run(2)
        wait_for_images(notebook, 2, 2)
        assert len(gateway.accepted("Cancelled in the page")) == 1


def test_run_all(lab):
    """Run All runs every cell, and each has its own pictures."""
    cells = [f"%%imagegen -p evolink -q low -o r{n}\nRun all in the page {n}" for n in range(2)]
    with lab.shared([LOAD, *cells, "print(len(r0), len(r1))"]) as notebook:
        notebook.command("notebook:run-all-cells")
        notebook.until(lambda: notebook.outputs(3), "the last cell")
        assert [mimes(notebook.outputs(cell)) for cell in (1, 2)] == [[LINE, PICTURE]] * 2
        assert notebook.outputs(3)[0]["text"] == "1 1\n"


def test_saved_picture_is_there_without_a_kernel(lab):
    """Saved and reopened without a kernel, the picture is drawn and no widget is missing."""
    with opened(lab, "%%imagegen -p evolink -q low\nKept until tomorrow", name="kept.ipynb") as notebook:
        notebook.run(1)
        document = notebook.save()
        assert "widgets" not in document["metadata"]
        assert mimes(document["cells"][1]["outputs"]) == [LINE, PICTURE]
        notebook.reopen(kernel=False)
        notebook.output_area(1).locator("img").wait_for()
        wait_for_images(notebook, 1, 1)
        assert "model not found" not in notebook.output_area(1).inner_text()


def test_tab_completes_options_and_values(lab):
    """TAB offers the options, and of a chosen gateway's model exactly what works there."""
    with opened(lab, "") as notebook:
        notebook.type("%%imagegen -p xingchao --reso", cell=1)
        notebook.page.keyboard.press("Tab")
        items = notebook.page.locator(".jp-Completer-item .jp-Completer-match")
        items.first.wait_for()
        assert items.all_inner_texts() == ["--resolution"]
        notebook.page.keyboard.press("Enter")
        notebook.page.keyboard.type(" ")
        notebook.page.keyboard.press("Tab")
        items.nth(2).wait_for()
        offered = items.all_inner_texts()  # ours come first; behind them JupyterLab puts words of the notebook
        assert offered[:3] == [word for word in offered if re.fullmatch(r"\dk", word)] == ["1k", "2k", "4k"]


def test_reload_while_it_runs_loses_nothing(lab, gateway):
    """After a reload the page does not show the running cell; the picture is saved all the same, and show brings it back."""
    cells = (
        "%%imagegen -p evolink -q low -n 1 -o reloaded\nReloaded meanwhile",
        "get_ipython().run_line_magic('imagegen', f'show {reloaded[0].id}')",
    )
    with opened(lab, *cells, name="reload.ipynb") as notebook:
        notebook.save()
        gateway.arm("held", match="Reloaded meanwhile")
        notebook.start(1)
        notebook.output_area(1).get_by_role("button", name="Cancel").wait_for()
        notebook.load(kernel=False)  # it is busy until the task is no longer held
        gateway.disarm()
        notebook.wait()
        notebook.run(2)
        wait_for_images(notebook, 2, 1)
        assert "imagegen/reloaded-meanwhile-" in notebook.output_area(2).inner_text()
        assert len(gateway.accepted("Reloaded meanwhile")) == 1


def test_no_wait_output_turns_into_pictures(lab, gateway):
    """A cell that does not wait is free at once; its output shows progress and becomes the pictures by itself."""
    gateway.arm("held", match="Behind the page")
    with opened(lab, "%%imagegen -p evolink -q low -n 2 --no-wait\nBehind the page", "print('free')") as notebook:
        notebook.run(1)
        notebook.run(2)
        assert notebook.outputs(2)[0]["text"] == "free\n"
        notebook.output_area(1).get_by_role("button", name="Cancel").wait_for()
        gateway.disarm()
        notebook.until(lambda: mimes(notebook.outputs(1)) == [PICTURE], "the pictures")
        wait_for_images(notebook, 1, 2)


CONTRAST = """element => {
  if (!element.isConnected) return 0;
  const light = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const ground = (() => { for (let node = element; node; node = node.parentElement) {
    const color = light(getComputedStyle(node).backgroundColor); if (color[3] === 1) return color; } })();
  const ink = light(getComputedStyle(element).color).map((v, i, all) => i < 3 ? v * all[3] + ground[i] * (1 - all[3]) : 1);
  const luminance = color => color.slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const [a, b] = [luminance(ink), luminance(ground)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""


THEMES = ("JupyterLab Light", "JupyterLab Dark")


def test_words_are_readable_in_both_themes(lab, gateway):
    """The progress, the caption and what differs from what was asked have enough contrast, light and dark."""
    gateway.arm("held", match="Readable")
    cell = "%%imagegen -p evolink -q low -s 3:1\nReadable [[fault: wrong-size]]"
    with opened(lab, cell) as notebook:
        notebook.start(1)
        area = notebook.output_area(1)
        area.get_by_role("button", name="Cancel").wait_for()
        for theme in THEMES:
            notebook.change_theme(theme)
            notebook.until(lambda: area.locator(".imagegen-words").evaluate(CONTRAST) > 7, f"readable words, {theme}")
        gateway.disarm()
        area.locator("img").wait_for()
        caption = area.get_by_role("link").last.locator("xpath=..")
        for theme in THEMES:
            notebook.change_theme(theme)
            notebook.until(lambda: area.locator("strong").evaluate(CONTRAST) > 4.5, f"a readable difference, {theme}")
            notebook.until(lambda: caption.evaluate(CONTRAST) > 4.5, f"a readable caption, {theme}")


GALLERY = "%%imagegen -p evolink -q low --size 3:2 -n 4 -o foxes\nFour foxes in the snow"
SWEEP = "%%imagegen --yes -p evolink --size 3:2 --sweep style=oil,ink --sweep quality=low,medium -o study\nA {{style}} fox in the snow"
ABOUT = """
for line in (f"compare {foxes[0].id} {foxes[1].id}", "history", "cost", "models", "doctor", "score study sharpness",
             "effects study sharpness", "scores study"):
    get_ipython().run_line_magic("imagegen", line)
"""
TOO_WIDE = """area => [...area.querySelectorAll("*")].filter(node => {
  for (let box = node.parentElement; area.contains(box); box = box.parentElement)
    if (box !== area && getComputedStyle(box).overflowX === "auto") return false;  // it is scrolled within its output
  return node.getBoundingClientRect().right > area.getBoundingClientRect().right + 1;
}).map(node => node.outerHTML.slice(0, 200))"""


@pytest.mark.timeout(400)
def test_outputs_are_compact_and_accessible(lab):
    """Four pictures fit on a screen and on a narrow page; axe finds nothing in any output; an untrusted notebook has the pictures."""
    with opened(lab, GALLERY, SWEEP, ABOUT, name="compact.ipynb") as notebook:
        page, pictures = notebook.page, notebook.output_area(1).locator("img")
        for cell in (1, 2, 3):
            notebook.run(cell)
        wait_for_images(notebook, 1, 4)
        assert notebook.output_area(1).bounding_box()["height"] <= 520
        alternatives = [f"Four foxes in the snow ({number} of 4)" for number in (1, 2, 3, 4)]
        assert pictures.evaluate_all("all => all.map(img => img.alt)") == alternatives
        page.set_viewport_size({"width": 1100, "height": 6000})  # JupyterLab draws only the cells in view
        for theme in THEMES:
            notebook.change_theme(theme)
            assert violations(page, ".jp-OutputArea-output") == [], theme
        page.set_viewport_size({"width": 400, "height": 6000})
        page.wait_for_function("innerWidth === 400")
        for cell in (1, 2, 3):
            notebook.until(lambda cell=cell: notebook.output_area(cell).evaluate(TOO_WIDE) == [], f"the outputs of cell {cell} to fit")
        notebook.save()
        saved = notebook.path.read_text(encoding="utf-8")
        notebook.path.write_text(saved.replace("foxes[0].id", "foxes[0] .id", 1), encoding="utf-8")  # its signature no longer matches
        notebook.reopen(kernel=False)
        assert page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets[1].model.trusted") is False
        wait_for_images(notebook, 1, 4)
        assert pictures.evaluate_all("all => all.map(img => img.alt)") == alternatives


PRICES = """
from IPython.display import HTML
get_ipython().run_line_magic("imagegen", "plan --all -s 16:9 -q low")
display(HTML("<p>$x^2$</p>"))
"""


def test_two_prices_are_no_formula(lab):
    """JupyterLab shows what stands between two dollar signs as a formula, but not in our outputs."""
    with opened(lab, PRICES) as notebook:
        notebook.run(1)
        area = notebook.output_area(1)
        area.locator("mjx-container").first.wait_for()
        assert area.locator("mjx-container").count() == 1
        assert "$24 per million output tokens" in area.locator("table").inner_text()


CONNECTED = """async path => {
    const sessions = await (await fetch('/api/sessions')).json();
    return sessions.some(session => session.path === path && session.kernel.connections && session.kernel.execution_state === 'idle');
}"""


def test_notebook_7(lab, browser):
    """The same server's Notebook 7: all cells run, the picture and the panel show, and the panel makes a picture."""
    cells = [f"{LOAD}\nfrom imagegen_magic import Panel", "%%imagegen --sandbox\nA fox", "Panel(sandbox=True, prompt='A hen')"]
    write_notebook(lab.folder / "seven.ipynb", cells)
    page = browser.new_page(viewport={"width": 1100, "height": 1400})
    page.set_default_timeout(PATIENCE * 1000)
    page.emulate_media(reduced_motion="reduce")
    page_errors = []
    page.on("pageerror", lambda error: page_errors.append(error.stack or str(error)))
    page.goto(f"{lab.lab.url}/notebooks/{lab.folder.name}/seven.ipynb")
    page.wait_for_function(CONNECTED, arg=f"{lab.folder.name}/seven.ipynb", polling=100)  # the page says "idle" before it has a kernel
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.get_by_role("button", name="Generate").click()
    page.locator(".imagegen-gallery-card").first.wait_for()
    assert page.locator(".jp-Cell").nth(1).locator("img").first.is_visible()
    assert not page.locator(".imagegen-sheet").is_visible()
    assert [error for error in page_errors if "blob:" in error] == []  # a widget's script; Notebook 7.6 has errors of its own
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Shut Down Kernel", exact=True).click()
    page.locator(".jp-Notebook-ExecutionIndicator:not([data-status=idle])").wait_for()
    page.close()
