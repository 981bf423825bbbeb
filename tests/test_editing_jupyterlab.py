"""The editing story in a real JupyterLab in a real browser: paint a mask with the mouse, edit with it, and see what became of it."""

import os
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from lab import Lab
from servers import sandbox_server

pytestmark = pytest.mark.timeout(300)
SILENT = re.compile(r"favicon|ResizeObserver loop")
SCENE = """
%load_ext imagegen_magic
from PIL import Image, ImageDraw, ImageOps
photo = ImageOps.colorize(Image.linear_gradient("L").resize((1536, 1024)), "#25325c", "#ffd9a0", mid="#d98a76")
ImageDraw.Draw(photo).polygon([(0, 1024), (0, 700), (500, 560), (1000, 720), (1536, 600), (1536, 1024)], fill="#3c3858")
photo.save("NAME.png")
"""
EDIT = "%%imagegen -p gccai --size 1536x1024 --ref NAME.png --mask mask -o edited\nA sailing boat"
CELLS = (
    SCENE,
    "%imagegen mask NAME.png",
    EDIT,
    "%imagegen drift edited",
    f"{EDIT} [[fault: mask-ignored]]",
    "%imagegen drift edited",
    "print([mask.getpixel(place)[3] for place in ((768, 512), (30, 30))], edited[0].id)",
)


@pytest.fixture(scope="module")
def gateway():
    """A gateway whose tasks take a fifth of a second."""
    with sandbox_server(duration=0.2) as running:
        yield running


@pytest.fixture(scope="module")
def lab(tmp_path_factory, gateway):
    """One JupyterLab and one browser for all tests here."""
    folder = tmp_path_factory.mktemp("lab")
    with Lab(folder, IMAGEGEN_POLL_SECONDS="0.1", IMAGEGEN_HOME=str(folder / "home"), **gateway.environ()) as running:
        yield running


def _shot(notebook, name):
    """Take a screenshot into the folder that the variable SCREENSHOTS names, for a person to look at."""
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
    """Return a cell's output as it reads, once the page has drawn it."""
    area = notebook.output_area(cell)
    area.scroll_into_view_if_needed()
    notebook.until(lambda: area.inner_text().strip(), f"the output of cell {cell}")
    return area.inner_text()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_paint_a_mask_edit_and_see_whether_it_was_obeyed(lab, gateway, theme):
    """An obedient edit is quiet, a disobedient one is told; the drift is drawn; saved and reopened, all of it is there."""
    name = f"editing-{theme.split()[1].lower()}"
    complaints = []
    with lab.open(f"{name}.ipynb", [cell.replace("NAME", name) for cell in CELLS], theme=theme) as notebook:
        notebook.page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        notebook.page.on("pageerror", lambda error: complaints.append(str(error)))
        notebook.run(0)
        _paint(notebook)
        for cell in range(2, len(CELLS)):
            notebook.run(cell)
        first, second = ((entry["json"]["image_urls"], entry["json"]["mask_url"]) for entry in gateway.accepted()[-2:])
        assert first == second  # uploaded once
        _check(notebook)
        numbers = notebook.outputs(6)[0]["text"]
        assert re.fullmatch(r"\[0, 255\] \d+\n", numbers)
        _has_no_serious_finding(notebook)
        _shot(notebook, theme.split()[1].lower())
        notebook.save()
    with lab.open(f"{name}.ipynb", theme=theme) as again:
        again.until(lambda: again.output_area(5).locator("img").count() == 3, "the saved pictures")
        _check(again)
        assert again.output_area(1).locator("img").first.evaluate("image => image.naturalWidth > 100")
        assert "model not found" not in again.page.locator(".jp-Notebook").inner_text()
    assert [words for words in complaints if not SILENT.search(words)] == []


def _check(notebook):
    """Look at what the cells show: the mask, two edits, and what each changed."""
    assert "9 % to be repainted" in _shown(notebook, 1)
    assert "protects" not in _shown(notebook, 2)
    assert "nothing changed of what the mask protects" in _shown(notebook, 3)
    (share,) = re.findall(r"the gateway changed (\d+) % of what the mask protects \(%imagegen drift \d+ shows where\)", _shown(notebook, 4))
    assert int(share) > 20
    strong = notebook.output_area(4).locator("strong", has_text="of what the mask protects")
    assert strong.is_visible()
    assert f"the gateway changed {share} % of what the mask protects" in _shown(notebook, 5)
    for cell in (3, 5):
        assert notebook.output_area(cell).locator("img").count() == 3
        assert notebook.output_area(cell).locator(".imagegen-slider").is_visible()


def _has_no_serious_finding(notebook):
    """Let axe-core look at the outputs, but for what JupyterLab itself draws of plain pictures: those have no alternative text there."""
    notebook.page.evaluate("() => document.querySelectorAll('.jp-Cell-outputArea').forEach(area => area.setAttribute('data-axe', ''))")
    found = Axe().run(notebook.page, context="[data-axe]", options={"resultTypes": ["violations"]}).response["violations"]
    serious = [(one["id"], node["html"]) for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"]]
    assert [(name, html[:200]) for name, html in serious if name != "image-alt" or " alt=" in html or "imagegen" in html] == []
