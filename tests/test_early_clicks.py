"""A click that comes early: what a front end sends before the kernel's side is ready is done all the same, once."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm
from PIL import Image

from imagegen_magic.engine import loop
from imagegen_magic.notebook import mask_editor
from imagegen_magic.notebook.commands.vote import VoteSession
from imagegen_magic.notebook.panel import controls
from imagegen_magic.notebook.panel.references import References
from imagegen_magic.notebook.widgets import Compare, Gallery, RatioPicker
from imagegen_magic.notebook.widgets.choice import Choice
from imagegen_magic.notebook.widgets.key_field import KeyField
from imagegen_magic.notebook.widgets.painter import Painter
from imagegen_magic.notebook.widgets.prompt import Prompt
from imagegen_magic.notebook.widgets.vote import VoteWidget
from imagegen_magic.request import LocalImage


def png(mode: str = "RGB", *, hole: bool = False) -> bytes:
    """Return a picture's PNG of 64 by 48 pixels; with a hole it is a mask."""
    image = Image.new(mode, (64, 48), "black")
    if hole:
        image.paste((0, 0, 0, 0), (0, 0, 32, 48))
    memory = io.BytesIO()
    image.save(memory, "PNG")
    return memory.getvalue()


PICTURE = LocalImage(png(), "image/png", 64, 48, "photo.png")
MASK = png("RGBA", hole=True)


class Hasty:
    """A front end that sends its messages the moment it learns of a widget: before the call that opens the comm has returned."""

    def __init__(self) -> None:
        self.messages: dict[str, list[tuple[dict[str, Any], list[bytes]]]] = {}

    def will_send(self, widget: str, message: dict[str, Any], *buffers: bytes) -> None:
        """Have a message sent to the first widget of that class."""
        self.messages.setdefault(widget, []).append((message, list(buffers)))

    def learn(self, opened: BaseComm, state: dict[str, Any]) -> None:
        """Send what is to be sent to a widget that has just been announced."""
        name = str(state.get("_anywidget_id", "")).rpartition(".")[2]
        for message, buffers in self.messages.pop(name, []):
            opened.handle_msg({"content": {"data": {"method": "custom", "content": message}}, "buffers": buffers})


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Hasty:
    """The front end of all widgets of this test."""
    page = Hasty()

    class Comm(BaseComm):
        def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any) -> None:
            if msg_type == "comm_open":
                page.learn(self, data["state"])

    monkeypatch.setattr(comm, "create_comm", Comm)
    return page


class Shell:
    """A kernel's shell whose page does something as soon as it shows a cell's first output."""

    def __init__(self) -> None:
        self.kernel = SimpleNamespace(_allow_stdin=True)
        self.user_ns: dict[str, Any] = {}
        self.outputs: dict[str, str] = {}
        self.display_pub = self
        self.at_first_output = lambda: None

    def publish(self, data: dict[str, Any], metadata: Any, *, transient: dict[str, str], update: bool) -> None:
        """Take an output as a notebook does, and show it to the hasty person."""
        first = not self.outputs
        self.outputs[transient["display_id"]] = data["text/plain"]
        if first:
            self.at_first_output()


def at_rest() -> None:
    """Wait until the engine's loop has done all that was handed to it."""

    async def others() -> None:
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=30)

    loop.run(others())


def test_a_painter_hears_from_the_start(hasty: Hasty) -> None:
    """Its mask is taken although it came while the painter was being made."""
    heard: list[Any] = []
    hasty.will_send("Painter", {"event": "mask"}, b"png")
    hasty.will_send("Painter", {"event": "close"})
    Painter(heard.append, lambda: heard.append("closed")).close()
    assert heard == [b"png", "closed"]


def test_a_ballot_hears_from_the_start(hasty: Hasty) -> None:
    """A vote is taken although it came while the ballot was being made."""
    heard: list[Any] = []
    hasty.will_send("VoteWidget", {"event": "left", "pair": 1})
    VoteWidget(lambda event, pair: heard.append((event, pair))).close()
    assert heard == [("left", 1)]


def test_a_gallery_keeps_an_action_until_something_listens(hasty: Hasty) -> None:
    """Once, and later ones come as they are made."""
    heard: list[Any] = []
    hasty.will_send("Gallery", {"action": "star", "id": 7})
    gallery = Gallery()
    gallery.on_action(lambda action, id: heard.append((action, id)))
    gallery.on_action(lambda action, id: heard.append("second"))
    assert heard == [("star", 7)]
    gallery.close()


@pytest.mark.parametrize("kind", [Prompt, KeyField, Choice, RatioPicker, Compare])
def test_an_instrument_keeps_a_message_until_something_listens(hasty: Hasty, kind: Any) -> None:
    """The first listener gets what came before it, in order and once; with its picture or key."""
    heard: list[Any] = []
    hasty.will_send(kind.__name__, {"event": "one"}, b"bytes")
    hasty.will_send(kind.__name__, {"event": "two"})
    made = kind()
    made.on_msg(lambda _, content, buffers: heard.append((content["event"], buffers)))
    made.on_msg(lambda _, content, buffers: heard.append("second"))
    assert heard == [("one", [b"bytes"]), ("two", [])]
    made.close()


def test_a_mask_in_the_panel_that_comes_while_the_painter_opens(hasty: Hasty) -> None:
    """It is used, and the painter is put away: not shown afterwards, deaf."""
    told: list[Any] = []
    references = References(lambda new: None, {}, on_mask=told.append)
    loop.run(_drawn(references))
    hasty.will_send("Painter", {"event": "mask"}, MASK)
    loop.run(references._paint())
    at_rest()
    assert [mask.data for mask in told] == [MASK]
    assert references._painter_box.children == ()
    controls.close(references.widget)


def test_a_painter_in_the_panel_that_is_closed_while_it_opens(hasty: Hasty) -> None:
    """It is put away."""
    references = References(lambda new: None, {}, on_mask=lambda mask: None)
    loop.run(_drawn(references))
    hasty.will_send("Painter", {"event": "close"})
    loop.run(references._paint())
    at_rest()
    assert references._painter_box.children == ()
    controls.close(references.widget)


def test_two_references_that_are_given_in_a_row_both_count() -> None:
    """The second comes before the first is drawn; so does a second removal."""
    asked: list[Any] = []
    references = References(asked.append, {})
    loop.run(_drawn(references))
    for address in ("https://example.com/a.png", "https://example.com/b.png"):
        references._add("references", address)
    chosen: tuple[Any, ...] = (PICTURE,)
    for edit in asked:
        chosen = edit(chosen)
    assert chosen == (PICTURE, "https://example.com/a.png", "https://example.com/b.png")
    asked.clear()
    loop.run(_drawn(references, chosen))
    buttons = [row.children[1].children[-1] for row in references._rows.children]
    for button in (buttons[0], buttons[1], buttons[1]):
        button.click()
    for edit in asked:
        chosen = edit(chosen)
    assert chosen == ("https://example.com/b.png",)
    controls.close(references.widget)


async def _drawn(references: References, shown: tuple[Any, ...] = (PICTURE,)) -> None:
    references.draw(shown, 4, masks=True)


@pytest.mark.parametrize(("message", "buffers", "end"), [({"event": "mask"}, [MASK], "with its mask"), ({"event": "close"}, [], "no mask")])
def test_a_painter_that_is_pressed_while_its_cell_still_shows_it(
    monkeypatch: pytest.MonkeyPatch, message: Any, buffers: Any, end: str
) -> None:
    """The outputs end as they would have a moment later, and the painter is gone."""
    monkeypatch.setattr(asyncio, "to_thread", _at_once)  # so that all that a press does can be done before the cell goes on
    shell = Shell()
    editor = mask_editor.MaskEditor(PICTURE, shell, Path.cwd(), "mask")

    def press() -> None:
        assert editor._painter is not None
        editor._painter._handle_custom_msg(message, buffers)
        loop.run(_nothing())  # the engine's loop has had its turn before the cell goes on

    shell.at_first_output = press
    editor.begin(None)
    at_rest()
    assert len(shell.outputs) == 2
    assert end in list(shell.outputs.values())[1]
    assert ("mask" in shell.user_ns) == bool(buffers)
    assert editor._painter is None


def test_two_presses_make_one_mask() -> None:
    """The second finds the painter done: one file, and the mask that the caption names."""
    shell = Shell()
    editor = mask_editor.MaskEditor(PICTURE, shell, Path.cwd(), "mask")
    editor.begin(None)
    assert editor._painter is not None
    for _ in range(2):
        editor._painter._on_mask(MASK)
    at_rest()
    assert [path.name for path in Path.cwd().glob("*.png")] == ["photo-mask.png"]


async def _at_once(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


async def _nothing() -> None:
    """Take one turn of the loop."""


def test_a_vote_that_is_ended_while_its_cell_still_shows_it() -> None:
    """The ballot is closed, and both outputs say how it stands."""
    shell = Shell()
    images = [SimpleNamespace(id=number) for number in (1, 2)]
    session = VoteSession(shell, None, "foxes", images, 0)  # type: ignore[arg-type]
    session._previews = {1: "data:,one", 2: "data:,two"}

    def press() -> None:
        assert session._widget is not None
        session._widget._handle_custom_msg({"event": "done", "pair": session._widget.pair}, [])
        loop.run(_nothing())

    shell.at_first_output = press
    session.open()
    at_rest()
    assert session._widget is None
    assert list(shell.outputs.values()) == ["There is no vote on foxes yet. Run the cell to vote.", " "]
