"""The painter in the kernel: what the page gets, what happens to the mask, and what stays in the notebook."""

import io
import json
import re
from html.parser import HTMLParser

import pytest
from panels import PanelDriver
from PIL import Image, ImageDraw

from imagegen_magic.errors import SaveError
from imagegen_magic.imaging import mask_overlay
from imagegen_magic.notebook import mask_editor
from imagegen_magic.notebook.commands import drift
from imagegen_magic.notebook.output import slider
from imagegen_magic.notebook.widgets.painter import Painter
from imagegen_magic.request import LocalImage

START = """from imagegen_magic.imaging.reference import prepare
old = prepare(Path({!r}).read_bytes(), name="old", max_bytes=10**6)
"""
LOAD = "%load_ext imagegen_magic\nfrom imagegen_magic.notebook import mask_editor\nfrom pathlib import Path"


def png(image):
    """Return a picture's PNG."""
    memory = io.BytesIO()
    image.save(memory, "PNG")
    return memory.getvalue()


def photograph(width=300, height=200):
    """Return a picture with something in it."""
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width // 2, height // 2), fill="#c84")
    return image


def mask_png(width=300, height=200, box=(0, 0, 150, 50)):
    """Return a mask's PNG, transparent in the box."""
    mask = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), box)
    return png(mask)


def local(width=300, height=200):
    """Return a picture ready for a painter."""
    return LocalImage(png(photograph(width, height)), "image/png", width, height, "photo.png")


@pytest.fixture(scope="module")
def kernel(kernels, tmp_path_factory):
    """One kernel with the extension loaded, in a folder with a photograph."""
    folder = tmp_path_factory.mktemp("painter")
    (folder / "photo.png").write_bytes(png(photograph()))
    with kernels.kernel(folder) as running:
        assert running.run(LOAD).status == "ok"
        running.subshell = running.open_subshell()
        yield running


@pytest.fixture
def opened(kernel):
    """Run a cell that opens a painter; return the cell and the painter's id. Afterwards close the painters and delete the files."""

    def opening(code="painter = mask_editor.open_painter('photo.png')"):
        cell = kernel.run(code)
        assert cell.status == "ok", cell.text
        (model,) = [key for key, state in kernel.models.items() if str(state.get("_anywidget_id", "")).endswith(".Painter")]
        return cell, model

    yield opening
    for model in [key for key, state in kernel.models.items() if str(state.get("_anywidget_id", "")).endswith(".Painter")]:
        send(kernel, model, {"event": "close"})
    kernel.until(lambda: not kernel.models, "the painters to be closed")
    for file in kernel.folder.glob("*-mask*.png"):
        file.unlink()


def send(kernel, model, message, *buffers):
    """Send a painter's message as its page does."""
    content = {"comm_id": model, "data": {"method": "custom", "content": message}}
    sent = kernel.client.session.msg("comm_msg", content)
    sent["header"]["subshell_id"] = kernel.subshell
    sent["buffers"] = list(buffers)
    kernel.client.shell_channel.send(sent)


def value(kernel, expression):
    """Return an expression's value in the kernel, by way of JSON."""
    cell = kernel.run(f"import json; print(json.dumps({expression}))")
    assert cell.status == "ok", cell.text
    return json.loads(cell.text)


# --- the widget


def test_a_large_picture_is_sent_as_a_bounded_preview():
    """The page gets a preview of at most 2048 pixels and 700 kB as bytes, and the real picture's pixels, which the mask will have."""
    painter = mask_editor.painter(local(3840, 2160), lambda _: None, lambda: None)
    shown = Image.open(io.BytesIO(painter.picture))
    assert (painter.width, painter.height, painter.name) == (3840, 2160, "photo.png")
    assert shown.size == (2048, 1152)
    assert shown.get_format_mimetype() == painter.mime_type
    assert len(painter.picture) <= 700_000
    assert isinstance(painter.get_state()["picture"], bytes)
    painter.close()


@pytest.mark.parametrize(
    ("message", "buffers"), [({"event": "mask"}, []), ({"event": "mask"}, [b"a", b"b"]), ({"event": "paint"}, [b"a"]), ("mask", [b"a"])]
)
def test_other_messages_are_nothing(message, buffers):
    """A message that is neither one mask nor `close` is ignored."""
    events = []
    painter = Painter(events.append, lambda: events.append("closed"))
    painter._handle_custom_msg(message, buffers)
    assert events == []
    painter._handle_custom_msg({"event": "mask"}, [memoryview(b"png")])
    painter._handle_custom_msg({"event": "close"}, [])
    assert events == [b"png", "closed"]
    painter.close()


# --- what becomes of the mask


def test_the_mask_is_bound_saved_and_shown(kernel, opened):
    """The mask is a variable (RGBA, the picture's pixels, transparent where to paint), a file beside the notebook, a static picture."""
    cell, model = opened()
    send(kernel, model, {"event": "mask"}, mask_png())
    kernel.until(lambda: not kernel.models, "the painter to close")
    assert value(kernel, "[mask.mode, mask.size, mask.getpixel((0, 0))[3], mask.getpixel((299, 199))[3]]") == ["RGBA", [300, 200], 0, 255]
    assert (kernel.folder / "photo-mask.png").read_bytes() == mask_png()
    picture, caption = cell.outputs
    (kind,) = [name for name in picture["data"] if name.startswith("image/")]
    assert len(picture["data"][kind]) * 3 / 4 <= 150_000
    assert caption["data"]["text/plain"] == (
        "photo.png with its mask: 12 % to be repainted · 300×200 · photo-mask.png · bound to mask · --mask mask uses it"
    )
    assert not [output for output in cell.outputs if "application/vnd.jupyter.widget-view+json" in output["data"]]


def test_no_file_is_overwritten(kernel, opened):
    """A second mask of the same picture gets a name of its own, and -o names its variable."""
    _, model = opened()
    send(kernel, model, {"event": "mask"}, mask_png())
    kernel.until(lambda: not kernel.models, "the painter to close")
    cell, model = opened("mask_editor.open_painter('photo.png', out='sky');")
    send(kernel, model, {"event": "mask"}, mask_png(box=(0, 0, 300, 100)))
    kernel.until(lambda: not kernel.models, "the painter to close")
    assert (kernel.folder / "photo-mask.png").read_bytes() == mask_png()
    assert (kernel.folder / "photo-mask-2.png").read_bytes() == mask_png(box=(0, 0, 300, 100))
    assert "50 % to be repainted" in cell.text
    assert value(kernel, "sky.size") == [300, 200]


def test_closing_without_a_mask(kernel, opened):
    """After Close there is the picture, no variable and no file."""
    kernel.run("mask = None")
    cell, model = opened()
    send(kernel, model, {"event": "close"})
    kernel.until(lambda: not kernel.models, "the painter to close")
    assert "no mask was made" in cell.text
    assert len(cell.images) == 1
    assert value(kernel, "mask is None")
    assert list(kernel.folder.glob("*-mask*")) == []


WRONG = {
    "other pixels": mask_png(150, 100),
    "nothing to paint": mask_png(box=(0, 0, 0, 0)),
    "nothing to keep": mask_png(box=(0, 0, 300, 200)),
    "no PNG": b"GIF89a",
    "cut short": mask_png()[:60],
}


@pytest.mark.parametrize("sent", WRONG.values(), ids=WRONG)
def test_a_wrong_mask_is_refused_in_the_painter(kernel, opened, sent):
    """A file that is no mask of this picture is neither bound nor saved; the painter shows why, and keeps its marks."""
    kernel.run("mask = None")
    cell, model = opened("painter = mask_editor.open_painter('photo.png')\nrefusals = []\npainter.send = refusals.append")
    send(kernel, model, {"event": "mask"}, sent)
    kernel.until(lambda: value(kernel, "refusals"), "the refusal")
    (words,) = [each["refused"] for each in value(kernel, "refusals")]
    assert "Nothing was charged" in words
    assert "itself failed" not in words
    assert value(kernel, "mask is None")
    assert model in kernel.models
    assert list(kernel.folder.glob("*-mask*")) == []
    send(kernel, model, {"event": "mask"}, mask_png())
    kernel.until(lambda: model not in kernel.models, "the painter to close")
    assert "12 % to be repainted" in cell.text


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    """If the mask cannot be written, the error names the next step."""
    with pytest.raises(SaveError, match=r"photo-mask\.png .*Make room"):
        mask_editor.save(b"png", tmp_path / "nowhere", "photo.png")


@pytest.mark.parametrize(
    ("name", "file"),
    [("photo.jpg", "photo-mask.png"), ("fox[1]", "fox-1-mask.png"), ("@17", "17-mask.png"), ("../../etc/passwd", "passwd-mask.png")],
)
def test_a_picture_s_name_never_becomes_a_path(tmp_path, name, file):
    """Of whatever a picture is called, letters and digits are left."""
    assert mask_editor.save(b"png", tmp_path, name) == tmp_path / file


def test_going_on_from_a_mask(kernel, opened):
    """A mask to go on from is bound at once and handed to the page."""
    (kernel.folder / "old.png").write_bytes(mask_png())
    start = START.format("old.png")
    opened(start + "painter = mask_editor.open_painter('photo.png', start=old)")
    assert value(kernel, "[mask.size, painter.start == old.data]") == [[300, 200], True]


def test_a_mask_that_does_not_fit_is_no_start(kernel):
    """A mask of other pixels opens no painter."""
    (kernel.folder / "small.png").write_bytes(mask_png(30, 20))
    start = START.format("small.png")
    assert kernel.run(start + "mask_editor.open_painter('photo.png', start=old)").reply["ename"] == "UnsupportedOption"
    assert not kernel.models


def test_without_a_page(kernel):
    """Without a page, a finished mask is shown, and without a mask the error names the alternatives."""
    (kernel.folder / "old.png").write_bytes(mask_png())
    start = START.format("old.png")
    cell = kernel.run(start + "mask_editor.open_painter('photo.png', start=old)", stdin=False)
    assert cell.status == "ok"
    assert len(cell.images) == 1
    assert "12 % to be repainted" in cell.text
    refused = kernel.run("mask_editor.open_painter('photo.png')", stdin=False)
    assert refused.reply["ename"] == "ImageGenError"
    assert "mask_box(" in refused.reply["evalue"]
    assert not kernel.models


def test_the_saved_notebook_of_an_open_painter(kernel, opened):
    """Behind an open painter stands a static picture for the saved notebook; it holds no address of another place."""
    cell, _ = opened()
    view, sheet = cell.outputs
    assert "application/vnd.jupyter.widget-view+json" in view["data"]
    assert "data:image/jpeg;base64," in sheet["data"]["text/html"]
    assert "http" not in sheet["data"]["text/html"]
    assert len(sheet["data"]["text/html"]) < 210_000


# --- the static picture of a mask


def test_only_what_is_transparent_is_tinted():
    """The overlay tints what is to be repainted and nothing else, at most 1024 pixels and 150 kB."""
    grey = Image.new("RGB", (2400, 1600), "#808080")
    mask = Image.new("RGBA", grey.size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 1200, 1600))
    small = mask_overlay.overlay(png(grey), mask)
    assert (small.width, small.height) == (1024, 683)
    assert len(small.data) <= 150_000
    shown = Image.open(io.BytesIO(small.data)).convert("RGB")
    left, right = shown.getpixel((200, 300)), shown.getpixel((800, 300))
    assert max(abs(value - 128) for value in right) < 8
    assert left[0] > 160
    assert left[1] < 90


@pytest.mark.parametrize(
    ("part", "words"),
    [(0.0, "0 %"), (0.001, "under 1 %"), (0.124, "12 %"), (0.995, "over 99 %"), (1.0, "100 %")],
)
def test_how_much_is_to_be_repainted_in_words(part, words):
    """A small fraction is not reported as none, nor nearly all as all."""
    assert mask_overlay.describe_fraction(part) == f"{words} to be repainted"


def test_half_transparent_counts_half():
    """The share weighs soft edges."""
    assert mask_overlay.masked_fraction(Image.new("RGBA", (10, 10), (0, 0, 0, 127))) == pytest.approx(128 / 255)


# --- before and after


def test_the_slider_needs_no_script():
    """The slider is two pictures, words and style: no script, no handler, nothing from elsewhere, everything escaped."""
    html = slider.html("data:image/png;base64,AA", "data:image/png;base64,BB", width=640, height=360, before_words='<b onload="x">')
    found = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    reader.feed(html)
    assert {tag for tag, _ in found} == {"style", "div", "img", "span", "details", "summary"}
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    images = [attributes for tag, attributes in found if tag == "img"]
    assert [image["src"] for image in images] == ["data:image/png;base64,BB", "data:image/png;base64,AA"]
    assert [image["alt"] for image in images] == ["after", '<b onload="x">']
    assert {(image["width"], image["height"]) for image in images} == {("640", "360")}
    assert "resize:horizontal" in html


# --- drift

DRIFT = """
import io
from imagegen_magic.notebook.commands import drift as drifting
from PIL import Image
context = get_ipython().magics_manager.registry["ImageGenMagics"].context
recorded = drifting.sources
def png(image):
    memory = io.BytesIO(); image.save(memory, "PNG"); return memory.getvalue()
def sources(settings, row):
    after = Image.open(row.path).convert("RGB")
    before = after.copy()
    box = (0, 0, after.width, round(after.height * touched))
    before.paste(Image.eval(after.crop(box), lambda value: 255 - value), box)
    mask = Image.new("RGBA", after.size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, after.height // 2, after.width, after.height))
    return png(before), png(mask)
"""


@pytest.fixture(scope="module")
def edited(kernel):
    """A picture of the sandbox in the ledger; its id."""
    assert kernel.run("%imagegen --sandbox -p evolink -q low a fox").status == "ok"
    assert kernel.run(DRIFT).status == "ok"
    return value(kernel, "_imagegen[0].id")


def test_drift_in_figures_and_pictures(kernel, edited):
    """Heat map, words and slider are three static outputs of bounded size; the words name share and mean, and stand out."""
    cell = kernel.run(f"touched, drifting.sources = 0.25, sources\n%imagegen drift {edited}")
    assert cell.status == "ok", cell.text
    heat, caption, sides = cell.outputs
    (kind,) = [name for name in heat["data"] if name.startswith("image/")]
    assert len(heat["data"][kind]) * 3 / 4 <= 150_000
    words = caption["data"]["text/plain"]
    assert re.search(
        rf"picture {edited}: the service changed (4[6-9]|50) % of what the mask protects · mean absolute difference there 0\.\d", words
    )
    assert "border-left" in caption["data"]["text/html"]
    assert all(colour in caption["data"]["text/html"] for colour in ("#648fff", "#ffb000", "#dc267f"))
    assert "resize:horizontal" in sides["data"]["text/html"]
    assert len(sides["data"]["text/html"]) < 280_000


def test_an_edit_without_drift_has_a_quiet_caption(kernel, edited):
    """The caption of an edit that kept to its mask is not emphasized."""
    cell = kernel.run(f"touched, drifting.sources = 0, sources\n%imagegen drift @{edited}")
    caption = cell.outputs[1]["data"]
    assert f"picture {edited}: nothing changed of what the mask protects" in caption["text/plain"]
    assert "border-left" not in caption["text/html"]


def test_drift_without_a_mask_is_refused(kernel, edited):
    """A picture that was made without a mask has no drift, and no id is a usage error."""
    refused = kernel.run(f"drifting.sources = recorded\n%imagegen drift {edited}")
    assert (refused.reply["ename"], "made without a mask" in refused.reply["evalue"]) == ("ImageGenError", True)
    for word in ("", "fox", "4711"):
        assert kernel.run(f"%imagegen drift {word}").reply["ename"] == "UsageError"


def test_what_an_edit_started_from_is_found(kernel, edited):
    """Reference and mask come from the stored copies; a missing copy is an error."""
    kernel.run(
        "from imagegen_magic.engine import api as generation, loop\nfrom imagegen_magic.engine.ledger.ledger import NewSource\n"
        "import hashlib\nsettings = context.settings()\nledger = generation.ledger(settings)\n"
        "(row,) = loop.run(ledger.pictures(ids=[_imagegen[0].id]))\n"
        "mask_data = png(Image.new('RGBA', (8, 8)))\nkept = hashlib.sha256(mask_data).hexdigest()\n"
        "copy = settings.home / 'sources' / f'{kept}.png'\ncopy.parent.mkdir(parents=True, exist_ok=True)\ncopy.write_bytes(mask_data)\n"
        "one, other = NewSource('reference', '@17', row.id, '0' * 64), NewSource('mask', 'sky.png', None, kept)\n"
    )
    assert value(
        kernel, "[drifting._source(settings, one, row) == _imagegen[0].data, drifting._source(settings, other, row) == mask_data]"
    ) == [
        True,
        True,
    ]
    kernel.run("copy.unlink()")
    gone = kernel.run("drifting._source(settings, other, row)")
    assert "sky.png" in gone.reply["evalue"]
    assert "no longer on this machine" in gone.reply["evalue"]


def test_drift_in_a_terminal_is_words(capsys):
    """In a terminal, the text is printed."""
    before, after, mask = png(photograph()), png(Image.new("RGB", (300, 200), "white")), mask_png()
    drift.show(before, after, mask, name="picture 3")
    assert re.match(r"picture 3: the service changed \d+ % of what the mask protects · mean", capsys.readouterr().out)


# --- the panel's references

REFERENCES = """
from imagegen_magic.notebook.panel.references import References
from imagegen_magic.engine import loop
from IPython.display import display
changes = []
class State:
    references, mask = (), None
    def refer(self, edit):
        self.references = edit(self.references)
        changes.append(["references", [getattr(one, "name", one) for one in self.references]])
        self.draw()
    def cover(self, mask):
        changes.append(["mask", getattr(mask, "name", mask)])
        self.mask = mask
        self.draw()
    async def drawn(self): shown.draw(self.references, 4, mask=self.mask, masks=True)
    def draw(self): loop.submit(self.drawn())
state = State()
shown = References(state.refer, state.cover, {})
loop.run(state.drawn())
display(shown.widget)
"""


@pytest.fixture
def references(kernel):
    """The references of the panel alone, driven with the messages of a front end."""
    assert kernel.run(REFERENCES).status == "ok"
    yield PanelDriver(kernel, kernel.subshell)
    kernel.run("from imagegen_magic.notebook.progress import renderers\nrenderers.close_tree(shown.widget)")
    kernel.until(lambda: not kernel.models, "the widgets to be closed")


def test_an_address_is_a_reference_as_it_is(kernel, references):
    """An address is used unchanged; there is no Paint button, and a mask can still be given by name."""
    references.set(references.field("Add a reference"), value="https://example.com/a.png")
    kernel.until(lambda: value(kernel, "changes") == [["references", ["https://example.com/a.png"]]], "the reference")
    references.field("Remove")
    assert not [state for state in kernel.models.values() if state.get("description") == "Paint a mask"]
    assert kernel.models[kernel.models[references.field("Mask")]["layout"].removeprefix("IPY_MODEL_")].get("display") is None


def test_a_mask_is_painted_on_the_first_reference(kernel, references):
    """A file becomes a reference; the painter opens on it; its mask is reported, shown, continued and removed."""
    references.set(references.field("Add a reference"), value="photo.png")
    kernel.until(lambda: value(kernel, "changes") == [["references", ["photo.png"]]], "the reference")
    kernel.until(lambda: references.shows("data:image/jpeg;base64,"), "its thumbnail")
    references.click("Paint a mask")
    painter = references.widget("Painter")
    send(kernel, painter, {"event": "mask"}, mask_png())
    kernel.until(lambda: value(kernel, "changes[1:]") == [["mask", "photo-mask.png"]], "the mask")
    kernel.until(lambda: painter not in kernel.models, "the painter to close")
    kernel.until(lambda: references.shows("12 % to be repainted"), "the mask's line")
    references.click("Go on painting")
    references.widget("Painter")
    kernel.until(lambda: value(kernel, "len(shown._painter_box.children)") == 1, "the painter in its place")
    assert value(kernel, "shown._painter_box.children[0].start == state.mask.data")
    send(kernel, references.widget("Painter"), {"event": "close"})
    kernel.until(lambda: not [state for state in kernel.models.values() if "mime_type" in state], "the painter to close")
    references.click("Remove mask")
    kernel.until(lambda: value(kernel, "changes[2:]") == [["mask", None]], "the mask to go")
    references.field("Paint a mask")


def test_what_is_no_picture_is_refused_below_the_field(kernel, references):
    """A name that is no picture is no reference; the reason is shown below the field until the next change."""
    references.set(references.field("Add a reference"), value="nothing-of-the-kind.png")
    kernel.until(lambda: references.shows("nothing-of-the-kind.png"), "the refusal")
    assert value(kernel, "changes") == []
    assert not references.shows("itself failed")


def test_a_painter_goes_with_its_reference(kernel, references):
    """If the first reference is removed, its painter closes."""
    references.set(references.field("Add a reference"), value="photo.png")
    references.click("Paint a mask")
    painter = references.widget("Painter")
    references.click("Remove")
    kernel.until(lambda: painter not in kernel.models, "the painter to close")


# --- the command


def test_the_command_paints_on_a_file_a_variable_and_a_picture_of_the_history(kernel, opened, edited):
    """`%imagegen mask` takes what --ref takes; -o names the variable, --from a mask to continue with, which is bound at once."""
    (kernel.folder / "old.png").write_bytes(mask_png())
    kernel.run("from PIL import Image\nphoto = Image.open('photo.png')\nphoto.load()")
    for source, name in (("photo.png", "photo.png"), ("photo", "photo"), (f"@{edited}", f"@{edited}")):
        _, model = opened(f"%imagegen mask {source} -o sky")
        assert kernel.models[model]["name"] == name
        send(kernel, model, {"event": "close"})
        kernel.until(lambda model=model: model not in kernel.models, "the painter to close")
    _, model = opened("%imagegen mask photo.png --from old.png --out sky")
    assert value(kernel, "[sky.size, sky.getpixel((0, 0))[3]]") == [[300, 200], 0]
    send(kernel, model, {"event": "mask"}, mask_png(box=(0, 0, 300, 100)))
    kernel.until(lambda: model not in kernel.models, "the painter to close")
    assert value(kernel, "sky.getpixel((299, 0))[3]") == 0


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("mask", "UsageError"),
        ("mask photo.png -o 2nd", "UsageError"),
        ("mask nothing.png", "UnsupportedOption"),
        ("mask https://example.com/a.png", "UnsupportedOption"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(kernel, line, name):
    """No picture, no name of a variable, no such file: each is one line, and no painter opens."""
    refused = kernel.run(f"%imagegen {line}")
    assert refused.reply["ename"] == name
    assert not kernel.models
