"""A vote in a real JupyterLab, by keyboard alone: every choice is kept, the ranking stays, and no widget is left."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from lab import Lab

pytestmark = pytest.mark.timeout(300)

SETUP = "%load_ext imagegen_magic\nimport sqlite3, os\nfrom ledgers import saved\nfoxes = saved('a red <b>fox</b>', count=4)"
VOTES = (
    "db = sqlite3.connect(os.environ['IMAGEGEN_HOME'] + '/ledger.sqlite')\n"
    "print(repr([tuple(row) for row in db.execute('SELECT one, other, winner FROM votes ORDER BY id')]))"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """One JupyterLab and one browser for all tests here."""
    folder = tmp_path_factory.mktemp("lab")
    with Lab(folder, IMAGEGEN_HOME=str(folder / "home")) as running:
        yield running


@pytest.fixture
def opened(lab, request):
    """Open a notebook whose second cell votes on four new pictures; fails where the page complains."""
    pages = []

    def opening(theme="JupyterLab Light"):
        cells = [SETUP, "%imagegen vote foxes", VOTES, "foxes"]
        notebook = lab.open(f"{request.node.name}.ipynb", cells, theme=theme)
        notebook.complaints = []
        notebook.page.on("pageerror", lambda error: notebook.complaints.append(str(error)))
        notebook.page.on("console", lambda said: said.type == "error" and notebook.complaints.append(said.text))
        pages.append(notebook)
        notebook.run(0)
        return notebook

    yield opening
    complaints = [list(notebook.complaints) for notebook in pages]
    for notebook in pages:
        notebook.close()
    assert complaints == [[] for _ in pages]


def begin(notebook):
    """Run the voting cell as a person does, by keyboard, and wait for the first pair; the arrows are the ballot's at once."""
    page = notebook.page
    page.locator(".jp-Notebook .jp-Cell .cm-content").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.locator(".imagegen-vote").wait_for()
    pluralize(notebook, "0 of 6")
    notebook.until(lambda: page.evaluate("() => document.activeElement.classList.contains('imagegen-vote')"), "the focus")


def pluralize(notebook, words):
    """Wait until the ballot says how far it is, and has a pair to show."""
    notebook.until(lambda: notebook.page.locator(".imagegen-vote-count").inner_text() == words, words)
    waiting = notebook.page.locator(".imagegen-vote-waiting")
    notebook.until(lambda: waiting.count() == 0, "the next pair")


def votes(notebook, *, of):
    """Return the votes that the ledger has of these pictures, told by a later cell."""
    notebook.run(2)
    text = "".join(output.get("text", "") for output in notebook.outputs(2))
    import ast

    return [vote for vote in ast.literal_eval(text) if vote[0] in of]


def ids(notebook):
    """Return the ids of the pictures that are voted on."""
    return json.loads(notebook.page.evaluate(_RUN, "import json; print(json.dumps([image.id for image in foxes]))"))


_RUN = """async code => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    let said = "";
    const future = kernel.requestExecute({code, store_history: false});
    future.onIOPub = message => { if (message.header.msg_type === "stream") said += message.content.text; };
    await future.done;
    return said;
}"""


def test_by_keyboard_alone(opened, tmp_path):
    """Run with Shift+Enter, the arrows are the ballot's at once: choose, tie, take back, to the end; the ranking is static."""
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


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_the_ranking_survives_save_and_reopen(opened, theme, tmp_path, request):
    """Saved and opened again without a kernel the ranking is there, with its bars, and no widget state in the file."""
    notebook = opened(theme)
    begin(notebook)
    notebook.page.wait_for_timeout(200)
    notebook.page.screenshot(path=tmp_path / "ballot.png")
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
    """A notebook that was saved while the vote went on shows a line about it where the ballot was."""
    notebook = opened()
    begin(notebook)
    notebook.page.keyboard.press("ArrowLeft")
    pluralize(notebook, "1 of 6")
    notebook.save()
    notebook.page.evaluate("async () => await jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    notebook.load(kernel=False)
    line = notebook.page.get_by_text("Each choice is kept at once: run the cell again")
    line.wait_for()
    assert (
        notebook.page.get_by_text("Error displaying widget").count() == 0
        or notebook.page.get_by_text("Error displaying widget").is_hidden()
    )
    notebook.complaints.clear()  # the front end itself complains that the widget's model is gone
