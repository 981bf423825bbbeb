"""A sweep and a vote in a real JupyterLab: the grid that fills, the grid that stays, a ranking by keyboard alone."""

import json
import os

import pytest
from lab import serious_violations

pytestmark = pytest.mark.timeout(400)

LOAD = "%load_ext imagegen_magic"
IMAGE_TYPES = ("image/jpeg", "image/png")  # of a preview, whichever is smaller
SWEEP = "%%imagegen -p {gateway} --size 1:1 --sweep style=oil,ink,chalk --sweep quality=low,medium -o foxes\na {{{{style}}}} fox in snow"


@pytest.fixture(scope="module")
def lab(jupyterlab, sandbox_process):
    """A workspace of this process's JupyterLab."""
    return jupyterlab.workspace("studies", IMAGEGEN_POLL_SECONDS="0.1", IMAGEGEN_UNKNOWN_PRICE="0.1", **sandbox_process.environ())


def test_a_sweep_from_the_first_picture_to_the_reopened_grid(lab, gateway):
    """The grid is there from the beginning and fills; at the end an image and a table stay, and no widget.

    Saved and opened again without a kernel, the grid and its table are there.
    """
    gateway.arm("held")  # one picture waits until the others have been drawn beside it
    with lab.open("sweep.ipynb", [LOAD, SWEEP.format(gateway="evolink")], theme="JupyterLab Dark") as notebook:
        notebook.run(0)
        notebook.start(1)
        area = notebook.output_area(1)
        area.locator(".imagegen-mosaic").first.wait_for()
        area.get_by_role("button", name="Cancel").wait_for()
        assert area.locator(".imagegen-mosaic i").count() == 6
        area.locator(".imagegen-mosaic i img").first.wait_for()
        _keep(notebook, "sweep-running.png")
        gateway.disarm()
        notebook.until(lambda: not notebook.busy(1), "the sweep's end")
        area.locator("img").first.wait_for()
        assert area.locator(".imagegen-mosaic").count() == 0
        area.locator("summary").click()
        assert area.locator("details img").count() == 6
        assert area.locator("details img").first.get_attribute("alt") == "a oil fox in snow"
        _keep(notebook, "sweep-finished.png")
        saved = notebook.save()
        assert "widgets" not in saved["metadata"]
        assert "widget-view" not in json.dumps(saved)
        words = ["text/html", "text/plain"]
        types = [sorted(output["data"]) for output in saved["cells"][1]["outputs"]]
        assert types in [[words, words, [image, *words], words] for image in IMAGE_TYPES]  # the second one hides itself
        notebook.reopen(kernel=False)
        area.locator("img").first.wait_for()
        is_drawn = "all => all.length > 0 && all.every(img => img.complete && img.naturalWidth > 0)"
        notebook.until(lambda: area.locator("img").evaluate_all(is_drawn), "the saved images to be drawn")
        assert "model not found" not in area.inner_text()
        assert notebook.console_errors == []


def test_asking_before_many_pictures(lab, gateway):
    """The question stands in the cell; a yes makes the pictures."""
    cells = [f"{LOAD}\n%config ImageGenMagics.ask_above_pictures = 2", "%%imagegen -p evolink -q low --size 1:1 --repeat 3\nmany foxes"]
    with lab.shared(cells) as notebook:
        notebook.run(0)
        notebook.start(1)
        field = notebook.output_area(1).locator("input.jp-Stdin-input")
        field.wait_for()
        assert "This is 3 pictures" in notebook.output_area(1).inner_text()
        assert gateway.submissions("many foxes") == []
        field.fill("y")
        field.press("Enter")
        notebook.until(lambda: not notebook.busy(1), "the cell's end")
        assert len(gateway.accepted("many foxes")) == 3


def _keep(notebook, name):
    """Take a screenshot into the folder that the variable SCREENSHOTS names."""
    if folder := os.environ.get("SCREENSHOTS"):
        notebook.picture(1, f"{folder}/{name}")


# --- voting

SETUP = """%load_ext imagegen_magic
import sqlite3, os
from ledgers import saved
foxes = saved('a red <b>fox</b>', count=4)
db = sqlite3.connect(os.environ['IMAGEGEN_HOME'] + '/ledger.sqlite')"""
VOTES = "[tuple(row) for row in db.execute('SELECT one, other, winner FROM votes ORDER BY id')]"


@pytest.fixture
def opened(lab, request):
    """Open a notebook whose second cell votes on four new pictures; the console must stay without errors."""
    notebooks = []

    def opening(theme="JupyterLab Light", own=False):
        cells = [SETUP, "%imagegen vote foxes", "foxes"]  # without a cell below, Shift+Enter would add one and focus it
        name = f"{request.node.name}.ipynb"
        notebooks.append(lab.open(name, cells, theme=theme) if own else lab.shared(cells, theme=theme))
        notebooks[-1].run(0)
        return notebooks[-1]

    yield opening
    console_errors = [list(notebook.console_errors) for notebook in notebooks]
    for notebook in notebooks:
        notebook.close()
    assert console_errors == [[] for _ in notebooks]


def begin(notebook):
    """Run the voting cell by keyboard, and wait for the first pair; the vote has the focus at once."""
    page = notebook.page
    page.locator(".jp-Notebook .jp-Cell .cm-content").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.locator(".imagegen-vote").wait_for()
    wait_for_count(notebook, "0 of 6")
    notebook.until(lambda: page.evaluate("() => document.activeElement.classList.contains('imagegen-vote')"), "the focus")


def wait_for_count(notebook, count):
    """Wait until the vote shows its count and a pair."""
    notebook.until(lambda: notebook.page.locator(".imagegen-vote-count").inner_text() == count, count)
    waiting = notebook.page.locator(".imagegen-vote-waiting")
    notebook.until(lambda: waiting.count() == 0, "the next pair")


def votes(notebook):
    """Return the ledger's votes on the notebook's pictures."""
    pictures = ids(notebook)
    return [vote for vote in notebook.value(VOTES) if vote[0] in pictures]


def ids(notebook):
    """Return the ids of the pictures that are voted on."""
    return notebook.value("[image.id for image in foxes]")


def test_by_keyboard_alone(opened):
    """Run with Shift+Enter, the arrows are the vote's at once: choose, tie, take back, to the end; the ranking is static."""
    notebook = opened()
    begin(notebook)
    page = notebook.page
    shown = [page.locator(".imagegen-vote-side img").nth(place).get_attribute("src") for place in (0, 1)]
    page.keyboard.press("ArrowLeft")
    wait_for_count(notebook, "1 of 6")
    page.keyboard.press("ArrowRight")
    wait_for_count(notebook, "2 of 6")
    page.keyboard.press("ArrowDown")
    wait_for_count(notebook, "3 of 6")
    page.keyboard.press("=")
    wait_for_count(notebook, "4 of 6")
    for left in (3, 2, 1, 0):
        page.keyboard.press("u")
        wait_for_count(notebook, f"{left} of 6")
    assert [page.locator(".imagegen-vote-side img").nth(place).get_attribute("src") for place in (0, 1)] == shown
    page.keyboard.press("u")  # there is nothing more to take back
    for given in range(1, 7):
        page.keyboard.press("ArrowLeft" if given != 6 else "ArrowDown")
        wait_for_count(notebook, f"{given} of 6")
    page.get_by_role("paragraph").get_by_text("6 votes: enough for a ranking.").wait_for()
    assert page.locator(".imagegen-vote-pair").is_hidden()
    page.keyboard.press("Enter")
    page.locator(".imagegen-ranking").wait_for()
    given = votes(notebook)
    assert [len(given), [one[2] for one in given][-1], all(one[2] == one[0] for one in given[:-1])] == [6, None, True]
    assert len({frozenset(one[:2]) for one in given}) == 6
    assert page.locator(".imagegen-vote").count() == 0


def test_the_vote_reveals_nothing_of_its_pictures(opened):
    """No prompt, no name, no number is on the page while it is voted, not even for a screen reader; and it passes axe."""
    notebook = opened()
    begin(notebook)
    area = notebook.output_area(1)
    markup = area.locator(".imagegen-vote").evaluate("one => one.outerHTML").replace("data:image/", "")
    for word in ("fox", "picture-", "@", "imagegen/", "evolink"):
        assert word not in markup, word
    assert area.locator(".imagegen-vote-side img").evaluate_all("all => all.map(one => one.alt)") == [
        "the left picture",
        "the right picture",
    ]
    assert serious_violations(notebook.page, ".imagegen-vote") == []


def test_by_pointer_and_in_two_sittings(opened):
    """A click on a picture chooses it; Done in the middle shows the ranking so far; run again it goes on where it was."""
    notebook = opened()
    begin(notebook)
    page = notebook.page
    page.get_by_role("button", name="The right picture is better").click()
    wait_for_count(notebook, "1 of 6")
    page.get_by_role("button", name="Equal").click()
    wait_for_count(notebook, "2 of 6")
    page.get_by_role("button", name="Undo").click()
    wait_for_count(notebook, "1 of 6")
    page.get_by_role("button", name="Done").click()
    page.locator(".imagegen-ranking").wait_for()
    assert "1 of the 6 votes" in notebook.output_area(1).inner_text()
    (vote,) = votes(notebook)
    assert vote[2] == vote[1]
    notebook.page.locator(".jp-Notebook .jp-Cell .cm-content").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.locator(".imagegen-vote").wait_for()
    wait_for_count(notebook, "1 of 6")
    assert page.get_by_role("button", name="Undo").get_attribute("aria-disabled") == "true"


def test_the_ranking_survives_save_and_reopen(opened):
    """Saved and opened again without a kernel the ranking is there, with its bars, and no widget state in the file."""
    notebook = opened("JupyterLab Dark", own=True)
    begin(notebook)
    for given in range(1, 7):
        notebook.page.keyboard.press("ArrowRight")
        wait_for_count(notebook, f"{given} of 6")
    notebook.page.get_by_role("paragraph").get_by_text("enough for a ranking").wait_for()
    notebook.page.keyboard.press("Escape")
    notebook.page.locator(".imagegen-ranking").wait_for()
    document = notebook.save()
    assert (
        "widgets" not in document["metadata"] or not document["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    )
    kinds = [set(output["data"]) for output in document["cells"][1]["outputs"]]
    assert kinds == [{"text/html", "text/plain"}] * 2
    assert len(json.dumps(document)) < 60_000
    notebook.reopen(kernel=False)
    notebook.page.locator(".imagegen-ranking").wait_for()
    assert notebook.page.locator(".imagegen-ranking img").count() == 4
    assert notebook.page.locator(".imagegen-ranking img").first.get_attribute("alt") == "a red <b>fox</b>"
    assert notebook.page.locator(".imagegen-ranking b").count() == 0


def test_saved_in_the_middle_no_broken_widget_is_seen(opened):
    """A notebook that was saved during the vote shows a line about it in its place."""
    notebook = opened(own=True)
    begin(notebook)
    notebook.page.keyboard.press("ArrowLeft")
    wait_for_count(notebook, "1 of 6")
    notebook.reopen_with_broken_widget(1)
    notebook.page.get_by_text("Each vote is saved at once: run the cell again").wait_for()
