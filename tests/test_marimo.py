"""marimo: `generate` works, a Generation and a list of its pictures show, and the panel says where it works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from frontend import environment
from scripted import picture

from imagegen_magic.result import Generation

APP = """import marimo

app = marimo.App()


@app.cell
async def _():
    from imagegen_magic import Panel, generate

    foxes = await generate("a fox & a hen", n=2, sandbox=True)
    foxes
    return Panel, foxes


@app.cell
def _(foxes):
    list(foxes)
    return


@app.cell
def _(foxes):
    foxes[0]
    return


@app.cell
def _(Panel):
    Panel(sandbox=True)
    return
"""


@pytest.mark.long
def test_cells_show_in_marimo(tmp_path):
    """One run of `marimo export html`: no cell ends in an error, pictures have their prompt, and the panel a line."""
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "-m", "marimo", "export", "html", "app.py", "--no-sandbox", "-o", "app.html"]
    homes = {name: str(tmp_path) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path, **homes), capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr[-4000:]
    generation, pictures, single, panel = outputs(tmp_path / "app.html")
    assert [each.count("data:image/") for each in (generation, pictures, single)] == [2, 2, 1]
    assert all("a fox &amp; a hen" in each for each in (generation, pictures, single))
    assert "It works in JupyterLab, Notebook, VS Code, Colab and Voilà: this page shows no widgets." in panel


def outputs(file: Path) -> list[str]:
    """Return the output of each cell of an exported page as text."""
    session = re.search(r'"session": (\{.*)', file.read_text(encoding="utf-8"))
    assert session
    cells = json.JSONDecoder().raw_decode(session[1])[0]["cells"]
    assert all(output["type"] == "data" for cell in cells for output in cell["outputs"])
    return ["".join(str(text) for output in cell["outputs"] for text in output["data"].values()) for cell in cells]


def test_pictures_and_results_are_html():
    """What marimo asks of each object: a result shows all its pictures and a picture itself, each with its prompt, escaped."""
    images = tuple(picture(number, prompt="a fox & a hen") for number in range(2))
    for shown, count in ((Generation(images, images[0].request, "evolink", 1.0, ()), 2), (images[0], 1)):
        kind, html = shown._mime_()
        assert kind == "text/html"
        assert html.count("data:image/") == count
        assert "a fox &amp; a hen" in html


def test_many_pictures_are_bounded(own_world):
    """Hundreds of pictures are one sheet, with a link to each."""
    images = (picture(size=(96, 64)),) * 30
    shown = Generation(images, images[0].request, "evolink", 1.0, ())._mime_()[1]
    assert shown.count("<img") == 1
    assert shown.count("<a href=") == 30
    assert len(shown) < 300_000


def test_a_lost_file_is_words_in_marimo(own_world):
    """A picture whose file was moved is its text, escaped."""
    lost = picture()
    lost.path.unlink()
    kind, shown = lost._mime_()
    assert kind == "text/html"
    assert shown.startswith("&lt;GeneratedImage")
