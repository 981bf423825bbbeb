"""Early messages: what a front end sends before the kernel is ready is handled once."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
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
from imagegen_magic.notebook.output.display import Canvas
from imagegen_magic.notebook.panel.references import References
from imagegen_magic.notebook.progress.renderers import WidgetRenderer, close_tree
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.notebook.widgets.gallery import Gallery
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
    """A front end that sends its messages before the call that opens the comm has returned.

    `when_opened` is called for the first widget of a class; `models` are the names of the open models by their id.
    """

    def __init__(self) -> None:
        self.messages: dict[str, list[tuple[dict[str, Any], list[bytes]]]] = {}
        self.when_opened: dict[str, Callable[[], None]] = {}
        self.models: dict[str, str] = {}

    def will_send(self, widget: str, message: dict[str, Any], *buffers: bytes) -> None:
        """Have a message sent to the first widget of that class."""
        self.messages.setdefault(widget, []).append((message, list(buffers)))

    def receive_open(self, opened: BaseComm, state: dict[str, Any]) -> None:
        """Send the messages for a widget whose comm has just been opened."""
        name = str(state.get("_anywidget_id", "")).rpartition(".")[2]
        self.models[opened.comm_id] = name or state["_model_name"]
        self.when_opened.pop(name, lambda: None)()
        for message, buffers in self.messages.pop(name, []):
            opened.handle_msg({"content": {"data": {"method": "custom", "content": message}}, "buffers": buffers})


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Hasty:
    """The front end of all widgets of this test."""
    page = Hasty()

    class Comm(BaseComm):
        def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any) -> None:
            if msg_type == "comm_open":
                page.receive_open(self, data["state"])
            elif msg_type == "comm_close":
                page.models.pop(self.comm_id)

    monkeypatch.setattr(comm, "create_comm", Comm)
    return page


class Shell:
    """A kernel's shell; `at_first_output` is called when a cell shows its first output."""

    def __init__(self) -> None:
        self.kernel = SimpleNamespace(_allow_stdin=True)
        self.user_ns: dict[str, Any] = {}
        self.outputs: dict[str, str] = {}
        self.display_pub = self
        self.at_first_output = lambda: None

    def publish(self, data: dict[str, Any], metadata: Any, *, transient: dict[str, str], update: bool) -> None:
        """Store an output, as a notebook does."""
        first = not self.outputs
        self.outputs[transient["display_id"]] = data["text/plain"]
        if first:
            self.at_first_output()


def wait_until_idle() -> None:
    """Wait until all tasks of the engine's loop are done."""

    async def others() -> None:
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=30)

    loop.run(others())


def test_no_message_is_early(hasty: Hasty) -> None:
    """Each widget handles what its page sent while it was being created: in order, once, with its buffers."""
    events: list[Any] = []
    hasty.will_send("Painter", {"event": "mask"}, b"png")
    hasty.will_send("Painter", {"event": "close"})
    hasty.will_send("VoteWidget", {"event": "left", "pair": 1})
    hasty.will_send("Gallery", {"action": "star", "id": 7})
    hasty.will_send("Prompt", {"event": "generate", "prompt": "a fox"})
    hasty.will_send("KeyField", {"event": "key", "key": "sk-1"})
    widgets = [
        Painter(events.append, lambda: events.append("closed")),
        VoteWidget(lambda event, pair: events.append((event, pair))),
        Gallery(lambda action, id: events.append((action, id))),
        Prompt(events.append),
        KeyField(events.append),
    ]
    assert events == [b"png", "closed", ("left", 1), ("star", 7), "a fox", "sk-1"]
    for widget in widgets:
        widget.close()


def test_a_mask_that_arrives_while_the_painter_of_the_panel_opens(hasty: Hasty) -> None:
    """It is used, and the painter is closed."""
    masks: list[Any] = []
    references = References(lambda new: None, masks.append, {})
    loop.run(_drawn(references))
    hasty.will_send("Painter", {"event": "mask"}, MASK)
    loop.run(references._paint())
    wait_until_idle()
    assert [mask.data for mask in masks] == [MASK]
    assert references._painter_box.children == ()
    close_tree(references.widget)


def test_a_painter_that_opens_while_the_panel_is_closed(hasty: Hasty) -> None:
    """No model is left: neither of the closed tree, nor of the painter that was made for it."""
    references = References(lambda new: None, lambda mask: None, {})
    loop.run(_drawn(references))
    hasty.when_opened["Painter"] = lambda: close_tree(references.widget)
    loop.run(references._paint())
    wait_until_idle()
    assert hasty.models == {}


def test_widgets_that_are_made_for_a_closed_panel(hasty: Hasty) -> None:
    """Rows that are drawn after the closing are closed with their layouts and styles, and those of the progress of a cell too."""
    references = References(lambda new: None, lambda mask: None, {})
    close_tree(references.widget)
    loop.run(_drawn(references))
    renderer = WidgetRenderer(Canvas(Shell()), "a fox")
    renderer.close()
    renderer._build()
    loop.run(renderer.draw(JobProgress(2, 0.0), 1.0))
    wait_until_idle()
    assert hasty.models == {}


def test_a_painter_in_the_panel_that_is_closed_while_it_opens(hasty: Hasty) -> None:
    """It is closed."""
    references = References(lambda new: None, lambda mask: None, {})
    loop.run(_drawn(references))
    hasty.will_send("Painter", {"event": "close"})
    loop.run(references._paint())
    wait_until_idle()
    assert references._painter_box.children == ()
    close_tree(references.widget)


def test_two_quick_references_both_count() -> None:
    """The second arrives before the first is drawn; so does a second removal."""
    asked: list[Any] = []
    references = References(asked.append, lambda mask: None, {})
    loop.run(_drawn(references))
    for address in ("https://example.com/a.png", "https://example.com/b.png"):
        references._add("references", address)
    wait_until_idle()
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
    close_tree(references.widget)


async def _drawn(references: References, shown: tuple[Any, ...] = (PICTURE,)) -> None:
    references.draw(shown, 4, masks=True)


@pytest.mark.parametrize(("message", "buffers", "end"), [({"event": "mask"}, [MASK], "with its mask"), ({"event": "close"}, [], "no mask")])
def test_a_painter_that_is_pressed_while_its_cell_still_shows_it(
    monkeypatch: pytest.MonkeyPatch, message: Any, buffers: Any, end: str
) -> None:
    """The outputs end as they would have a moment later, and the painter is closed."""
    monkeypatch.setattr(asyncio, "to_thread", _at_once)  # so that the message is handled before the cell continues
    shell = Shell()
    editor = mask_editor.MaskEditor(PICTURE, shell, Path.cwd(), "mask")

    def press() -> None:
        assert editor._painter is not None
        editor._painter._handle_custom_msg(message, buffers)
        loop.run(_nothing())  # one turn of the engine's loop before the cell continues

    shell.at_first_output = press
    editor.begin(None)
    wait_until_idle()
    assert len(shell.outputs) == 2
    assert end in list(shell.outputs.values())[1]
    assert ("mask" in shell.user_ns) == bool(buffers)
    assert editor._painter is None


def test_two_masks_at_once_make_one() -> None:
    """The second one finds the painter closed: there is one file."""
    shell = Shell()
    editor = mask_editor.MaskEditor(PICTURE, shell, Path.cwd(), "mask")
    editor.begin(None)
    assert editor._painter is not None
    for _ in range(2):
        editor._painter._on_mask(MASK)
    wait_until_idle()
    assert [path.name for path in Path.cwd().glob("*.png")] == ["photo-mask.png"]


async def _at_once(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


async def _nothing() -> None:
    """Take one turn of the loop."""


def test_a_vote_that_is_ended_while_its_cell_still_shows_it() -> None:
    """The widget is closed, and both outputs show the result."""
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
    wait_until_idle()
    assert session._widget is None
    assert list(shell.outputs.values()) == ["There is no vote on foxes yet. Run the cell to vote.", " "]
