"""Editing what is on your machine: references and masks of every kind, brought to a gateway once, chained, and checked afterwards."""

import io
import json
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from IPython.core.error import UsageError
from ledgers import saved
from PIL import Image, ImageDraw
from servers import sandbox_thread
from shells import a_shell

from imagegen_magic import generate, mask_box, mask_from, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.references import ReferenceLoader
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import source_copies
from imagegen_magic.engine.storage.source_copies import save_copy
from imagegen_magic.errors import ImageGenError, ImageInvalid, LedgerError, ReferenceUnreachable, UnsupportedOption, UploadFailed
from imagegen_magic.imaging.reference import MAX_PIXELS, prepare
from imagegen_magic.notebook.output import captions
from imagegen_magic.providers.gateways.gccai import GCCAI
from imagegen_magic.request import ImageRequest, LocalImage

pytestmark = pytest.mark.slow

SIZE = (96, 64)
ANSWER = "%%imagegen -p gccai --size 1024x640 -q low"
EVERYWHERE = {"provider": "gccai", "size": "1024x640", "quality": "low"}


@pytest.fixture(scope="module")
def servers():
    """Two gateways whose tasks take a twentieth of a second: one that draws every picture alike, one that paints within masks."""
    with sandbox_thread(duration=0.05, plain=True) as plain, sandbox_thread(duration=0.05) as painting:
        yield plain, painting


def _at(server, monkeypatch):
    server.disarm()
    monkeypatch.setattr("imagegen_magic.engine.net.retry.backoff", lambda attempt: 0.01)
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
        """The submissions that are paid for."""
        return [entry for entry in self.submissions if entry["accepted"]]

    @property
    def nothing(self):
        """Whether nothing at all was sent."""
        return not self.uploads and not self.submissions


def _fetched(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as answer:
        return answer.read()


def _references(pluralize):
    """Return the bytes of the pictures that the last submission names."""
    return [_fetched(url) for url in pluralize.submissions[-1]["json"]["image_urls"]]


def _pixels(data):
    """Return a picture's pixels, whatever its file says besides."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def _sources():
    """Return the ledger's account of what each job was made with."""
    query = "SELECT job, role, position, name, picture, sha256 FROM sources ORDER BY job, position"
    return [tuple(row) for row in loop.run(api.ledger().run(lambda connection: connection.execute(query).fetchall()))]


def _change(query, *values):
    loop.run(api.ledger().run(lambda connection: connection.execute(query, values).rowcount))


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
    pluralize = Counted(gateway)
    notebook.shell.push({"fox": VARIABLES[kind](photo)})
    notebook.run(f"{ANSWER} --ref fox\nwith {kind}")
    assert [_pixels(data) for data in _references(pluralize)] == [photo.tobytes()]
    assert pluralize.uploads == 1
    ((_, role, position, name, picture, sha256),) = _sources()
    assert (role, position, name, picture, len(sha256)) == ("reference", 0, "fox", None, 64)


@pytest.mark.parametrize("kind", VARIABLES)
def test_python_takes_what_a_variable_holds(kind, gateway, photo):
    """`references=[thing]`, and a thing alone."""
    pluralize, thing = Counted(gateway), VARIABLES[kind](photo)
    _edit(references=[thing])
    _edit(references=thing)
    assert [_pixels(data) for data in _references(pluralize)] == [photo.tobytes()]
    assert len(pluralize.accepted) == 2


def test_a_matplotlib_figure_is_a_reference(gateway, notebook, photo):
    """Matplotlib's own where it is installed: a picture of it arrives."""
    pluralize = Counted(gateway)
    notebook.shell.push({"plot": _figure(photo)})
    notebook.run(f"{ANSWER} --ref plot\na figure")
    (data,) = _references(pluralize)
    assert len(_pixels(data)) > 0


@pytest.mark.parametrize("written", ["photo.png", "./photo.png", "deep/photo.png", "~/photo.png", "'two words.png'", "ABSOLUTE"])
def test_a_file_is_a_reference(written, gateway, notebook, photo, own_world, monkeypatch):
    """From the notebook's folder, of the home folder, or absolute; its very bytes arrive, under a name that says nothing of it."""
    monkeypatch.setenv("HOME", str(own_world / "at-home"))
    monkeypatch.setenv("USERPROFILE", str(own_world / "at-home"))
    for place in ("deep/photo.png", "at-home/photo.png", "two words.png"):
        (own_world / place).parent.mkdir(exist_ok=True)
        (own_world / place).write_bytes((own_world / "photo.png").read_bytes())
    pluralize, path = Counted(gateway), str(own_world / "photo.png") if written == "ABSOLUTE" else written
    notebook.run(f"{ANSWER} --ref {path}\na file")
    assert _references(pluralize) == [(own_world / "photo.png").read_bytes()]
    assert "photo" not in json.dumps(pluralize.submissions[-1]["json"])
    assert _sources()[0][3] == path.strip("'")


def test_a_notebook_that_moved_on_still_finds_its_files(gateway, notebook, photo, own_world, monkeypatch):
    """Paths are relative to the notebook, whatever the working folder is."""
    (own_world / "elsewhere").mkdir()
    monkeypatch.chdir(own_world / "elsewhere")
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref photo.png\nmoved on")
    assert len(pluralize.accepted) == 1


def test_a_glob_is_its_files_in_natural_order(gateway, notebook, own_world):
    """Nine comes before ten, folders are searched with `**`, and each file is named."""
    (own_world / "shots" / "more").mkdir(parents=True)
    names = ["shots/a2.png", "shots/a9.png", "shots/a10.png", "shots/more/a1.png"]
    for seed, name in enumerate(names):
        _photo(own_world / name, seed)
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref shots/a*.png --ref shots/**/a1.png\na glob")
    assert _references(pluralize) == [(own_world / name).read_bytes() for name in names]
    assert [row[3] for row in _sources()] == names
    _edit(references=["shots/a*.png"])
    assert _references(pluralize) == [(own_world / name).read_bytes() for name in names[:3]]


def test_a_file_that_looks_like_a_glob_is_that_file(gateway, notebook, own_world):
    """Brackets in a name are a name where there is such a file."""
    _photo(own_world / "fox[1].png")
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref fox[1].png\nbrackets")
    assert _references(pluralize) == [(own_world / "fox[1].png").read_bytes()]


def test_an_address_is_sent_as_it_is(gateway, notebook):
    """Nothing is uploaded; the ledger knows it by itself."""
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref https://pictures.example.com/fox.png\nan address")
    assert pluralize.submissions[-1]["json"]["image_urls"] == ["https://pictures.example.com/fox.png"]
    assert pluralize.uploads == 0
    assert _sources()[0][1:] == ("reference", 0, "https://pictures.example.com/fox.png", None, None)


@pytest.mark.parametrize("written", ["foxes", "foxes[1]", "foxes[-1]", "one", "@2", "_imagegen", "its file"])
def test_an_earlier_result_is_a_reference(written, gateway, notebook):
    """A Generation (its first), one of its pictures, a GeneratedImage, an id of the history, the last result, its file."""
    notebook.run(f"{ANSWER} -n 2 --name second -o foxes\ntwo foxes")
    foxes = notebook.variables["foxes"]
    notebook.shell.push({"one": foxes[1]})
    meant = foxes[0] if written in ("foxes", "_imagegen") else foxes[1]
    written = f"imagegen/{foxes[1].path.name}" if written == "its file" else written
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref {written}\nfrom before")
    assert _references(pluralize) == [meant.data]
    ((_, _, _, name, picture, sha256),) = _sources()
    assert (name, picture) == (written, None if written.endswith(".png") else meant.id)
    assert sha256 == loop.run(api.ledger().pictures(ids=[meant.id]))[0].sha256


def test_python_takes_earlier_results(gateway):
    """A Generation, one of its pictures, and an id."""
    foxes = _edit(n=2)
    for thing in (foxes, foxes[0], f"@{foxes[0].id}"):
        pluralize = Counted(gateway)
        _edit("again", references=[thing])
        assert _references(pluralize) == [foxes[0].data]
    assert [row[4] for row in _sources()] == [foxes[0].id] * 3


def test_a_sweeps_result_is_a_reference(gateway, notebook):
    """Its first picture, as a Generation's."""
    notebook.run(f"{ANSWER} --sweep style=oil,ink --yes -o styles\na {{{{style}}}} fox")
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref styles --ref styles[1]\nmore of it")
    assert _references(pluralize) == [image.data for image in notebook.variables["styles"]]


def test_a_number_is_not_said_to_be_unknown_where_the_ledger_is_damaged(own_world):
    """That is another error, with another remedy."""
    saved()
    home = load().home
    loop.stop()
    (home / "ledger.sqlite").write_bytes(b"not a database at all" * 500)
    for path in home.glob("ledger.sqlite-*"):
        path.unlink()
    with pytest.raises(LedgerError, match="cannot be read: file is not a database") as caught:
        api.plan(ImageRequest("more", references=("@1",)), provider="gccai", sandbox=True)
    assert caught.value.charge == "no"
    assert "move the file away" in caught.value.hint


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("nobody", "There is no file 'nobody' in"),
        ("nobody[0]", "There is no file 'nobody[0]' in"),
        ("no/such.png", "There is no file 'no/such.png' in"),
        ("none*.png", "There is no file 'none*.png' in"),
        ("@99", "The history has no picture @99"),
        ("fox[7]", "There is no fox[7]: fox has 2 elements"),
        ("number[0]", "There is no number[0]: number is of type int"),
        ("number", "number is of type int, which holds no picture"),
        ("empty", "That result holds no picture"),
        (".", "'.' is a folder"),
        ("both", "both is a file and a variable at once"),
        ("words.txt", "words.txt is not a picture that can be read here but text"),
        ("hollow.png", "hollow.png is empty"),
        ("file:///etc/hosts", "that is a file of this machine"),
        ("data:image/png;base64,AAAA", "is given no data: addresses"),
        ("http://169.254.1.7/fox.png", "is a link-local, metadata or reserved address"),
        ("https://me:secret@10.1.2.3/fox.png", "no address with a user name or a password, as 'https://10.1.2.3/fox.png' is"),
    ],
)
def test_what_is_no_picture_is_told_before_anything_is_sent(written, words, gateway, notebook, photo, own_world):
    """Each in its own words; nothing reaches the gateway."""
    (own_world / "both").write_bytes((own_world / "photo.png").read_bytes())
    (own_world / "words.txt").write_text("just words")
    (own_world / "hollow.png").touch()
    nothing = replace(_edit("before"), images=())
    notebook.shell.push({"both": photo, "fox": [photo, photo], "number": 7, "empty": nothing})
    pluralize = Counted(gateway)
    with pytest.raises((UnsupportedOption, ImageInvalid)) as refused:
        notebook.run(f"{ANSWER} --ref {written}\na wrong one")
    assert words in str(refused.value)
    assert "Nothing was charged" in str(refused.value)
    assert pluralize.nothing


# --- what the plan tells


def _planned(notebook, line, prompt="a plan"):
    """Return what a dry run says of pictures, after making sure that it shows the placeholder and never the bytes."""
    notebook.run(f"%%imagegen {line} --dry-run\n{prompt}")
    (text,) = notebook.shown()
    return [row.removeprefix("picture").strip() for row in text.splitlines() if row.startswith("picture ")], text


def test_the_plan_tells_what_is_sent_and_where_it_will_live(gateway, notebook, photo):
    """Kind, pixels, bytes, that it will be uploaded, where, and for how long; nothing is sent by looking."""
    pluralize, size = Counted(gateway), round((Path("photo.png").stat().st_size) / 1e3)
    notebook.shell.push({"mask": mask_box(photo, 0, 0, 40, 40), "big": Image.new("RGB", (640, 480), "navy")})
    described, text = _planned(notebook, "-p gccai --ref photo.png --ref big --mask mask")
    where = f"will be uploaded to {gateway.origin.removeprefix('http://')}, where it is kept for 72 hours"
    assert described[0] == f"photo.png (PNG, 96×64, {size} kB): {where}"
    assert described[1].startswith("big (PNG, 640×480, ")
    assert described[2].startswith("mask (PNG, 96×64, 1 kB")
    assert all(words.endswith(where) for words in described)
    assert '"upload:' in text
    assert pluralize.nothing


def test_the_plan_of_the_sandbox_and_of_a_real_gateway(notebook, photo, monkeypatch):
    """Without a key, too: evolink's own file host, and the sandbox in this process."""
    monkeypatch.delenv("EVOLINK_BASE_URL", raising=False)
    assert (
        "will be uploaded to files-api.evolink.ai, where it is kept for 72 hours" in _planned(notebook, "-p evolink --ref photo.png")[0][0]
    )
    assert "will be uploaded to the sandbox in this process" in _planned(notebook, "-p evolink --sandbox --ref photo.png")[0][0]


def test_the_plan_without_any_key_tells_of_the_sandbox(notebook, photo):
    """A cell without a key and a gateway: its picture goes where the cell goes."""
    described, text = _planned(notebook, "--ref photo.png")
    assert "will be uploaded to the sandbox in this process" in described[0]
    assert "gccai (sandbox)" in text
    assert "(sandbox)" not in _planned(notebook, "-p gccai --ref photo.png")[1]


def test_the_plan_tells_what_was_done_to_a_picture(gateway, notebook, photo):
    """Turned, converted, cleaned: each is shown before anything is sent."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save("turned.jpg", exif=exif)
    photo.save("old.bmp")
    described, _ = _planned(notebook, "-p gccai --ref turned.jpg --ref old.bmp")
    assert "turned.jpg (JPEG, 64×96" in described[0]
    assert "turned as its EXIF says" in described[0]
    assert "old.bmp (PNG, 96×64" in described[1]
    assert "converted from BMP" in described[1]


def test_the_plan_of_a_sweep_tells_it_once_for_each_gateway(gateway, notebook, photo):
    """Whatever the number of combinations; with pictures as an axis, each of them."""
    _photo(Path("other.png"), 5)
    place = gateway.origin.removeprefix("http://")
    sizes = [f"{Path(name).stat().st_size / 1e3:.0f} kB" for name in ("photo.png", "other.png")]
    where = f"will be uploaded to {place}, where it is kept for 72 hours"
    notebook.run("%%imagegen --ref photo.png --sweep provider=gccai,apimart --sweep style=oil,ink --dry-run\na {{style}} fox")
    assert notebook.shown()[0].count(f"photo.png (PNG, 96×64, {sizes[0]}): {where}") == 1
    notebook.run("%%imagegen -p gccai --sweep references=photo.png,other.png --sweep style=oil,ink --dry-run\na {{style}} fox")
    for name, size in zip(("photo.png", "other.png"), sizes, strict=True):
        assert notebook.shown()[0].count(f"{name} (PNG, 96×64, {size}): {where}") == 1
    many = ",".join(f"{number}.png" for number in range(45))
    for number in range(45):
        _photo(Path(f"{number}.png"), number)
    notebook.run(f"%%imagegen -p gccai --sweep references={many} --dry-run\na fox")
    assert (notebook.shown()[0].count(where), "and 5 more pictures" in notebook.shown()[0]) == (40, True)


def test_a_sweep_looks_at_its_mask_once(gateway, photo, monkeypatch):
    """Decoding a large one for each combination would take longer than the pictures."""
    from imagegen_magic.imaging import masks
    from imagegen_magic.studies.sweeps import plan as sweep

    looked, check = [], masks.check_mask
    monkeypatch.setattr(masks, "check_mask", lambda *pair: looked.append(pair) or check(*pair))
    mask_box(photo, 3, 3, 31, 17).save("mask.png")
    request = ImageRequest("a {{style}} fox", references=("photo.png",), mask="mask.png")
    planned = sweep.plan(request, {"style": list("abcdefgh")}, settings=load(), provider="gccai")
    assert (len(planned.requests), len(looked)) == (8, 1)


def test_the_plan_knows_what_is_there_already(gateway, notebook, photo):
    """An upload that lives is not repeated, a result whose address lives is not uploaded at all."""
    notebook.run(f"{ANSWER} --ref photo.png -o fox\nbrought")
    described, _ = _planned(notebook, "-p gccai --ref photo.png --ref fox")
    place = gateway.origin.removeprefix("http://")
    assert f"at {place} already until" in described[0]
    assert described[0].endswith(", not uploaded again")
    assert described[1].startswith("fox (PNG, 1024×640")
    assert f"at {place} already until" in described[1]
    assert described[1].endswith(", not uploaded")


def test_a_gateway_without_an_upload_says_so_and_what_to_do(gateway, notebook, photo):
    """Xingchao takes addresses alone: the words name the uploader, an earlier result, and the gateways that take files."""
    pluralize = Counted(gateway)
    for ending in ("", " --dry-run"):
        with pytest.raises(UnsupportedOption) as refused:
            notebook.run(f"%%imagegen -p xingchao --ref photo.png{ending}\nno upload there")
        words = str(refused.value)
        assert "takes no files, only addresses that it can fetch, and photo.png is on this machine" in words
        assert '%config ImageGenMagics.uploader = "package:function"' in words
        assert "an earlier result whose address is still valid" in words
        assert "apimart, evolink, gccai" in words
    assert pluralize.nothing


def test_a_gateway_without_an_upload_takes_an_earlier_result(gateway, notebook):
    """Its own, by the address that lives."""
    line = "%%imagegen -p xingchao --size 1:1"
    notebook.run(f"{line} -o fox\na fox")
    pluralize = Counted(gateway)
    notebook.run(f"{line} --ref fox\nanother")
    assert pluralize.submissions[-1]["json"]["image_urls"] == [notebook.variables["fox"][0].url]
    assert pluralize.uploads == 0


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
    described, _ = _planned(notebook, "-p xingchao --ref photo.png")
    assert described[0].endswith("your uploader bucket:put will put it at an address")
    assert bucket.seen == []
    pluralize = Counted(gateway)
    for prompt in ("mine", "mine again"):
        notebook.run(f"%%imagegen -p xingchao --size 1:1 --ref photo.png\n{prompt}")
    assert bucket.seen == [(".png", Path("photo.png").read_bytes())]
    assert [entry["json"]["image_urls"] for entry in pluralize.accepted] == [["https://bucket.example.com/1.png"]] * 2
    assert pluralize.uploads == 0


def _noise(width, height):
    """Return a picture that no format makes small."""
    return Image.frombytes("RGB", (width, height), numpy.random.default_rng(1).bytes(width * height * 3))


def test_what_is_too_large_is_refused_and_scaled_only_when_asked(gateway, notebook, own_world, monkeypatch):
    """More bytes than gccai takes: refused with the word `--fit`; with it, made smaller, and the plan says from what to what."""
    monkeypatch.setattr(GCCAI, "upload", replace(GCCAI.upload, max_bytes=1_000_000))
    _noise(800, 600).save("large.png", compress_level=0)  # 1.44 MB
    pluralize = Counted(gateway)
    with pytest.raises(UnsupportedOption, match=r"large.png has 1.4 MB, more than the 1.0 MB that are taken.*--fit"):
        notebook.run(f"{ANSWER} --ref large.png\ntoo large")
    with pytest.raises(UnsupportedOption, match="--fit"):
        _edit(references=["large.png"])
    assert pluralize.nothing
    described, _ = _planned(notebook, "-p gccai --ref large.png --fit")
    assert "made a JPEG of quality 92: 1.4 MB as PNG were too much" in described[0]
    notebook.run(f"{ANSWER} --ref large.png --fit\nsmaller")
    (data,) = _references(pluralize)
    assert len(data) <= 1_000_000
    _edit("smaller from Python", references=["large.png"], fit=True)
    assert pluralize.uploads == 1
    assert len(pluralize.accepted) == 2


def test_more_pixels_than_are_taken_are_scaled_down(gateway, notebook, own_world, monkeypatch):
    """The message names both sizes."""
    monkeypatch.setitem(prepare.__kwdefaults__, "max_pixels", MAX_PIXELS / 100)
    Image.new("L", (900, 600), 70).save("wide.png")
    with pytest.raises(UnsupportedOption, match="--fit scales it down"):
        notebook.run(f"{ANSWER} --ref wide.png\ntoo wide")
    described, _ = _planned(notebook, "-p gccai --ref wide.png --fit")
    assert "scaled down from 900×600 to 866×577" in described[0]


@pytest.mark.parametrize(
    ("model", "most"), [("-p xingchao -m gpt-image-2", 6), ("-p gccai -m gpt-image-1.5-official", 15), ("-p gccai", 16)]
)
def test_too_many_references_are_refused_by_the_model_s_own_limit(model, most, gateway, notebook, own_world, bucket):
    """Six, fifteen, sixteen; of a glob all files count, and nothing is sent."""
    notebook.run('%config ImageGenMagics.uploader = "bucket:put"')
    for number in range(most + 1):
        _photo(own_world / f"{number}.png", number)
    pluralize = Counted(gateway)
    with pytest.raises(UnsupportedOption, match=f"takes at most {most} reference pictures, not {most + 1}"):
        notebook.run(f"%%imagegen {model} --ref *.png\ntoo many")
    assert pluralize.nothing
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
    pluralize, mask = Counted(gateway), MASKS[kind](photo)
    notebook.shell.push({"here": mask})
    notebook.run(f"{ANSWER} --ref photo.png --mask here\nmasked with {kind}")
    alpha = Image.open(io.BytesIO(_fetched(pluralize.submissions[-1]["json"]["mask_url"]))).getchannel("A")
    assert alpha.size == SIZE
    assert alpha.getextrema() == (0, 255)
    assert [row[1:4] for row in _sources()] == [("reference", 0, "photo.png"), ("mask", 1, "here")]


def test_a_mask_in_a_file_and_from_python(gateway, notebook, photo):
    """`--mask mask.png`, and `mask=` with a path or a picture."""
    mask_box(photo, 10, 10, 40, 40).save("mask.png")
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref photo.png --mask mask.png\nfrom a file")
    _edit(references=["photo.png"], mask="mask.png")
    _edit(references=[photo], mask=mask_box(photo, 10, 10, 40, 40))
    assert [_fetched(entry["json"]["mask_url"]) for entry in pluralize.accepted[:2]] == [Path("mask.png").read_bytes()] * 2
    assert len(pluralize.accepted) == 3


def _wrong_masks(photo):
    black_and_white = Image.new("L", SIZE)
    black_and_white.paste(255, (0, 0, 40, 40))
    return {
        "without a reference": (mask_box(photo, 0, 0, 9, 9), "takes a mask only with a reference picture"),
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
    pluralize = Counted(gateway)
    with pytest.raises((UnsupportedOption, ImageInvalid)) as refused:
        notebook.run(f"{ANSWER}{'' if kind == 'without a reference' else ' --ref photo.png'} --mask wrong{dry}\na wrong mask")
    assert words in str(refused.value)
    assert pluralize.nothing


def test_a_mask_that_is_the_reference_itself_is_called_so(gateway, notebook, photo):
    """Its bytes are known by one name, the reference's, which is no mask."""
    notebook.shell.push({"fox": photo})
    for reference in ("fox", "photo.png"):
        with pytest.raises(UnsupportedOption, match=rf"the mask \(the same picture as {reference}\) has no alpha channel"):
            notebook.run(f"{ANSWER} --ref {reference} --mask {reference} --dry-run\na wrong mask")


def test_a_mask_as_jpeg_is_told_which_call_makes_one(gateway, notebook, photo):
    """A JPEG of black and white, as a drawing program leaves it."""
    Image.new("L", SIZE, 255).save("mask.jpg")
    with pytest.raises(UnsupportedOption, match=r"mask_from\('mask.jpg'\) makes a mask .* white = edit here"):
        notebook.run(f"{ANSWER} --ref photo.png --mask mask.jpg\na wrong mask")


def test_a_gateway_without_masks_says_so(gateway, notebook, photo):
    """And names those that have them."""
    notebook.shell.push({"here": mask_box(photo, 0, 0, 9, 9)})
    pluralize = Counted(gateway)
    with pytest.raises(UnsupportedOption, match=r"takes no mask.*This is available from apimart, evolink, gccai"):
        notebook.run("%%imagegen -p xingchao --ref photo.png --mask here\nmasked")
    assert pluralize.nothing


# --- chains


def _expire(image):
    _change("UPDATE pictures SET expires_at = ? WHERE id = ?", "2020-01-01T00:00:00.000+00:00", image.id)


def test_the_last_result_goes_by_its_address_while_that_lives(gateway, notebook):
    """`--ref _imagegen`: nothing is uploaded, and the ledger knows which picture came from which."""
    notebook.run(f"{ANSWER}\na fox")
    (first,) = notebook.variables["_imagegen"]
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref _imagegen\nthe fox, older")
    assert pluralize.submissions[-1]["json"]["image_urls"] == [first.url]
    assert pluralize.uploads == 0
    (second,) = notebook.variables["_imagegen"]
    notebook.run(f"{ANSWER} --ref _imagegen\nthe fox, older still")
    assert [row[1:5] for row in _sources()] == [("reference", 0, "_imagegen", image.id) for image in (first, second)]


def test_the_last_result_goes_as_its_file_when_the_address_is_over(gateway, notebook):
    """Then its very bytes are uploaded, and it is still known whose child it is."""
    notebook.run(f"{ANSWER}\na fox")
    (first,) = notebook.variables["_imagegen"]
    _expire(first)
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref _imagegen\nthe fox, older")
    assert pluralize.submissions[-1]["json"]["image_urls"] != [first.url]
    assert _references(pluralize) == [first.data]
    assert pluralize.uploads == 1
    assert [row[4] for row in _sources()] == [first.id]


def test_an_address_without_an_end_is_trusted_for_a_day(gateway):
    """Where the gateway did not say how long it lives."""
    (fox,) = _edit()
    _change("UPDATE pictures SET expires_at = NULL WHERE id = ?", fox.id)
    pluralize = Counted(gateway)
    _edit("soon", references=[fox])
    assert pluralize.uploads == 0
    _change("UPDATE pictures SET saved_at = ? WHERE id = ?", "2020-01-01T00:00:00.000+00:00", fox.id)
    _edit("late", references=[fox])
    assert pluralize.uploads == 1


def test_a_result_whose_file_is_gone_goes_by_its_address(gateway, notebook):
    """While that lives; without either, the words say so, and nothing is sent."""
    notebook.run(f"{ANSWER}\na fox")
    (first,) = notebook.variables["_imagegen"]
    first.path.unlink()
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref @{first.id}\nthe fox, older")
    assert pluralize.submissions[-1]["json"]["image_urls"] == [first.url]
    _expire(first)
    with pytest.raises(ImageInvalid, match=rf"The file of @{first.id} is missing \(.*\), and its address at the service has expired"):
        notebook.run(f"{ANSWER} --ref @{first.id}\nthe fox, older still")
    assert len(pluralize.submissions) == 1


def test_an_address_of_ours_that_is_over_is_refused(gateway, notebook):
    """Typed as an address: it says when it ended, and to give the picture itself."""
    (first,) = _edit("a fox")
    _change("UPDATE pictures SET url = 'https://files.example.com/fox.png' WHERE id = ?", first.id)
    _expire(first)
    pluralize = Counted(gateway)
    with pytest.raises(UnsupportedOption, match=r"it expired at 2020-01-01.*Give the picture itself"):
        notebook.run(f"{ANSWER} --ref https://files.example.com/fox.png\nthe fox, older")
    assert pluralize.nothing


def test_another_gateways_result_is_uploaded_where_its_address_cannot_be_fetched(notebook, gateway):
    """What the sandbox drew lives in the sandbox alone; elsewhere its bytes go up."""
    notebook.run("%%imagegen -p gccai --sandbox -q low\na fox")
    (drawn,) = notebook.variables["_imagegen"]
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref _imagegen\nthe fox, for real")
    assert _references(pluralize) == [drawn.data]
    assert pluralize.uploads == 1


def test_the_lineage_of_an_edit_names_picture_and_mask(gateway, notebook):
    """The tree of the history shows where a picture comes from, and with what mask."""
    notebook.run(f"{ANSWER}\na fox")
    (first,) = notebook.variables["_imagegen"]
    notebook.shell.push({"hat": mask_box(first, 300, 0, 700, 300)})
    notebook.run(f"{ANSWER} --ref _imagegen --mask hat\na hat")
    (second,) = notebook.variables["_imagegen"]
    assert [row[1:5] for row in _sources()] == [("reference", 0, "_imagegen", first.id), ("mask", 1, "hat", None)]
    notebook.run(f"%imagegen tree {second.id}")
    (text,) = notebook.shown()
    assert f"@{first.id}" in text
    assert "hat" in text


def test_the_same_bytes_are_uploaded_once_whatever_they_are_called(gateway, notebook, photo):
    """A file, its copy, bytes of it, in several cells and at once."""
    Path("copy.png").write_bytes(Path("photo.png").read_bytes())
    notebook.shell.push({"data": Path("photo.png").read_bytes()})
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref photo.png --ref copy.png\ntwice")
    notebook.run(f"{ANSWER} --ref data -n 8\nand again")
    assert pluralize.uploads == 1
    urls = {url for entry in pluralize.accepted for url in entry["json"]["image_urls"]}
    assert (len(pluralize.accepted), len(urls)) == (3, 1)


def test_an_upload_that_was_gone_by_the_submit_is_made_anew_once(gateway, notebook, photo):
    """The refusal was certain, so one task is paid for; the picture has another address."""
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref photo.png\ngone in between [[fault: reference-gone]]")
    first, second = pluralize.submissions
    assert (first["accepted"], second["accepted"]) == (False, True)
    assert first["json"]["image_urls"] != second["json"]["image_urls"]
    assert (pluralize.uploads, len(pluralize.accepted)) == (2, 1)
    assert len(notebook.variables["_imagegen"]) == 1
    notebook.run(f"{ANSWER} --ref photo.png\nafterwards")
    assert pluralize.accepted[-1]["json"]["image_urls"] == second["json"]["image_urls"]
    assert pluralize.uploads == 2


def test_a_result_that_was_gone_by_the_submit_is_uploaded(gateway, notebook):
    """Its address was believed to live; its file is there."""
    notebook.run(f"{ANSWER}\na fox")
    (first,) = notebook.variables["_imagegen"]
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --ref _imagegen\nthe fox, older [[fault: reference-gone]]")
    assert pluralize.submissions[0]["json"]["image_urls"] == [first.url]
    assert _references(pluralize) == [first.data]
    assert (pluralize.uploads, len(pluralize.accepted)) == (1, 1)


def test_a_picture_that_is_gone_again_is_told_and_costs_nothing(gateway, notebook, photo):
    """Once again, not endlessly."""
    pluralize = Counted(gateway)
    with pytest.raises(ReferenceUnreachable, match="Nothing was charged"):
        notebook.run(f"{ANSWER} --ref photo.png\ngone for good [[fault: reference-gone:9]]")
    assert (len(pluralize.submissions), pluralize.accepted) == (2, [])
    with pytest.raises(ReferenceUnreachable):
        notebook.run(f"{ANSWER} --ref https://pictures.example.com/a.png\nanybody's [[fault: reference-gone]]")
    assert len(pluralize.submissions) == 3
    assert {row["state"] for row in _tasks()} == {"failed"}


def _tasks():
    return loop.run(api.ledger().run(lambda connection: connection.execute("SELECT * FROM tasks").fetchall()))


def test_an_upload_and_its_pauses_are_seen_in_the_progress(gateway, photo, monkeypatch):
    """The progress shows what is waited for, before the first submission."""
    gateway.arm("upload-500")

    async def watched():
        job = api.start(ImageRequest("with pauses", size="1024x640", references=("photo.png",)), provider="gccai")
        return [event async for event in job.events()]

    described = [event.note for event in loop.run(watched()) if getattr(event, "note", "")]
    assert described[:2] == ["uploading photo.png", "photo.png is not uploaded yet, again in 1 s"]


def test_an_upload_that_is_refused_is_told_and_nothing_was_submitted(gateway, notebook, photo):
    """In the gateway's words; nothing was charged, and the ledger has no task of it."""
    gateway.arm("upload-refused", times=None)
    pluralize = Counted(gateway)
    with pytest.raises(UploadFailed, match=r"photo.png.* is not uploaded.*Nothing was charged"):
        notebook.run(f"{ANSWER} --ref photo.png\nrefused")
    assert pluralize.submissions == []
    assert _tasks() == []


# --- reuse


def test_reuse_looks_at_the_bytes_of_references_and_mask(gateway, notebook, photo):
    """The same bytes by another name are the same request; another picture or another mask is another one."""
    Path("copy.png").write_bytes(Path("photo.png").read_bytes())
    _photo(Path("other.png"), 7)
    notebook.shell.push({"here": mask_box(photo, 0, 0, 9, 9), "there": mask_box(photo, 9, 9, 20, 20)})
    pluralize = Counted(gateway)

    def again(line):
        notebook.run(f"{ANSWER} --reuse {line}\nonce only")
        return notebook.variables["_imagegen"][0].reused

    assert [again("--ref photo.png"), again("--ref copy.png"), again("--ref other.png")] == [False, True, False]
    assert [again(f"--ref photo.png --mask {name}") for name in ("here", "here", "there")] == [False, True, False]
    assert again("--ref photo.png --ref other.png") is False
    assert again("--ref other.png --ref photo.png") is False
    assert len(pluralize.accepted) == 6
    assert again("--ref photo.png --ref other.png") is True


def test_a_reused_result_uploads_nothing(gateway, notebook, photo):
    """What is there already needs no picture at the gateway; nor does one whose upload is over."""
    notebook.run(f"{ANSWER} --ref photo.png\nonce")
    _change("DELETE FROM uploads")
    pluralize = Counted(gateway)
    notebook.run(f"{ANSWER} --reuse --ref photo.png\nonce")
    assert pluralize.nothing
    assert "reused, nothing spent" in notebook.shown()[-1]


# --- did it obey


@pytest.fixture
def canvas(own_world):
    """A picture of the pixels that are asked for, and a mask for its middle, both beside the notebook."""
    image = _photo(own_world / "scene.png", 3, (1024, 640))
    mask_box(image, 300, 200, 700, 500).save(own_world / "middle.png")
    return image


EDIT = f"{ANSWER} --output-format png --ref scene.png --mask middle.png"


def _drifts():
    rows = loop.run(api.ledger().run(lambda connection: connection.execute("SELECT * FROM drifts").fetchall()))
    return {row["picture"]: (row["share"], row["mean"]) for row in rows}


def _truth(before, after):
    """Return the share of pixels outside the middle that differ visibly, and the mean difference there, counted by numpy."""
    first, second = (numpy.asarray(image.convert("RGB"), "int16") for image in (before, after))
    outside = numpy.ones(first.shape[:2], bool)
    outside[200:500, 300:700] = False
    difference = abs(first - second)[outside]
    return (difference.max(axis=1) > 16).mean(), difference.mean() / 255


@pytest.mark.parametrize("trouble", [RuntimeError("a decoder's own"), MemoryError(), FileNotFoundError("moved meanwhile")])
def test_a_drift_that_cannot_be_computed_keeps_no_picture_away(painting, notebook, canvas, monkeypatch, trouble):
    """It is saved and paid for by then, and is shown; a figure can be computed again."""

    def fail(*_):
        raise trouble

    monkeypatch.setattr(source_copies, "drift", fail)
    notebook.run(f"{EDIT} -o edited\na hat for the ball")
    (image,) = notebook.variables["edited"]
    assert (image.drift, image.path.is_file(), notebook.variables["edited"].errors) == (None, True, ())


def test_an_obedient_edit_says_nothing_of_drift(painting, notebook, canvas):
    """Painted inside the mask alone: the figure is nought, in the result and in the ledger, and the caption is quiet."""
    notebook.run(f"{EDIT}\na hat for the ball")
    (image,) = notebook.variables["_imagegen"]
    assert image.drift == (0.0, 0.0)
    assert _drifts() == {image.id: (0.0, 0.0)}
    assert "protects" not in "".join(notebook.shown())
    assert _truth(canvas, image.open()) == (0.0, 0.0)


def test_a_disobedient_edit_is_told_as_it_is(painting, notebook, canvas, capsys):
    """Everything painted again: the share and the mean are those of the bytes, and the caption names it and the command."""
    notebook.run(f"{EDIT}\na hat for the ball [[fault: mask-ignored]]")
    (image,) = notebook.variables["_imagegen"]
    share, mean = _truth(canvas, image.open())
    assert share > 0.3
    assert image.drift == pytest.approx((share, mean), abs=1e-6)
    assert _drifts() == {image.id: pytest.approx((share, mean), abs=1e-6)}
    words = f"the service changed {share * 100:.0f} % of what the mask protects (%imagegen drift {image.id} shows where)"
    assert words in notebook.shown()[-1].splitlines()[1]
    assert "<strong" in notebook.shown("text/html")[-1]
    assert words in notebook.shown("text/html")[-1]
    notebook.run(f"%imagegen show {image.id}")
    assert words in capsys.readouterr().out


def test_each_picture_of_an_edit_has_its_own_figure(painting, notebook, canvas):
    """Two tasks, one of which disobeys."""
    painting.arm("mask-ignored", match="two of them")
    notebook.run(f"{EDIT} -n 5\ntwo of them")
    images = notebook.variables["_imagegen"]
    assert sorted({image.drift[0] > 0.3 for image in images}) == [False, True]
    assert _drifts() == {image.id: image.drift for image in images}


@pytest.mark.parametrize(("share", "given"), [(0.02, ""), (0.021, "changed 2 %"), (0.52, "changed 52 %"), (1.0, "changed 100 %")])
def test_only_above_the_threshold_it_is_said(share, given, painting, canvas):
    """Two per cent, unless a setting names another limit."""
    (image,) = _edit(references=["scene.png"], mask="middle.png")
    words = captions.caption(replace(image, drift=(share, 0.1))).text
    assert ("the service changed" in words, given in words) == (bool(given), True)


def test_the_threshold_is_a_setting(painting, notebook, canvas, monkeypatch):
    """From `%config`, the environment, pyproject.toml; what cannot be read hides no picture."""
    (image,) = _edit(references=["scene.png"], mask="middle.png")
    drifted = replace(image, drift=(0.3, 0.1))
    notebook.run("%config ImageGenMagics.drift_above = 0.4")
    assert "protects" not in captions.caption(drifted).text
    notebook.run("%config ImageGenMagics.drift_above = 0")
    assert "the service changed under 1 %" in captions.caption(replace(image, drift=(0.004, 0.1))).text
    assert "protects" not in captions.caption(replace(image, drift=(0.0, 0.0))).text
    notebook.run("%config ImageGenMagics.drift_above = None")
    monkeypatch.setenv("IMAGEGEN_DRIFT_ABOVE", "0.25")
    assert "changed 30 %" in captions.caption(drifted).text
    monkeypatch.setenv("IMAGEGEN_DRIFT_ABOVE", "0.35")
    assert "protects" not in captions.caption(drifted).text
    monkeypatch.setenv("IMAGEGEN_DRIFT_ABOVE", "much")
    assert "changed 30 %" in captions.caption(drifted).text


def test_an_edit_of_an_earlier_result_is_looked_at_too(painting, notebook, canvas):
    """Though its picture was never uploaded: a copy of its bytes is kept all the same."""
    notebook.run(f"{ANSWER} --output-format png\na scene")
    notebook.run(f"{ANSWER} --output-format png --ref _imagegen --mask middle.png\nobedient")
    assert notebook.variables["_imagegen"][0].drift == (0.0, 0.0)
    notebook.run(f"{ANSWER} --output-format png --ref _imagegen --mask middle.png\nnot so [[fault: mask-ignored]]")
    assert notebook.variables["_imagegen"][0].drift[0] > 0.3


def test_a_picture_of_another_size_is_compared_all_the_same(painting, notebook, canvas):
    """The mask has the reference's pixels, the result others: they are aligned."""
    notebook.run("%%imagegen -p gccai --size 1280x800 -q low --ref scene.png --mask middle.png\nlarger")
    assert notebook.variables["_imagegen"][0].drift[0] < 0.02
    notebook.run("%%imagegen -p gccai --size 1280x800 -q low --ref scene.png --mask middle.png\nlarger [[fault: mask-ignored]]")
    assert notebook.variables["_imagegen"][0].drift[0] > 0.3


def test_without_a_mask_there_is_nothing_to_say(painting, notebook, canvas):
    """Nothing was protected."""
    notebook.run(f"{ANSWER} --ref scene.png\nno mask")
    (image,) = notebook.variables["_imagegen"]
    assert image.drift is None
    assert _drifts() == {}
    with pytest.raises(ImageGenError, match="was made without a mask, so nothing of it was protected"):
        notebook.run(f"%imagegen drift {image.id}")


def test_beside_an_address_nothing_is_known(painting, notebook, canvas):
    """Without the bytes of the reference there is no comparison, and a message explains why."""
    notebook.run(f"{ANSWER} --ref https://pictures.example.com/scene.png --mask middle.png\nsomebody else's")
    (image,) = notebook.variables["_imagegen"]
    assert image.drift is None
    with pytest.raises(ImageGenError, match=r"reference https://\S+/scene.png of picture 1 is an address, and was never on this machine"):
        notebook.run(f"%imagegen drift {image.id}")


def test_drift_of_the_history_is_told_in_words(painting, notebook, canvas, capsys):
    """By id, from the copies that were kept, even where the person's own files are gone or changed."""
    notebook.run(f"{EDIT}\na hat [[fault: mask-ignored]]")
    (image,) = notebook.variables["_imagegen"]
    for name in ("scene.png", "middle.png"):
        Path(name).write_bytes(b"something else by now")
    notebook.run(f"%imagegen drift {image.id}")
    share = image.drift[0]
    assert f"picture {image.id}: the service changed {share * 100:.0f} % of what the mask protects" in capsys.readouterr().out
    for path in (load().home / "sources").iterdir():
        path.unlink()
    with pytest.raises(ImageGenError, match=r"reference scene.png of picture \d+ is no longer on this machine"):
        notebook.run(f"%imagegen drift {image.id}")
    with pytest.raises(UsageError, match="There is no picture 99"):
        notebook.run("%imagegen drift 99")


def test_copies_that_are_gone_when_the_picture_comes_hide_nothing(painting, canvas, monkeypatch):
    """The picture is there, whole; only the figure is missing."""
    monkeypatch.setattr("imagegen_magic.engine.storage.source_copies.find_copy", lambda home, sha256: None)
    (image,) = _edit(references=["scene.png"], mask="middle.png")
    assert (image.drift, image.path.is_file(), _drifts()) == (None, True, {})


def test_drift_of_a_variable(painting, notebook, canvas, capsys):
    """A result of one picture by its name, one of several with its number; what is none is one line of words."""
    notebook.run(f"{EDIT} -n 2 -o hats\ntwo hats")
    notebook.run(f"{EDIT} -o hat\na hat [[fault: mask-ignored]]")
    capsys.readouterr()
    for word, number in (("hat", 3), ("hat[0]", 3), ("hats[1]", 2), ("hats[-1]", 2), ("_imagegen", 3)):
        notebook.run(f"%imagegen drift {word}")
        assert capsys.readouterr().out.startswith(f"picture {number}: ")
    notebook.shell.push({"number": 7})
    for word, words in (
        ("", "drift"),
        ("a-b", "a-b is neither a picture's number"),
        ("hats[x]", "hats[x] is neither a picture's number"),
        ("hats", "holds 2 pictures: give one of them, as hats[0]"),
        ("hats[2]", "the last is hats[1]"),
        ("nobody", "There is no variable nobody"),
        ("number", "number holds no pictures"),
    ):
        with pytest.raises(UsageError) as refused:
            notebook.run(f"%imagegen drift {word}")
        assert words in str(refused.value)


def test_what_was_not_looked_at_in_time_is_told_and_kept_later(painting, notebook, canvas, capsys):
    """A session may end between the saving and the looking."""
    notebook.run(f"{EDIT}\na hat [[fault: mask-ignored]]")
    (image,) = notebook.variables["_imagegen"]
    known = _drifts()
    _change("DELETE FROM drifts")
    notebook.run(f"%imagegen drift @{image.id}")
    assert "the service changed" in capsys.readouterr().out
    assert _drifts() == known


def test_reuse_and_history_still_know_the_figure(painting, notebook, canvas):
    """What was computed once is not computed again."""
    notebook.run(f"{EDIT}\na hat [[fault: mask-ignored]]")
    (image,) = notebook.variables["_imagegen"]
    for path in (load().home / "sources").iterdir():
        path.unlink()
    notebook.run(f"{EDIT} --reuse\na hat [[fault: mask-ignored]]")
    (again,) = notebook.variables["_imagegen"]
    assert (again.reused, again.drift) == (True, image.drift)
    assert "of what the mask protects" in notebook.shown()[-1]


# --- what is made ready already


def test_a_picture_that_is_ready_is_taken_as_it_is(gateway, photo):
    """A LocalImage goes out with its very bytes; one that the gateway does not take is prepared again, and keeps its notes."""
    data, small = Path("photo.png").read_bytes(), _bytes(photo, "BMP")
    ready = LocalImage(data, "image/png", *SIZE, "ready", ("looked at",))
    pluralize = Counted(gateway)
    _edit(references=[ready])
    assert _references(pluralize) == [data]
    found = ReferenceLoader(load()).picture(LocalImage(small, "image/bmp", *SIZE, "old", ("looked at",), 3))
    assert isinstance(found, LocalImage)
    assert (found.mime_type, found.notes, found.picture) == ("image/png", ("looked at", "converted from BMP"), 3)
    assert ReferenceLoader(load(), max_bytes=len(data)).picture(ready) is ready


def test_a_picture_is_made_ready_once_for_several_requests(own_world):
    """A file is known by its time and size, a variable by itself; what has changed is prepared again."""
    image, known = _photo(own_world / "photo.png"), {}
    first = ReferenceLoader(load(), known=known).picture("photo.png")
    assert ReferenceLoader(load(), known=known).picture("photo.png") is first
    assert ReferenceLoader(load(), known=known).picture(image) is ReferenceLoader(load(), known=known).picture(image)
    _photo(own_world / "photo.png", 1, (80, 60))
    assert ReferenceLoader(load(), known=known).picture("photo.png") is not first


def test_a_result_that_no_ledger_knows_goes_as_its_file(gateway):
    """Of another home, or made by hand: whether its file is still what is at its address is not known."""
    (fox,) = _edit()
    found = ReferenceLoader(load()).picture(replace(fox, id=0))
    assert isinstance(found, LocalImage)
    assert (found.name, found.url, found.picture) == (fox.path.name, "", 0)


def test_a_file_that_fails_while_it_is_read_is_told_so(own_world, monkeypatch):
    """A disk, a share that went away."""
    _photo(own_world / "photo.png")

    def broken(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(UnsupportedOption, match=r"photo\.png cannot be read: Input/output error"):
        ReferenceLoader(load()).picture("photo.png")


@pytest.mark.parametrize("broken", ["before", "mask", "gone"])
def test_no_figure_where_a_copy_cannot_be_used(broken, tmp_path, photo):
    """Damaged or gone: no figure is shown rather than a wrong one."""
    before, mask = Path("photo.png").read_bytes(), _bytes(mask_box(photo, 0, 0, 9, 9))
    pictures = [LocalImage(data, "image/png", *SIZE, "one") for data in (before, mask)]
    places = [save_copy(tmp_path, each) for each in pictures]
    assert source_copies.drift(tmp_path, before, *(each.sha256 for each in pictures)) == (0.0, 0.0)
    if broken == "gone":
        for path in places:
            path.unlink()
            path.mkdir()
    else:
        places[broken == "mask"].write_bytes(b"damaged")
    assert source_copies.drift(tmp_path, before, *(each.sha256 for each in pictures)) is None


# --- making masks


def test_masks_are_made_by_public_names(photo):
    """`mask_from`, `mask_box` and `invert` come with the package, and what they make is a mask by its own rules."""
    import imagegen_magic

    box = imagegen_magic.mask_box(photo, 10, 10, 40, 40)
    painted = imagegen_magic.mask_from(_array(box)[:, :, 3] == 0)
    assert painted.tobytes() == box.tobytes()
    assert imagegen_magic.invert(imagegen_magic.invert(box)).tobytes() == box.tobytes()
    assert {"mask_from", "mask_box", "invert"} <= set(imagegen_magic.__all__)


@pytest.mark.parametrize("thing", ["a PIL image", "an array of uint8", "an earlier result", "a path"])
def test_a_box_takes_its_size_from_whatever_is_to_be_edited(thing, gateway, photo):
    """So that one need not look the pixels up."""
    things = {"a PIL image": photo, "an array of uint8": _array(photo), "a path": Path("photo.png")}
    picture = _edit()[0] if thing == "an earlier result" else things[thing]
    size = (1024, 640) if thing == "an earlier result" else SIZE
    assert mask_box(picture, 0, 0, 9, 9).size == size


def test_a_folders_name_is_no_pattern(tmp_path, monkeypatch):
    """A notebook in `work [1]` finds its own files, and none of `work 1`."""
    for folder in ("work [1]", "work 1"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", SIZE, "red").save(tmp_path / "work [1]" / "mine.png")
    Image.new("RGB", SIZE, "blue").save(tmp_path / "work 1" / "private.png")
    monkeypatch.chdir(tmp_path / "work [1]")
    plan = api.plan(ImageRequest("a fox", references=("*.png",)), provider="apimart")
    assert [picture.name for picture in plan.uploads] == ["mine.png"]
