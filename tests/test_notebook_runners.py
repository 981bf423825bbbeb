"""Notebooks run without a page: nbclient and papermill, and what nbconvert makes of the result."""

import base64
import json

import nbclient
import nbformat
import papermill
import pytest
from frontend import environment
from lab import write_notebook
from nbconvert import HTMLExporter, MarkdownExporter
from servers import sandbox_server

CELLS = (
    "%load_ext imagegen_magic",
    "%%imagegen -p evolink -q low -n 2 -o foxes\nA fox <b>&</b> a hen",
    "%%imagegen -p xingchao -q low -n 2 --no-wait -o job\nLater",
    "job.wait();",
    "print(len(foxes), len(job.generation))",
)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with a notebook, and this process's environment pointing the kernels at a gateway that takes a third of a second."""
    with sandbox_server(duration=0.3) as server:
        for name, value in environment(tmp_path, IMAGEGEN_POLL_SECONDS="0.1", **server.environ()).items():
            monkeypatch.setenv(name, value)
        write_notebook(tmp_path / "story.ipynb", CELLS)
        yield tmp_path


def outputs(notebook, cell):
    """Return the MIME types of a cell's outputs."""
    return [sorted(output.get("data", {})) for output in notebook.cells[cell].outputs]


PICTURE, LINE = ["image/jpeg", "text/plain"], ["text/html", "text/plain"]


def executed(folder):
    """Execute the notebook as `jupyter execute` does."""
    notebook = nbformat.read(folder / "story.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.validate(notebook)
    return notebook


def test_nbclient_holds_pictures_and_no_widget(world):
    """An executed notebook holds each picture with its caption, in front and in the background, and no widget at all."""
    notebook = executed(world)
    assert outputs(notebook, 1) == [PICTURE, LINE] * 2
    assert outputs(notebook, 2) == [PICTURE, LINE] * 2
    assert notebook.cells[4].outputs[0].text.strip() == "2 2"
    assert "widgets" not in notebook.metadata
    assert "widget-view" not in json.dumps(notebook)


def test_nothing_blank_stays_where_pictures_did_not_come(world, monkeypatch):
    """Behind a cell, every output that was kept free for a picture says in the end what became of it; no output is blank."""
    with sandbox_server(duration=0.1) as server:
        for name, value in server.environ().items():
            monkeypatch.setenv(name, value)
        server.arm("failed", times=1, match="half fails")
        server.arm("failed", times=None, match="all fail")
        cells = (
            "%load_ext imagegen_magic",
            "%%imagegen -p apimart -s 1:1 -q low -n 8 --no-wait\nhalf fails",
            "%%imagegen -p evolink -q low --no-wait\nall fail",
            "%%imagegen -p evolink -q low --sweep style=oil,ink --yes --no-wait\na fox in {{style}}",
            "%%imagegen -p evolink -q low --sweep style=oil,ink --yes --no-wait\nall fail in {{style}}",
            "%%imagegen -p evolink -q low -n 26 --no-wait\nmany foxes",
            "%imagegen wait",
        )
        write_notebook(world / "story.ipynb", cells)
        notebook = nbformat.read(world / "story.ipynb", as_version=4)
        nbclient.NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(world)}}).execute()
    words = [[output.data["text/plain"].strip() for output in cell.outputs] for cell in notebook.cells[1:-1]]
    assert [cell for cell in words if not all(cell)] == []
    assert outputs(notebook, 1) == [PICTURE, LINE] * 4 + [LINE, LINE] * 4
    assert words[0][8] == "picture 5 of 8 did not come"
    assert "charged" in words[0][9]
    assert words[0][10:12] == ["picture 6 of 8 did not come", "for the same reason as picture 5"]
    assert [len(cell) for cell in words] == [16, 2, 3, 3, 49]
    assert all(line.startswith("no picture") for line in (words[1][0], words[3][1]))
    assert "charged" in words[1][1]
    assert "charged" in words[3][2]


def test_nbconvert_keeps_picture_caption_and_path(world):
    """The pages that nbconvert makes hold the picture, its caption and its path, with the prompt never as markup."""
    notebook = executed(world)
    page, _ = HTMLExporter().from_notebook_node(notebook)
    for output in notebook.cells[1].outputs[::2]:
        assert output.data["image/jpeg"][:200] in page.replace("\n", "")
    assert 'href="imagegen/fox-' in page
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    assert "evolink gpt-image-2" in text
    assert any(
        base64.b64encode(content)[:64].decode() in notebook.cells[1].outputs[0].data["image/jpeg"]
        for content in resources["outputs"].values()
    )


def test_papermill_holds_pictures_and_no_widget(world):
    """papermill, which saves while it runs, ends with the same outputs."""
    papermill.execute_notebook(world / "story.ipynb", world / "done.ipynb", cwd=world, progress_bar=False, log_output=False)
    notebook = nbformat.read(world / "done.ipynb", as_version=4)
    assert outputs(notebook, 1) == [PICTURE, LINE] * 2
    assert "widgets" not in notebook.metadata


def test_failure_ends_the_run_with_one_line(world):
    """A cell that makes nothing stops the run, with an error that says what to do."""
    write_notebook(world / "story.ipynb", (CELLS[0], "%%imagegen -p apimart -s 1:1 -r 4k\nToo large"))
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="UnsupportedOption"):
        executed(world)
