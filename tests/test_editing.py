"""Editing what is on your machine: references and masks of every kind, brought to a gateway once, chained, and checked afterwards."""

import base64
import io
import json
import sqlite3
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from IPython.core.error import UsageError
from PIL import Image, ImageDraw
from servers import sandbox_server
from shells import a_shell

from imagegen_magic import generate, mask_box, mask_from, run
from imagegen_magic.engine import generation, loop, uploads
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import ImageInvalid, ReferenceUnreachable, UnsupportedOption
from imagegen_magic.notebook import display
from imagegen_magic.request import ImageRequest, LocalPicture

SIZE = (96, 64)
ANSWER = "%%imagegen -p gccai --size 1024x640 -q low"
EVERYWHERE = {"provider": "gccai", "size": "1024x640", "quality": "low"}


@pytest.fixture(scope="module")
def servers():
    """Two gateways whose tasks take a twentieth of a second: one that draws every picture alike, one that paints within masks."""
    with sandbox_server(duration=0.05, plain=True) as plain, sandbox_server(duration=0.05) as painting:
        yield plain, painting


def _at(server, monkeypatch):
    server.disarm()
    monkeypatch.setattr(uploads, "_backoff", lambda state: 0.01)
    for name, value in {"IMAGEGEN_POLL_SECONDS": "0.05", **server.environ()}.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def gateway(servers, monkeypatch):
    """The gateway that draws every picture alike."""
    return _at(servers[0], monkeypatch)


@pytest.fixture
def painting(servers, monkeypatch):
    """The gateway that paints within masks."""
    return _at(servers[1], monkeypatch)


@pytest.fixture
def notebook():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


@pytest.fixture
def photo(own_world):
    """A file beside the notebook, and its picture."""
    return _photo(own_world / "photo.png")


def _photo(path, seed=0, size=SIZE):
    """Write a picture that has something to see everywhere, and return it; PNG, or what the suffix says."""
    image = Image.merge("RGB", [Image.linear_gradient("L").rotate(90 * turn).resize(size) for turn in range(3)])
    ImageDraw.Draw(image).ellipse([side // 4 for side in size] + [side // 2 for side in size], fill=(200, 60 + seed % 190, seed % 256))
    image.save(path)
    return image


def _bytes(image, kind="PNG"):
    memory = io.BytesIO()
    image.save(memory, kind)
    return memory.getvalue()


class Counted:
    """What a server was asked since this was made."""

    def __init__(self, server):
        self.server, self.before = server, server.log()

    @property
    def uploads(self):
        """How many files were uploaded."""
        return self.server.log()["uploads"] - self.before["uploads"]

    @property
    def submissions(self):
        """The submissions, refused ones too, in their order."""
        return self.server.submissions()[len(self.before["submissions"]) :]

    @property
    def accepted(self):
        """The submissions that somebody pays for."""
        return [entry for entry in self.submissions if entry["accepted"]]

    @property
    def nothing(self):
        """Whether nothing at all was sent."""
        return not self.uploads and not self.submissions


def _fetched(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as answer:
        return answer.read()


def _references(counted):
    """Return the bytes of the pictures that the last submission names."""
    return [_fetched(url) for url in counted.submissions[-1]["json"]["image_urls"]]


def _pixels(data):
    """Return a picture's pixels, whatever its file says besides."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def _sources():
    """Return the ledger's account of what each job was made with."""
    query = "SELECT job, role, position, name, picture, sha256 FROM sources ORDER BY job, position"
    return [tuple(row) for row in loop.run(generation.ledger().run(lambda connection: connection.execute(query).fetchall()))]


def _change(query, *values):
    loop.run(generation.ledger().run(lambda connection: connection.execute(query, values).rowcount))


def _edit(prompt="an edit", **options):
    return run(generate(prompt, **{**EVERYWHERE, **options}))


# --- what people have


class Figure:
    """Draws itself as a matplotlib figure does."""

    def __init__(self, image):
        self.image = image

    def savefig(self, file, **options):
        """Write the picture into an open file."""
        self.image.save(file, options["format"])


def _figure(image):
    """Return a figure: matplotlib's own where it is installed."""
    try:
        from matplotlib.figure import Figure as Plotted
    except ImportError:
        return Figure(image)
    figure = Plotted(figsize=(1, 1))
    figure.figimage(numpy.asarray(image))
    return figure


def _array(image):
    return numpy.asarray(image)


def _shown(image):
    from IPython.display import Image as Shown

    return Shown(data=_bytes(image))


VARIABLES = {
    "a PIL image": lambda image: image,
    "an array of uint8": _array,
    "an array of floats": lambda image: _array(image) / 255,
    "an array with alpha": lambda image: numpy.dstack([_array(image), numpy.full(SIZE[::-1], 255, "uint8")]),
    "bytes": _bytes,
    "bytes of a BMP": lambda image: _bytes(image, "BMP"),
    "an IPython Image": _shown,
    "a figure": Figure,
}


@pytest.mark.parametrize("kind", VARIABLES)
def test_a_variable_is_a_reference(kind, gateway, notebook, photo):
    """Its pixels arrive at the gateway, which is given their address; the ledger knows the variable's name."""
    counted = Counted(gateway)
    notebook.shell.push({"fox": VARIABLES[kind](photo)})
    notebook.run(f"{ANSWER} --ref fox\nwith {kind}")
    assert [_pixels(data) for data in _references(counted)] == [photo.tobytes()]
    assert counted.uploads == 1
    ((_, role, position, name, picture, sha256),) = _sources()
    assert (role, position, name, picture, len(sha256)) == ("reference", 0, "fox", None, 64)


@pytest.mark.parametrize("kind", VARIABLES)
def test_python_takes_what_a_variable_holds(kind, gateway, photo):
    """`references=[thing]`, and a thing alone."""
    counted, thing = Counted(gateway), VARIABLES[kind](photo)
    _edit(references=[thing])
    _edit(references=thing)
    assert [_pixels(data) for data in _references(counted)] == [photo.tobytes()]
    assert len(counted.accepted) == 2


def test_a_matplotlib_figure_is_a_reference(gateway, notebook, photo):
    """Matplotlib's own where it is installed: a picture of it arrives."""
    counted = Counted(gateway)
    notebook.shell.push({"plot": _figure(photo)})
    notebook.run(f"{ANSWER} --ref plot\na figure")
    (data,) = _references(counted)
    assert len(_pixels(data)) > 0


@pytest.mark.parametrize("written", ["photo.png", "./photo.png", "deep/photo.png", "~/photo.png", "'two words.png'", "ABSOLUTE"])
def test_a_file_is_a_reference(written, gateway, notebook, photo, own_world, monkeypatch):
    """From the notebook's folder, of the home folder, or absolute; its very bytes arrive, under a name that says nothing of it."""
    monkeypatch.setenv("HOME", str(own_world / "at-home"))
    monkeypatch.setenv("USERPROFILE", str(own_world / "at-home"))
    for place in ("deep/photo.png", "at-home/photo.png", "two words.png"):
        (own_world / place).parent.mkdir(exist_ok=True)
        (own_world / place).write_bytes((own_world / "photo.png").read_bytes())
    counted, path = Counted(gateway), str(own_world / "photo.png") if written == "ABSOLUTE" else written
    notebook.run(f"{ANSWER} --ref {path}\na file")
    assert _references(counted) == [(own_world / "photo.png").read_bytes()]
    assert "photo" not in json.dumps(counted.submissions[-1]["json"])
    assert _sources()[0][3] == path.strip("'")


def test_a_notebook_that_moved_on_still_finds_its_files(gateway, notebook, photo, own_world, monkeypatch):
    """Paths are told from where the notebook is, whatever `%cd` says now."""
    (own_world / "elsewhere").mkdir()
    monkeypatch.chdir(own_world / "elsewhere")
    counted = Counted(gateway)
    notebook.run(f"{ANSWER} --ref photo.png\nmoved on")
    assert len(counted.accepted) == 1


def test_a_glob_is_its_files_in_natural_order(gateway, notebook, own_world):
    """Nine comes before ten, folders are searched with `**`, and each file is named."""
    (own_world / "shots" / "more").mkdir(parents=True)
    names = ["shots/a2.png", "shots/a9.png", "shots/a10.png", "shots/more/a1.png"]
    for seed, name in enumerate(names):
        _photo(own_world / name, seed)
    counted = Counted(gateway)
    notebook.run(f"{ANSWER} --ref shots/a*.png --ref shots/**/a1.png\na glob")
    assert _references(counted) == [(own_world / name).read_bytes() for name in names]
    assert [row[3] for row in _sources()] == names
    _edit(references=["shots/a*.png"])
    assert _references(counted) == [(own_world / name).read_bytes() for name in names[:3]]


def test_a_file_that_looks_like_a_glob_is_that_file(gateway, notebook, own_world):
    """Brackets in a name are a name where there is such a file."""
    _photo(own_world / "fox[1].png")
    counted = Counted(gateway)
    notebook.run(f"{ANSWER} --ref fox[1].png\nbrackets")
    assert _references(counted) == [(own_world / "fox[1].png").read_bytes()]


def test_an_address_is_sent_as_it_is(gateway, notebook):
    """Nothing is uploaded; the ledger knows it by itself."""
    counted = Counted(gateway)
    notebook.run(f"{ANSWER} --ref https://pictures.example.com/fox.png\nan address")
    assert counted.submissions[-1]["json"]["image_urls"] == ["https://pictures.example.com/fox.png"]
    assert counted.uploads == 0
    assert _sources()[0][1:] == ("reference", 0, "https://pictures.example.com/fox.png", None, None)


@pytest.mark.parametrize("written", ["foxes", "foxes[1]", "foxes[-1]", "one", "@2", "_imagegen", "its file"])
def test_an_earlier_result_is_a_reference(written, gateway, notebook):
    """A Generation (its first), one of its pictures, a GeneratedImage, an id of the history, the last result, its file."""
    notebook.run(f"{ANSWER} -n 2 --name second -o foxes\ntwo foxes")
    foxes = notebook.variables["foxes"]
    notebook.shell.push({"one": foxes[1]})
    meant = foxes[0] if written in ("foxes", "_imagegen") else foxes[1]
    written = f"imagegen/{foxes[1].path.name}" if written == "its file" else written
    counted = Counted(gateway)
    notebook.run(f"{ANSWER} --ref {written}\nfrom before")
    assert _references(counted) == [meant.data]
    ((_, _, _, name, picture, sha256),) = _sources()
    assert (name, picture) == (written, None if written.endswith(".png") else meant.id)
    assert sha256 == loop.run(generation.ledger().pictures(ids=[meant.id]))[0].sha256


def test_python_takes_earlier_results(gateway):
    """A Generation, one of its pictures, and an id."""
    foxes = _edit(n=2)
    for thing in (foxes, foxes[0], f"@{foxes[0].id}"):
        counted = Counted(gateway)
        _edit("again", references=[thing])
        assert _references(counted) == [foxes[0].data]
    assert [row[4] for row in _sources()] == [foxes[0].id] * 3


def test_a_sweeps_result_is_a_reference(gateway, notebook):
    """Its first picture, as a Generation's."""
    notebook.run(f"{ANSWER} --sweep style=oil,ink --yes -o styles\na {{{{style}}}} fox")
    counted = Counted(gateway)
    notebook.run(f"{ANSWER} --ref styles --ref styles[1]\nmore of it")
    assert _references(counted) == [image.data for image in notebook.variables["styles"]]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("nobody", "There is no file 'nobody' in"),
        ("nobody[0]", "There is no file 'nobody[0]' in"),
        ("no/such.png", "There is no file 'no/such.png' in"),
        ("none*.png", "There is no file 'none*.png' in"),
        ("@99", "The history has no picture @99"),
        ("fox[7]", "There is no fox[7]: it has 2 pictures"),
        ("number[0]", "There is no number[0]: it is of type int"),
        ("number", "number is of type int, which holds no picture"),
        ("empty", "That result holds no picture"),
        (".", "There is no file '.' in"),
        ("both", "both is a file and a variable at once"),
        ("words.txt", "words.txt is not a picture that can be read here but text"),
        ("hollow.png", "hollow.png is empty"),
        ("file:///etc/hosts", "that is a file of this machine"),
        ("data:image/png;base64,AAAA", "is given no data: addresses"),
        ("http://192.168.1.7/fox.png", "is in a private network"),
        ("https://10.1.2.3/fox.png", "is in a private network"),
    ],
)
def test_what_is_no_picture_is_told_before_anything_is_sent(written, words, gateway, notebook, photo, own_world):
    """Each in its own words; nothing reaches the gateway."""
    (own_world / "both").write_bytes((own_world / "photo.png").read_bytes())
    (own_world / "words.txt").write_text("just words")
    (own_world / "hollow.png").touch()
    nothing = replace(_edit("before"), images=())
    notebook.shell.push({"both": photo, "fox": [photo, photo], "number": 7, "empty": nothing})
    counted = Counted(gateway)
    with pytest.raises((UnsupportedOption, ImageInvalid)) as refused:
        notebook.run(f"{ANSWER} --ref {written}\na wrong one")
    assert words in str(refused.value)
    assert "Your move, nothing was charged" in str(refused.value)
    assert counted.nothing


# --- what the plan tells


def _planned(notebook, line, prompt="a plan"):
    """Return what a dry run says of pictures, after making sure that it shows the placeholder and never the bytes."""
    notebook.run(f"%%imagegen {line} --dry-run\n{prompt}")
    (text,) = notebook.shown()
    return [row.removeprefix("picture").strip() for row in text.splitlines() if row.startswith("picture ")], text


def test_the_plan_tells_what_is_sent_and_where_it_will_live(gateway, notebook, photo):
    """Kind, pixels, bytes, that it will be uploaded, where, and for how long; nothing is sent by looking."""
    counted, size = Counted(gateway), round((Path("photo.png").stat().st_size) / 1e3)
    notebook.shell.push({"mask": mask_box(photo, 0, 0, 40, 40), "big": Image.new("RGB", (640, 480), "navy")})
    told, text = _planned(notebook, "-p gccai --ref photo.png --ref big --mask mask")
    where = f"will be uploaded to {gateway.origin.removeprefix('http://')}, where it lives for 72 hours"
    assert told[0] == f"photo.png (PNG, 96×64, {size} kB): {where}"
    assert told[1].startswith("big (PNG, 640×480, ")
    assert told[2].startswith("mask (PNG, 96×64, 1 kB")
    assert all(words.endswith(where) for words in told)
    assert '"upload:' in text
    assert counted.nothing


def test_the_plan_of_the_sandbox_and_of_a_real_gateway(notebook, photo, monkeypatch):
    """Without a key, too: evolink's own file host, and the sandbox in this process."""
    monkeypatch.delenv("EVOLINK_BASE_URL", raising=False)
    assert "will be uploaded to files-api.evolink.ai, where it lives for 72 hours" in _planned(notebook, "-p evolink --ref photo.png")[0][0]
    assert "will be uploaded to the sandbox in this process" in _planned(notebook, "-p evolink --sandbox --ref photo.png")[0][0]


def test_the_plan_tells_what_was_done_to_a_picture(gateway, notebook, photo):
    """Turned, converted, cleaned: each thing is said before anything is sent."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save("turned.jpg", exif=exif)
    photo.save("old.bmp")
    told, _ = _planned(notebook, "-p gccai --ref turned.jpg --ref old.bmp")
    assert "turned.jpg (JPEG, 64×96" in told[0]
    assert "turned as its EXIF says" in told[0]
    assert "old.bmp (PNG, 96×64" in told[1]
    assert "converted from BMP" in told[1]


def test_the_plan_knows_what_is_there_already(gateway, notebook, photo):
    """An upload that lives is not repeated, a result whose address lives is not uploaded at all."""
    notebook.run(f"{ANSWER} --ref photo.png -o fox\nbrought")
    told, _ = _planned(notebook, "-p gccai --ref photo.png --ref fox")
    place = gateway.origin.removeprefix("http://")
    assert f"at {place} already until" in told[0]
    assert told[0].endswith(", not uploaded again")
    assert told[1].startswith("fox (PNG, 1024×640")
    assert f"at {place} already until" in told[1]
    assert told[1].endswith(", not uploaded")


def test_a_gateway_without_an_upload_says_so_and_what_to_do(gateway, notebook, photo):
    """Xingchao takes addresses alone: the words name the uploader, an earlier result, and the gateways that take files."""
    counted = Counted(gateway)
    for ending in ("", " --dry-run"):
        with pytest.raises(UnsupportedOption) as refused:
            notebook.run(f"%%imagegen -p xingchao --ref photo.png{ending}\nno upload there")
        words = str(refused.value)
        assert "takes no files, only addresses that it can fetch, and photo.png is on this machine" in words
        assert '%config ImageGenMagics.uploader = "package:function"' in words
        assert "an earlier result whose address still lives" in words
        assert "apimart, evolink, gccai" in words
    assert counted.nothing


def test_a_gateway_without_an_upload_takes_an_earlier_result(gateway, notebook):
    """Its own, by the address that lives."""
    line = "%%imagegen -p xingchao --size 1:1"
    notebook.run(f"{line} -o fox\na fox")
    counted = Counted(gateway)
    notebook.run(f"{line} --ref fox\nanother")
    assert counted.submissions[-1]["json"]["image_urls"] == [notebook.variables["fox"][0].url]
    assert counted.uploads == 0


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The person's own uploader, `bucket:put`, in a module of theirs; its `seen` are the files it was given."""
    (tmp_path / "bucket.py").write_text(
        "seen = []\n\ndef put(path):\n    seen.append((path.suffix, path.read_bytes()))\n"
        "    return f'https://bucket.example.com/{len(seen)}.png'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("bucket")
    sys.modules.pop("bucket")


def test_the_persons_own_uploader_is_named_by_config(gateway, notebook, photo, bucket):
    """It gets a file, once for the same bytes; the gateway gets the address that it returned, and the plan says so."""
    notebook.run('%config ImageGenMagics.uploader = "bucket:put"')
    told, _ = _planned(notebook, "-p xingchao --ref photo.png")
    assert told[0].endswith("your uploader bucket:put will put it at an address")
    assert bucket.seen == []
    counted = Counted(gateway)
    for prompt in ("mine", "mine again"):
        notebook.run(f"%%imagegen -p xingchao --size 1:1 --ref photo.png\n{prompt}")
    assert bucket.seen == [(".png", Path("photo.png").read_bytes())]
    assert [entry["json"]["image_urls"] for entry in counted.accepted] == [["https://bucket.example.com/1.png"]] * 2
    assert counted.uploads == 0


def _noise(width, height):
    """Return a picture that no format makes small."""
    return Image.frombytes("RGB", (width, height), numpy.random.default_rng(1).bytes(width * height * 3))


def test_what_is_too_large_is_refused_and_scaled_only_when_asked(gateway, notebook, own_world):
    """More bytes than gccai takes: refused with the word `--fit`; with it, made smaller, and the plan says from what to what."""
    _noise(3000, 2400).save("large.png")  # 21.6 MB
    counted = Counted(gateway)
    with pytest.raises(UnsupportedOption, match=r"large.png has 2\d MB, more than the 20 MB that are taken.*--fit"):
        notebook.run(f"{ANSWER} --ref large.png\ntoo large")
    with pytest.raises(UnsupportedOption, match="--fit"):
        _edit(references=["large.png"])
    assert counted.nothing
    told, _ = _planned(notebook, "-p gccai --ref large.png --fit")
    assert "made a JPEG of quality 92: 22 MB as PNG were too much" in told[0]
    notebook.run(f"{ANSWER} --ref large.png --fit\nsmaller")
    (data,) = _references(counted)
    assert len(data) <= 20_000_000
    _edit("smaller from Python", references=["large.png"], fit=True)
    assert counted.uploads == 1
    assert len(counted.accepted) == 2


def test_more_pixels_than_are_taken_are_scaled_down(gateway, notebook, own_world):
    """From what to what is said."""
    Image.new("RGB", (9000, 6000), "navy").save("wide.png")
    with pytest.raises(UnsupportedOption, match="--fit scales it down"):
        notebook.run(f"{ANSWER} --ref wide.png\ntoo wide")
    told, _ = _planned(notebook, "-p gccai --ref wide.png --fit")
    assert "scaled down from 9000×6000 to 8660×5773" in told[0]


@pytest.mark.parametrize(("model", "most"), [("-p xingchao -m gpt-image-2", 6), ("-p gccai -m gpt-image-1.5-official", 15), ("-p gccai", 16)])
def test_too_many_references_are_refused_by_the_model_s_own_limit(model, most, gateway, notebook, own_world, bucket):
    """Six, fifteen, sixteen; of a glob all files count, and nothing is sent."""
    notebook.run('%config ImageGenMagics.uploader = "bucket:put"')
    for number in range(most + 1):
        _photo(own_world / f"{number}.png", number)
    counted = Counted(gateway)
    with pytest.raises(UnsupportedOption, match=f"takes at most {most} reference pictures, not {most + 1}"):
        notebook.run(f"%%imagegen {model} --ref *.png\ntoo many")
    assert counted.nothing
    assert bucket.seen == []
    Path(f"{most}.png").unlink()
    assert len(_planned(notebook, f"{model} --ref *.png")[0]) == most


# --- masks


MASKS = {
    "a mask of a box": lambda image: mask_box(image, 10, 10, 40, 40),
    "a mask of an array": lambda image: mask_from(_array(image)[:, :, 0] > 128),
    "a PNG in bytes": lambda image: _bytes(mask_box(image, 10, 10, 40, 40)),
    "an array with alpha": lambda image: numpy.asarray(mask_box(image, 10, 10, 40, 40)),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_goes_along_with_its_picture(kind, gateway, notebook, photo):
    """As a variable; its alpha arrives, and the ledger knows it as a mask."""
    counted, mask = Counted(gateway), MASKS[kind](photo)
    notebook.shell.push({"here": mask})
    notebook.run(f"{ANSWER} --ref photo.png --mask here\nmasked with {kind}")
    alpha = Image.open(io.BytesIO(_fetched(counted.submissions[-1]["json"]["mask_url"]))).getchannel("A")
    assert alpha.size == SIZE
    assert alpha.getextrema() == (0, 255)
    assert [row[1:4] for row in _sources()] == [("reference", 0, "photo.png"), ("mask", 1, "here")]


def test_a_mask_in_a_file_and_from_python(gateway, notebook, photo):
    """`--mask mask.png`, and `mask=` with a path or a picture."""
    mask_box(photo, 10, 10, 40, 40).save("mask.png")
    counted = Counted(gateway)
    notebook.run(f"{ANSWER} --ref photo.png --mask mask.png\nfrom a file")
    _edit(references=["photo.png"], mask="mask.png")
    _edit(references=[photo], mask=mask_box(photo, 10, 10, 40, 40))
    assert [_fetched(entry["json"]["mask_url"]) for entry in counted.accepted[:2]] == [Path("mask.png").read_bytes()] * 2
    assert len(counted.accepted) == 3


def _wrong_masks(photo):
    black_and_white = Image.new("L", SIZE)
    black_and_white.paste(255, (0, 0, 40, 40))
    return {
        "without a reference": (mask_box(photo, 0, 0, 9, 9), "takes a mask only beside a reference picture"),
        "black and white": (black_and_white, "mask_from(wrong) makes a mask of a black-and-white picture: white = edit here"),
        "no alpha": (photo, "has no alpha channel"),
        "other pixels": (mask_box(photo.resize((48, 32)), 0, 0, 9, 9), "48x32"),
        "all opaque": (Image.new("RGBA", SIZE, (0, 0, 0, 255)), "nothing in the mask wrong is fully transparent"),
        "all transparent": (Image.new("RGBA", SIZE, (0, 0, 0, 0)), "nothing in the mask wrong is fully opaque"),
        "no picture": (b"not at all", "wrong is not a picture"),
        "no such thing": (7, "wrong is of type int"),
    }


@pytest.mark.parametrize("kind", list(_wrong_masks(Image.new("RGB", SIZE))))
@pytest.mark.parametrize("dry", ["", " --dry-run"])
def test_a_wrong_mask_is_told_before_anything_is_sent(kind, dry, gateway, notebook, photo):
    """What is wrong with it and what to do; the picture is not even uploaded."""
    wrong, words = _wrong_masks(photo)[kind]
    notebook.shell.push({"wrong": wrong})
    counted = Counted(gateway)
    with pytest.raises((UnsupportedOption, ImageInvalid)) as refused:
        notebook.run(f"{ANSWER}{'' if kind == 'without a reference' else ' --ref photo.png'} --mask wrong{dry}\na wrong mask")
    assert words in str(refused.value)
    assert counted.nothing


def test_a_mask_as_jpeg_is_told_which_call_makes_one(gateway, notebook, photo):
    """A JPEG of black and white, as a drawing program leaves it."""
    Image.new("L", SIZE, 255).save("mask.jpg")
    with pytest.raises(UnsupportedOption, match=r"mask_from\('mask.jpg'\) makes a mask .* white = edit here"):
        notebook.run(f"{ANSWER} --ref photo.png --mask mask.jpg\na wrong mask")


def test_a_gateway_without_masks_says_so(gateway, notebook, photo):
    """And names those that have them."""
    notebook.shell.push({"here": mask_box(photo, 0, 0, 9, 9)})
    counted = Counted(gateway)
    with pytest.raises(UnsupportedOption, match=r"takes no mask.*exactly this can be done by apimart, gccai"):
        notebook.run("%%imagegen -p evolink --ref photo.png --mask here\nmasked")
    assert counted.nothing
