"""Every format of the table is identified by its bytes; only broken pixels are a reason to refuse a file."""

from __future__ import annotations

import ast
import io
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filehost import file_host
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

import imagegen_magic
from imagegen_magic import export, generate, run
from imagegen_magic.errors import ImageInvalid
from imagegen_magic.formats import AVIF, FORMATS, HEIC, format_of
from imagegen_magic.imaging.decode import decoded, reopened
from imagegen_magic.imaging.preview import preview
from imagegen_magic.imaging.sheet.tiles import Tile, size_of
from imagegen_magic.imaging.verify import MAX_PIXELS, verify

TABLE = {
    "PNG": ("image/png", ".png"),
    "JPEG": ("image/jpeg", ".jpg"),
    "WEBP": ("image/webp", ".webp"),
    "GIF": ("image/gif", ".gif"),
    "BMP": ("image/bmp", ".bmp"),
    "TIFF": ("image/tiff", ".tiff"),
    "PPM": ("image/x-portable-anymap", ".ppm"),
    "AVIF": ("image/avif", ".avif"),
    "JPEG2000": ("image/jp2", ".jp2"),
}


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def drawn(kind: str, size: tuple[int, int] = (96, 64)) -> bytes:
    """Return a picture of noise over a gradient, as a file."""
    noise = Image.frombytes("RGB", size, random.Random(3).randbytes(size[0] * size[1] * 3))
    return saved(Image.blend(noise, Image.radial_gradient("L").resize(size).convert("RGB"), 0.6), kind)


def chunk(name: bytes, content: bytes, *, crc: int | None = None) -> bytes:
    """Return one PNG chunk, with a checksum that is true unless another is given."""
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body) if crc is None else crc)


def after_header(*chunks: bytes) -> bytes:
    """Return a PNG with further chunks before its pixels."""
    data = drawn("PNG", (640, 480))
    return data[:33] + b"".join(chunks) + data[33:]


def behind(marker: int, content: bytes, length: int | None = None) -> bytes:
    """Return a JPEG with one more segment, with the right length unless another is given."""
    data = drawn("JPEG")
    stated = len(content) + 2 if length is None else length
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", stated) + content + data[2:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP with an extended header, its pixels, and these chunks around them: those named ICCP before, others after."""
    pixels = drawn("WEBP")[12:]
    packed = {before: b"".join(_chunk(*each) for each in chunks if (each[0] == b"ICCP") is before) for before in (True, False)}
    flags = sum({b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}.get(name, 0) for name, _ in chunks)
    header = _chunk(b"VP8X", bytes([flags, 0, 0, 0]) + (95).to_bytes(3, "little") + (63).to_bytes(3, "little"))
    body = b"WEBP" + header + packed[True] + pixels + packed[False]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def sources_with(text: str) -> list[tuple[Path, str]]:
    """Return the package's modules that contain a text, and their sources."""
    paths = Path(imagegen_magic.__file__).parent.rglob("*.py")
    return [(path, source) for path in paths if text in (source := path.read_text(encoding="utf-8"))]


class TestTable:
    """What is a picture."""

    @pytest.mark.parametrize("kind", TABLE)
    def test_type_and_suffix(self, kind: str) -> None:
        """Each format has its MIME type, its suffix, its pixels and a preview."""
        facts, small = verify(drawn(kind), preview_edge=48)
        assert (facts.mime_type, facts.suffix) == TABLE[kind]
        assert (facts.width, facts.height) == (96, 64)
        assert small is not None
        assert (small.width, small.height) == (48, 32)

    @pytest.mark.parametrize("kind", TABLE)
    def test_the_preview_and_the_tile_of_a_sheet(self, kind: str) -> None:
        """What shows a picture shows each of them, and its size is known without decoding it."""
        assert preview(drawn(kind), 32).width == 32
        assert size_of(Tile(drawn(kind))) == (96, 64)

    def test_types_stand_in_the_one_table(self) -> None:
        """No other module spells a MIME type, so a new format is one entry in `formats`."""
        root = Path(imagegen_magic.__file__).parent
        types = {image_format.mime_type for image_format in FORMATS}
        found = [
            f"{path.relative_to(root)}:{node.lineno}"
            for path, source in sources_with("image/")
            if path.name != "formats.py" and "gateways" not in path.parts
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Constant) and node.value in types
        ]
        assert not found

    def test_the_table_is_this_one(self) -> None:
        """And HEIC, which needs another package."""
        assert [(kind.mime_type, kind.suffix) for kind in FORMATS] == [*TABLE.values(), ("image/heic", ".heic")]

    @pytest.mark.parametrize(
        ("brands", "kind"),
        [
            (b"avif\0\0\0\0mif1miaf", AVIF),
            (b"avis\0\0\0\0avifmsf1", AVIF),
            (b"mif1\0\0\0\0mif1avifmiaf", AVIF),
            (b"msf1\0\0\0\0avis", AVIF),
            (b"miaf\0\0\0\0avifmif1", AVIF),
            (b"heic\0\0\0\0mif1heic", HEIC),
            (b"mif1\0\0\0\0mif1heic", HEIC),
            (b"heix\0\0\0\0", HEIC),
            (b"mif1\0\0\0\0", HEIC),
            (b"isom\0\0\0\0mp42", None),
            (b"mp42\0\0\0\0isomiso2", None),
            (b"qt  \0\0\0\0", None),
        ],
    )
    def test_all_brands_decide_the_type(self, brands: bytes, kind: object) -> None:
        """The major brand may name the container alone; then a compatible one names the coding."""
        assert format_of(struct.pack(">I4s", len(brands) + 8, b"ftyp") + brands + bytes(64)) is kind

    def test_brands_end_with_their_box(self) -> None:
        """What follows the box is no brand."""
        assert format_of(b"\0\0\0\x10ftypisom\0\0\0\0avifavif") is None

    def test_an_avif_of_the_brand_mif1(self) -> None:
        """It is one, and decoded as one."""
        data = drawn("AVIF")
        assert data[8:12] == b"avif"
        other = data[:8] + b"mif1" + data[12:]
        assert verify(other, preview_edge=32)[0].mime_type == "image/avif"

    @pytest.mark.parametrize("name", ["QOI", "ICO", "TGA", "PCX", "EPS", "PDF", "SGI", "DDS", "ICNS", "MPO", "SPIDER"])
    def test_no_other_plugin_is_tried(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What Pillow could read besides is no picture here, and its plugin does not see a byte of it."""
        Image.init()
        data = saved(Image.new("F" if name == "SPIDER" else "RGB", (64, 64)), name)
        monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("tried"))
        monkeypatch.setattr(Image, "OPEN", {})
        if name == "MPO":
            assert verify(data)[0].mime_type == "image/jpeg"
        else:
            with pytest.raises(ImageInvalid, match="not a picture that can be read here"):
                verify(data)

    def test_every_open_names_its_formats(self) -> None:
        """Nowhere in the package does Pillow guess: `Image.open` is called with `formats` or not at all."""
        for path, source in sources_with("Image.open"):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open"):
                    assert "formats" in [each.arg for each in node.keywords], f"{path.name}:{node.lineno}"

    def test_the_picture_of_a_result_keeps_what_pillow_reads(self) -> None:
        """An opened result has its texts; if these are a bomb, only its pixels."""
        assert reopened(after_header(chunk(b"tEXt", b"Title\0A fox"))).info["Title"] == "A fox"
        assert reopened(after_header(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3_000_000))))).size == (640, 480)


BOMB = zlib.compress(bytes(3_000_000))
ODD: dict[str, Callable[[], bytes]] = {
    "a compressed text of 3 MB": lambda: after_header(chunk(b"zTXt", b"Comment\0\0" + BOMB)),
    "an international text of 3 MB": lambda: after_header(chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB)),
    "forty texts of 3 MB": lambda: after_header(*[chunk(b"zTXt", b"Comment\0\0" + BOMB)] * 40),
    "a colour profile of 3 MB": lambda: after_header(chunk(b"iCCP", b"icc\0\0" + BOMB)),
    "a colour profile that is none": lambda: after_header(chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"nonsense"))),
    "a colour profile that cannot be unpacked": lambda: after_header(chunk(b"iCCP", b"icc\0\0nonsense")),
    "a wrong checksum of a text": lambda: after_header(chunk(b"tEXt", b"a\0b", crc=7)),
    "a wrong checksum of a private chunk": lambda: after_header(chunk(b"ruSt", b"abc", crc=7)),
    "a wrong checksum of what is transparent": lambda: after_header(chunk(b"tRNS", bytes(6), crc=7)),
    "too short a gamma": lambda: after_header(chunk(b"gAMA", b"a")),
    "too short a transparent colour": lambda: after_header(chunk(b"tRNS", b"a")),
    "Exif that is none": lambda: after_header(chunk(b"eXIf", b"nonsense")),
    "too short a density": lambda: after_header(chunk(b"pHYs", b"")),
    "a broken animation": lambda: after_header(chunk(b"acTL", b""), chunk(b"fcTL", b"a")),
    "a text without end": lambda: after_header(chunk(b"tEXt", b"")),
    "an Exif segment of nonsense": lambda: behind(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "a JFIF segment too short": lambda: behind(0xE0, b"JFIF\0"),
    "an Adobe segment too short": lambda: behind(0xEE, b"Adobe"),
    "a part of a colour profile": lambda: behind(0xE2, b"ICC_PROFILE\0\2\3nonsense"),
    "a colour segment too short": lambda: behind(0xE2, b"ICC_PROFILE\0"),
    "a list of pictures that is broken": lambda: behind(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "Photoshop's segment cut off": lambda: behind(0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
    "bytes between two segments": lambda: drawn("JPEG")[:20] + b"\0\0\x11" + drawn("JPEG")[20:],
    "WebP's Exif of nonsense": lambda: riff((b"EXIF", b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "WebP's XMP of nonsense": lambda: riff((b"XMP ", b"\xff" * 99)),
    "WebP's colours of nonsense": lambda: riff((b"ICCP", b"nonsense")),
    "WebP's XMP that says more than it has": lambda: _longer(riff((b"XMP ", b"abcdef"))),
    "GIF with an unknown extension": lambda: drawn("GIF")[:-1] + b"!\x77\3abc\0;",
    "TIFF's XMP of nonsense": lambda: _tagged(700, b"\xff" * 50),
    "TIFF's Exif that points nowhere": lambda: _pointing(34665),
    "TIFF's place that points nowhere": lambda: _pointing(34853),
    "JPEG 2000 with a strange box": lambda: _boxed(b"uuid", b"\xbe\x7a\xcf" + bytes(40)),
}


def _longer(webp: bytes) -> bytes:
    place = webp.rindex(b"XMP ")
    return webp[: place + 4] + struct.pack("<I", 9_999) + webp[place + 8 :]


def _tagged(tag: int, content: bytes) -> bytes:
    directory = ImageFileDirectory_v2()
    directory.tagtype[tag] = 7
    directory[tag] = content
    return saved(Image.new("RGB", (96, 64), "teal"), "TIFF", tiffinfo=directory)


def _pointing(tag: int) -> bytes:
    data = bytearray(_tagged(700, b"\xff" * 50))
    (start,) = struct.unpack_from("<I", data, 4)
    for place in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, place)[0] == 700:
            struct.pack_into("<HHII", data, place, tag, 4, 1, 0xFFFFFF)
    return bytes(data)


def _boxed(name: bytes, content: bytes) -> bytes:
    """Return a JPEG 2000 with one more box before its pixels."""
    data = drawn("JPEG2000")
    place = data.index(b"jp2c") - 4
    return data[:place] + struct.pack(">I4s", len(content) + 8, name) + content + data[place:]


class TestExtras:
    """Extras in a file are never a reason to refuse its image."""

    @pytest.mark.parametrize("what", ODD)
    def test_it_is_a_picture(self, what: str) -> None:
        """With facts and a preview, without a warning."""
        data = ODD[what]()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            facts, small = verify(data, preview_edge=32)
        assert (facts.width, facts.height) in ((640, 480), (96, 64))
        assert small is not None
        assert format_of(data) in FORMATS

    def test_a_checksum_of_what_the_picture_needs_is_held(self) -> None:
        """A name that one bit makes an optional one is still a fault."""
        for name in (b"IDAT", b"iDAT", b"IHDR", b"pLTE"):
            with pytest.raises(ImageInvalid, match="checksum"):
                verify(after_header(chunk(name, b"abc", crc=7)))

    def test_a_second_of_a_kind_is_passed_over(self) -> None:
        """The first colour that is transparent holds."""
        image = Image.new("RGB", (8, 8), (1, 2, 3))
        data = saved(image, "PNG", transparency=(1, 2, 3))
        place = data.index(b"IDAT") - 4
        twice = data[:place] + chunk(b"tRNS", bytes(6)) + data[place:]
        assert verify(twice)[0].transparent is True


class TestWhole:
    """A file whose end is missing is none, in every format."""

    @pytest.mark.parametrize(("kind", "lenient"), [(kind, lenient) for kind in TABLE for lenient in {False, kind != "JPEG2000"}])
    def test_wherever_it_is_cut(self, kind: str, lenient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Even if the process lets Pillow load truncated pictures."""
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
        data = drawn(kind)[:-2] if kind == "GIF" else drawn(kind)  # of a GIF, two bytes follow the last pixel
        for place in sorted({*range(1, 40, 3), *range(40, len(data), max(1, len(data) // 60)), len(data) - 1}):
            with pytest.raises(ImageInvalid):
                verify(data[:place])

    @pytest.mark.parametrize(
        "options", [{"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}, {"big_tiff": True}]
    )
    def test_a_tiff_in_every_packing(self, options: dict[str, Any]) -> None:
        """Whole it is a picture, cut it is none."""
        data = saved(decoded(drawn("PNG")), "TIFF", **options)
        assert verify(data)[0].width == 96
        for share in (0.3, 0.6, 0.9):
            with pytest.raises(ImageInvalid):
                verify(data[: int(len(data) * share)])

    @pytest.mark.parametrize("kind", TABLE)
    def test_bytes_after_the_end_do_no_harm(self, kind: str) -> None:
        """Trailing bytes, as some servers add them, leave a whole picture whole."""
        tail = b"\0\0\0\x0cfree\r\n\r\n" if kind in ("AVIF", "JPEG2000") else b"\0\0\r\n"
        assert verify(drawn(kind) + tail)[0].width == 96


class TestFirstOfSeveral:
    """An animation or a scan of several pages is its first picture."""

    @pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
    def test_its_facts_and_its_preview(self, kind: str) -> None:
        """The frames that follow, whatever they are, change nothing."""
        frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
        facts, small = verify(saved(frames[0], kind, save_all=True, append_images=frames[1:]), preview_edge=40)
        assert (facts.width, facts.height) == (40, 30)
        assert small is not None
        red, green, blue = Image.open(io.BytesIO(small.data)).convert("RGB").getpixel((20, 15))  # type: ignore[misc]
        assert red > 200 > 60 > max(green, blue)

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_a_long_animation_costs_its_first_frame(self, kind: str) -> None:
        """Nothing but that reaches the decoder."""
        frames = [Image.new("L", (8, 8), shade) for shade in range(250)]
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        with Image.open(io.BytesIO(data)) as image:
            assert getattr(image, "n_frames", 1) > 1
        assert getattr(decoded(data), "n_frames", 1) == 1


def claiming(kind: str, width: int, height: int) -> bytes:
    """Return a file whose header claims a size and which holds next to nothing."""
    data = bytearray(drawn(kind))
    if kind == "GIF":
        struct.pack_into("<HH", data, 6, width, height)
    elif kind == "BMP":
        struct.pack_into("<ii", data, 18, width, height)
    elif kind == "TIFF":
        (start,) = struct.unpack_from("<I", data, 4)
        for place in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
            if (tag := struct.unpack_from("<H", data, place)[0]) in (256, 257):
                struct.pack_into("<HHII", data, place, tag, 4, 1, {256: width, 257: height}[tag])
    elif kind == "AVIF":
        struct.pack_into(">II", data, data.index(b"ispe") + 8, width, height)
    else:
        struct.pack_into(">II", data, data.index(b"ihdr") + 4, height, width)
    return bytes(data)


class TestBombs:
    """Small files that claim to be enormous."""

    @pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
    def test_a_claim_is_refused_before_decoding(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """From the header, in megapixels, without room being made for a row."""
        monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", lambda self: pytest.fail("decoded"))
        with pytest.raises(ImageInvalid, match="megapixels"):
            verify(claiming(kind, 12_000, 9_000))

    @pytest.mark.parametrize(("offset", "values"), [(8, struct.pack(">II", 30_000, 30_000)), (40, b"\x03\xe8")])
    def test_a_codestream_that_contradicts_its_box(self, offset: int, values: bytes) -> None:
        """More pixels, or a thousand components: refused, without memory for them."""
        data = bytearray(drawn("JPEG2000"))
        place = data.index(b"\xff\x4f\xff\x51") + offset
        data[place : place + len(values)] = values
        with pytest.raises(ImageInvalid, match="corrupt"):
            verify(bytes(data))


class TestWhatADecoderRaises:
    """Whatever it is, it is one line of ours."""

    @pytest.mark.parametrize(
        "error", [RuntimeError, AssertionError, SystemError, MemoryError, RecursionError, struct.error, KeyError, OSError]
    )
    def test_every_error(self, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
        """ImageInvalid, from the load as from the header."""

        def broken(*_: object) -> None:
            raise error("broken\nin two lines")

        monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", broken)
        with pytest.raises(ImageInvalid) as caught:
            verify(drawn("PNG"), preview_edge=32)
        assert "\n" not in str(caught.value)

    def test_an_avif_of_broken_data(self) -> None:
        """Its decoder raises RuntimeError."""
        data = bytearray(drawn("AVIF"))
        place = data.index(b"mdat") + 8
        data[place : place + 200] = bytes(200)
        with pytest.raises(ImageInvalid, match="he AVIF picture is corrupt"):
            verify(bytes(data))

    @pytest.mark.parametrize("kind", TABLE)
    def test_changed_bytes_are_survivable_or_invalid(self, kind: str) -> None:
        """Flipped, cut out, put in: a picture within the limits or ImageInvalid, no other error and no warning."""
        data, chance = drawn(kind), random.Random(7)
        for _ in range(250):
            broken = bytearray(data)
            for _ in range(chance.choice((1, 1, 3, 20))):
                place = chance.randrange(len(broken)) if chance.random() < 0.5 else chance.randrange(min(200, len(broken)))
                match chance.randrange(4):
                    case 0:
                        broken[place] ^= 1 << chance.randrange(8)
                    case 1:
                        broken[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
                    case 2:
                        del broken[place : place + chance.choice((1, 2, 4, 40))]
                    case _:
                        broken[place:place] = chance.randbytes(chance.choice((1, 2, 4, 40)))
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    facts, _ = verify(bytes(broken), preview_edge=32)
                except ImageInvalid as error:
                    assert "\n" not in str(error)  # noqa: PT017
                else:
                    assert facts.width * facts.height <= MAX_PIXELS

    def test_deep_grey_shows_its_picture(self) -> None:
        """A preview of more than 8 bits is neither black nor white if the file does not say what is white."""
        for dtype, most in (("uint16", 4095), ("int32", 255), ("float32", 1.0), ("float32", 80.0)):
            array = (np.linspace(0, most, 64)[None].repeat(48, 0)).astype(dtype)
            small = preview(saved(Image.fromarray(array), "TIFF"), 64)
            shades = np.asarray(Image.open(io.BytesIO(small.data)).convert("L"))
            assert shades.std() > (10 if most == 4095 else 60) or most == 4095


@pytest.mark.parametrize("kind", ["GIF", "AVIF"])
class TestEndToEnd:
    """Formats that no gateway lists, and that a file of the user or a gateway may have."""

    def test_as_a_result(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The bytes are saved with their own suffix, the difference is reported, and outputs and exports show it."""
        data = saved(Image.radial_gradient("L").resize((1024, 1024)).convert("RGB"), kind)  # without noise, which takes long to encode
        with file_host(monkeypatch) as host:
            host.file = lambda number, path: data
            generation = run(generate("a fox", provider="apimart", size="1:1", output_format="png"))
        (image,) = generation
        assert (image.path.suffix, image.mime_type, image.data) == (TABLE[kind][1], TABLE[kind][0], data)
        assert image.differences == (f"asked png, got {kind.lower()}",)
        assert image.open().size == (1024, 1024)
        assert image._repr_mimebundle_()[0].keys() >= {"image/jpeg"}
        assert generation.contact_sheet(tmp_path / "sheet.png") == tmp_path / "sheet.png"
        export(generation, tmp_path / "out")
        (copy,) = (path for path in (tmp_path / "out").rglob(f"*{image.path.suffix}"))
        assert copy.read_bytes() == data

    def test_as_a_reference(self, kind: str, own_world: Path) -> None:
        """A PNG of its first frame is uploaded, without its comment."""
        frames = [decoded(drawn(kind)), Image.new("RGB", (96, 64), "teal")]
        (own_world / f"photo.{kind.lower()}").write_bytes(saved(frames[0], kind, save_all=True, append_images=frames[1:]))
        (image,) = run(generate("a fox", provider="apimart", size="1:1", references=[f"photo.{kind.lower()}"], sandbox=True))
        assert (image.width, image.height) == (1024, 1024)
        (uploaded,) = own_world.parent.rglob("uploads/*.*")
        sent = Image.open(uploaded)
        assert (sent.format, sent.size, getattr(sent, "n_frames", 1)) == ("PNG", (96, 64), 1)
        assert np.abs(np.asarray(sent.convert("RGB")).astype(int) - np.asarray(frames[0].convert("RGB"))).mean() < 8
