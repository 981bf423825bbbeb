"""The pictures of one cell as one output: what each consumer finds in it, and how large it is."""

import base64
import html.parser
import io
import re

import pytest
import scripted
from PIL import Image
from shells import a_shell

from imagegen_magic.notebook.output import captions, gallery
from imagegen_magic.notebook.progress import sweep_view
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Generation

pytestmark = pytest.mark.usefixtures("own_world")
NASTY = 'a "red" <b>fox</b> & $5 or $6'


def picture(task=0, *, size=(768, 512), **more):
    """Return a picture that is quickly drawn, and larger than its copy in an output."""
    return scripted.picture(task, size=size, **more)


class Tags(html.parser.HTMLParser):
    """Collects the tags of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note a tag."""
        self.found.append((tag, dict(attrs)))

    def of(self, name):
        """Return the attributes of each tag of that name."""
        return [attributes for tag, attributes in self.found if tag == name]


def grainy(number, size=(768, 512)):
    """Return a picture of noise, which no format makes small."""
    image = picture(number, size=size)
    Image.effect_noise(size, 60).convert("RGB").save(image.path)
    return image


def generation(images):
    """Return a Generation of these images."""
    return Generation(tuple(images), ImageRequest("a red fox"), "evolink", 1.0, ())


def kilobytes(bundle):
    """Return how much a notebook grows by an output, in kB."""
    return sum(len(content) for content in bundle.data.values()) / 1000


def height(columns, box, count):
    """Return the height of the pictures of a gallery in CSS pixels."""
    return -(-count // columns) * (box + 4)


def test_four_pictures_are_one_output():
    """Four pictures have alternative texts, sizes, and links to the originals, numbered as Python does."""
    images = [picture(number, prompt=NASTY) for number in range(4)]
    data, metadata = gallery.bundle(images)
    tags = Tags(data["text/html"])
    assert [each["alt"] for each in tags.of("img")] == [f"{NASTY} ({number} of 4)" for number in (1, 2, 3, 4)]
    assert all(each["src"].startswith("data:image/jpeg;base64,") and each["width"] == "326" for each in tags.of("img"))
    links = [each["href"] for each in tags.of("a")]
    assert len(links) == 8
    assert links[:4] == links[4:]
    assert re.findall(r">(\d)</a>", data["text/html"]) == ["0", "1", "2", "3"]
    assert data["text/plain"].startswith(f"{NASTY}\n")
    names = [f"[{number}] {captions.near(image.path)}" for number, image in enumerate(images)]
    assert data["text/plain"].splitlines()[2:] == names
    assert metadata["image/jpeg"]["alt"] == f"{NASTY} (4 pictures)"


def test_the_html_works_without_styles():
    """GitHub removes styles, classes and ids: pictures of at most half a page in one line of text stand in columns."""
    tags = Tags(gallery.bundle([picture(number) for number in range(4)]).data["text/html"])
    assert {tag for tag, _ in tags.found} <= {"div", "a", "img"}
    assert all(2 * int(each["width"]) + 10 <= 1000 for each in tags.of("img"))


def test_the_image_beside_the_html_is_a_sheet():
    """LaTeX and other front ends without HTML show one sheet of all pictures, in the same columns."""
    data, metadata = gallery.bundle([picture(number) for number in range(4)])
    with Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"]))) as sheet:
        assert sheet.width <= 900
        assert 1.3 < sheet.width / sheet.height < 1.6
    assert metadata["image/jpeg"]["width"] <= 640


@pytest.mark.parametrize(("size", "most"), [((768, 512), 520), ((640, 640), 624), ((640, 1138), 624), ((768, 256), 520)])
def test_four_pictures_are_hardly_higher_than_one(size, most):
    """With their caption of at most two lines they are at most as high as 1.3 pictures."""
    columns, _, box = gallery._arrangement([gallery._copy(picture(number, size=size), 512) for number in range(4)])
    assert height(columns, box, 4) + 70 <= most


def test_twenty_four_pictures_are_bounded():
    """They are at most 600 kB, even if they are noise."""
    bundle = gallery.bundle([grainy(0, (480, 320))] * 24)
    assert len(Tags(bundle.data["text/html"]).of("img")) == 24
    assert kilobytes(bundle) <= 600


def test_four_pictures_of_noise_are_bounded():
    """Four pictures add at most 200 kB, with grain 260."""
    assert kilobytes(gallery.bundle([picture(number) for number in range(4)])) <= 200
    assert kilobytes(gallery.bundle([grainy(number) for number in range(4)])) <= 260


def test_more_than_twenty_four_are_a_sheet():
    """One picture stands for all, with a link to each original."""
    bundle = gallery.bundle([picture(number, size=(96, 64)) for number in range(30)])
    tags = Tags(bundle.data["text/html"])
    assert [each["alt"] for each in tags.of("img")] == ["a red fox (30 pictures)"]
    assert len(tags.of("a")) == 30
    assert kilobytes(bundle) <= 600


def test_one_picture_has_the_same_form():
    """One image is HTML with an alternative text and a link, the image, and text that begins with the prompt."""
    data, _ = gallery.bundle([picture()])
    tags = Tags(data["text/html"])
    assert [each["alt"] for each in tags.of("img")] == ["a red fox"]
    assert tags.of("a")[0]["href"] == "imagegen/a-red-fox-1-1.png"
    assert data["text/plain"].splitlines()[0] == "a red fox"


def test_the_last_value_of_a_cell_shows_the_same():
    """`foxes`, a slice of it and one of its images show what the cell showed."""
    foxes = generation(picture(number) for number in range(4))
    assert foxes._repr_mimebundle_() == gallery.bundle(foxes.images)
    assert foxes[:2]._repr_mimebundle_() == gallery.bundle(foxes.images[:2])
    assert foxes[0]._repr_mimebundle_() == gallery.bundle(foxes.images[:1])
    assert foxes[:2] + foxes[2:] == foxes.images
    assert foxes[:0]._repr_mimebundle_() == ({"text/plain": "()"}, {})


def test_a_terminal_gets_text_alone():
    """Without a kernel no picture is drawn."""
    foxes = generation(picture(number) for number in range(2))
    with a_shell():
        data, _ = foxes._repr_mimebundle_()
        assert list(data) == ["text/plain"]
        assert data["text/plain"].endswith("[1] imagegen/a-red-fox-2-1.png")


def test_a_sweep_shows_its_grid_again(gateway, monkeypatch):
    """`study` as the last value of a cell is the grid that the cell showed; in a terminal its line and paths."""
    with a_shell() as shell:
        shell.run("%%imagegen --sandbox -q low --sweep style=oil,ink --yes -o study\na fox in {{style}}")
        study = shell.variables["study"]
        shown = shell.shell.display_pub.outputs[-2]
        assert study._repr_mimebundle_()[0]["text/plain"].startswith("<SweepResult of 2")
        monkeypatch.setattr(sweep_view, "current_shell", lambda: None)
        data, _ = study._repr_mimebundle_()
        assert data == shown["data"]
        assert 'alt="a fox in {{style}}. Grid of 2 pictures' in data["text/html"]


def test_what_differs_is_numbered():
    """The caption has what all images share once, and the rest with the numbers of its images."""
    images = [picture(0, seed=7, seconds=3.0), picture(1, seed=8, seconds=9.0), picture(2, seed=8, differences=("asked 3:1, got 1:1",))]
    text = gallery.text(images)
    assert "[2] asked 3:1, got 1:1 · 768×512 · evolink gpt-image-2 · [0] seed 7 · [1, 2] seed 8 · " in text
    assert text.count("768×512") == 1


def test_a_lost_file_leaves_its_number():
    """The other pictures keep their numbers, and a line names the file that cannot be read."""
    images = [picture(number) for number in range(3)]
    images[1].path.unlink()
    tags = Tags(gallery.bundle(images).data["text/html"])
    assert [each["alt"] for each in tags.of("img")] == ["a red fox (1 of 3)", "a red fox (3 of 3)"]
    assert "[1] a-red-fox-2-1.png, 768×512 is no longer readable" in gallery.bundle(images).data["text/html"]
