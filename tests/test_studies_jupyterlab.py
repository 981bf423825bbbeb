"""A sweep and a vote in a real JupyterLab: the grid that fills, the grid that stays, a ranking by keyboard alone."""

import ast
import json
import os
import re

import pytest
from axe_playwright_python.sync_playwright import Axe

pytestmark = pytest.mark.timeout(300)

LOAD = "%load_ext imagegen_magic"
SWEEP = "%%imagegen -p {gateway} --size 1:1 --sweep style=oil,ink,chalk --sweep quality=low,medium -o foxes\na {{{{style}}}} fox in snow"


@pytest.fixture(scope="module")
def lab(jupyterlab, sandbox_process):
    """A workspace of this process's JupyterLab."""
    return jupyterlab.workspace("studies", IMAGEGEN_POLL_SECONDS="0.1", IMAGEGEN_UNKNOWN_PRICE="0.1", **sandbox_process.environ())


def test_a_sweep_from_the_first_picture_to_the_saved_grid(lab, gateway):
    """The grid is there from the beginning and fills; at the end one picture and a table stay, and no widget, without any error."""
    gateway.arm("held")  # one picture waits until the others are shown
    cell = SWEEP.format(gateway="evolink")
    with lab.open("sweep.ipynb", [LOAD, cell], theme="JupyterLab Dark") as notebook:
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


# --- voting

SETUP = "%load_ext imagegen_magic\nimport sqlite3, os\nfrom ledgers import saved\nfoxes = saved('a red <b>fox</b>', count=4)"
VOTES = (
    "db = sqlite3.connect(os.environ['IMAGEGEN_HOME'] + '/ledger.sqlite')\n"
    "print(repr([tuple(row) for row in db.execute('SELECT one, other, winner FROM votes ORDER BY id')]))"
)


@pytest.fixture
def opened(lab, request):
    """Open a notebook whose second cell votes on four new pictures; fails where the page complains."""
    pages = []

    def opening(theme="JupyterLab Light"):
        cells = [SETUP, "%imagegen vote foxes", VOTES, "foxes"]
        notebook = lab.open(f"{request.node.name}.ipynb", cells, theme=theme)
        notebook.complaints = []
        notebook.page.on("pageerror", lambda error: notebook.complaints.append(str(error)))
        notebook.page.on("console", lambda message: message.type == "error" and notebook.complaints.append(message.text))
        pages.append(notebook)
        notebook.run(0)
        return notebook

    yield opening
    complaints = [list(notebook.complaints) for notebook in pages]
    for notebook in pages:
        notebook.close()
    assert complaints == [[] for _ in pages]


def begin(notebook):
    """Run the voting cell as a person does, by keyboard, and wait for the first pair; the arrows are the vote's at once."""
    page = notebook.page
    page.locator(".jp-Notebook .jp-Cell .cm-content").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.locator(".imagegen-vote").wait_for()
    pluralize(notebook, "0 of 6")
    notebook.until(lambda: page.evaluate("() => document.activeElement.classList.contains('imagegen-vote')"), "the focus")


def pluralize(notebook, words):
    """Wait until the vote shows its count and a pair."""
    notebook.until(lambda: notebook.page.locator(".imagegen-vote-count").inner_text() == words, words)
    waiting = notebook.page.locator(".imagegen-vote-waiting")
    notebook.until(lambda: waiting.count() == 0, "the next pair")


def votes(notebook, *, of):
    """Return the votes that the ledger has of these pictures, printed by a later cell."""
    notebook.run(2)
    text = "".join(output.get("text", "") for output in notebook.outputs(2))
    return [vote for vote in ast.literal_eval(text) if vote[0] in of]


def ids(notebook):
    """Return the ids of the pictures that are voted on."""
    return json.loads(notebook.page.evaluate(_RUN, "import json; print(json.dumps([image.id for image in foxes]))"))


_RUN = """async code => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    let printed = "";
    const future = kernel.requestExecute({code, store_history: false});
    future.onIOPub = message => { if (message.header.msg_type === "stream") printed += message.content.text; };
    await future.done;
    return printed;
}"""


def test_by_keyboard_alone(opened, tmp_path):
    """Run with Shift+Enter, the arrows are the vote's at once: choose, tie, take back, to the end; the ranking is static."""
    notebook = opened()
    begin(notebook)
    page, pictures = notebook.page, ids(notebook)
    shown = [page.locator(".imagegen-vote-side img").nth(place).get_attribute("src") for place in (0, 1)]
    page.keyboard.press("ArrowLeft")
    pluralize(notebook, "1 of 6")
    page.keyboard.press("ArrowRight")
    pluralize(notebook, "2 of 6")
    page.keyboard.press("ArrowDown")
    pluralize(notebook, "3 of 6")
    page.keyboard.press("=")
    pluralize(notebook, "4 of 6")
    for left in (3, 2, 1, 0):
        page.keyboard.press("u")
        pluralize(notebook, f"{left} of 6")
    assert [page.locator(".imagegen-vote-side img").nth(place).get_attribute("src") for place in (0, 1)] == shown
    page.keyboard.press("u")  # there is nothing more to take back
    for given in range(1, 7):
        page.keyboard.press("ArrowLeft" if given != 6 else "ArrowDown")
        pluralize(notebook, f"{given} of 6")
    page.get_by_role("paragraph").get_by_text("6 votes: enough for a ranking.").wait_for()
    assert page.locator(".imagegen-vote-pair").is_hidden()
    page.keyboard.press("Enter")
    page.locator(".imagegen-ranking").wait_for()
    given = votes(notebook, of=pictures)
    assert [len(given), [one[2] for one in given][-1], all(one[2] == one[0] for one in given[:-1])] == [6, None, True]
    assert len({frozenset(one[:2]) for one in given}) == 6
    assert page.locator(".imagegen-vote").count() == 0


def test_the_pictures_say_nothing_of_themselves(opened):
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
    found = Axe().run(notebook.page, context=".imagegen-vote").response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_by_pointer_and_in_two_sittings(opened):
    """A click on a picture chooses it; Done in the middle shows the ranking so far; run again it goes on where it was."""
    notebook = opened()
    begin(notebook)
    page, pictures = notebook.page, ids(notebook)
    page.get_by_role("button", name="The right picture is better").click()
    pluralize(notebook, "1 of 6")
    page.get_by_role("button", name="Equal").click()
    pluralize(notebook, "2 of 6")
    page.get_by_role("button", name="Undo").click()
    pluralize(notebook, "1 of 6")
    page.get_by_role("button", name="Done").click()
    page.locator(".imagegen-ranking").wait_for()
    assert "1 of the 6 votes" in notebook.output_area(1).inner_text()
    (vote,) = votes(notebook, of=pictures)
    assert vote[2] == vote[1]
    notebook.page.locator(".jp-Notebook .jp-Cell .cm-content").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.locator(".imagegen-vote").wait_for()
    pluralize(notebook, "1 of 6")
    assert page.get_by_role("button", name="Undo").get_attribute("aria-disabled") == "true"


def test_the_ranking_survives_save_and_reopen(opened, tmp_path):
    """Saved and opened again without a kernel the ranking is there, with its bars, and no widget state in the file."""
    notebook = opened("JupyterLab Dark")
    begin(notebook)
    notebook.page.wait_for_timeout(200)
    notebook.page.screenshot(path=tmp_path / "vote.png")
    for given in range(1, 7):
        notebook.page.keyboard.press("ArrowRight")
        pluralize(notebook, f"{given} of 6")
    notebook.page.get_by_role("paragraph").get_by_text("enough for a ranking").wait_for()
    notebook.page.screenshot(path=tmp_path / "enough.png")
    notebook.page.keyboard.press("Escape")
    notebook.page.locator(".imagegen-ranking").wait_for()
    document = notebook.save()
    assert (
        "widgets" not in document["metadata"] or not document["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    )
    kinds = [set(output["data"]) for output in document["cells"][1]["outputs"]]
    assert kinds == [{"text/html", "text/plain"}] * 2
    assert len(json.dumps(document)) < 60_000
    notebook.load(kernel=False)
    notebook.page.locator(".imagegen-ranking").wait_for()
    assert notebook.page.locator(".imagegen-ranking img").count() == 4
    assert notebook.page.locator(".imagegen-ranking img").first.get_attribute("alt") == "a red <b>fox</b>"
    assert notebook.page.locator(".imagegen-ranking b").count() == 0
    notebook.picture(1, tmp_path / "ranking.png")


def test_saved_in_the_middle_no_broken_widget_is_seen(opened):
    """A notebook that was saved while the vote went on shows a line about it in its place."""
    notebook = opened()
    begin(notebook)
    notebook.page.keyboard.press("ArrowLeft")
    pluralize(notebook, "1 of 6")
    notebook.save()
    notebook.page.evaluate("async () => await jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    notebook.load(kernel=False)
    line = notebook.page.get_by_text("Each vote is saved at once: run the cell again")
    line.wait_for()
    assert (
        notebook.page.get_by_text("Error displaying widget").count() == 0
        or notebook.page.get_by_text("Error displaying widget").is_hidden()
    )
    notebook.complaints.clear()  # the front end itself complains that the widget's model is gone
