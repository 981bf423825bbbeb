"""A sweep in a real JupyterLab: the grid that fills, the grid that stays, in both themes."""

import json
import os
import re

import pytest
from lab import Lab
from servers import sandbox_server

LOAD = "%load_ext imagegen_magic"
SWEEP = "%%imagegen -p {gateway} --size 1:1 --sweep style=oil,ink,chalk --sweep quality=low,medium -o foxes\na {{{{style}}}} fox in snow"


@pytest.fixture(scope="module")
def gateway():
    """A gateway whose tasks take a second and a half, so that a sweep is seen while it is made."""
    with sandbox_server(duration=1.5) as server:
        yield server


@pytest.fixture(scope="module")
def lab(tmp_path_factory, gateway):
    """One JupyterLab and one browser for all tests here."""
    folder = tmp_path_factory.mktemp("lab")
    settings = {"IMAGEGEN_POLL_SECONDS": "0.1", "IMAGEGEN_HOME": str(folder / "home"), "IMAGEGEN_UNKNOWN_PRICE": "0.1"}
    with Lab(folder, **settings, **gateway.environ()) as running:
        yield running


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_a_sweep_from_the_first_picture_to_the_saved_grid(lab, gateway, theme):
    """The grid is there from the beginning and fills; at the end one picture and a table stay, and no widget, without any error."""
    gateway.arm("held")  # one picture waits until the others were seen beside it
    cell = SWEEP.format(gateway="evolink")
    with lab.open(f"sweep-{theme}.ipynb", [LOAD, cell], theme=f"JupyterLab {theme}") as notebook:
        complaints = []
        notebook.page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        notebook.page.on("pageerror", lambda error: complaints.append(str(error)))
        notebook.run(0)
        notebook.start(1)
        area = notebook.output_area(1)
        area.locator(".imagegen-mosaic").first.wait_for()
        area.get_by_role("button", name="Cancel").wait_for()
        assert area.locator(".imagegen-mosaic i").count() == 6
        area.locator(".imagegen-mosaic i img").first.wait_for()
        _keep(notebook, f"sweep-running-{theme}.png")
        gateway.disarm()
        notebook.until(lambda: not notebook.busy(1), "the sweep's end")
        area.locator("img").first.wait_for()
        assert area.locator(".imagegen-mosaic").count() == 0
        area.locator("summary").click()
        assert area.locator("details img").count() == 6
        assert area.locator("details img").first.get_attribute("alt") == "a oil fox in snow"
        _keep(notebook, f"sweep-finished-{theme}.png")
        saved = notebook.save()
        assert "widgets" not in saved["metadata"]
        assert "widget-view" not in json.dumps(saved)
        assert [sorted(output["data"]) for output in saved["cells"][1]["outputs"]] == [
            ["text/html", "text/plain"],
            ["image/jpeg", "text/plain"],
            ["text/html", "text/plain"],
        ]
        assert [words for words in complaints if not re.search("favicon|404", words)] == []


def test_a_reopened_sweep_needs_no_kernel(lab):
    """Saved and opened again without a kernel, the grid and its table are there."""
    with lab.open("reopened.ipynb", [LOAD, SWEEP.format(gateway="apimart")]) as notebook:
        notebook.run(0)
        notebook.run(1)
        notebook.save()
        notebook.command("notebook:shutdown-kernel")
        notebook.page.route("**/api/sessions*", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
        notebook.load(kernel=False)
        area = notebook.output_area(1)
        area.locator("img").first.wait_for()
        assert area.locator("img").evaluate_all("all => all.every(img => img.complete && img.naturalWidth > 0)")
        assert "model not found" not in area.inner_text()


def test_asking_before_many_pictures(lab, gateway):
    """The question stands in the cell; a yes makes the pictures."""
    with lab.open("asking.ipynb", [LOAD, "%%imagegen -p evolink -q low --size 1:1 --repeat 21\nasked about"]) as notebook:
        notebook.run(0)
        notebook.start(1)
        field = notebook.output_area(1).locator("input.jp-Stdin-input")
        field.wait_for()
        assert "This is 21 pictures" in notebook.output_area(1).inner_text()
        assert gateway.submissions("asked about") == []
        field.fill("y")
        field.press("Enter")
        notebook.until(lambda: not notebook.busy(1), "the cell's end")
        assert len(gateway.accepted("asked about")) == 21


def _keep(notebook, name):
    """Take a screenshot into the folder that the variable SCREENSHOTS names, for a person to look at."""
    if folder := os.environ.get("SCREENSHOTS"):
        notebook.picture(1, f"{folder}/{name}")
