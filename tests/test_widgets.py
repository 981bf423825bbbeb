"""The widgets on Python's side: their state, the messages that they handle, and what is left after closing."""

import re
from pathlib import Path

import ipywidgets
import pytest

from imagegen_magic.notebook.widgets import base
from imagegen_magic.notebook.widgets.choice import Choice
from imagegen_magic.notebook.widgets.compare import Compare
from imagegen_magic.notebook.widgets.gallery import Gallery
from imagegen_magic.notebook.widgets.key_field import KeyField
from imagegen_magic.notebook.widgets.painter import Painter
from imagegen_magic.notebook.widgets.prompt import Prompt
from imagegen_magic.notebook.widgets.ratio_picker import RatioPicker
from imagegen_magic.notebook.widgets.vote import VoteWidget

OF_IPYWIDGETS = {"layout", "tabbable", "tooltip"}


def ignore(*_):
    """Ignore an event."""


KINDS = {
    Choice: (),
    Compare: (),
    Gallery: (ignore,),
    KeyField: (ignore,),
    Painter: (ignore, ignore),
    Prompt: (ignore,),
    RatioPicker: (),
    VoteWidget: (ignore,),
}
every_widget = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@pytest.fixture
def gallery():
    """A gallery that records its actions in `events`, and the messages to its page in `sent`."""
    events = []
    made = Gallery(lambda action, id: events.append((action, id)))
    made.events, made.sent = events, []
    made.send = made.sent.append
    yield made
    made.close()


def receive(widget, **message):
    """Give a widget a message of its page."""
    widget._handle_custom_msg(message, [])


@every_widget
def test_front_end_loads_nothing(kind):
    """Neither script nor style sheet names another address than SVG's name space, and no script writes HTML."""
    widget = kind(*KINDS[kind])
    text = (widget._esm + widget._css).replace("http://www.w3.org/2000/svg", "")
    assert "export default" in text
    assert not [word for word in ("http", "import ", "import(", "@import", "url(", "fetch(", "innerHTML", "eval(") if word in text]
    widget.close()


@every_widget
def test_front_end_and_python_have_the_same_traits(kind):
    """The script names no trait that does not exist, and reads or follows each one that does."""
    widget = kind(*KINDS[kind])
    traits = {name for name in widget.keys if not name.startswith("_")} - OF_IPYWIDGETS
    events = set(re.findall(r'"change:(\w+)"', widget._esm))
    assert events <= traits
    assert {name for name in traits if f'"{name}"' not in widget._esm} <= events
    assert set(re.findall(r'(?:\.get\(|setTrait\([\w.]+, )"(\w+)"', widget._esm)) <= traits
    widget.close()


def test_style_sheets_have_no_unused_class():
    """Each class occurs in a script, or in the Python code of the notebook."""
    folder = Path(base.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in [*folder.glob("*.js"), *folder.parent.rglob("*.py")])
    classes = {name for path in folder.glob("*.css") for name in re.findall(r"\.(imagegen-[\w-]+)", path.read_text(encoding="utf-8"))}
    assert {name for name in classes if not re.search(rf"{name}(?![\w-])", code)} == set()


@every_widget
def test_closing_leaves_no_model(kind):
    """A hundred openings and closings leave as many models as before."""
    before = len(ipywidgets.widgets.widget._instances)
    for _ in range(100):
        kind(*KINDS[kind]).close()
    assert len(ipywidgets.widgets.widget._instances) == before


def test_ratio_picker_holds_one_choice():
    """Options, limits and the error are the state of the front end."""
    option = {"value": "16:9", "reason": "no 4k"}
    picker = RatioPicker(options=[option], allow_pixels=True, pixel_hint="multiples of 16", value="auto", error="no")
    state = picker.get_state()
    names = ("options", "allow_pixels", "pixel_hint", "value", "error")
    assert [state[name] for name in names] == [[option], True, "multiples of 16", "auto", "no"]
    picker.close()


@pytest.mark.parametrize(
    "action", ["use-settings", "use-reference", "copy-cell", "open-file", "differences", "star", "remove", "enlarge", "copied"]
)
def test_actions_are_reported_with_their_picture(gallery, action):
    """Each action of a page is reported once."""
    receive(gallery, action=action, id=7, view="v")
    assert gallery.events == [(action, 7)]


@pytest.mark.parametrize("message", [{}, {"action": 1, "id": 1}, {"action": ["star"], "id": 1}, {"action": "star"}, "star", None])
def test_malformed_messages_are_ignored(gallery, message):
    """A message without an action and an id has no effect."""
    gallery._handle_custom_msg(message, [])
    assert gallery.events == []


def test_copy_goes_to_the_page_that_requested_it(gallery):
    """Two texts reach the two views whose buttons were pressed, in any order."""
    receive(gallery, action="copy-cell", id=3, view="left")
    receive(gallery, action="copy-cell", id=4, view="right")
    gallery.copy("%%imagegen\nhen", 4)
    gallery.copy("%%imagegen\nfox", 3)
    assert gallery.sent == [
        {"copy": "%%imagegen\nhen", "id": 4, "view": "right"},
        {"copy": "%%imagegen\nfox", "id": 3, "view": "left"},
    ]


def test_page_is_never_after_the_last(gallery):
    """If there are fewer pictures, the page is the last one that has some."""
    gallery.total = 500
    gallery.page = 10
    gallery.total = 480
    assert gallery.page == 9
    gallery.page_size = 100
    assert gallery.page == 4
    gallery.total = 0
    assert gallery.page == 0
