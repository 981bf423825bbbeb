"""Every picture in our HTML has an alternative text: the prompt, or its name."""

import html.parser
import re
from pathlib import Path

import pytest
from scripted import picture
from shells import a_shell

import imagegen_magic
from imagegen_magic.notebook.output.tables import Cell
from imagegen_magic.notebook.panel import static_sheet
from imagegen_magic.notebook.progress import html as progress_html
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.result import Progress
from imagegen_magic.studies.export.archive import export

ROOT = Path(imagegen_magic.__file__).parent
SOURCES = [
    path for path in sorted([*ROOT.rglob("*.py"), *ROOT.rglob("*.js")]) if re.search(r"<img|\"img\"", path.read_text(encoding="utf-8"))
]
DRAWN = re.compile(r"<img .{0,400}", re.DOTALL)
MADE = re.compile(r"""make\("img"|createElement\("img"\)""")
PROMPT = 'a "red" <fox> & 狐狸'


class Pictures(html.parser.HTMLParser):
    """Collects the words in the place of the pictures of a page."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note a picture's words."""
        if tag == "img":
            self.found.append(dict(attrs).get("alt"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_draws_a_picture_without_words(path):
    """Wherever HTML is written, the tag has an alternative text that is not empty; a widget that makes a picture sets it."""
    text = path.read_text(encoding="utf-8")
    for tag in DRAWN.findall(text):
        assert re.search(r"alt=[\"'](?![\"'])", tag[: tag.find(">") + 1 or None] if "{" not in tag else tag), tag[:120]
    if MADE.search(text):
        assert re.search(r"\.alt = |, \"alt\", |alt: ", text)


def test_the_walk_finds_the_sources():
    """The rule above is about something."""
    assert {"tables.py", "static_sheet.py", "html.py", "page.py", "gallery.js"} <= {path.name for path in SOURCES}


def test_the_history_says_the_prompt():
    """A thumbnail in the table of the history stands for its prompt."""
    with a_shell() as shell:
        shell.run(f"%imagegen --sandbox --size 1:1 -- {PROMPT}")
        shell.run("%imagegen history")
        assert Pictures(shell.shown("text/html")[0]).found == [PROMPT]


def test_the_panels_sheet_has_the_prompt():
    """So does each picture of the contact sheet that a saved panel leaves."""
    sheet = static_sheet.bundle([(picture(prompt=PROMPT), "data:image/png;base64,AAAA")], 1)
    assert Pictures(sheet.data["text/html"]).found == [PROMPT]


def test_the_progress_has_the_prompt():
    """So does a picture that arrived while others are waiting."""
    state = JobProgress(1, 0.0)
    for event in (Progress("waiting", 0, 1, 1, 0.0), picture(prompt=PROMPT)):
        state.take(event)
    (row,) = progress_html.rows_html(state, 1.0, (96, 64), [1], {0: ["data:image/png;base64,AAAA"]})
    assert Pictures(row).found == [PROMPT]


def test_an_export_has_the_prompt(own_world):
    """So does each picture of an exported page."""
    place = export([picture(prompt=PROMPT)], "foxes")
    assert Pictures((place / "index.html").read_text(encoding="utf-8")).found == [PROMPT]


def test_a_picture_of_a_table_has_the_text_of_its_cell_by_default():
    """A picture in a table is never without words, and they are bounded."""
    assert Pictures(Cell("17", picture="data:image/png;base64,AAAA").html()).found == ["17"]
    (words,) = Pictures(Cell("17", picture="data:image/png;base64,AAAA", alt="a fox " * 500).html()).found
    assert 0 < len(words) <= 300
