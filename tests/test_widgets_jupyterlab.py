"""The panel's widgets in a real JupyterLab in a real browser: mouse and keyboard, two views at once, and what they leave behind."""

import pytest
from lab import serious_violations

pytestmark = pytest.mark.timeout(400)

PICTURES = """
import base64, io
from IPython.display import display
from PIL import Image
from imagegen_magic.notebook.widgets.compare import Compare
from imagegen_magic.notebook.widgets.gallery import Gallery
from imagegen_magic.notebook.widgets.ratio_picker import RatioPicker
def url(number, width=60, height=40):
    memory = io.BytesIO()
    Image.new("RGB", (width, height), (number * 37 % 256, number * 91 % 256, 120)).save(memory, "PNG")
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode()
"""
PICKER = """
reasons = {"auto": "", "1:1": "", "4:3": "no <b>4k</b> at 4:3; nearest is 3:2", "3:2": "", "16:9": ""}
options = [{"value": value, "reason": reason} for value, reason in reasons.items()]
picker = RatioPicker(options=options, allow_pixels=True, pixel_hint="edges in multiples of 16", value="16:9")
def check(_):
    sides = [int(side) for side in picker.value.split("x")] if "x" in picker.value else [0]
    picker.error = "" if all(side % 16 == 0 for side in sides) else f"{picker.value}: an edge is no multiple of 16"
picker.observe(check, "value")
display(picker, picker)
"""
GALLERY = """
stars, actions, shelf = {2}, [], list(range(500))
def picture(id):
    caption = "<img src=x onerror=alert(1)>" if id == 1 else f"picture {id}"
    width, height = ((60, 40), (40, 60), (40, 40))[id % 3]
    return {"id": id, "thumbnail": url(id, width, height), "caption": caption, "alt": f"number {id}", "width": width * 10,
            "height": height * 10, "starred": id in stars, "different": id == 3}
def show(_=None):
    first = gallery.page * gallery.page_size
    gallery.total, gallery.pictures = len(shelf), [picture(id) for id in shelf[first:first + gallery.page_size]]
def act(action, id):
    actions.append((action, id))
    if action == "enlarge": gallery.enlarged = {"id": id, "url": url(id, 600, 400), "caption": f"large {id}"}
    if action == "copy-cell": gallery.copy(f"%%imagegen\\nnumber {id}", id)
    if action == "star": stars.symmetric_difference_update({id}); show()
    if action == "remove": shelf.remove(id); show()
    if action == "ledger": gallery.ledger = id == "all"
gallery = Gallery(act); gallery.observe(show, "page"); show()
display(gallery)
"""
COMPARE = """
compare = Compare(left={"url": url(1, 600, 400), "caption": "first", "alt": "a fox"},
    right={"url": url(2, 600, 400), "caption": "<i>second</i>"},
    prompt_left=[("a ", False), ("red", True), (" fox", False)], prompt_right=[("a ", False), ("<b>blue</b>", True), (" fox", False)],
    differences=[{"name": "quality", "left": "low", "right": "high"}, {"name": "seed", "left": None, "right": 7}])
display(compare, compare)
"""


@pytest.fixture(scope="module")
def lab(jupyterlab):
    """A workspace of this process's JupyterLab."""
    return jupyterlab.workspace("widgets")


@pytest.fixture
def opened(lab):
    """Show a widget in the first cell of the shared notebook; the console must stay without errors."""
    notebooks = []

    def opening(source, **options):
        notebooks.append(lab.shared([PICTURES + source, "pass"], **options))
        notebooks[-1].run(0)
        notebooks[-1].page.locator(".imagegen-widget").first.wait_for()
        return notebooks[-1]

    yield opening
    console_errors = [list(notebook.console_errors) for notebook in notebooks]
    for notebook in notebooks:
        notebook.close()
    assert console_errors == [[] for _ in notebooks]


def focused(notebook):
    """Return the name that the focused element goes by."""
    return notebook.page.evaluate(
        "() => (node => node.getAttribute('aria-label') || node.querySelector('img')?.alt || node.textContent)(document.activeElement)"
    )


def wait_until_it_fits(notebook):
    """Wait until no widget is wider than its container, at 600 and at 1600 pixels."""
    excess = "all => Math.max(...all.flatMap(one => [one, one.parentElement].map(node => node.scrollWidth - node.clientWidth)))"
    widgets = notebook.page.locator(".imagegen-widget")
    for width in (1600, 600):
        notebook.page.set_viewport_size({"width": width, "height": 900})
        notebook.page.wait_for_function("width => innerWidth === width", arg=width)
        notebook.until(lambda: widgets.evaluate_all(excess) <= 0, "the widgets to fit")


def test_ratio_by_mouse_and_keyboard(opened):
    """A click or an arrow key chooses a shape; an impossible one can be reached, shows the reason, and is not chosen; two views agree."""
    notebook = opened(PICKER)
    first, second = (notebook.page.get_by_role("radiogroup").nth(number) for number in (0, 1))
    assert first.get_by_role("radio").evaluate_all("all => all.map(one => one.tabIndex)") == [-1, -1, -1, -1, 0]
    first.get_by_role("radio", name="1:1").click()
    notebook.wait_for_value("picker.value", "1:1")
    first.get_by_role("radio", name="1:1").focus()
    notebook.page.keyboard.press("ArrowRight")
    assert focused(notebook) == "4:3"
    impossible = first.get_by_role("radio", name="4:3")
    reason = "no <b>4k</b> at 4:3; nearest is 3:2"
    assert [impossible.get_attribute(name) for name in ("title", "aria-description", "aria-disabled")] == [reason, reason, "true"]
    assert notebook.page.get_by_text(f"4:3: {reason}").count() == 1
    impossible.click(force=True)  # the browser driver would wait for it to become possible
    for key in ("x", "c", "Enter", " "):
        notebook.page.keyboard.press(key)
    notebook.wait_for_value("picker.value", "1:1")
    impossible.focus()
    notebook.page.keyboard.press("ArrowDown")
    notebook.wait_for_value("picker.value", "3:2")
    assert second.locator("[aria-checked=true]").all_inner_texts() == ["3:2"]
    first.get_by_role("radio", name="3:2").focus()
    notebook.page.keyboard.press("Home")
    notebook.wait_for_value("picker.value", "auto")
    assert notebook.page.locator(".jp-Notebook .jp-Cell").count() == 2
    assert serious_violations(notebook.page, ".imagegen-ratio") == []
    wait_until_it_fits(notebook)


def test_pixels_by_hand(opened):
    """Pixels reach Python as soon as they can be read, in one spelling; an error stands below, and a ratio empties the field."""
    notebook = opened(PICKER)
    fields = notebook.page.get_by_role("textbox", name="or pixels")
    place = notebook.page.locator(".imagegen-ratio").first
    fields.first.click()
    notebook.page.keyboard.type("1536 × 1024")
    place.get_by_text("3:2 · 1.57 MP").wait_for()
    notebook.wait_for_value("picker.value", "1536x1024")
    assert fields.nth(1).input_value() == "1536x1024"
    assert place.locator("[aria-checked=true]").count() == 0
    fields.first.fill("1530x1024")
    place.get_by_text("1530x1024: an edge is no multiple of 16").wait_for()
    assert fields.first.get_attribute("aria-invalid") == "true"
    fields.first.fill("15")
    notebook.page.keyboard.press("Enter")
    place.get_by_text("Width × height in pixels, as in 1536x1024").wait_for()
    notebook.wait_for_value("picker.value", "1530x1024")
    place.get_by_role("radio", name="16:9").click()
    notebook.wait_for_value("picker.value", "16:9")
    notebook.until(lambda: [fields.nth(number).input_value() for number in (0, 1)] == ["", ""], "the fields to be empty")
    notebook.until(lambda: fields.first.get_attribute("aria-invalid") == "false", "the error to go")


def test_gallery_of_500_pages(opened):
    """Of 500 pictures only the shown page is in the document; buttons and keys turn it, and focus stays in the gallery."""
    notebook = opened(GALLERY)
    cards = notebook.page.locator(".imagegen-gallery-card")
    count = notebook.page.locator(".imagegen-gallery-pages span").first
    assert (cards.count(), count.inner_text()) == (48, "1–48 of 500")
    notebook.page.get_by_role("button", name="Next page").first.click()
    notebook.page.get_by_role("button", name="number 48", exact=True).wait_for()
    assert (cards.count(), count.inner_text()) == (48, "49–96 of 500")
    notebook.page.get_by_role("button", name="number 48", exact=True).focus()
    notebook.page.keyboard.press("PageDown")
    notebook.page.get_by_role("button", name="number 96", exact=True).wait_for()
    assert focused(notebook) == "number 96"
    notebook.page.get_by_role("button", name="Last page").first.click()
    notebook.page.get_by_role("button", name="number 499", exact=True).wait_for()
    assert (cards.count(), count.inner_text()) == (20, "481–500 of 500")
    notebook.wait_for_value("gallery.page", 10)
    shapes = cards.first.locator("img").evaluate("one => [getComputedStyle(one).objectFit, one.naturalWidth, one.naturalHeight]")
    assert shapes == ["contain", 60, 40]
    wait_until_it_fits(notebook)


def test_gallery_by_keyboard(opened):
    """A picture is two stops of the Tab key, itself and its controls; arrows move among pictures, and among the controls of one."""
    notebook = opened(GALLERY)
    page = notebook.page
    page.get_by_role("button", name="number 0", exact=True).focus()
    columns = len(page.locator(".imagegen-gallery-grid").evaluate("one => getComputedStyle(one).gridTemplateColumns").split())
    for key, expected in (("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowUp", 1), ("ArrowLeft", 0), ("End", 47), ("Home", 0)):
        page.keyboard.press(key)
        assert focused(notebook) == f"number {expected}"

    def names_after(*keys):
        for key in keys:
            page.keyboard.press(key)
            yield focused(notebook)

    page.keyboard.press("ArrowRight")
    names_of_actions = ["Use these settings", "Use as reference", "Copy as cell", "Open file", "Differences from what was asked"]
    names = ["Select for comparing: number 1", "Star", *names_of_actions, "Remove from view (the file stays)"]
    assert list(names_after("Tab", *["ArrowRight"] * 8)) == [*names, names[0]]
    assert list(names_after("End", "Home", "ArrowRight", "Tab", "Tab")) == [names[-1], names[0], "Star", "number 2", "Star"]
    assert list(names_after("Shift+Tab", "Shift+Tab", "Tab", "Shift+Tab")) == ["number 2", "number 1", "Star", "number 1"]
    about = page.locator(".imagegen-gallery-card").nth(1).locator(".imagegen-gallery-about")
    page.get_by_role("button", name="number 1", exact=True).focus()
    notebook.until(lambda: about.evaluate("one => getComputedStyle(one).opacity") == "1", "the caption")
    assert about.locator("p").inner_text() == "<img src=x onerror=alert(1)>"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    notebook.wait_for_value("actions", [("star", 1)])
    assert serious_violations(notebook.page, ".imagegen-gallery") == []


def test_gallery_actions(opened):
    """Every action arrives with its picture; a change keeps the other pictures' nodes; focus goes to a neighbour of a removed one."""
    notebook = opened(GALLERY)
    page = notebook.page
    card = page.locator(".imagegen-gallery-card").nth(3)
    card.hover()
    page.locator(".imagegen-gallery-card").nth(4).evaluate("one => one.marked = true")
    for label in ("Use these settings", "Use as reference", "Open file", "Differences from what was asked", "Star"):
        card.get_by_role("button", name=label).click()
    page.locator(".imagegen-gallery-star[aria-pressed=true]").nth(1).wait_for()
    card.get_by_role("button", name="Remove from view").click()
    notebook.until(lambda: page.get_by_role("button", name="number 3", exact=True).count() == 0, "the picture to go")
    assert page.locator(".imagegen-gallery-card").nth(3).evaluate("one => one.marked") is True
    assert focused(notebook) == "number 4"
    page.get_by_role("button", name="All of the ledger").click()
    page.locator("button[aria-pressed=true]", has_text="All of the ledger").wait_for()
    boxes = page.locator(".imagegen-gallery-card input")
    for number in (5, 6, 7):
        page.locator(".imagegen-gallery-card").nth(number).hover()
        boxes.nth(number).click(force=True)
    page.get_by_text("Two are selected already: unselect one first").wait_for()
    assert [boxes.nth(number).is_checked() for number in (5, 6, 7)] == [True, True, False]
    buttons = ("use-settings", "use-reference", "open-file", "differences", "star", "remove")
    actions = [*((button, 3) for button in buttons), ("ledger", "all")]
    state = "(actions, gallery.selected, gallery.ledger)"
    notebook.wait_for_value(state, (actions, [6, 7], True))
    page.get_by_role("button", name="Clear").click()
    notebook.wait_for_value(state, (actions, [], True))


def test_large_view(opened):
    """A click shows the preview in a dialog; arrows go on, across pages too; Escape closes it and returns to the picture."""
    notebook = opened(GALLERY)
    page = notebook.page
    page.get_by_role("button", name="number 46", exact=True).click()
    dialog = page.get_by_role("dialog", name="Picture, enlarged")
    dialog.get_by_text("large 46").wait_for()
    assert dialog.locator("img").evaluate("async one => { await one.decode(); return one.naturalWidth }") == 600
    page.keyboard.press("ArrowRight")
    dialog.get_by_text("large 47").wait_for()
    page.keyboard.press("ArrowRight")
    dialog.get_by_text("large 48").wait_for()
    assert serious_violations(notebook.page, ".imagegen-gallery-large") == []
    page.keyboard.press("ArrowLeft")
    dialog.get_by_text("large 47").wait_for()
    dialog.get_by_role("button", name="Next picture").click()
    dialog.get_by_text("large 48").wait_for()
    page.keyboard.press("Escape")
    notebook.until(lambda: not dialog.is_visible(), "the dialog to close")
    assert focused(notebook) == "number 48"
    notebook.wait_for_value("(gallery.page, gallery.enlarged)", (1, {}))
    page.get_by_role("button", name="number 48", exact=True).click()
    dialog.get_by_text("large 48").wait_for()
    dialog.get_by_role("button", name="Close").click()
    notebook.wait_for_value("(gallery.page, gallery.enlarged)", (1, {}))


def test_copied_cell(opened):
    """The text is on the clipboard and reported as copied; if the browser forbids it, the text is offered and reported as failed."""
    notebook = opened(GALLERY)
    page = notebook.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    card = page.locator(".imagegen-gallery-card").nth(2)
    card.hover()
    card.get_by_role("button", name="Copy as cell").click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert page.evaluate("() => navigator.clipboard.readText()") == "%%imagegen\nnumber 2"
    notebook.wait_for_value("actions", [("copy-cell", 2), ("copied", 2)])
    page.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error('no') }; document.execCommand = () => false }")
    card.hover()
    card.get_by_role("button", name="Copy as cell").click()
    offered = page.get_by_role("dialog", name="Text to copy")
    assert offered.get_by_role("textbox").input_value() == "%%imagegen\nnumber 2"
    offered.get_by_role("button", name="Close").click()
    assert page.locator(".imagegen-gallery-text").count() == 0
    page.evaluate("() => { delete navigator.clipboard.writeText; delete document.execCommand }")
    notebook.wait_for_value("actions", [("copy-cell", 2), ("copied", 2), ("copy-cell", 2), ("copy-failed", 2)])


def test_motion_is_reduced(opened):
    """Transitions end if the system asks for reduced motion."""
    notebook = opened(GALLERY)
    about = notebook.page.locator(".imagegen-gallery-about").first
    notebook.page.emulate_media(reduced_motion="no-preference")
    assert about.evaluate("one => getComputedStyle(one).transitionDuration") == "0.12s"
    notebook.page.emulate_media(reduced_motion="reduce")
    assert about.evaluate("one => getComputedStyle(one).transitionProperty") == "none"


def test_removed_view_leaves_nothing(opened):
    """A removed view is freed with its listeners, and another view of the same model goes on."""
    notebook = opened(GALLERY + "display(gallery)")
    page = notebook.page
    views = page.locator(".imagegen-gallery")
    notebook.until(lambda: views.count() == 2, "two views")
    views.nth(0).evaluate("one => { window.gone = new WeakRef(one) }")
    page.locator(".jp-OutputArea-child").nth(0).evaluate(
        "() => { const area = jupyterapp.shell.currentWidget.content.widgets[0].outputArea; area.widgets[0].dispose() }"
    )
    notebook.execute("gallery.total = 7")
    page.get_by_text("7 pictures").first.wait_for()
    devtools = page.context.new_cdp_session(page)

    def is_freed():
        devtools.send("HeapProfiler.collectGarbage")
        return page.evaluate("() => window.gone.deref() === undefined")

    notebook.until(is_freed, "the removed view to be freed")
    devtools.detach()


def test_slider_by_mouse_and_keyboard(opened):
    """Dragging and keys move the line, in both views and in Python; side by side shows both pictures whole."""
    notebook = opened(COMPARE)
    page = notebook.page
    first, second = (page.get_by_role("slider").nth(number) for number in (0, 1))
    place = page.locator(".imagegen-compare-stage").first.bounding_box()
    assert round(place["width"] / place["height"], 1) == 1.5
    middle = place["y"] + place["height"] / 2
    page.mouse.move(place["x"] + place["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] * 0.25, middle, steps=5)
    page.mouse.up()
    notebook.wait_for_value("(round(compare.position, 2), compare.side_by_side)", (0.25, False))
    assert [one.get_attribute("aria-valuenow") for one in (first, second)] == ["25", "25"]
    first.focus()
    for key in ("ArrowRight", "ArrowRight", "PageUp", "ArrowLeft"):
        page.keyboard.press(key)
    notebook.wait_for_value("(round(compare.position, 2), compare.side_by_side)", (0.37, False))
    first.focus()
    page.keyboard.press("End")
    assert first.get_attribute("aria-valuetext") == "100 % of the left picture, 0 % of the right"
    page.keyboard.press("Home")
    notebook.wait_for_value("(round(compare.position, 2), compare.side_by_side)", (0.0, False))
    page.get_by_role("button", name="Side by side").first.click()
    notebook.wait_for_value("(round(compare.position, 2), compare.side_by_side)", (0.0, True))
    assert page.locator(".imagegen-compare-pair:visible img").evaluate_all("all => all.every(one => one.naturalWidth === 600)")
    assert page.get_by_role("slider").count() == 0


def test_differences_are_marked(opened):
    """Changed words are marked and differing settings stand in a table, as text and nothing else, in both themes and widths."""
    notebook = opened(COMPARE, theme="JupyterLab Dark")
    about = notebook.page.locator(".imagegen-compare-about").first
    about.wait_for()
    assert about.locator("mark").all_inner_texts() == ["red", "<b>blue</b>"]
    assert about.locator("tbody tr").all_inner_texts() == ["quality\tlow\thigh", "seed\t–\t7"]
    assert notebook.page.get_by_text("B: <i>second</i>").first.is_visible()
    assert serious_violations(notebook.page, ".imagegen-compare") == []
    wait_until_it_fits(notebook)
