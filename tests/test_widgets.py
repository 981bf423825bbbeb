"""The panel's instruments on Python's side: what they hold, what they hear, what they leave behind."""

import subprocess
import sys
from pathlib import Path

import ipywidgets
import pytest
from traitlets import TraitError

from imagegen_magic.notebook import widgets
from imagegen_magic.notebook.widgets import Compare, Gallery, RatioPicker

FOLDER = Path(widgets.__file__).parent
PROJECT = FOLDER.parent.parent.parent
KINDS = (RatioPicker, Gallery, Compare)


@pytest.fixture
def gallery():
    """A gallery, and what it was told."""
    made, heard = Gallery(), []
    made.on_action(lambda action, id: heard.append((action, id)))
    made.heard = heard
    made.sent = []
    made.send = made.sent.append
    yield made
    made.close()


def say(widget, **message):
    """Let a widget hear a message as if its page had sent it."""
    widget._handle_custom_msg(message, [])


def test_nothing_is_imported_before_it_is_used():
    """Naming the package costs neither anywidget nor ipywidgets."""
    code = "import sys, imagegen_magic.notebook.widgets; print(sorted({'anywidget', 'ipywidgets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_unknown_name_is_an_attribute_error():
    """The package offers three instruments and nothing else."""
    assert sorted(widgets.__all__) == ["Compare", "Gallery", "RatioPicker"]
    with pytest.raises(AttributeError, match="Slider"):
        _ = widgets.Slider


@pytest.mark.parametrize("kind", KINDS)
def test_front_end_is_a_file_that_loads_nothing(kind):
    """An instrument's JavaScript is its own file, and neither it nor its style names another address than SVG's name space."""
    widget = kind()
    told = widget._esm.replace("http://www.w3.org/2000/svg", "")
    assert "export default" in told
    assert not [
        word for word in ("http", "import ", "import(", "@import", "url(", "fetch(", "innerHTML", "eval(") if word in told + widget._css
    ]
    widget.close()


@pytest.mark.parametrize("kind", KINDS)
def test_closing_leaves_no_model(kind):
    """A hundred openings and closings leave as many models as before."""
    before = len(ipywidgets.widgets.widget._instances)
    for _ in range(100):
        kind().close()
    assert len(ipywidgets.widgets.widget._instances) == before


def test_ratio_picker_holds_one_choice():
    """Options, limits and the error are what the front end is told, in these words."""
    option = {"value": "16:9", "label": "16:9", "width": 16, "height": 9, "disabled": True, "reason": "no 4k"}
    picker = RatioPicker(options=[option], allow_pixels=True, allow_auto=True, pixel_hint="multiples of 16", value="auto", error="no")
    state = picker.get_state()
    names = ("options", "allow_pixels", "allow_auto", "pixel_hint", "value", "error")
    assert [state[name] for name in names] == [[option], True, True, "multiples of 16", "auto", "no"]
    picker.close()


def test_actions_are_told_with_their_picture(gallery):
    """Each action of a page reaches every callback once, until it is removed."""
    for action in ("use-settings", "use-reference", "copy-cell", "open-file", "differences", "star", "remove", "enlarge"):
        say(gallery, action=action, id=7, view="v")
        assert gallery.heard.pop() == (action, 7)
    more = []
    callback = lambda *told: more.append(told)  # noqa: E731  # registered and removed by identity
    gallery.on_action(callback)
    say(gallery, action="star", id="a")
    gallery.on_action(callback, remove=True)
    say(gallery, action="star", id="b")
    assert more == [("star", "a")]


@pytest.mark.parametrize(
    "message", [{}, {"action": "explode", "id": 1}, {"action": ["star"]}, {"action": "copied", "number": 99}, "star", None]
)
def test_other_messages_are_nothing(gallery, message):
    """What is no action of the gallery is passed over."""
    gallery._handle_custom_msg(message, [])
    assert gallery.heard == []


def test_ledger_action_is_told_and_kept(gallery):
    """Turning to all of the ledger and back is told, and `ledger` says which it is."""
    say(gallery, action="ledger", id="all", view="v")
    assert gallery.ledger is True
    say(gallery, action="ledger", id="session", view="v")
    assert gallery.ledger is False
    assert gallery.heard == [("ledger", "all"), ("ledger", "session")]


def test_copy_goes_to_the_page_that_asked(gallery):
    """The text goes to the view whose button was pressed; its answer names the picture, once."""
    say(gallery, action="copy-cell", id=3, view="left")
    gallery.copy("%%imagegen\nfox")
    assert gallery.sent == [{"copy": "%%imagegen\nfox", "number": 1, "view": "left"}]
    say(gallery, action="copied", number=1, view="left")
    say(gallery, action="copy-failed", number=1, view="right")
    assert gallery.heard == [("copy-cell", 3), ("copied", 3)]


def test_copy_names_the_picture_it_is_given(gallery):
    """Two texts under way are told apart, also when the second was asked for before the first came."""
    gallery.copy("one", id=1)
    gallery.copy("two", id="b")
    say(gallery, action="copy-failed", number=2)
    say(gallery, action="copied", number=1)
    assert gallery.heard == [("copy-failed", "b"), ("copied", 1)]


def test_two_are_selected_at_most(gallery):
    """A third selected picture is an error, the same one twice is one."""
    gallery.selected = [1, "b", 1]
    assert gallery.selected == [1, "b"]
    with pytest.raises(TraitError, match="at most 2 pictures can be selected, not 3"):
        gallery.selected = [1, 2, 3]


def test_page_never_stands_behind_the_last(gallery):
    """Where pictures go, the page goes back to the last that has some."""
    gallery.total = 500
    gallery.page = 10
    gallery.total = 480
    assert gallery.page == 9
    gallery.page_size = 100
    assert gallery.page == 4
    gallery.total = 0
    assert gallery.page == 0


def test_slider_stays_between_the_pictures():
    """A position outside is the nearest end; prompts are pieces with their change."""
    compare = Compare(position=1.7, prompt_left=[("a ", False), ("fox", True)])
    assert compare.position == 1.0
    assert compare.prompt_left == [("a ", False), ("fox", True)]
    with pytest.raises(TraitError):
        compare.prompt_right = ["a fox"]
    compare.close()
