"""Painting a mask in a real JupyterLab in a real browser: mouse, pen and keyboard, saving, themes, accessibility."""

import math
import os
import re
from pathlib import Path

import pytest
from lab import serious_violations
from PIL import Image

from imagegen_magic.notebook.widgets.painter import Painter

pytestmark = pytest.mark.timeout(400)
LOAD = "%load_ext imagegen_magic\nfrom imagegen_magic import Panel"
PAINTER = """
%load_ext imagegen_magic
import io
from PIL import Image, ImageDraw
from imagegen_magic.notebook import mask_editor
image = Image.linear_gradient("L").resize(SIZE).convert("RGB")
ImageDraw.Draw(image).ellipse([side // 3 for side in SIZE] + [side // 2 for side in SIZE], fill="#c84")
image.save("NAME.png")
mask = None
BEFORE
painter = mask_editor.open_painter("NAME.png", start=START);
def alpha(x, y): return mask.getpixel((x, y))[3]
def share():
    counts = mask.getchannel("A").histogram()
    return round(1 - sum(value * count for value, count in enumerate(counts)) / 255 / mask.width / mask.height, 3)
"""


@pytest.fixture(scope="module")
def lab(jupyterlab, sandbox_process):
    """A workspace of this process's JupyterLab."""
    return jupyterlab.workspace("painter", IMAGEGEN_POLL_SECONDS="0.1", **sandbox_process.environ())


class Page:
    """A notebook whose first cell opens a painter on the file `image`."""

    def __init__(self, notebook, image):
        self.notebook, self.page, self.image = notebook, notebook.page, image
        self.page.set_viewport_size({"width": 1100, "height": 1200})
        self.root = self.page.locator(".imagegen-painter")
        self.stage = self.page.locator(".imagegen-painter-stage")

    def show(self):
        """Run the first cell and wait for the painter."""
        self.notebook.run(0)
        self.stage.first.wait_for()
        self.page.wait_for_function("() => document.querySelector('.imagegen-painter-percent').textContent")
        return self

    def at(self, x, y):
        """Return where a part of the stage (0 to 1) lies on the page."""
        box = self.stage.bounding_box()
        return box["x"] + box["width"] * x, box["y"] + box["height"] * y

    def drag(self, *points, steps=8):
        """Drag the mouse over parts of the stage."""
        box = self.stage.bounding_box()
        places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=steps)
        self.page.mouse.up()

    def press(self, *keys):
        """Press keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def button(self, name):
        """Return one of the painter's buttons."""
        return self.root.get_by_role("button", name=name)

    @property
    def amount(self):
        """The marked amount in words, once the page has drawn it."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.root.locator(".imagegen-painter-amount").inner_text()

    def use(self):
        """Press the button and wait until the mask is there."""
        self.button("Use this mask").click()
        self.notebook.until(lambda: self.root.count() == 0, "the painter to close")

    @property
    def mask_share(self):
        """The mask's share in Python, in per cent."""
        return round(self.value("share()") * 100)

    def value(self, expression):
        """Return the value of an expression in the kernel."""
        return self.notebook.value(expression)


@pytest.fixture
def opened(lab, request):
    """Open a painter on an image of that size, in the shared notebook or one of its own; the console must stay without errors."""
    pages = []

    def opening(size=(1200, 800), *, before="", start=None, more="", own=False):
        name = re.sub(r"\W+", "-", request.node.name)
        code = PAINTER.replace("BEFORE", before).replace("START", str(start)).replace("SIZE", repr(size)).replace("NAME", name)
        cells = [code + more, "0"]
        notebook = lab.open(f"{name}.ipynb", cells) if own else lab.shared(cells)
        pages.append(Page(notebook, f"{name}.png"))
        return pages[-1].show()

    yield opening
    console_errors = [error for page in pages for error in page.notebook.console_errors]
    for page in pages:
        page.notebook.close()
    assert console_errors == []


def test_a_mask_by_mouse_with_undo_and_redo(opened):
    """What is brushed is marked, shown in per cent, undone and redone; the mask in Python is transparent there and nowhere else."""
    page = opened()
    assert page.amount == "Nothing marked yet: mark what is to be repainted"
    assert page.button("Use this mask").get_attribute("aria-disabled") == "true"
    page.drag((0.2, 0.5), (0.8, 0.5))
    once = page.amount
    assert re.fullmatch(r"[4-6] % to be repainted", once)
    page.drag((0.2, 0.8), (0.8, 0.8))
    twice = page.amount
    assert int(twice.split()[0]) > int(once.split()[0])
    page.button("Undo").click()
    assert page.amount == once
    page.button("Redo").click()
    assert page.amount == twice
    page.press("Control+z")
    page.press("Control+z")
    assert page.amount.startswith("Nothing marked")
    page.press("Control+y")
    assert page.amount == once
    page.use()
    values = page.value("[mask.size, mask.mode, alpha(600, 400), alpha(240, 400), alpha(600, 640), alpha(5, 5)]")
    assert values == [(1200, 800), "RGBA", 0, 0, 255, 255]
    assert f"{page.mask_share} %" == " ".join(once.split()[:2])


def test_rectangle_lasso_and_eraser(opened):
    """A rectangle marks its very pixels, with Alt it unmarks; a lasso marks what it goes around; the eraser takes away."""
    page = opened()
    page.button("Rectangle").click()
    page.drag((0.25, 0.25), (0.75, 0.5))
    assert page.amount == "13 % to be repainted"
    page.page.keyboard.down("Alt")
    page.drag((0.25, 0.25), (0.5, 0.5))
    page.page.keyboard.up("Alt")
    assert page.amount == "6 % to be repainted"
    page.button("Lasso").click()
    page.drag((0.1, 0.6), (0.4, 0.6), (0.25, 0.9))
    page.button("Eraser").click()
    page.drag((0.7, 0.2), (0.7, 0.6))
    page.use()
    values = page.value("[alpha(650, 300), alpha(350, 300), alpha(300, 520), alpha(150, 700), alpha(840, 300), alpha(610, 405)]")
    assert values == [0, 255, 0, 255, 255, 255]


def test_all_of_it_by_keyboard(opened):
    """Tools, zoom, a rectangle, a stroke, undo and the button, without a mouse; the notebook reacts to none of it, the focus is seen."""
    page = opened()
    page.page.evaluate("() => document.querySelector('.imagegen-painter button').focus()")
    names = []
    for _ in range(40):
        outlined, name = page.page.evaluate(
            "() => [getComputedStyle(document.activeElement).outlineStyle !== 'none', document.activeElement.getAttribute('aria-label') "
            "|| document.activeElement.closest('label')?.innerText || document.activeElement.innerText]"
        )
        names.append((name.split("\n")[0], outlined))
        if "pixels: mark" in name:
            break
        page.press("Tab")
    tools = ["Brush", "Eraser", "Rectangle", "Lasso", "Move the picture", "Size", "Softness", "Undo", "Redo"]
    assert [name for name, _ in names[: len(tools)]] == tools
    assert all(outlined for _, outlined in names[1:])
    page.press("r", "Enter", *["ArrowRight"] * 2, *["ArrowDown"] * 2)
    assert page.root.locator(".imagegen-painter-outline").get_attribute("d") != ""
    page.press("Enter")
    rectangle = page.amount
    assert rectangle.endswith("% to be repainted")
    page.press("b", "]", "]", "Enter", "ArrowLeft", "ArrowLeft", "Enter")
    assert page.amount != rectangle
    page.press("Control+z")
    assert page.amount == rectangle
    page.press("Enter", "ArrowUp", "Escape")
    assert page.amount == rectangle
    page.press("i")
    assert page.amount != rectangle
    page.press("i")
    page.press("+", "+", "0", "-")
    for _ in range(4):
        page.press("Tab")
        if page.page.evaluate("() => document.activeElement.textContent") == "Use this mask":
            break
    page.press("Enter")
    page.notebook.until(lambda: page.root.count() == 0, "the painter to close")
    assert page.value("[mask is not None, alpha(604, 404), alpha(590, 404)]") == [True, 0, 255]
    assert page.page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length") == 2


def test_zoom_and_pan(opened):
    """The wheel zooms where the pointer is, space and drag move the picture, and a click marks the pixel that is seen there."""
    page = opened()
    page.button("Brush").click()
    page.root.get_by_label("Size").fill("0.3")
    x, y = page.at(0.25, 0.25)
    page.page.mouse.move(x, y)
    page.page.keyboard.down("Control")
    for _ in range(5):
        page.page.mouse.wheel(0, -100)
    page.page.keyboard.up("Control")
    percent = page.root.locator(".imagegen-painter-percent")
    page.notebook.until(lambda: int(percent.inner_text().split()[0]) > 300, "the zoom")
    page.page.mouse.click(x, y)
    page.stage.focus()
    page.page.keyboard.down("Space")
    page.page.mouse.move(*page.at(0.5, 0.5))
    page.page.mouse.down()
    page.page.mouse.move(*page.at(0.3, 0.5), steps=4)
    page.page.mouse.up()
    page.page.keyboard.up("Space")
    page.button("Whole picture").click()
    assert page.amount == "Under 1 % to be repainted"
    page.use()
    assert page.value("[alpha(300, 200) < 128, alpha(320, 200), share() < 0.001]") == [True, 255, True]


def test_a_pen_draws_as_wide_as_it_is_pressed(opened):
    """A pen that is pressed lightly draws a narrower line, and its other end erases."""
    page = opened()
    pen = """([points, pressure, buttons]) => { const stage = document.querySelector('.imagegen-painter-stage');
      stage.setPointerCapture = () => {};
      const tell = (name, [x, y], button) => stage.dispatchEvent(new PointerEvent(name, {pointerId: 7, pointerType: 'pen', clientX: x,
        clientY: y, pressure, button, buttons, bubbles: true, cancelable: true}));
      tell('pointerdown', points[0], buttons === 32 ? 5 : 0); for (const one of points) tell('pointermove', one, -1);
      tell('pointerup', points.at(-1), 0); }"""
    light = [page.at(0.2, 0.25), page.at(0.8, 0.25)]
    strong = [page.at(0.2, 0.75), page.at(0.8, 0.75)]
    page.page.evaluate(pen, [light, 0.1, 1])
    page.page.evaluate(pen, [strong, 1.0, 1])
    page.page.evaluate(pen, [[page.at(0.5, 0.7), page.at(0.5, 0.8)], 1.0, 32])
    page.use()
    low, high = page.value("[sum(alpha(400, y) < 128 for y in rows) for rows in (range(0, 400), range(400, 800))]")
    assert 10 < low < high / 2
    assert page.value("alpha(600, 600)") == 255


COUNT_DRAWN = """() => { window.drawn = 0; const canvas = CanvasRenderingContext2D.prototype; const put = canvas.putImageData;
  canvas.putImageData = function (image, ...place) {
    window.drawn += image.width * image.height / this.canvas.width / this.canvas.height; return put.call(this, image, ...place) };
  window.stopCounting = () => { canvas.putImageData = put } }"""


@pytest.mark.parametrize("size", [(1200, 800), pytest.param((3840, 2160), marks=pytest.mark.long)], ids=["1200", "4k"])
def test_a_long_stroke_draws_only_what_it_changes(opened, size):
    """All that a long stroke draws is less than the stage drawn three times, and each of its points is marked."""
    page = opened(size)
    page.page.evaluate(COUNT_DRAWN)
    points = 240 if size[0] > 2000 else 60
    page.drag(*[(0.1 + 0.8 * step / points, 0.5 + 0.35 * math.sin(step / points * 20)) for step in range(points + 1)], steps=1)
    amount = page.amount
    assert 0 < page.page.evaluate("() => { window.stopCounting(); return window.drawn }") < 3
    page.use()
    assert page.value("mask.size") == size
    assert f"{page.mask_share} % to be repainted" == amount


def test_two_views_show_the_same_marks(opened):
    """Two views of a painter show the same marks."""
    page = opened(more="\nfrom IPython.display import display\ndisplay(painter)")
    amounts = page.root.locator(".imagegen-painter-amount")
    page.notebook.until(lambda: amounts.count() == 2, "two views")
    page.page.keyboard.press("Escape")
    box = page.stage.first.bounding_box()
    page.page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 300, box["y"] + 100, steps=5)
    page.page.mouse.up()
    page.notebook.until(lambda: len(set(amounts.all_inner_texts())) == 1 and "%" in amounts.first.inner_text(), "both to show the same")


def test_a_refusal_is_shown_and_nothing_is_lost(opened):
    """What Python refuses is shown in the painter, whose marks and button are still there."""
    page = opened(more="\npainter._on_mask = lambda png: painter.refuse('It does not fit. <b>Nothing</b> was charged.')")
    page.drag((0.2, 0.5), (0.8, 0.5))
    amount = page.amount
    page.button("Use this mask").click()
    page.root.get_by_role("alert").get_by_text("It does not fit. <b>Nothing</b> was charged.").wait_for()
    assert page.amount == amount
    assert page.button("Use this mask").get_attribute("aria-disabled") == "false"


def test_a_painter_that_starts_from_a_mask(opened):
    """The mask is shown, and what is marked is added to it."""
    page = opened(
        before="""
start = Image.new("RGBA", SIZE, (0, 0, 0, 255)); start.paste((0, 0, 0, 0), (0, 0, 600, 800)); start.save("start.png")
from imagegen_magic.imaging.reference import prepare
""",
        start='prepare(open("start.png", "rb").read(), name="start.png", max_bytes=10**7)',
    )
    page.notebook.until(lambda: page.root.count() == 1, "one painter")
    page.notebook.until(lambda: "50 %" in page.amount, "the mask")
    page.button("Rectangle").click()
    page.drag((0.5, 0.0), (0.75, 1.0))
    page.notebook.until(lambda: "75 %" in page.amount, "the rectangle")


def test_the_saved_notebook_shows_the_mask(opened):
    """Saved and reopened without a kernel, the image with its mask stands where the painter was; no widget is in the file."""
    page = opened(own=True)
    page.drag((0.2, 0.5), (0.8, 0.5))
    page.use()
    page.notebook.output_area(0).get_by_text("-mask.png").wait_for()
    page.notebook.save()
    page.notebook.reopen(kernel=False)
    area = page.notebook.output_area(0)
    image = area.locator("img").first
    image.wait_for()
    page.notebook.until(lambda: image.evaluate("image => image.complete && image.naturalWidth > 600"), "the image to be drawn")
    assert "% to be repainted" in area.inner_text()
    text = page.notebook.path.read_text(encoding="utf-8")
    assert "widget-view" not in text
    assert "widget-state" not in text
    assert len(text) < 250_000


def test_a_notebook_saved_with_an_open_painter(opened):
    """Saved while the painter is open and reopened, the image is in its place, with a line that no mask was made."""
    page = opened(own=True)
    sheet = page.notebook.output_area(0).locator(".imagegen-mask-sheet")
    assert not sheet.is_visible()
    page.notebook.reopen_with_broken_widget(0)
    sheet = page.notebook.output_area(0).locator(".imagegen-mask-sheet")
    sheet.locator("img").wait_for()
    assert "no mask is finished" in sheet.inner_text()
    assert len(page.notebook.path.read_text(encoding="utf-8")) < 250_000


def test_looks_in_both_themes(opened):
    """In both themes, wide and narrow, nothing is wider than its place and axe-core has no serious finding."""
    page = opened()
    page.drag((0.2, 0.5), (0.8, 0.5))
    page.root.locator("summary").click()
    for theme, width in (("JupyterLab Light", 1100), ("JupyterLab Dark", 640)):
        page.notebook.change_theme(theme)
        page.page.set_viewport_size({"width": width, "height": 1200})
        page.notebook.until(lambda: page.root.evaluate("root => root.getBoundingClientRect().right <= innerWidth"), f"{theme} to fit")
        assert max(page.root.evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)")) <= 0
        assert serious_violations(page.page, ".imagegen-painter") == []


# --- before and after

SLIDER = """
import base64, io
from IPython.display import HTML, display
from PIL import Image
from imagegen_magic.notebook.output import slider
def address(colour):
    memory = io.BytesIO(); Image.new("RGB", (640, 360), colour).save(memory, "PNG")
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode()
display(HTML(slider.html(address("#246"), address("#a84"), width=640, height=360)))
"""


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "untrusted"])
def test_the_slider_lives_on_in_a_saved_notebook(lab, trusted):
    """In a reopened notebook, trusted or not, the line is dragged, and the keyboard takes the left image away."""
    name = f"slider-{trusted}.ipynb"
    with lab.open(name, [SLIDER, "0"]) as notebook:
        notebook.run(0)
        notebook.page.locator(".imagegen-slider").wait_for()
        notebook.save()
    if not trusted:  # the file was changed, so its signature no longer matches
        path = lab.folder / name
        path.write_text(path.read_text(encoding="utf-8").replace("slider.html(", "slider.html (", 1), encoding="utf-8")
    with lab.open(name, theme="JupyterLab Dark") as notebook:
        page = notebook.page
        over = page.locator(".imagegen-slider-over")
        over.wait_for()
        assert page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets[0].model.trusted") is trusted
        images = page.locator(".imagegen-slider img")
        assert (
            images.evaluate_all("all => all.map(one => [one.complete && one.naturalWidth, one.clientWidth, one.clientHeight])")
            == [[640, 640, 360]] * 2
        )
        box = over.bounding_box()
        corner = (box["x"] + box["width"] - 8, box["y"] + box["height"] - 8)
        page.mouse.move(*corner)
        page.mouse.down()
        page.mouse.move(corner[0] + 120, corner[1], steps=5)
        page.mouse.up()
        assert abs(over.bounding_box()["width"] - box["width"] - 120) <= 4
        page.locator(".imagegen-slider summary").focus()
        page.keyboard.press("Enter")
        over.wait_for(state="hidden")
        assert serious_violations(page, ".imagegen-slider") == []


def test_the_slider_fits_a_narrow_page(lab):
    """On a page narrower than its images both shrink alike, lie over one another exactly, and the line still halves them."""
    with lab.shared([SLIDER, "0"]) as notebook:
        notebook.page.set_viewport_size({"width": 500, "height": 900})
        notebook.run(0)
        slider = notebook.page.locator(".imagegen-slider")
        slider.wait_for()
        boxes = [image.bounding_box() for image in slider.locator("img").all()]
        assert boxes[0] == boxes[1]
        assert boxes[0]["x"] + boxes[0]["width"] <= 500
        assert boxes[0]["width"] / boxes[0]["height"] == pytest.approx(640 / 360, rel=0.01)
        assert slider.locator(".imagegen-slider-over").bounding_box()["width"] == pytest.approx(boxes[0]["width"] / 2, abs=1)


# --- the marks themselves, in a bare page

MARKS = """source => { window.Marks = new Function(source.replace('export default', 'const front =') + ';return Marks')(); }"""


@pytest.fixture
def marks(browser):
    """A bare page that knows the painter's marks."""
    page = browser.new_page()
    page.evaluate(MARKS, Painter._esm.read_text() if hasattr(Painter._esm, "read_text") else str(Painter._esm))
    yield page
    page.close()


def test_every_step_is_undone_and_redone_exactly(marks):
    """After random strokes, rectangles, polygons and swaps, undo leads back through every state to nothing, and redo forward again."""
    assert (
        marks.evaluate(
            """() => { let seed = 7; const chance = most => (seed = seed * 48271 % 2147483647) / 2147483647 * most;
        const marks = new Marks(350, 250); const states = [marks.values.slice()];
        for (let step = 0; step < 40; step++) {
          const kind = step % 4, erase = chance(1) > 0.7;
          if (kind === 3) marks.whole(old => 255 - old);
          else { marks.begin();
            if (kind === 0) marks.line(chance(350), chance(250), chance(60), chance(350), chance(250), chance(60), chance(1), erase);
            if (kind === 1) marks.rectangle(chance(350), chance(250), chance(350), chance(250), erase);
            if (kind === 2) marks.polygon([1, 2, 3, 4].map(() => [chance(350), chance(250)]), erase);
            marks.end(); }
          const changed = marks.values.some((value, at) => value !== states.at(-1)[at]);
          if (changed) states.push(marks.values.slice()); }
        const total = values => values.reduce((sum, value) => sum + value, 0);
        const same = other => marks.values.every((value, at) => value === other[at]) && marks.sum === total(other);
        if (marks.past.length !== states.length - 1) return [marks.past.length, states.length];
        for (let at = states.length - 2; at >= 0; at--) { marks.undo(); if (!same(states[at])) return ['undo', at]; }
        for (let at = 1; at < states.length; at++) { marks.redo(); if (!same(states[at])) return ['redo', at]; }
        return 'all' }"""
        )
        == "all"
    )


def test_what_undo_remembers_is_bounded(marks):
    """A dozen steps that change stripes all over a 4K picture remember at most 64 MiB, and the latest can always be undone."""
    past, remembered = marks.evaluate(
        """() => { const marks = new Marks(3840, 2160);
        for (let step = 0; step < 12; step++) { marks.begin();  // a striped tile takes one byte a pixel
          for (let left = 5 * step; left < 3840; left += 64) marks.rectangle(left, 0, left + 5, 2160, false); marks.end(); }
        return [marks.past.length, marks.undoBytes] }"""
    )
    assert 1 <= past < 12
    assert remembered <= 64 * 2**20


# --- the whole story: paint, edit, look at the drift

SCENE = """
%load_ext imagegen_magic
from PIL import Image, ImageDraw, ImageOps
photo = ImageOps.colorize(Image.linear_gradient("L").resize((1024, 640)), "#25325c", "#ffd9a0", mid="#d98a76")
ImageDraw.Draw(photo).polygon([(0, 640), (0, 440), (330, 350), (660, 450), (1024, 380), (1024, 640)], fill="#3c3858")
photo.save("photo.png")
"""
EDIT = "%%imagegen -p gccai --size 1024x640 -q low --ref photo.png --mask mask -o edited\nA sailing boat"
CELLS = (
    SCENE,
    "%imagegen mask photo.png",
    EDIT,
    "%imagegen drift edited",
    f"{EDIT} [[fault: mask-ignored]]",
    "%imagegen drift edited",
)


def _shot(notebook, name):
    """Take a screenshot into the folder that the variable SCREENSHOTS names."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for cell in range(1, 6):
            notebook.picture(cell, Path(folder) / f"editing-{name}-{cell}.png")


def _paint(notebook):
    """Mark the middle of the picture with the rectangle, by mouse, and use the mask."""
    page = notebook.page
    notebook.run(1)
    stage = page.locator(".imagegen-painter-stage")
    stage.wait_for()
    page.wait_for_function("() => document.querySelector('.imagegen-painter-percent').textContent")
    stage.scroll_into_view_if_needed()
    page.locator(".imagegen-painter").get_by_role("button", name="Rectangle").click()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.35, box["y"] + box["height"] * 0.35)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.65, box["y"] + box["height"] * 0.65, steps=8)
    page.mouse.up()
    page.locator(".imagegen-painter").get_by_role("button", name="Use this mask").click()
    notebook.until(lambda: page.locator(".imagegen-painter").count() == 0, "the painter to close")


def _shown(notebook, cell):
    """Return the text of a cell's output, once the page has drawn it."""
    area = notebook.output_area(cell)
    area.scroll_into_view_if_needed()
    notebook.until(lambda: area.inner_text().strip(), f"the output of cell {cell}")
    return area.inner_text()


def test_paint_a_mask_edit_and_see_whether_the_gateway_kept_to_it(lab, gateway):
    """An edit within the mask is quiet, one outside is reported, the drift is drawn; reopened in the dark theme, all of it is there."""
    with lab.open("editing.ipynb", CELLS) as notebook:
        notebook.run(0)
        _paint(notebook)
        assert notebook.value("[mask.size, *(mask.getpixel(place)[3] for place in ((512, 320), (30, 30)))]") == [(1024, 640), 0, 255]
        notebook.run(2)
        assert notebook.value("edited[0].open().convert('RGB').getpixel((20, 20)) == photo.getpixel((20, 20))")
        for cell in range(3, len(CELLS)):
            notebook.run(cell)
        first, second = ((entry["json"]["image_urls"], entry["json"]["mask_url"]) for entry in gateway.accepted()[-2:])
        assert first == second  # uploaded once
        _check(notebook)
        _has_no_serious_finding(notebook)
        _shot(notebook, "light")
        notebook.save()
        assert notebook.console_errors == []
    with lab.open("editing.ipynb", theme="JupyterLab Dark") as again:
        again.until(lambda: again.output_area(5).locator("img").count() == 3, "the saved pictures")
        _check(again)
        assert again.output_area(1).locator("img").first.evaluate("image => image.naturalWidth > 100")
        assert "model not found" not in again.page.locator(".jp-Notebook").inner_text()
        _has_no_serious_finding(again)
        _shot(again, "dark")


def _check(notebook):
    """Look at what the cells show: the mask, two edits, and what each changed."""
    assert "9 % to be repainted" in _shown(notebook, 1)
    assert "protects" not in _shown(notebook, 2)
    assert "nothing changed of what the mask protects" in _shown(notebook, 3)
    (share,) = re.findall(r"the service changed (\d+) % of what the mask protects \(%imagegen drift \d+ shows where\)", _shown(notebook, 4))
    assert int(share) > 20
    strong = notebook.output_area(4).locator("strong", has_text="of what the mask protects")
    assert strong.is_visible()
    assert f"the service changed {share} % of what the mask protects" in _shown(notebook, 5)
    for cell in (3, 5):
        assert notebook.output_area(cell).locator("img").count() == 3
        assert notebook.output_area(cell).locator(".imagegen-slider").is_visible()


def _has_no_serious_finding(notebook):
    """Let axe-core look at the outputs, except plain images, which JupyterLab itself draws without an alternative text."""
    notebook.page.evaluate("() => document.querySelectorAll('.jp-Cell-outputArea').forEach(area => area.setAttribute('data-axe', ''))")
    serious = [(rule, html) for rule, nodes in serious_violations(notebook.page, "[data-axe]") for html in nodes]
    assert [(rule, html[:200]) for rule, html in serious if rule != "image-alt" or " alt=" in html or "imagegen" in html] == []


# --- in the panel


def test_paint_a_mask_in_the_panel_and_edit(lab, gateway):
    """A file is typed as reference, its mask is painted and shown; the request carries both, and the mask can be taken away."""
    Image.linear_gradient("L").resize((1024, 1024)).convert("RGB").save(lab.folder / "gradient.png")
    cells = [LOAD, "panel = Panel(provider='apimart', size='1:1', quality='low')\npanel", "print(panel.request.mask)"]
    with lab.shared(cells) as notebook:
        page = notebook.page
        notebook.run(0)
        notebook.run(1)
        root = page.locator(".imagegen-panel")
        root.get_by_role("button", name="References and mask").click()
        field = root.get_by_label("Add a reference")
        field.fill("gradient.png")
        field.press("Enter")
        root.get_by_role("button", name="Paint a mask").click()
        stage = root.locator(".imagegen-painter-stage")
        stage.wait_for()
        assert {slider.bounding_box()["height"] for slider in root.locator("input[type=range]").all()} == {24}
        box = stage.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] * 0.5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + box["height"] * 0.5, steps=5)
        page.mouse.up()
        root.get_by_role("button", name="Use this mask").click()
        stage.wait_for(state="detached")
        root.get_by_text(re.compile(r"Mask: gradient-mask\.png.*% to be repainted")).wait_for()
        prompt = root.get_by_label("Prompt")
        prompt.fill("A moon")
        prompt.press("Control+Enter")
        notebook.until(lambda: root.locator(".imagegen-gallery-card").count() == 1, "the picture")
        (sent,) = gateway.accepted("A moon")
        assert len(sent["json"]["image_urls"]) == 1
        assert sent["json"]["mask_url"].startswith("http")
        root.get_by_role("button", name="Remove mask").click()
        root.get_by_role("button", name="Paint a mask").wait_for()
        notebook.run(2)
        assert notebook.outputs(2)[0]["text"] == "None\n"
        assert notebook.console_errors == []
