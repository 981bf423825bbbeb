"""The panel's painter in a real JupyterLab: a file as reference, a mask painted on it, an edit that keeps to it."""

import re

import pytest
from lab import Lab
from PIL import Image
from servers import sandbox_server

pytestmark = pytest.mark.timeout(300)
LOAD = "%load_ext imagegen_magic\nfrom imagegen_magic import Panel"
SILENT = re.compile(r"favicon|ResizeObserver loop")


@pytest.fixture(scope="module")
def gateway():
    """Gateways on a socket, whose tasks take half a second."""
    with sandbox_server(duration=0.5) as server:
        yield server


@pytest.fixture(scope="module")
def lab(tmp_path_factory, gateway):
    """One JupyterLab with a picture beside its notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    Image.linear_gradient("L").resize((1024, 1024)).convert("RGB").save(folder / "photo.png")
    with Lab(folder, IMAGEGEN_POLL_SECONDS="0.1", IMAGEGEN_HOME=str(folder / "home"), **gateway.environ()) as running:
        yield running


def test_paint_a_mask_in_the_panel_and_edit(lab, gateway):
    """A file is typed as reference, its mask is painted and shown; the request carries both, and the mask can be taken away."""
    cells = [LOAD, "panel = Panel(provider='apimart', size='1:1', quality='low')\npanel", "print(panel.request.mask)"]
    with lab.open("panel.ipynb", cells) as notebook:
        page, complaints = notebook.page, []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and not SILENT.search(said.text) and complaints.append(said.text))
        notebook.run(0)
        notebook.run(1)
        root = page.locator(".imagegen-panel")
        field = root.get_by_label(re.compile("^References"))
        field.fill("photo.png")
        field.press("Enter")
        root.get_by_role("button", name="Paint a mask").click()
        stage = root.locator(".imagegen-painter-stage")
        stage.wait_for()
        box = stage.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] * 0.5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + box["height"] * 0.5, steps=5)
        page.mouse.up()
        root.get_by_role("button", name="Use this mask").click()
        stage.wait_for(state="detached")
        root.get_by_text(re.compile(r"Mask: photo-mask\.png.*% to be repainted")).wait_for()
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
        assert complaints == []
