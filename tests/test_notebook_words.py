"""The words of the progress and of the captions, and how they meet HTML."""

import base64
import contextvars
import html.parser
import io
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from scripted import picture, progress

from imagegen_magic.errors import TaskFailed, WaitingStopped
from imagegen_magic.notebook.output import captions, display
from imagegen_magic.notebook.progress import html as progress_html
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.result import Cost

NASTY = "<script>alert(1)</script> & \"quotes\" 'more' 狐狸 🦊"


class Tags(html.parser.HTMLParser):
    """Collects the elements and texts of a piece of HTML."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note an element."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        """Note a text."""
        self.texts.append(data)


def words(*events, now=112.0, tasks=1):
    """Return the text of a job's progress after these events."""
    state = JobProgress(tasks, 100.0)
    for event in events:
        state.take(event)
    return state.text(now)


@pytest.mark.parametrize(
    ("stage", "more", "expected"),
    [
        ("planned", {}, "waiting for its turn"),
        ("submitting", {}, "submitting"),
        ("submitting", {"note": "429, again in 3 s"}, "submitting (429, again in 3 s)"),
        ("waiting", {}, "waiting 12 s"),
        ("waiting", {"fraction": 0.45}, "waiting 12 s, 45%"),
        ("waiting", {"usual": (40.0, 60.0)}, "waiting 12 s, usually 40–60 s"),
        ("waiting", {"usual": (40.2, 40.4)}, "waiting 12 s, usually 40 s"),
        ("waiting", {"usual": (100.0, 290.0)}, "waiting 12 s, usually 2–5 min"),
        ("waiting", {"usual": (5.0, 9.0)}, "waiting 12 s, longer than the usual 5–9 s"),
        ("waiting", {"since": -75.0}, "waiting 3 min 7 s"),
        ("fetching", {}, "fetching"),
        ("saved", {}, "saved"),
        ("left", {}, "left to the service"),
        ("failed", {"error": TaskFailed("out of ink")}, "failed: out of ink"),
        ("left", {"error": WaitingStopped("The waiting was stopped")}, "left: The waiting was stopped"),
    ],
)
def test_stage_in_words(stage, more, expected):
    """Each stage has a text, with its duration, and its fraction and usual time if they are known."""
    assert words(progress(stage, **{"since": 100.0, **more})) == expected


def test_several_tasks_are_counted():
    """Several tasks are counts in one line, with the time since the start."""
    events = [progress("saved", 0, 4), progress("waiting", 1, 4), progress("waiting", 2, 4), progress("failed", 3, 4)]
    assert words(*events) == "1 of 4 saved, 2 waiting, 1 failed, 12 s"


def test_rows_are_added_when_the_number_of_tasks_is_known():
    """The first event of a resumed job has the number of tasks."""
    state = JobProgress(1, 0.0)
    state.take(progress("waiting", 1, 3))
    assert len(state.rows) == 3


def test_same_error_of_several_tasks_is_one_line():
    """What stopped all tasks is one line that names them."""
    state = JobProgress(3, 0.0)
    stopped = WaitingStopped("The waiting was stopped")
    for task in (0, 2):
        state.take(progress("left", task, 3, error=stopped))
    assert list(state.errors()) == [f"task 1, 3 of 3: {stopped}"]


@pytest.mark.parametrize(
    ("pixels", "frame"), [((1536, 1024), (72, 48)), ((1024, 1536), (32, 48)), ((3000, 1000), (72, 24)), ((1, 3), (16, 48))]
)
def test_frame_has_the_shape_of_the_picture(pixels, frame):
    """The frame of the progress fits a thumbnail's box in the picture's own shape."""
    assert progress_html.shape(*pixels) == frame


def test_row_escapes_what_a_gateway_says():
    """A gateway's words in the progress are text and never elements."""
    state = JobProgress(1, 0.0)
    state.take(progress("failed", error=TaskFailed(NASTY)))
    tags = Tags(*progress_html.rows_html(state, 0.0, (72, 48), [1]))
    assert set(tags.tags) <= {"div", "span"}
    assert f"failed: {NASTY}" in tags.texts


def test_caption_is_one_line_of_facts():
    """The caption has pixels, gateway and model, seconds, cost and path, in this order."""
    line = captions.caption(picture())
    assert line.text == "1536×1024 · evolink gpt-image-2 · 48 s · cost unknown · imagegen/a-red-fox-1-1.png"
    assert "".join(Tags(line.html).texts) == line.text


def test_caption_has_a_known_cost_and_no_unknown_duration():
    """A price is in the gateway's own unit; an unknown duration is left out."""
    line = captions.caption(picture(cost=Cost(Decimal("0.0527"), "USD", "measured"), seconds=None))
    assert " · evolink gpt-image-2 · $0.0527 · " in line.text


def test_caption_names_the_sandbox():
    """A picture that the sandbox drew is not passed off as a gateway's."""
    assert "evolink gpt-image-2 (sandbox)" in captions.caption(picture(sandbox=True)).text


def test_differences_stand_out():
    """What is not as asked comes first and in bold."""
    line = captions.caption(picture(differences=("asked 3:1, got 2.25:1",)))
    assert line.text.startswith("asked 3:1, got 2.25:1 · ")
    assert "strong" in Tags(line.html).tags


def test_path_is_a_link_relative_to_the_notebook():
    """A picture in the notebook's folder is linked by its relative address, with special characters escaped."""
    line = captions.caption(picture(prompt="100% fox #1"))
    assert ("href", "imagegen/100%25-fox-%231-1-1.png") in Tags(line.html).attributes
    assert "imagegen/100%-fox-#1-1-1.png" in line.text


def test_path_elsewhere_is_absolute_and_not_linked(tmp_path):
    """A picture that no relative address reaches is named with its whole path."""
    line = captions.caption(picture(), folder=tmp_path / "elsewhere")
    assert str(Path.cwd() / "imagegen" / "a-red-fox-1-1.png") in line.text
    assert "a" not in Tags(line.html).tags


def test_caption_escapes_everything():
    """Model names, differences and file names are text wherever they meet HTML."""
    image = picture(prompt="fox <b>", differences=(NASTY,))
    tags = Tags(captions.caption(image).html)
    assert set(tags.tags) <= {"div", "a", "strong"}
    assert NASTY in "".join(tags.texts)


def test_preview_is_bounded():
    """A large noisy picture is at most 1024 pixels and 150 kB in the notebook, and the file stays as it was."""
    image = picture(size=(1920, 1080))
    noise = Image.effect_noise((1920, 1080), 90).convert("RGB")
    noise.save(image.path)
    before = image.path.read_bytes()
    data, metadata = display.bundle(image)
    content = base64.b64decode(data["image/jpeg"])
    assert Image.open(io.BytesIO(content)).size == (1024, 576)
    assert len(content) <= 150_000
    assert metadata == {"image/jpeg": {"width": 640, "height": 360}}
    assert image.path.read_bytes() == before


def test_preview_edge_can_be_chosen():
    """`--preview 300` makes it 300 pixels, drawn smaller in the same proportion."""
    data, metadata = display.bundle(picture(), edge=300)
    assert Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"]))).size == (300, 200)
    assert metadata == {"image/jpeg": {"width": 188, "height": 125}}


def test_alpha_stays():
    """A picture with transparent parts is shown as PNG."""
    image = picture()
    Image.new("RGBA", (64, 64), (255, 0, 0, 80)).save(image.path)
    assert "image/png" in display.bundle(image).data


def test_small_picture_is_not_enlarged():
    """A picture smaller than its place is drawn pixel by pixel."""
    assert display.on_page(320, 200) == (320, 200)
    assert display.on_page(1024, 1024) == (480, 480)
    assert display.on_page(576, 1024) == (270, 480)


def test_picture_with_a_missing_file_is_a_line():
    """Where the file was moved, its name and the reason stand in the picture's place."""
    image = picture()
    image.path.unlink()
    data, _ = display.bundle(image)
    assert data["text/plain"].startswith("a-red-fox-1-1.png, 1536×1024 is no longer readable: ")


class StrictPublisher:
    """A publisher that, as ipykernel 7.0's, knows the message it answers only in the cell's own context."""

    def __init__(self):
        self.parent = contextvars.ContextVar("parent")
        self.sent = []

    def publish(self, data, metadata, *, transient, update):
        """Note what is published, and for which message."""
        self.sent.append((self.parent.get(), update))


def test_update_finds_its_cell_on_every_kernel():
    """Where an update cannot go out without a cell's context, it goes out in the context of the cell that showed the output."""
    publisher = StrictPublisher()
    publisher.parent.set("the cell")
    canvas = display.Canvas(SimpleNamespace(display_pub=publisher))
    publisher.parent.set("a later cell")
    canvas.update(canvas.show(display.line("words")), display.line("others"))
    assert publisher.sent == [("the cell", False), ("the cell", True)]
