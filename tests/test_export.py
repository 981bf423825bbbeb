"""An export shows everything without a network, records how each image was made, and reveals nothing of this machine."""

import csv
import hashlib
import io
import json
import os
import re
import threading
import unicodedata
import zipfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from IPython.core.error import UsageError
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scripted import picture
from shells import a_shell

from imagegen_magic import generate, run
from imagegen_magic.errors import SaveError, UnsupportedOption
from imagegen_magic.imaging.metadata import embed
from imagegen_magic.imaging.metadata.provenance import Origin
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost, Generation
from imagegen_magic.studies.export import archive
from imagegen_magic.studies.export import table as export_table
from imagegen_magic.studies.export.archive import export
from imagegen_magic.studies.sweeps.result import SkippedCombination, SweepResult

pytestmark = pytest.mark.slow

KEY = "sk-abcdef0123456789abcdef0123456789"
NASTY = "<script>alert(1)</script> & \"quotes\" 'more' 狐狸 🦊\n=1+1"


def usd(amount, kind="measured", **more):
    """Return so many dollars."""
    return Cost(Decimal(str(amount)), "USD", kind, **more)


def pictures(count=2, **more):
    """Return pictures on disk."""
    return [picture(number, size=(300, 200), id=number + 1, **{"cost": usd("0.05"), **more}) for number in range(count)]


def a_sweep(axes, *, missing=(), impossible=(), **more):
    """Return a sweep with a picture at each place, but for the places that are `missing`."""
    import itertools

    places = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    done = [place for place in places if place not in impossible]
    words = tuple("moderation said no" if place in missing else "" for place in done)
    images = [
        picture(task, prompt=f"a fox, {' '.join(place.values())}", size=(300, 200), id=task + 1, cost=usd("0.05"), **more)
        for task, place in enumerate(done)
        if place not in missing
    ]
    refused = UnsupportedOption("no", option="size", value="x")
    return SweepResult(
        tuple(images), ImageRequest("a fox"), "evolink", 1.0, (), prompt="a fox, {{style}}",
        axes={name: tuple(values) for name, values in axes.items()},
        places=tuple(done), words=words, impossible=tuple(SkippedCombination(place, refused) for place in impossible),
    )  # fmt: skip


def rows(place):
    """Return the table of an export."""
    with (place / "pictures.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def contents(place):
    """Return every file of an export with its bytes, by its path within."""
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_it_holds_copies_a_page_and_a_table(own_world):
    """The folder has `index.html`, `pictures.csv` and the images, and no temporary file is left."""
    place = export(pictures(), own_world / "out" / "foxes")
    assert place == own_world / "out" / "foxes"
    assert sorted(contents(place)) == ["index.html", "pictures.csv", "pictures/1-a-red-fox-1-1.png", "pictures/2-a-red-fox-2-1.png"]
    assert os.listdir(own_world / "out") == ["foxes"]
    for row in rows(place):
        with Image.open(place / row["file"]) as copy:
            assert copy.size == (300, 200)


def test_the_originals_stay_byte_for_byte(own_world):
    """Neither their bytes nor their dates change; the copy's pixels are the same."""
    images = pictures()
    before = {image.path: (image.data, image.path.stat().st_mtime_ns) for image in images}
    place = export(images, "foxes")
    assert {image.path: (image.data, image.path.stat().st_mtime_ns) for image in images} == before
    for image, row in zip(images, rows(place), strict=True):
        copy = (place / row["file"]).read_bytes()
        assert copy != image.data
        assert Image.open(io.BytesIO(copy)).tobytes() == image.open().tobytes()
        assert row["sha256 of the original"] == hashlib.sha256(image.data).hexdigest()


def test_the_copies_record_how_they_were_made(own_world):
    """Full: prompt, options as asked and sent, gateway, model, task, time; minimal: tool and time; none: identical bytes."""
    made = run(generate("a red fox, 狐狸", provider="apimart", size="1:1", quality="low", sandbox=True))
    full, minimal, none = (
        (place / rows(place)[0]["file"]).read_bytes()
        for place in (export(made, level, metadata=level) for level in ("full", "minimal", "none"))
    )
    origin = embed.read(full)
    sidecar = json.loads(made[0].path.with_suffix(".json").read_text())
    assert (origin.prompt, origin.gateway, origin.model) == ("a red fox, 狐狸", "apimart (sandbox)", "gpt-image-2-official")
    assert (origin.asked, origin.sent, origin.task_id) == (sidecar["asked"], sidecar["sent"], sidecar["task_id"])
    assert origin.sha256 == hashlib.sha256(made[0].data).hexdigest()
    few = embed.read(minimal)
    assert (few.prompt, few.sent, bool(few.created)) == ("", {}, True)
    assert none == made[0].data
    with pytest.raises(UnsupportedOption, match="full, minimal, none"):
        export(made, "much", metadata="much")


def test_a_sidecar_of_other_bytes_is_ignored(own_world):
    """Then the record has what the image itself knows."""
    (image,) = pictures(1)
    image.path.with_suffix(".json").write_text(json.dumps({"sha256": "0" * 64, "prompt": "an owl"}))
    place = export([image], "foxes")
    assert embed.read((place / rows(place)[0]["file"]).read_bytes()).prompt == "a red fox"


def test_an_image_without_room_for_the_record_is_copied_unchanged(own_world):
    """A JSON file beside it has the record."""
    (image,) = pictures(1)
    for suffix, mime_type in (
        (".gif", "image/gif"),
        (".avif", "image/avif"),
        (".tiff", "image/tiff"),
        (".jp2", "image/jp2"),
        (".bmp", "image/bmp"),
    ):
        path = own_world / f"fox{suffix}"
        Image.new("L", (8, 8)).save(path)
        place = export([replace(image, path=path, mime_type=mime_type), image], f"foxes{suffix[1:]}")
        copy = place / rows(place)[0]["file"]
        assert [Path(row["file"]).suffix for row in rows(place)] == [suffix, ".png"]
        assert copy.read_bytes() == path.read_bytes()
        origin = Origin.of_sidecar(json.loads(copy.with_suffix(".json").read_text(encoding="utf-8")))
        assert (origin.prompt, origin.sha256) == ("a red fox", hashlib.sha256(path.read_bytes()).hexdigest())
        assert "data:image/jpeg;base64," in (place / "index.html").read_text(encoding="utf-8").split("picture-2")[0]
    few = export([replace(image, path=path, mime_type=mime_type)], "few", metadata="minimal")
    assert set(json.loads((few / rows(few)[0]["file"]).with_suffix(".json").read_text(encoding="utf-8"))) == {"submitted", "made_with"}
    bare = export([replace(image, path=path, mime_type=mime_type)], "bare", metadata="none")
    assert not list(bare.rglob("*.json"))


@pytest.mark.parametrize("kind", ["XMP in a PNG", "XMP in a JPEG", "XMP in a WebP", "signed.png", "signed.jpg", "signed.webp"])
def test_another_tools_metadata_are_kept_and_the_record_goes_beside(own_world, kind):
    """A file with an XMP packet or content credentials is exported byte for byte; a JSON file has the record."""
    (image,) = pictures(1)
    path = own_world / (kind if "." in kind else f"fox.{kind.split()[-1].lower()}")
    if "." in kind:
        path.write_bytes((Path(__file__).parent / "data" / "credentials" / kind).read_bytes())
    else:
        packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
        texts = PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", packet.decode())
        Image.new("L", (8, 8)).save(path, **({"pnginfo": texts} if path.suffix == ".png" else {"xmp": packet}))
    mime_type = f"image/{path.suffix[1:].replace('jpg', 'jpeg')}"
    place = export([replace(image, path=path, mime_type=mime_type)], "foxes")
    copy = place / rows(place)[0]["file"]
    assert copy.read_bytes() == path.read_bytes()
    origin = Origin.of_sidecar(json.loads(copy.with_suffix(".json").read_text(encoding="utf-8")))
    assert (origin.prompt, origin.sha256) == ("a red fox", hashlib.sha256(path.read_bytes()).hexdigest())


def test_nothing_of_this_machine_is_in_it(own_world, monkeypatch):
    """No path, no key, no query of a signed URL and no callback URL: in no file, in no name, at no level."""
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    request = ImageRequest(
        f"a red fox {KEY} zz-secret-of-mine",
        references=(str(own_world / "private" / "fox.png"), "https://files.example.org/fox.png?X-Signature=ABCDEF"),
        callback_url="https://me.example.org/hook?token=CALLBACK",
        extra={"token": "TOKENVALUE", "note": f"see {own_world}/notes"},
    )
    images = [replace(image, request=request, url="https://cdn.example.org/p.png?sig=RESULTSIG") for image in pictures()]
    sweep = SweepResult(
        tuple(images), request, "evolink", 1.0, (), prompt=f"{{{{a}}}} {KEY}",
        axes={"references": (str(own_world / "a.png"), "b"), "key": ("x",)},
        places=({"references": str(own_world / "a.png"), "key": "x"}, {"references": "b", "key": "x"}),
        words=("", f"could not be written to {own_world}/imagegen"),
    )  # fmt: skip
    for level in ("full", "minimal", "none"):
        for place in (
            export(images, f"list-{level}", metadata=level, secrets=["zz-secret-of-mine"]),
            export(sweep, f"sweep-{level}", metadata=level),
        ):
            found = contents(place)
            everything = b"\n".join([*found.values(), *(name.encode() for name in found)])
            for secret in (str(own_world), KEY, "X-Signature", "CALLBACK", "TOKENVALUE", "RESULTSIG", os.path.expanduser("~") + "/"):
                assert secret.encode() not in everything, (level, secret)
            if "list" in place.name:
                assert b"zz-secret-of-mine" not in everything
            assert (b"a.png" if "sweep" in place.name else b"fox.png") in everything


def test_the_page_escapes_everything(own_world):
    """A prompt is text everywhere, also in attributes and titles; there is no script, no handler, no network URL."""
    images = [
        replace(image, request=ImageRequest(NASTY, quality="low <i>"), provider="<evo>", differences=("<b>smaller</b>",))
        for image in pictures()
    ]
    page = (export(images, "foxes") / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quotes&quot; &#x27;more&#x27; 狐狸 🦊" in page
    for words in ("low &lt;i&gt;", "&lt;evo&gt;", "&lt;b&gt;smaller&lt;/b&gt;"):
        assert words in page
    assert not re.search(r"\son\w+=|https?://|javascript:|@import|url\(", page)


def test_every_image_of_the_page_has_an_alternative_text(own_world):
    """It is the prompt, in one bounded line."""
    long = replace(pictures(1)[0], request=ImageRequest("a fox " * 500))
    page = (export([*pictures(), long], "foxes") / "index.html").read_text(encoding="utf-8")
    alts = re.findall(r"<img [^>]*?alt=\"([^\"]*)\"", page)
    assert len(alts) == page.count("<img ") == 3
    assert alts[0] == "a red fox"
    assert len(alts[2]) <= 300
    assert alts[2].endswith("…")


def test_the_page_shows_costs_by_currency(own_world):
    """Dollars and credits are not added, unknown costs are shown, play money is separate."""
    costs = [usd("0.05"), usd("0.10", "estimated"), Cost(Decimal(50), "credits", "reserved"), Cost(), usd(3, source="sandbox")]
    images = [replace(image, cost=cost, sandbox=cost.source == "sandbox") for image, cost in zip(pictures(5), costs, strict=True)]
    page = (export(images, "foxes") / "index.html").read_text(encoding="utf-8")
    assert "about $0.15 + 1 unknown, reserved 50 credits, $3.00 of play money" in page
    table = [(row["cost"], row["currency"], row["cost is"], row["play money"]) for row in rows(Path("foxes"))]
    assert table == [
        ("0.05", "USD", "measured", "no"), ("0.10", "USD", "estimated", "no"), ("50", "credits", "reserved", "no"),
        ("", "", "unknown", "no"), ("3", "USD", "measured", "yes"),
    ]  # fmt: skip


def test_a_spreadsheet_finds_no_formula(own_world):
    """A text like a formula gets an apostrophe; the table is UTF-8 with its mark, and is read back."""
    starts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "＝1", 'plain, with "quotes"\nand lines', "狐狸 🦊"]
    images = [replace(image, request=ImageRequest(start)) for image, start in zip(pictures(len(starts)), starts, strict=True)]
    place = export(images, "foxes")
    assert (place / "pictures.csv").read_bytes().startswith(b"\xef\xbb\xbffile,")
    assert [row["prompt"] for row in rows(place)] == [f"'{start}" for start in starts[:7]] + starts[7:]
    assert rows(place)[0]["width"] == "300"


@given(some.text())
def test_no_text_at_all_becomes_a_formula(text):
    """The cell of any prompt begins with no character that a spreadsheet evaluates."""
    assert not re.match(r"\s*[=+\-@\t\r]", export_table._safe(text))


SHOW_NOTHING = ("Cc", "Cf", "Zs", "Zl", "Zp", "Mn")  # categories of Unicode, whose characters a spreadsheet may skip before a formula


def test_every_character_that_a_spreadsheet_skips_is_known():
    """One by one: control characters, no-break and zero-width spaces, the byte order mark, variation selectors."""
    skipped = [mark for mark in map(chr, range(0x110000)) if unicodedata.category(mark) in SHOW_NOTHING]
    assert {"\x1f", "\v", "\f", "\xa0", "\u200b", "\u2060", "\ufeff", "\ufe0f"} <= set(skipped)
    assert [mark for mark in skipped if not export_table._safe(f"{mark}=1+1").startswith("'")] == []


@given(some.text(some.characters(categories=SHOW_NOTHING)), some.sampled_from("=+-@＝＋－＠﹦﹢﹣﹫"), some.text())
def test_no_formula_hides_behind_characters_that_are_skipped(before, sign, text):
    """In any number and order, before a sign of any width; the text itself stays."""
    assert export_table._safe(before + sign + text) == "'" + (before + sign + text).replace("\0", "")


@pytest.mark.parametrize("text", ["", "a fox", "\ufeffa fox", "\xa0a = b", "…=1", "狐狸=1"])
def test_other_texts_stay_as_they_are(text):
    """No apostrophe where no formula begins."""
    assert export_table._safe(text) == text


def test_the_table_has_the_axes_and_every_option(own_world):
    """Axes first, then prompt, gateway, model and all options; an axis that is an option has one column."""
    sweep = a_sweep({"style": ("oil", "ink"), "quality": ("low", "high")})
    images = tuple(
        replace(image, request=replace(image.request, quality=sweep.place(image)["quality"], background="opaque")) for image in sweep.images
    )
    first = rows(export(replace(sweep, images=images), "foxes"))[0]
    assert list(first)[:8] == ["file", "style", "quality", "prompt", "gateway", "model", "background", "width"]
    assert (first["style"], first["quality"], first["background"]) == ("oil", "low", "opaque")


def test_an_axis_with_the_name_of_a_column_has_its_own_column(own_world):
    """A placeholder may be named cost or file: both columns exist, and the axis's is marked."""
    names = ("cost", "format", "file", "prompt", "width", "seconds", "picture")
    first = rows(export(a_sweep({name: (f"my {name}",) for name in names}), "foxes"))[0]
    assert [first[f"axis {name}"] for name in names] == [f"my {name}" for name in names]
    assert (first["cost"], first["format"], first["width"], first["picture"]) == ("0.05", "image/png", "300", "1")
    assert first["file"].startswith("pictures/")
    assert len(first) == len(set(first))


def test_a_sweeps_page_has_its_grid(own_world):
    """Axes on the sides, the images in their cells, a table for each value of a third axis; a missing image has a reason."""
    gone = {"style": "ink", "size": "1:1", "quality": "high"}
    never = {"style": "oil", "size": "2:1", "quality": "low"}
    sweep = a_sweep(
        {"style": ("oil", "ink"), "size": ("1:1", "2:1", "3:1"), "quality": ("low", "high")}, missing=[gone], impossible=[never]
    )
    page = (export(sweep, "foxes") / "index.html").read_text(encoding="utf-8")
    tables = re.findall(r'<table class="grid">.*?</table>', page, re.DOTALL)
    assert len(tables) == 2
    assert [re.findall(r'<th scope="col" dir="auto">(.*?)</th>', table) for table in tables] == [["1:1", "2:1", "3:1"]] * 2
    assert [re.findall(r'<th scope="row" dir="auto">(.*?)</th>', table) for table in tables] == [["oil", "ink"]] * 2
    assert [table.count("<img ") for table in tables] == [5, 5]
    assert ["not possible here" in table for table in tables] == [True, False]
    assert ["moderation said no" in table for table in tables] == [False, True]
    assert "a fox, {{style}}" in page
    for number in re.findall(r'href="#(picture-\d+)"', page):
        assert f'<article id="{number}">' in page


def test_common_options_are_shown_once(own_world):
    """In the header; each image shows its own differences."""
    images = [
        replace(image, request=ImageRequest("a fox", size="1:1", quality=quality))
        for image, quality in zip(pictures(), ("low", "high"), strict=True)
    ]
    page = (export(images, "foxes") / "index.html").read_text(encoding="utf-8")
    assert page.count("size 1:1") == 1
    assert "<dt>size</dt>" not in page
    assert page.count("<dt>quality</dt>") == 2


def test_names_are_unique_and_fit_every_system(own_world):
    """Two images of one name, names that differ in case, a reserved one and a very long one."""
    images = []
    for number, name in enumerate(["Fox.png", "fox.png", "con.png", f"{'x' * 200}.png", "a b;c$.PNG", "狐狸.png"]):
        (image,) = pictures(1)
        folder = own_world / str(number)
        folder.mkdir()
        images.append(replace(image, path=image.path.rename(folder / name)))
    names = [Path(row["file"]).name for row in rows(export(images, "foxes"))]
    assert len({name.casefold() for name in names}) == 6
    for name in names:
        assert re.fullmatch(r"[1-6]-[\w-]+\.png", name)
        assert len(name.encode()) < 150


def test_missing_files_are_marked(own_world):
    """The others are exported; if all are missing, the export is refused."""
    images = pictures(3)
    images[1].path.unlink()
    place = export(images, "foxes")
    assert [bool(re.fullmatch(r"pictures/\d-.*\.png", row["file"])) for row in rows(place)] == [True, False, True]
    assert "file is missing" in (place / "index.html").read_text(encoding="utf-8")
    for image in images:
        image.path.unlink(missing_ok=True)
    with pytest.raises(UnsupportedOption, match="None of the pictures' files exists"):
        export(images, "none")
    with pytest.raises(UnsupportedOption, match="no picture to export"):
        export([], "none")
    assert not Path("none").exists()


def test_an_earlier_export_is_never_overwritten(own_world):
    """The second one is called -2, the third -3; any other folder is refused, also an empty one."""
    images = pictures(1)
    assert [export(images, target).name for target in ("foxes", "foxes", "foxes", "a.zip", "a.zip")] == [
        "foxes",
        "foxes-2",
        "foxes-3",
        "a.zip",
        "a-2.zip",
    ]
    mine = own_world / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("words")
    for target in (mine, own_world, "."):
        with pytest.raises(UnsupportedOption, match="exists already, and it is not an export"):
            export(images, target)
    assert os.listdir(mine) == ["thesis.tex"]
    (own_world / "file").write_text("words")
    assert export(images, "file").name == "file-2"


def test_two_at_once_get_two_names(own_world):
    """Concurrent exports do not replace each other."""
    images = pictures(1)
    done = []
    threads = [threading.Thread(target=lambda: done.append(export(images, "foxes"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {place.name for place in done} == {"foxes", "foxes-2", "foxes-3", "foxes-4"}
    assert all(len(contents(place)) == 3 for place in done)


@pytest.mark.parametrize(
    ("target", "step"),
    [
        ("foxes", "os.replace"),
        ("foxes.zip", "os.replace"),
        ("foxes", "imagegen_magic.studies.export.archive.page"),
        ("foxes.zip", "imagegen_magic.studies.export.archive.page"),
        ("foxes.zip", "zipfile.ZipFile.write"),
    ],
)
def test_it_appears_complete_or_not_at_all(own_world, monkeypatch, target, step):
    """A full disk at any step leaves nothing behind, and raises an error."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    images = pictures(1)
    monkeypatch.setattr(step, full)
    with pytest.raises(SaveError, match=r"No space left.*Nothing was charged"):
        export(images, target)
    assert os.listdir(own_world) == ["imagegen"]


def test_a_zip_holds_the_same_in_one_folder(own_world):
    """The same files in a folder of the archive's name, with slashes and without absolute paths."""
    images = [*pictures(), replace(picture(prompt="狐狸 fox", size=(300, 200)), id=9)]
    folder, packed = export(images, "foxes"), export(images, "foxes.zip")
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {name.removeprefix("foxes/"): archive.read(name) for name in names} == contents(folder)
    assert all(name.startswith("foxes/") and "\\" not in name for name in names)


@pytest.mark.parametrize(("together", "each"), [(6_000_000, 24_000), (60_000, 10_000)])
def test_the_page_of_many_stays_small(own_world, monkeypatch, together, each):
    """A thumbnail has at most 24 kB, and all of them share six megabytes."""
    assert archive._ALL_THUMBNAILS == 6_000_000
    monkeypatch.setattr(archive, "_ALL_THUMBNAILS", together)
    one = pictures(1)[0]
    noisy = own_world / "noise.png"
    Image.effect_noise((500, 500), 90).convert("RGB").save(noisy)
    place = export([replace(one, path=noisy, id=number) for number in range(1, 7)], "foxes")
    page = (place / "index.html").read_text()
    sizes = [len(thumbnail) * 3 / 4 for thumbnail in re.findall(r"base64,([^\"]+)", page)]
    assert len(sizes) == 6
    assert max(sizes) <= each
    assert len(page) < 6 * each * 4 / 3 + 60_000


def luminance(colour):
    """Return how light a CSS colour is, 0 to 255."""
    red, green, blue = (float(part) for part in re.findall(r"[\d.]+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_works_alone(own_world, browser, scheme):
    """Opened from the disk without a network: all is visible, no request, no error, no script."""
    sweep = a_sweep({"style": ("oil", "ink"), "quality": ("low", "high")}, missing=[{"style": "ink", "quality": "low"}])
    place = export(sweep, "foxes")
    page = browser.new_page(color_scheme=scheme, java_script_enabled=True)
    page.context.set_offline(True)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((place / "index.html").as_uri())
    page.wait_for_load_state("networkidle")
    assert [url for url in asked if not url.startswith("data:")] == [(place / "index.html").as_uri()]
    assert errors == []
    drawn = page.evaluate("[...document.images].map(image => { image.loading = 'eager'; return [image.alt, image.src.slice(0, 11)] })")
    assert len(drawn) == 6
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert all(alt.startswith("a fox, ") and source == "data:image/" for alt, source in drawn)
    paper, ink = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    assert (luminance(paper) > 200 > 60 > luminance(ink)) if scheme == "light" else (luminance(paper) < 60 < 200 < luminance(ink))
    for link in page.eval_on_selector_all("article a, footer a", "links => links.map(link => link.href)"):
        assert Path(page.evaluate("address => decodeURIComponent(new URL(address).pathname)", link)).is_file()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.scripts.length") == 0
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(own_world, browser, scheme):
    """axe finds no fault: contrast, names, headings, tables."""
    from axe_playwright_python.sync_playwright import Axe

    sweep = a_sweep({"style": ("oil", "ink")}, missing=[{"style": "ink"}], differences=("asked 3:1, got 2:1",))
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto((export(sweep, "foxes") / "index.html").as_uri())
    violations = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == []
    context.close()


def test_the_page_prints_on_white(own_world, browser):
    """Also from a dark screen; no image is split."""
    page = browser.new_page(color_scheme="dark")
    page.goto((export(pictures(), "foxes") / "index.html").as_uri())
    page.emulate_media(media="print")
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) == pytest.approx(255)
    assert page.evaluate("getComputedStyle(document.querySelector('article')).breakInside") == "avoid"
    page.close()


def test_a_ballot_works_offline_and_survives_a_reload(shell, browser):
    """Also as a result that is taken in; without a request and a message of the console, and axe finds no fault, on a phone in the dark."""
    from axe_playwright_python.sync_playwright import Axe

    shell.run("%imagegen --sandbox --size 1:1 -n 3 -o owls an owl")
    shell.run("%imagegen ballot owls ballot.html --raters 1")
    context = browser.new_context(offline=True, accept_downloads=True)
    page, requests, messages = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(Path("ballot.html").resolve().as_uri())
    for key, pair in (("ArrowLeft", 2), ("ArrowDown", 3), ("u", 2), ("ArrowRight", 3)):
        page.keyboard.press(key)
        assert page.inner_text("#progress") == f"Pair {pair} of 4"
    page.reload()
    assert page.inner_text("#progress") == "Pair 3 of 4"
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    page.get_by_role("button", name="Equal").click()
    page.get_by_role("button", name="The left picture is better").click()
    assert page.evaluate("document.activeElement.id") == "end-title"
    page.get_by_label("Your name or initials").fill("u <b>")  # its keys choose nothing
    assert page.evaluate("[...document.querySelectorAll('button')].every(one => !one.offsetHeight || one.offsetHeight >= 44)")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a file").click()
    download.value.save_as("votes.json")
    assert Path("votes.json").read_text(encoding="utf-8") == page.input_value("#text")
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == messages == []
    context.close()
    shell.run("%imagegen votes votes.json")
    assert "votes.json: 4 votes of u <b>, 4 new." in shell.shown()[-1]
    context = browser.new_context(color_scheme="dark", bypass_csp=True, viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(Path("ballot.html").resolve().as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth && left.offsetLeft === right.offsetLeft")
    page.keyboard.press("ArrowLeft")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in Axe().run(page).response["violations"]] == []
    context.close()


@pytest.mark.parametrize("missing", ["localStorage", "history"])
def test_a_ballot_without_storage_survives_a_reload_too(shell, browser, missing):
    """A private window has no storage, and a browser may refuse an entry of the history: either of them is enough."""
    shell.run("%imagegen --sandbox --size 1:1 -n 3 -o owls an owl")
    shell.run("%imagegen ballot owls ballot.html --raters 1")
    page = browser.new_page()
    page.add_init_script(f"Object.defineProperty(window, '{missing}', {{get: () => {{ throw new Error('refused') }}}})")
    page.goto(Path("ballot.html").resolve().as_uri())
    for key, pair in (("ArrowLeft", 2), ("ArrowDown", 3), ("u", 2)):
        page.keyboard.press(key)
        assert page.inner_text("#progress") == f"Pair {pair} of 4"
    page.reload()
    assert page.inner_text("#progress") == "Pair 2 of 4"
    page.close()


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


def exported(shell, words):
    """Run the subcommand and return the names of the prompts in its table."""
    shell.run(f"%imagegen export {words}")
    (text,) = shell.shown()
    place = Path(re.search(r": (\S+?)\. ", text)[1])
    return [row["prompt"] for row in rows(place)]


def test_the_magic_exports_the_selection(shell, own_world):
    """Ids, ranges, variables of every kind; by default the last cell's images. Each image once, in the given order."""
    for words in ("one fox", "two owls", "three hens"):
        shell.run(f"%imagegen --sandbox --size 1:1 -o made_{words.split()[0]} {words}")
    shell.run("first = made_one[0]; several = [made_one, made_two[0]]; number = 3")
    assert exported(shell, "a") == ["three hens"]
    assert exported(shell, "b 1-2") == ["one fox", "two owls"]
    assert exported(shell, "c 3 @1 1-3") == ["three hens", "one fox", "two owls"]
    assert exported(shell, "d made_two") == ["two owls"]
    assert exported(shell, "e first") == ["one fox"]
    assert exported(shell, "f several made_three 1") == ["one fox", "two owls", "three hens"]
    shell.run("%imagegen export foxes.zip 1 --metadata none")
    assert zipfile.is_zipfile("foxes.zip")
    for words, complaint in {
        "": r"export DIR\|ZIP",
        "12": "The target comes first",
        "made_one": "The target comes first",
        "g number": "holds no generated pictures",
        "g nothing": "neither a variable nor a picture's number",
        "g 99": "no picture 99",
        "g 98-99": "no picture from 98 to 99",
        "g 9-1": "not a range",
        "g 1 --metadata much": "--metadata takes full, minimal, none",
    }.items():
        with pytest.raises(UsageError, match=complaint):
            shell.run(f"%imagegen export {words}")
    assert not Path("g").exists()


def test_the_magic_has_nothing_to_export_at_first(shell):
    """Before any cell made an image, the message names the possible selections."""
    with pytest.raises(UsageError, match="No cell has made a picture yet"):
        shell.run("%imagegen export foxes")


def test_the_magic_exports_a_sweep_with_its_grid(shell, own_world):
    """A variable with a sweep keeps its axes; a missing file is reported."""
    sweep = a_sweep({"style": ("oil", "ink")})
    sweep.images[0].path.unlink()
    shell.shell.user_ns["sweep"] = sweep
    shell.run("%imagegen export foxes sweep")
    assert "2 pictures; 1 without a file: foxes. index.html shows them anywhere" in shell.shown()[0]
    shell.run("%imagegen export foxes.zip sweep")
    assert "foxes.zip. Its index.html, once unpacked, shows them anywhere" in shell.shown()[0]
    assert '<table class="grid">' in Path("foxes/index.html").read_text(encoding="utf-8")
    shell.shell.user_ns["_imagegen"] = Generation((), ImageRequest(""), "evolink", 0.0, ())
    with pytest.raises(UsageError, match="No cell has made"):
        shell.run("%imagegen export foxes")


def test_an_export_needs_no_ledger(own_world):
    """Images are exported from what they know themselves; nothing is written into the home folder."""
    export(pictures(1), "foxes")
    home = Path(os.environ["IMAGEGEN_HOME"])
    assert not (home / "ledger.sqlite").exists()
