"""A reference is sent upright, without metadata, in an accepted type and size; its notes name every change."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import random
import re
import struct
import sys
import types
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageChops, ImageCms, ImageOps, ImageStat, PngImagePlugin, features

from imagegen_magic.errors import ImageGenError, ImageInvalid, UnsupportedOption
from imagegen_magic.imaging import reference
from imagegen_magic.imaging.reference import prepare
from imagegen_magic.imaging.verify import verify
from imagegen_magic.providers.uploads import unique
from imagegen_magic.request import LocalImage

OWN = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
LIMIT = 20_000_000
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:exif="http://ns.adobe.com/exif/1.0/" %s/></rdf:RDF></x:xmpmeta>'
)
PLACE = XMP % b'exif:GPSLatitude="52,31.2N"'
NO_PLACE = XMP % b'exif:UserComment="a map with GPS on it"'


def drawn(size: tuple[int, int] = (80, 48), mode: str = "RGB") -> Image.Image:
    """Return a picture whose four quarters show which side is up."""
    image = Image.new("RGB", size, "white")
    across, down = size[0] // 2, size[1] // 2
    for box, colour in (((0, 0, across, down), "red"), ((across, 0, *size), "lime"), ((across, down, *size), "blue")):
        image.paste(colour, box)
    return image.convert(mode)


def noise(width: int, height: int, mode: str = "RGB", seed: int = 3) -> Image.Image:
    """Return the picture that compresses worst."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, len(mode)), np.uint8), mode=None).convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(turn: int = 1, place: bool = False, version: bool = False) -> Image.Exif:
    """Return an Exif block with a camera, an orientation, and a place or the empty GPS block that many cameras write."""
    block = Image.Exif()
    block[0x0110] = "A camera"
    if turn != 1:
        block[0x0112] = turn
    if place or version:
        block.get_ifd(0x8825)[0] = b"\2\3\0\0"
    if place:
        block.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    return block


def ready(source: object, **options: Any) -> LocalImage:
    """Prepare a picture named `photo` for a gateway that takes 20 MB, and hold what it says of itself against its bytes."""
    picture = prepare(source, name="photo", **{"max_bytes": LIMIT, **options})
    image = opened(picture)
    assert (image.width, image.height) == (picture.width, picture.height)
    assert OWN[str(image.format)] == picture.mime_type
    assert picture.name == "photo"
    return picture


def opened(picture: LocalImage) -> Image.Image:
    """Return the picture's pixels."""
    image = Image.open(io.BytesIO(picture.data))
    image.load()
    return image


def refusal(source: object, **options: Any) -> ImageGenError:
    """Return the error, which is ours before anything was sent."""
    with pytest.raises((ImageInvalid, UnsupportedOption)) as caught:
        prepare(source, name="photo", **{"max_bytes": LIMIT, **options})
    assert "Nothing was charged. " in str(caught.value)
    assert "photo" in caught.value.what
    assert "\n" not in str(caught.value)
    return caught.value


def same_pixels(first: Image.Image, second: Image.Image, mode: str = "RGB") -> bool:
    """Return whether two pictures show exactly the same."""
    return first.size == second.size and not ImageChops.difference(first.convert(mode), second.convert(mode)).getbbox()


def alike(first: Image.Image, second: Image.Image) -> bool:
    """Return whether two pictures show the same to the eye."""
    difference = ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB").resize(first.size))).mean
    return max(difference) < 6


class TestUntouched:
    """What needs no change is sent byte for byte."""

    @pytest.mark.parametrize("kind", OWN)
    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
    def test_every_taken_format(self, kind: str, mode: str) -> None:
        """A PNG, JPEG or WebP is passed on as it is, and nothing is noted."""
        if kind == "JPEG" and mode in ("RGBA", "P"):
            mode = "CMYK"
        data = saved(drawn(mode=mode), kind)
        picture = ready(data)
        assert picture.data == data
        assert (picture.mime_type, picture.notes) == (OWN[kind], ())

    @pytest.mark.parametrize("kind", OWN)
    def test_with_a_colour_profile(self, kind: str) -> None:
        """What the colours mean belongs to the picture."""
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        data = saved(drawn(), kind, icc_profile=profile)
        assert ready(data).data == data

    @pytest.mark.parametrize("wrapped", [bytearray, memoryview])
    def test_other_bytes(self, wrapped: Callable[[bytes], object]) -> None:
        """Bytes in other types."""
        data = saved(drawn(), "PNG")
        assert ready(wrapped(data)).data == data

    def test_an_image_that_ipython_shows(self) -> None:
        """Its file is passed on."""
        from IPython.display import Image as Shown

        data = saved(drawn(), "PNG")
        assert ready(Shown(data=data)).data == data

    def test_exactly_the_limits(self) -> None:
        """As many bytes and pixels as are accepted, and no note."""
        data = saved(noise(50, 40), "PNG")
        assert ready(data, max_bytes=len(data), max_pixels=2000).data == data


def xmp_text(xmp: bytes) -> PngImagePlugin.PngInfo:
    """Return XMP as a PNG carries it."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return info


class TestOrientation:
    """What the Exif turns is turned, since a gateway may not read it."""

    @pytest.mark.parametrize("turn", range(2, 9))
    @pytest.mark.parametrize("kind", OWN)
    def test_as_pillow_itself_would(self, turn: int, kind: str) -> None:
        """Each of the eight orientations, in each format; none is left to be read twice."""
        data = saved(drawn(), kind, exif=exif(turn))
        with Image.open(io.BytesIO(data)) as image:
            expected = ImageOps.exif_transpose(image)
        picture = ready(data)
        assert picture.notes == ("turned as its EXIF says",)
        assert picture.mime_type == OWN[kind]
        assert opened(picture).size == expected.size
        assert alike(opened(picture), expected)
        assert opened(picture).getexif().get(0x0112, 1) == 1

    @pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
    def test_without_loss_if_the_file_was_lossless(self, kind: str, options: dict[str, Any]) -> None:
        """A lossless file turned is lossless still."""
        image = noise(40, 30)
        assert same_pixels(opened(ready(saved(image, kind, exif=exif(3), **options))), image.transpose(Image.Transpose.ROTATE_180))

    def test_a_jpeg_stays_about_as_large_and_as_good(self) -> None:
        """It is coded by its own tables, turned with it: neither blown up nor coarsened."""
        image = Image.effect_noise((640, 480), 30).convert("RGB")
        for quality in (60, 95):
            data = saved(image, "JPEG", quality=quality, exif=exif(6))
            picture = ready(data)
            assert abs(len(picture.data) / len(data) - 1) < 0.1
            turned = opened(picture).transpose(Image.Transpose.ROTATE_90)
            assert max(ImageStat.Stat(ImageChops.difference(turned, Image.open(io.BytesIO(data)))).mean) < 0.3

    def test_the_colour_profile_stays(self) -> None:
        """Colours mean the same after turning."""
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert opened(ready(saved(drawn(), "JPEG", exif=exif(6), icc_profile=profile))).info["icc_profile"] == profile

    @pytest.mark.parametrize("mode", ["CMYK", "L"])
    def test_a_turned_jpeg_of_another_mode(self, mode: str) -> None:
        """Print colours become RGB, grey stays grey."""
        picture = ready(saved(drawn(mode=mode), "JPEG", exif=exif(8)))
        assert opened(picture).mode == ("L" if mode == "L" else "RGB")
        assert alike(opened(picture), drawn(mode=mode).transpose(Image.Transpose.ROTATE_90))

    def test_a_pil_image_is_turned_too(self) -> None:
        """One that was opened from a photograph, and is left as it is itself."""
        image = Image.open(io.BytesIO(saved(drawn(), "JPEG", exif=exif(6, place=True))))
        picture = ready(image)
        assert picture.notes == ("turned as its EXIF says", "location removed")
        assert (picture.width, picture.height) == (48, 80)
        assert image.size == (80, 48)
        assert image.getexif()[0x0112] == 6


LOCATED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "JPEG Exif": ("Exif", lambda: saved(drawn(), "JPEG", exif=exif(place=True))),
    "PNG Exif": ("Exif", lambda: saved(drawn(), "PNG", exif=exif(place=True))),
    "WebP Exif": ("Exif", lambda: saved(drawn(), "WEBP", exif=exif(place=True))),
    "Exif in a sub-directory": ("Exif", lambda: with_segment(0xE1, b"Exif\0\0" + sub_directory())),
    "Exif headed twice": ("Exif", lambda: with_segment(0xE1, b"Exif\0\0" + exif(place=True).tobytes())),
    "JPEG XMP": ("XMP", lambda: saved(drawn(), "JPEG", xmp=PLACE)),
    "PNG XMP": ("XMP", lambda: saved(drawn(), "PNG", pnginfo=xmp_text(PLACE))),
    "WebP XMP": ("XMP", lambda: saved(drawn(), "WEBP", xmp=PLACE)),
    "XMP in UTF-16": ("XMP", lambda: saved(drawn(), "WEBP", xmp=PLACE.decode().encode("utf-16"))),
    "XMP as elements": ("XMP", lambda: saved(drawn(), "JPEG", xmp=XMP % b"/><exif:GPSLongitude>13,24.1E</exif:GPSLongitude><a")),
    "XMP city": ("XMP", lambda: saved(drawn(), "JPEG", xmp=XMP % b'photoshop:City="Berlin"')),
    "packed XMP": ("XMP", lambda: with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(PLACE))),
    "packed text": ("text", lambda: with_chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(PLACE))),
    "ImageMagick's Exif": (
        "text",
        lambda: with_chunk(b"tEXt", b"Raw profile type exif\0" + raw(b"Exif\0\0" + exif(place=True).tobytes()[6:])),
    ),
    "ImageMagick's other": ("text", lambda: with_chunk(b"tEXt", b"Raw profile type xmp\0" + raw(PLACE))),
    "a text behind another": (
        "text",
        lambda: with_chunk(b"tEXt", b"Raw profile type xmp\0" + raw(PLACE), before=(b"tEXt", b"Comment\0IEND")),
    ),
    "fill bytes before it": ("Exif", lambda: saved(drawn(), "JPEG", exif=exif(place=True)).replace(b"\xff\xd8", b"\xff\xd8\xff\xff", 1)),
    "IPTC": ("IPTC", lambda: with_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0b\x1c\x02\x5a\0\x06Berlin")),
    "extended XMP": ("XMP", lambda: with_segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + PLACE)),
    "a second picture behind": ("what followed its end", lambda: saved(drawn(), "JPEG") + saved(drawn(), "JPEG", exif=exif(place=True))),
    "a film behind": ("what followed its end", lambda: saved(drawn(), "JPEG") + film(b"\xa9xyz\0\x12+52.5200+013.4050/")),
    "a film with loci behind": (
        "what followed its end",
        lambda: saved(drawn(), "JPEG") + film(b"\0\0\0\x24loci\0\0\0\0\x15\xc7Berlin\0" + bytes(13)),
    ),
    "an unknown segment": ("other data", lambda: with_segment(0xE5, b"Maker\0" + exif(place=True).tobytes())),
    "an unknown chunk": ("other data", lambda: with_chunk(b"ruSt", PLACE)),
}

SILENT: dict[str, tuple[str, Callable[[], bytes]]] = {
    "an empty block of a place": ("Exif", lambda: saved(drawn(), "JPEG", exif=exif(version=True))),
    "a camera": ("Exif", lambda: saved(drawn(), "WEBP", exif=exif())),
    "an orientation that there is not": ("Exif", lambda: saved(drawn(), "PNG", exif=exif(turn=9))),
    "GPS as a word": ("XMP", lambda: saved(drawn(), "JPEG", xmp=NO_PLACE)),
    "an unreadable one of ImageMagick": ("text", lambda: with_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nzzzz\n")),
    "a text that cannot be unpacked": ("text", lambda: with_chunk(b"zTXt", b"Comment\0\0nonsense")),
    "a text too long to be read": ("text", lambda: with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(5 * 2**20)))),
    "unreadable Exif": ("Exif", lambda: with_segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "Exif that is none": ("Exif", lambda: with_segment(0xE1, b"Exif\0\0nonsense")),
    "a comment": ("comment", lambda: with_segment(0xFE, b"from my garden")),
    "a second picture": ("what followed its end", lambda: saved(drawn(), "JPEG") + saved(drawn(), "JPEG", exif=exif())),
    "a date": ("date", lambda: with_chunk(b"tIME", b"\x07\xea\1\1\1\1\1")),
    "resolution": ("dots per inch", lambda: saved(drawn(), "PNG", dpi=(300, 300))),
    "several": ("Exif, text", lambda: with_chunk(b"tEXt", b"a\0b", before=(b"eXIf", exif().tobytes()[6:]))),
}


def sub_directory() -> bytes:
    """Return a TIFF block whose location is in the directory of Exif itself."""
    first = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    second = struct.pack("<HHHIII", 1, 0x8825, 4, 1, 44, 0)
    return b"II*\0\x08\0\0\0" + first + second + struct.pack("<HHHI4sI", 1, 1, 2, 2, b"N\0\0\0", 0)


def with_place(tiff: bytes) -> bytes:
    """Return a TIFF whose entry of the camera's model has become one of a place, which Pillow itself cannot write."""
    data = bytearray(tiff)
    (start,) = struct.unpack_from("<I", data, 4)
    for place in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, place)[0] == 0x0110:
            struct.pack_into("<HHII", data, place, 0x8825, 4, 1, len(data))
    return bytes(data) + struct.pack("<HHHI4sI", 1, 1, 2, 2, b"N\0\0\0", 0)


def film(box: bytes) -> bytes:
    """Return the beginning of a film, as phones write it behind a JPEG's end."""
    udta = struct.pack(">I4s", 8 + len(box), b"udta") + box
    return b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + struct.pack(">I4s", 8 + len(udta), b"moov") + udta


def raw(block: bytes) -> bytes:
    """Return a block as ImageMagick writes it into a PNG's text."""
    return b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())


def with_chunk(name: bytes, content: bytes, before: tuple[bytes, bytes] | None = None) -> bytes:
    """Return a PNG with one more chunk, and another before it."""
    data = saved(drawn(), "PNG") if before is None else with_chunk(*before)
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    place = 33 if before is None else 33 + 12 + len(before[1])
    return data[:place] + chunk + data[place:]


def with_segment(marker: int, content: bytes) -> bytes:
    """Return a JPEG with one more segment."""
    data = saved(drawn(), "JPEG")
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + data[2:]


class TestExtras:
    """The location of a photo, and everything else in a file that is not its image, is not sent."""

    @pytest.mark.parametrize("extra", [*LOCATED, *SILENT])
    def test_it_is_left_out_without_touching_a_pixel(self, extra: str) -> None:
        """Every extra is left out and named; the compressed pixels stay, and a location is named only if there was one."""
        what, make = (LOCATED | SILENT)[extra]
        picture = ready(make())
        assert picture.notes == ((f"left out: {what}", "location removed") if extra in LOCATED else (f"left out: {what}",))
        plain = saved(drawn(), str(opened(picture).format))
        assert same_pixels(opened(picture), Image.open(io.BytesIO(plain)))
        for word in (b"GPSL", b"A camera", b"Berlin", b"\xa9xyz", b"exif", b"Exif", b"garden", b"ns.adobe"):
            assert word not in picture.data.replace(b"\0", b"")
        assert ready(picture.data).data == picture.data

    @pytest.mark.parametrize("kind", OWN)
    def test_the_colour_profile_stays(self, kind: str) -> None:
        """What the colours mean is no place."""
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        picture = ready(saved(drawn(), kind, exif=exif(place=True), icc_profile=profile))
        assert opened(picture).info["icc_profile"] == profile
        assert not opened(picture).getexif()

    @pytest.mark.parametrize("kind", OWN)
    def test_turned_and_cut(self, kind: str) -> None:
        """What turned it is not sent."""
        picture = ready(saved(drawn(), kind, exif=exif(6, place=True)))
        assert picture.notes == ("turned as its EXIF says", "location removed")
        assert not opened(picture).getexif()

    def test_a_progressive_jpeg_with_more_behind(self) -> None:
        """Its end is found behind several scans."""
        data = saved(noise(64, 64), "JPEG", progressive=True, exif=exif(place=True))
        picture = ready(data + b"trailing")
        assert picture.data.endswith(b"\xff\xd9")
        assert same_pixels(opened(picture), Image.open(io.BytesIO(data)))

    @pytest.mark.parametrize("kind", OWN)
    def test_what_follows_the_end_stays_here(self, kind: str) -> None:
        """The rest of an image that was cropped in place, or a photo with its location: cut off and noted, without touching a pixel."""
        whole = saved(drawn(), kind)
        for tail in (saved(drawn(), "JPEG", exif=exif(place=True)), b"\0", whole):
            picture = ready(whole + tail)
            assert picture.data == whole
            assert picture.notes[0] == "left out: what followed its end"

    @given(st.binary(max_size=200))
    def test_any_exif_is_survived(self, block: bytes) -> None:
        """Whatever stands there: the same picture, or an error in words."""
        picture = ready(with_segment(0xE1, b"Exif\0\0" + block))
        assert opened(picture).size in ((80, 48), (48, 80))


class TestConversion:
    """Other formats become PNG."""

    @pytest.mark.parametrize(
        ("kind", "options", "word"),
        [
            ("BMP", {}, "BMP"),
            ("TIFF", {}, "TIFF"),
            ("TIFF", {"compression": "tiff_lzw"}, "TIFF"),
            ("TIFF", {"big_tiff": True}, "TIFF"),
            ("PPM", {}, "Netpbm"),
            ("JPEG2000", {"irreversible": False}, "JPEG 2000"),
        ],
    )
    def test_without_loss(self, kind: str, options: dict[str, Any], word: str) -> None:
        """The same pixels, as PNG, with a note."""
        picture = ready(saved(drawn(), kind, **options))
        assert (picture.mime_type, picture.notes) == ("image/png", (f"converted from {word}",))
        assert same_pixels(opened(picture), drawn())

    @pytest.mark.parametrize(("white", "grey"), [(255, 128), (4095, 2056), (65535, 32896)])
    def test_a_netpbm_file_is_as_bright_as_it_says(self, white: int, grey: int) -> None:
        """8, 12 or 16 bits a pixel: the header names white, and half of it is half grey, whatever else the picture holds."""
        number = grey.to_bytes(2 if white > 255 else 1)
        picture = ready(b"P5 # depth\n4 2\n%d\n" % white + number * 8)
        assert picture.mime_type == "image/png"
        assert opened(picture).convert("L").getextrema() == (128, 128)

    def test_netpbm_as_text_is_text(self) -> None:
        """A text may begin with the same letters; it is refused with the formats that can be converted."""
        with pytest.raises(ImageInvalid, match=r"text.* GIF, BMP, TIFF, Netpbm, AVIF, JPEG 2000, HEIC"):
            ready(b"P2 3 3 of us went to the lake")

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "I;16"])
    def test_a_tiff_in_every_mode(self, mode: str) -> None:
        """Grey, palette, alpha, print colours and 16 bits: the same to the eye."""
        image = drawn(mode="L").convert("I;16").point(lambda value: value * 257) if mode == "I;16" else drawn(mode=mode)
        picture = ready(saved(image, "TIFF"))
        assert alike(opened(picture), drawn(mode="L" if mode == "I;16" else mode))

    @pytest.mark.parametrize(("mode", "value", "grey"), [("F", 0.5, 127), ("I;16", 32_896, 128)])
    def test_a_tiff_of_large_numbers(self, mode: str, value: float, grey: int) -> None:
        """Floats from 0 to 1 and whole numbers of 16 bits, of which the file says that there is nothing below 0, are grey."""
        assert opened(ready(saved(Image.new(mode, (8, 8), value), "TIFF"))).getpixel((3, 3)) == grey

    @pytest.mark.parametrize(("mode", "value"), [("F", 300.0), ("I", 32_896), ("I", 255), ("I", 70_000), ("I", -3), ("I;16", 4095)])
    def test_numbers_that_are_no_grey_are_refused(self, mode: str, value: float) -> None:
        """A measurement does not say what is white."""
        assert "do not say what is black and what is white" in str(refusal(saved(Image.new(mode, (8, 8), value), "TIFF")))

    def test_gif_with_its_first_frame(self) -> None:
        """The picture that a plain viewer shows first, with its transparency."""
        frames = [drawn(mode="P"), noise(80, 48).convert("P")]
        picture = ready(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
        assert picture.notes == ("converted from GIF, the first of 2 frames",)
        assert same_pixels(opened(picture), drawn())
        clear = Image.new("P", (8, 8), 1)
        clear.putpalette([255, 0, 0, 0, 255, 0])
        clear.putpixel((2, 2), 0)
        assert opened(ready(saved(clear, "GIF", transparency=0))).convert("RGBA").getpixel((2, 2))[3] == 0  # type: ignore[index]

    def test_tiff_with_its_first_page(self) -> None:
        """Of a scan with several pages the first."""
        picture = ready(saved(drawn(), "TIFF", save_all=True, append_images=[noise(80, 48), noise(9, 9)]))
        assert picture.notes == ("converted from TIFF, the first of 3 pages",)
        assert same_pixels(opened(picture), drawn())

    @pytest.mark.parametrize("turn", [3, 6])
    def test_a_tiff_upright(self, turn: int) -> None:
        """By its own orientation, without its metadata."""
        picture = ready(with_place(saved(drawn(), "TIFF", exif=exif(turn))))
        assert picture.notes == ("turned as its EXIF says", "location removed", "converted from TIFF")
        expected = drawn().transpose(Image.Transpose.ROTATE_180 if turn == 3 else Image.Transpose.ROTATE_270)
        assert same_pixels(opened(picture), expected)
        assert not opened(picture).getexif()

    def test_avif(self) -> None:
        """Turned as it says."""
        picture = ready(saved(drawn(), "AVIF", exif=exif(6)))
        assert picture.notes == ("turned as its EXIF says", "converted from AVIF")
        assert alike(opened(picture), drawn().transpose(Image.Transpose.ROTATE_270))

    def test_heic_without_a_reader(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The words name the package that reads it."""
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        error = refusal(b"\0\0\0\x18ftypheic" + bytes(100))
        assert isinstance(error, ImageInvalid)
        assert "reads no HEIC" in str(error)
        assert "%pip install pillow-heif, or save it as PNG or JPEG" in str(error)

    @pytest.mark.parametrize(("kind", "name"), [("AVIF", "AVIF"), ("JPEG2000", "JPEG 2000"), ("WEBP", "WebP")])
    def test_a_pillow_that_was_built_without_a_format(self, kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is not called a broken file."""
        data = saved(drawn(), kind)
        monkeypatch.setattr(features, "check", lambda feature: False)
        words = f"photo: the Pillow of this kernel reads no {name}. Nothing was charged. %pip install --upgrade Pillow and restart"
        assert str(refusal(data)).startswith(words)

    def test_heic_as_the_advice_says(self) -> None:
        """With pillow-heif installed, as the message advises: decoded, upright, without metadata; refused if cut short."""
        import pillow_heif

        file = io.BytesIO()
        pillow_heif.from_pillow(drawn((96, 64))).save(file, quality=100, exif=exif(place=True).tobytes())
        assert "HEIF" not in Image.OPEN  # nothing was registered in the user's Pillow
        picture = ready(file.getvalue())
        assert picture.notes == ("location removed", "converted from HEIC")
        assert alike(opened(picture), drawn((96, 64)))
        facts, small = verify(file.getvalue(), preview_edge=48)
        assert (facts.mime_type, facts.suffix, facts.width, facts.height) == ("image/heic", ".heic", 96, 64)
        assert small is not None
        for place in (20, 60, len(file.getvalue()) // 2, len(file.getvalue()) - 1):
            with pytest.raises(ImageInvalid):
                verify(file.getvalue()[:place])

    def test_heic_with_its_reader(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """pillow-heif reads it, without being registered in the user's Pillow."""

        class Reader(PngImagePlugin.PngImageFile):
            def __init__(self, file: io.BytesIO) -> None:
                super().__init__(io.BytesIO(saved(drawn(), "PNG")))

        before = dict(Image.OPEN)
        monkeypatch.setitem(sys.modules, "pillow_heif", types.SimpleNamespace(HeifImageFile=Reader))
        picture = ready(b"\0\0\0\x18ftypmif1" + bytes(100))
        assert picture.notes == ("converted from HEIC",)
        assert same_pixels(opened(picture), drawn())
        assert before == Image.OPEN

    def test_heic_with_a_reader_that_its_owner_registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another plugin for the same format serves as well."""
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        monkeypatch.setitem(Image.OPEN, "HEIF", (lambda file: PngImagePlugin.PngImageFile(io.BytesIO(saved(drawn(), "PNG"))), None))
        assert ready(b"\0\0\0\x18ftypheic" + bytes(100)).notes == ("converted from HEIC",)

    def test_a_taken_format_that_this_gateway_does_not_take(self) -> None:
        """A WebP for a gateway of PNG alone."""
        picture = ready(saved(drawn(), "WEBP", lossless=True), types=("image/png",))
        assert (picture.mime_type, picture.notes) == ("image/png", ("converted from WebP",))

    def test_if_png_is_not_accepted(self) -> None:
        """It becomes a JPEG if nothing is transparent."""
        assert ready(saved(drawn(mode="RGBA"), "PNG"), types=("image/jpeg",)).mime_type == "image/jpeg"
        assert "transparent in places, which a JPEG cannot be" in str(refusal(Image.new("RGBA", (9, 9)), types=("image/jpeg",)))


FILES = json.loads((Path(__file__).parent / "data" / "0.1.0" / "reference_files.json").read_text(encoding="utf-8"))


class TestIdentity:
    """What is left out of a file changes neither the request that it stands in nor what `--reuse` finds."""

    @pytest.mark.parametrize("name", FILES)
    def test_it_is_what_the_first_release_sent(self, name: str) -> None:
        """The same file has the same identity as in 0.1.0, whose values these are, and its pixels are the same."""
        data = base64.b64decode(FILES[name]["file"])
        picture = ready(data)
        assert picture.identity == FILES[name]["identity"]
        assert picture.placeholder == f"upload:{picture.identity}"
        assert picture.sha256 == hashlib.sha256(picture.data).hexdigest()
        if name != "png unreadable text":
            assert same_pixels(opened(picture), Image.open(io.BytesIO(data)), "RGBA")

    def test_two_files_of_one_picture(self) -> None:
        """They are two requests, as they were, and one upload: what is sent of them is the same."""
        first, second = (ready(with_segment(0xFE, comment)) for comment in (b"one", b"two"))
        assert first.sha256 == second.sha256
        assert first.placeholder != second.placeholder
        assert unique([first, second]) == (first, second)

    def test_a_gif_that_a_gateway_accepts(self) -> None:
        """It is sent as PNG, and stays the same request as in 0.1.0, which sent the file itself."""
        data = saved(drawn(), "GIF")
        picture = prepare(data, name="photo", types=("image/png", "image/gif"), max_bytes=LIMIT)
        assert (picture.mime_type, picture.notes) == ("image/png", ("converted from GIF",))
        assert picture.identity == hashlib.sha256(data).hexdigest()

    def test_an_image_encoded_here_is_its_bytes(self) -> None:
        """It has no other identity."""
        for source in (drawn(), np.zeros((4, 4), np.uint8), saved(drawn(), "BMP")):
            picture = ready(source)
            assert picture.identity == picture.sha256


def allowed(data: bytes) -> bool:
    """Return whether a file consists only of the parts that an image needs, by a walker independent of the package's."""
    if data.startswith(b"\x89PNG"):
        names, place = [], 8
        while place < len(data):
            names.append(data[place + 4 : place + 8])
            place += 12 + int.from_bytes(data[place : place + 4])
        needed = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI"}
        return place == len(data) and names[-1] == b"IEND" and set(names) <= needed
    if data.startswith(b"RIFF"):
        names, place = [], 12
        while place < len(data):
            names.append(data[place : place + 4])
            place += 8 + -(-int.from_bytes(data[place + 4 : place + 8], "little") // 2) * 2
        whole = place == len(data) == 8 + int.from_bytes(data[4:8], "little")
        return whole and set(names) <= {b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L"}
    markers = set(
        re.findall(
            rb"\xff([\xc0-\xcf\xda-\xdf\xe0-\xef\xfe])", re.sub(rb"\xff\xda.*?(?=\xff[\xc4\xda\xd9])", b"\xff\xda", data, flags=re.S)
        )
    )
    return data.endswith(b"\xff\xd9") and not markers & {bytes([each]) for each in (0xE1, *range(0xE3, 0xEE), 0xEF, 0xFE)}


def cluttered(kind: str, image: Image.Image, **options: Any) -> bytes:
    """Return the picture as a file with everything that a file can hold besides."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if image.mode == "RGB":
        options["icc_profile"] = profile
    data = saved(image, kind, **options)
    if kind == "PNG":
        extras = [(b"gAMA", b"\0\0\xb1\x8f"), (b"cHRM", bytes(32)), (b"cICP", b"\1\x0d\0\1"), (b"eXIf", exif(place=True).tobytes()[6:])]
        extras += [(b"tEXt", b"Comment\0secret words"), (b"zTXt", b"a\0\0" + zlib.compress(b"secret words")), (b"tIME", bytes(7))]
        extras += [
            (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PLACE),
            (b"sPLT", b"a\0\x08"),
            (b"prVt", b"secret words"),
            (b"sBIT", b"\x08\x08\x08"),
        ]
        packed = [struct.pack(">I", len(text)) + name + text + struct.pack(">I", zlib.crc32(name + text)) for name, text in extras]
        return data[:33] + b"".join(packed) + data[33:] + b"secret words"
    if kind == "JPEG":
        thumbnail = b"JFIF\0\1\2\0\0\1\0\1\1\1" + b"sec"
        extras = [
            (0xE1, b"Exif\0\0" + exif(place=True).tobytes()),
            (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PLACE),
            (0xFE, b"secret words"),
        ]
        extras += [
            (0xE2, b"MPF\0II*\0\x08\0\0\0\0\0"),
            (0xED, b"Photoshop 3.0\0secret words"),
            (0xE7, b"secret words"),
            (0xE0, b"JFXX\0\x10secret"),
        ]
        packed = [bytes([0xFF, each]) + struct.pack(">H", len(text) + 2) + text for each, text in extras]
        has_head = data[3] == 0xE0
        head = data[:2] + (b"\xff\xe0" + struct.pack(">H", len(thumbnail) + 2) + thumbnail if has_head else b"")
        rest = data[20:] if has_head else data[2:]
        return head + b"".join(packed) + rest + film(b"secret words") + data
    chunks = [(b"EXIF", exif(place=True).tobytes()), (b"XMP ", PLACE), (b"junk", b"secret words")]
    if data[12:16] != b"VP8X":
        width, height = ((side - 1).to_bytes(3, "little") for side in image.size)
        data = data[:12] + b"VP8X" + struct.pack("<I", 10) + b"\x0c\0\0\0" + width + height + data[12:]
    body = data[8:] + b"".join(name + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2) for name, text in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body + b"secret words"


PLENTY: list[tuple[str, str, dict[str, Any]]] = [
    *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    ("PNG", "P", {"transparency": 0}),
    ("PNG", "RGB", {"transparency": (255, 0, 0)}),
    ("PNG", "RGB", {"save_all": True, "append_images": [Image.new("RGB", (80, 48), "teal")]}),
    *(("JPEG", mode, {}) for mode in ("L", "RGB", "CMYK")),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "CMYK", {"progressive": True}),
    ("JPEG", "RGB", {"keep_rgb": True}),
    ("JPEG", "RGB", {"subsampling": 0, "quality": 99, "optimize": True}),
    ("JPEG", "RGB", {"restart_marker_rows": 1}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {}),
    ("WEBP", "RGBA", {"lossless": True, "exact": True}),
]


class TestNothingButThePicture:
    """The file that is sent consists of allowed parts."""

    @pytest.mark.parametrize(("kind", "mode", "options"), PLENTY)
    def test_pixels_and_colours_stay_and_all_else_goes(self, kind: str, mode: str, options: dict[str, Any]) -> None:
        """Whatever a file holds: not a word of it is sent, and what it looks like is the same."""
        image = noise(80, 48, "RGBA" if mode in ("RGBA", "LA") else "RGB").convert("L" if mode == "I;16" else mode)
        image = Image.fromarray(np.asarray(image).astype("uint16") * 250) if mode == "I;16" else image
        data = cluttered(kind, image, **options)
        picture = ready(data)
        assert allowed(picture.data)
        for word in (b"secret", b"GPS", b"A camera", b"adobe", b"Exif", b"JFXX", b"MPF"):
            assert word not in picture.data.replace(b"Adobe\0d", b"")
        plain, came = Image.open(io.BytesIO(saved(image, kind, **options))), opened(picture)
        assert (came.mode, came.size) == (plain.mode, plain.size)
        assert np.array_equal(np.asarray(came), np.asarray(plain))
        assert came.info.get("transparency") == plain.info.get("transparency")
        assert bool(came.info.get("icc_profile")) is (mode == "RGB")
        assert "location removed" in picture.notes
        assert ready(picture.data).data == picture.data

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_what_the_colours_mean_stays(self, kind: str) -> None:
        """Gamma, primaries and transfer of a PNG, and a profile that takes several segments of a JPEG."""
        if kind == "PNG":
            data = ready(cluttered("PNG", drawn())).data
            assert all(name in data for name in (b"gAMA", b"cHRM", b"cICP", b"iCCP"))
            return
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        large = struct.pack(">I", len(profile) + 150_000) + profile[4:] + bytes(150_000)
        data = saved(drawn(), "JPEG", icc_profile=large, exif=exif())
        assert data.count(b"ICC_PROFILE\0") == 3
        assert opened(ready(data)).info["icc_profile"] == large

    def test_a_gif_with_a_location(self) -> None:
        """In its XMP: it is not sent, and the note says so."""
        clear = Image.new("P", (8, 8), 1)
        clear.putpalette([255, 0, 0, 0, 255, 0])
        clear.putpixel((2, 2), 0)
        data = saved(clear, "GIF", transparency=0, comment=b"from my garden")
        trailer = b"!\xff\x0bXMP DataXMP" + PLACE + b"\x01" + bytes(range(255, -1, -1)) + b"\0;more"
        picture = ready(data[:-1] + trailer)
        assert picture.notes == ("location removed", "converted from GIF")
        assert b"GPS" not in picture.data

    @pytest.mark.parametrize("kind", ["TIFF", "AVIF", "JPEG2000", "BMP", "GIF"])
    def test_other_formats_are_encoded_again(self, kind: str) -> None:
        """Nothing of their files is left."""
        options = {"comment": b"A camera"} if kind == "GIF" else {} if kind in ("JPEG2000", "BMP") else {"exif": exif(place=kind == "AVIF")}
        picture = ready(saved(drawn(), kind, **options))
        assert allowed(picture.data)
        assert b"A camera" not in picture.data

    def test_what_is_turned_holds_nothing_else(self) -> None:
        """An image that is encoded again because it lies on its side."""
        data = saved(drawn(), "JPEG", exif=exif(6, place=True), comment=b"from my garden")
        picture = ready(data)
        assert picture.notes == ("turned as its EXIF says", "left out: comment", "location removed")
        assert allowed(picture.data)

    @pytest.mark.parametrize("twice", ["header", "block"])
    def test_an_exif_that_stands_twice_still_turns(self, twice: str) -> None:
        """The header before the header, or a second block behind the first."""
        block = exif(6).tobytes()
        data = with_segment(0xE1, b"Exif\0\0" + block)
        if twice == "block":
            data = saved(drawn(), "JPEG", exif=exif(6))
            end = 4 + int.from_bytes(data[data.index(b"\xff\xe1") + 2 :][:2]) + data.index(b"\xff\xe1") - 2
            data = data[:end] + data[data.index(b"\xff\xe1") : end] + data[end:]
        picture = ready(data)
        assert (picture.width, picture.height) == (48, 80)
        assert picture.notes == ("turned as its EXIF says",)

    @given(st.data())
    def test_no_byte_of_an_extra_is_sent(self, data: st.DataObject) -> None:
        """Any extra of any name at any place: the file without it is sent."""
        kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP"]))
        plain, extra = saved(drawn(), kind), data.draw(st.binary(min_size=12, max_size=60))
        if kind == "PNG":
            name = data.draw(st.sampled_from([b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"pHYs", b"abCd", b"ABCd", b"iCCP", b"acTL", b"fcTL"]))
            chunk = struct.pack(">I", len(extra)) + name + extra + struct.pack(">I", zlib.crc32(name + extra))
            place = data.draw(st.sampled_from([33, len(plain) - 12, len(plain)]))
        elif kind == "JPEG":
            marker = data.draw(st.sampled_from([*range(0xE1, 0xF0), 0xFE, 0xF0, 0xFD]))
            chunk = bytes([0xFF, marker]) + struct.pack(">H", len(extra) + 2) + extra
            place = data.draw(st.sampled_from([2, 20, len(plain) - 2, len(plain)]))
        else:
            chunk = (
                data.draw(st.sampled_from([b"XMP ", b"EXIF", b"abcd", b"ICCP"]))
                + struct.pack("<I", len(extra))
                + extra
                + b"\0" * (len(extra) % 2)
            )
            place = len(plain)
        made = plain[:place] + chunk + plain[place:]
        if kind == "WEBP":
            made = made[:4] + struct.pack("<I", len(made) - 8) + made[8:]
        assert ready(made).data == plain


class TestAnimations:
    """Of several images the first is sent, with a note."""

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_its_first_frame_as_it_is(self, kind: str) -> None:
        """Without encoding a pixel again if the frame is a whole image."""
        data = saved(drawn(), kind, save_all=True, append_images=[noise(80, 48), noise(80, 48, seed=4)], lossless=True)
        picture = ready(data)
        assert picture.notes == ("the first of 3 frames",)
        assert same_pixels(opened(picture), drawn())
        assert getattr(opened(picture), "n_frames", 1) == 1
        assert len(picture.data) < len(data) / 2

    def test_a_first_frame_that_does_not_fill_the_canvas(self) -> None:
        """It is encoded again, without loss if it was lossless."""
        part = saved(Image.new("RGB", (20, 10), "red"), "WEBP", lossless=True)[12:]
        frame = (
            (4).to_bytes(3, "little")
            + (2).to_bytes(3, "little")
            + (19).to_bytes(3, "little")
            + (9).to_bytes(3, "little")
            + b"\x64\0\0\0"
            + part
        )
        chunks = [
            (b"VP8X", b"\x12\0\0\0" + (39).to_bytes(3, "little") + (29).to_bytes(3, "little")),
            (b"ANIM", bytes(6)),
            (b"ANMF", frame),
            (b"ANMF", frame),
        ]
        body = b"WEBP" + b"".join(name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for name, content in chunks)
        picture = ready(b"RIFF" + struct.pack("<I", len(body)) + body)
        assert picture.notes == ("the first of 2 frames",)
        image = opened(picture).convert("RGBA")
        assert (image.getpixel((8, 4)), image.getpixel((9, 5)), image.getpixel((30, 20))[3]) == ((255, 0, 0, 255), (255, 0, 0, 255), 0)  # type: ignore[index]
        assert allowed(picture.data)

    @pytest.mark.parametrize(
        ("kind", "word"), [("GIF", "frames"), ("PNG", "frames"), ("WEBP", "frames"), ("TIFF", "pages"), ("AVIF", "frames")]
    )
    def test_of_an_image_that_is_open(self, kind: str, word: str) -> None:
        """The frame that it stands at, which stays where it is."""
        frames = [drawn(), Image.new("RGB", (80, 48), "teal")]
        image = Image.open(io.BytesIO(saved(frames[0], kind, save_all=True, append_images=frames[1:])))
        picture = ready(image)
        assert picture.notes == (f"the first of 2 {word}",)
        assert alike(opened(picture), drawn())
        image.seek(1)
        picture = ready(image)
        assert picture.notes == (f"number 2 of 2 {word}",)
        assert alike(opened(picture), frames[1])
        assert image.tell() == 1

    def test_of_an_avif(self) -> None:
        """It is converted, and the note names the first frame."""
        picture = ready(saved(drawn(), "AVIF", save_all=True, append_images=[noise(80, 48)]))
        assert picture.notes == ("converted from AVIF, the first of 2 frames",)
        assert alike(opened(picture), drawn())


def grey_tiff(values: np.ndarray, bits: int, form: int = 1, largest: int | None = None) -> bytes:
    """Return a grey TIFF of so many bits a pixel, which Pillow cannot write."""
    height, width = values.shape
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        pixels = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)
    else:
        pixels = values.astype({16: "<u2", 32: "<u4"}[bits]).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(pixels), 339: form}
    tags |= {} if largest is None else {281: largest}
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


RAMP = np.linspace(0, 255, 64)[None].repeat(48, 0)


class TestDeepNumbers:
    """Numbers above 8 bits are grey only if their file says what is white."""

    def shades(self, source: object) -> np.ndarray:
        """Return what is sent, as numbers from 0 to 255."""
        return np.asarray(opened(ready(source)).convert("L")).astype(int)

    def test_twelve_bits(self) -> None:
        """A TIFF of 12 bits says so: 4095 is white."""
        assert np.abs(self.shades(grey_tiff(np.round(RAMP * 4095 / 255), 12)) - RAMP).max() <= 1

    def test_twelve_bits_in_the_room_of_sixteen(self) -> None:
        """A tag says what is white; without one it is unknown, and the image is not sent nearly black."""
        values = np.round(RAMP * 4095 / 255)
        assert np.abs(self.shades(grey_tiff(values, 16, largest=4095)) - RAMP).max() <= 1
        error = refusal(grey_tiff(values, 16))
        assert "photo holds numbers from 0 to 4095, which do not say what is black and what is white" in str(error)

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
    def test_sixteen_bits(self, kind: str) -> None:
        """Each of these formats says that 65,535 is white, of a file and of an image that was opened from it."""
        data = saved(Image.fromarray((RAMP * 257).astype("uint16")), kind)
        image = Image.open(io.BytesIO(data))
        assert np.abs(self.shades(image) - RAMP).max() <= 1
        if kind != "PNG":  # which is sent as it is
            assert np.abs(self.shades(data) - RAMP).max() <= 1

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Image.fromarray(np.linspace(0, 255, 640)[None].repeat(480, 0).astype("int32")),
            lambda: Image.fromarray((RAMP * 16).astype("uint16")),
            lambda: Image.new("I;16", (8, 8)),
            lambda: Image.fromarray((RAMP - 20).astype("int32")),
            lambda: Image.fromarray(RAMP.astype("float32")),
            lambda: saved(Image.fromarray(RAMP.astype("int32")), "TIFF"),
            lambda: grey_tiff(RAMP, 32),
            lambda: saved(Image.fromarray(RAMP.astype("float32")), "TIFF"),
        ],
    )
    def test_others_are_refused_and_the_advice_works(self, make: Callable[[], Any]) -> None:
        """One line says what to give instead, and that is accepted."""
        photo = make()
        error = refusal(photo)
        assert "do not say what is black and what is white" in str(error)
        advice = str(error).partition("Give floats from 0 to 1: ")[2].partition(", where ")[0]
        image = photo if isinstance(photo, Image.Image) else Image.open(io.BytesIO(photo))
        shades = self.shades(eval(advice, {"numpy": np, "photo": image, "image": image}))
        assert shades.max() == 255 or not np.asarray(image).any()

    @pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
    def test_nan_is_refused_wherever_it_stands(self, hole: float) -> None:
        """Also one number in the middle."""
        values = (RAMP / 255).astype("float32")
        values[20, 30] = hole
        for source in (Image.fromarray(values), saved(Image.fromarray(values), "TIFF")):
            assert "photo holds NaN or infinite numbers" in str(refusal(source))
        assert self.shades(np.nan_to_num(values, posinf=1, neginf=0)).max() == 255


class TestClosed:
    """An image whose file was closed before it was read."""

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP"])
    def test_it_says_so(self, kind: str, tmp_path: Path) -> None:
        """One line, with what to do; and doing it works."""
        path = tmp_path / "photo"
        path.write_bytes(saved(drawn(), kind))
        with Image.open(path) as photo:
            pass
        error = refusal(photo)
        assert "photo: the image is closed, so its pixels cannot be read" in str(error)
        assert "Open it again and give it while it is open, or give its path" in str(error)
        with Image.open(path) as again:
            assert ready(again).width == 80

    def test_one_that_was_closed_by_its_own_method(self) -> None:
        """And one that was never a file."""
        image = drawn()
        image.close()
        assert "the image is closed" in str(refusal(image))

    def test_one_that_was_read_before(self, tmp_path: Path) -> None:
        """Its pixels are loaded, so it is sent."""
        (tmp_path / "photo.png").write_bytes(saved(drawn(), "PNG"))
        with Image.open(tmp_path / "photo.png") as photo:
            photo.load()
        assert same_pixels(opened(ready(photo)), drawn())


class TestImages:
    """PIL images."""

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "F"])
    def test_every_mode_goes_out_as_png(self, mode: str) -> None:
        """Every mode of Pillow; the user's own image stays as it was."""
        image = Image.new(mode, (30, 20))
        image.info["comment"] = "mine"
        picture = ready(image)
        assert (picture.mime_type, picture.width, picture.height) == ("image/png", 30, 20)
        assert (image.mode, image.info) == (mode, {"comment": "mine"})

    @pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
    def test_pixel_for_pixel(self, mode: str) -> None:
        """Nothing is lost, alpha included."""
        image = noise(33, 21, "RGBA").convert(mode)
        assert same_pixels(opened(ready(image)), image, mode)

    def test_one_that_was_never_loaded_and_is_broken(self) -> None:
        """A file that Pillow opened, and that ends in the middle."""
        image = Image.open(io.BytesIO(saved(noise(60, 60), "JPEG")[:-900]))
        assert "corrupt or cut short" in str(refusal(image))


class TestArrays:
    """Arrays of numbers."""

    @given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=30)))
    def test_grey(self, array: np.ndarray) -> None:
        """H×W is a grey picture, pixel for pixel."""
        picture = ready(array)
        assert np.array_equal(np.asarray(opened(picture)), array)
        assert picture.notes == (f"made from an array of {array.shape[0]}×{array.shape[1]} uint8",)

    @given(
        st.sampled_from([3, 4]).flatmap(
            lambda depth: arrays.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(depth)))
        ),
        st.sampled_from(["C", "F", "turned", "strided"]),
    )
    def test_colour(self, array: np.ndarray, layout: str) -> None:
        """H×W×3 and H×W×4, however they lie in memory."""
        array = {"C": array, "F": np.asfortranarray(array), "turned": array.swapaxes(0, 1)[:, ::-1], "strided": array[::2]}[layout]
        assert np.array_equal(np.asarray(opened(ready(array))), array)

    @given(
        arrays.arrays(
            st.sampled_from(["f2", "f4", "f8", ">f4"]),
            st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([3, 4])),
            elements=st.floats(0, 1, width=16),
        )
    )
    def test_floats(self, array: np.ndarray) -> None:
        """From 0 to 1, each rounded to the nearest of 256 steps; the ends exactly."""
        came = np.asarray(opened(ready(array))).astype(float)
        assert np.abs(came - array.astype(float) * 255).max() <= 0.51

    def test_a_large_array_of_floats_in_strips(self) -> None:
        """The strips meet."""
        array = np.linspace(0, 1, 900 * 700, dtype=np.float32).reshape(700, 900)
        assert np.array_equal(np.asarray(opened(ready(array))), (array * 255 + 0.5).astype(np.uint8))

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((4, 4), bool), "4×4 bool.*mask_from\\(array\\)"),
            (np.zeros((4, 4), np.int64), "4×4 int64.*astype\\('uint8'\\)"),
            (np.zeros((4, 4), np.uint16), "astype\\('uint8'\\)"),
            (np.zeros((4, 4), complex), "complex128"),
            (np.zeros((4, 4), object), "object"),
            (np.zeros(4, np.uint8), "array of 4 uint8"),
            (np.zeros((), np.uint8), "no shape"),
            (np.zeros((4, 4, 2), np.uint8), "4×4×2 uint8"),
            (np.zeros((4, 4, 1), np.uint8), "array\\[:, :, 0\\] is grey"),
            (np.zeros((1, 5, 6), np.uint8), "array\\[0\\] is grey"),
            (np.zeros((3, 4, 5), np.uint8), "transpose\\(1, 2, 0\\)"),
            (np.zeros((2, 4, 4, 3), np.uint8), "one picture of them: array\\[0\\]"),
            (np.zeros((0, 4), np.uint8), "it is empty"),
            (np.full((4, 4), 2.0), "from 2 to 2.*divide it by 255"),
            (np.full((4, 4), -0.5), "from -0.5 to -0.5.*floats from 0 to 1"),
            (np.array([[0.5, np.nan]]), "holds NaN"),
            (np.array([[0.5, np.inf]]), "from 0.5 to inf"),
        ],
    )
    def test_others_are_refused_in_words(self, array: np.ndarray, words: str) -> None:
        """The message has shape and type, and the call that corrects it."""
        error = refusal(array)
        assert isinstance(error, UnsupportedOption)
        assert error.option == "references"
        with pytest.raises(UnsupportedOption, match=words):
            raise error

    def test_numpy_is_not_needed(self) -> None:
        """Neither for arrays nor for anything else here is it imported."""
        import subprocess

        code = "import sys, imagegen_magic.imaging.reference, imagegen_magic.imaging.masks, imagegen_magic.imaging.mask_drift; "
        names = "[name for name in ('numpy', 'matplotlib', 'IPython', 'pillow_heif') if name in sys.modules]"
        assert subprocess.check_output([sys.executable, "-c", f"{code}print({names})"], text=True).strip() == "[]"


class TestOtherObjects:
    """What else holds a picture."""

    def test_a_figure_draws_itself(self) -> None:
        """Anything that saves itself as matplotlib's figures do."""

        class Figure:
            def savefig(self, file: io.BytesIO, format: str) -> None:
                drawn().save(file, format)

        picture = ready(Figure())
        assert picture.notes == ("drawn from a figure",)
        assert same_pixels(opened(picture), drawn())

    def test_an_image_that_only_knows_its_address(self) -> None:
        """IPython's Image of an address holds no bytes; the address itself is what to give."""
        from IPython.display import Image as Shown

        assert "Give that address itself" in str(refusal(Shown(url="https://example.com/a.png")))

    @pytest.mark.parametrize("source", [None, 3, "photo.png", [1, 2], {"a": 1}, object()])
    def test_anything_else_is_refused(self, source: object) -> None:
        """The message has its type, and what is accepted."""
        error = refusal(source)
        assert f"of type {type(source).__name__}, which holds no picture" in str(error)
        assert "a PIL image, a numpy array" in str(error)


class TestTooLarge:
    """Above the limit: refused, or with `fit` made to fit, with a note."""

    def test_refused_with_the_option_that_helps(self) -> None:
        """Both numbers, and `--fit`."""
        data = saved(noise(400, 300), "PNG")
        error = refusal(data, max_bytes=200_000)
        assert isinstance(error, UnsupportedOption)
        assert "photo has 361 kB, more than the 200 kB that are taken" in str(error)
        assert "--fit" in str(error)

    def test_two_nearly_equal_numbers_differ_in_the_message(self) -> None:
        """One byte too many is not shown as 20 MB, more than 20 MB."""
        data = saved(noise(100, 100), "PNG")
        assert f"photo has {len(data) / 1000:.3f} kB, more than the {(len(data) - 1) / 1000:.3f} kB" in str(
            refusal(data, max_bytes=len(data) - 1)
        )

    @pytest.mark.parametrize("source", [3, np.zeros((4, 4), bool), saved(noise(40, 40), "PNG"), noise(40, 40)])
    def test_the_option_is_the_one_that_it_was_given_with(self, source: object) -> None:
        """A mask that is refused is not called a reference."""
        errors = [refusal(source, max_bytes=100), refusal(source, max_bytes=100, option="mask")]
        assert [error.option for error in errors if isinstance(error, UnsupportedOption)] == ["references", "mask"]

    def test_two_large_numbers_too(self) -> None:
        """If four digits are equal for both, the message has the bytes."""
        size = len(data := saved(noise(700, 700), "PNG"))
        assert size > 1e6
        assert f"photo has {size} bytes, more than the {size - 1} bytes that are taken" in str(refusal(data, max_bytes=size - 1))

    def test_too_many_pixels(self) -> None:
        """The same for pixels, which are known before anything is decoded."""
        error = refusal(saved(drawn((300, 200)), "PNG"), max_pixels=50_000)
        assert isinstance(error, UnsupportedOption)
        assert "300×200 pixels (0.1 megapixels)" in str(error)
        assert "--fit" in str(error)

    @pytest.mark.parametrize("kind", ["array", "image", "BMP"])
    def test_what_would_be_too_large_as_png(self, kind: str) -> None:
        """The message says that it is the PNG that has so many bytes."""
        image = noise(400, 300)
        source = {"array": lambda: np.asarray(image), "image": lambda: image, "BMP": lambda: saved(image, "BMP")}[kind]()
        assert "photo has 361 kB as PNG, more than the 200 kB" in str(refusal(source, max_bytes=200_000))

    def test_an_opaque_one_becomes_a_jpeg_first(self) -> None:
        """If a fine JPEG is small enough, no pixel is lost, so that a mask still fits."""
        image = Image.effect_noise((400, 300), 20).convert("RGB")
        data = saved(image, "PNG")
        picture = ready(data, max_bytes=len(data) * 8 // 10, fit=True)
        assert (picture.mime_type, picture.width, picture.height) == ("image/jpeg", 400, 300)
        (note,) = picture.notes
        assert re.fullmatch(r"made a JPEG of quality 92: \d+ kB as PNG were too much", note)
        assert alike(opened(picture), image)

    @pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("JPEG", "RGB"), ("WEBP", "RGB"), ("PNG", "RGBA"), ("WEBP", "RGBA")])
    @pytest.mark.parametrize("most", [3_000, 30_000])
    def test_and_then_smaller(self, kind: str, mode: str, most: int) -> None:
        """The note has both sizes; the shape stays, alpha too."""
        picture = ready(saved(noise(500, 250, mode), kind), max_bytes=most, fit=True)
        assert len(picture.data) <= most
        assert picture.notes[-1] == f"scaled down from 500×250 to {picture.width}×{picture.height}"
        assert abs(picture.width / picture.height - 2) < 0.1
        assert ("A" in opened(picture).mode) == (mode == "RGBA")
        assert len(picture.data) > most / 3

    @pytest.mark.parametrize("make", [lambda image: saved(image, "JPEG", quality=95), lambda image: image, np.asarray])
    def test_fewer_pixels(self, make: Callable[[Image.Image], object]) -> None:
        """Down to as many as are accepted, in one step."""
        picture = ready(make(drawn((300, 200))), max_pixels=15_000, fit=True)
        assert (picture.width, picture.height) == (150, 100)
        assert picture.notes[-1] == "scaled down from 300×200 to 150×100"
        assert alike(opened(picture), drawn((300, 200)).resize((150, 100)))

    def test_turned_first(self) -> None:
        """The note has the sizes of the upright image."""
        picture = ready(saved(drawn((300, 200)), "JPEG", exif=exif(6)), max_pixels=15_000, fit=True)
        assert picture.notes == ("turned as its EXIF says", "scaled down from 200×300 to 100×150")

    @pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
    def test_a_thin_one(self, size: tuple[int, int]) -> None:
        """One pixel wide, and it still ends."""
        assert len(ready(noise(*size), max_bytes=1_500, fit=True).data) <= 1_500

    def test_a_limit_that_nothing_meets(self) -> None:
        """Ten bytes hold no picture."""
        assert "cannot be made as small as 10 bytes" in str(refusal(noise(40, 40), max_bytes=10, fit=True))

    def test_fit_leaves_what_fits(self) -> None:
        """With `fit`, a picture within the limits is untouched."""
        data = saved(drawn(), "PNG")
        assert ready(data, fit=True).data == data


def claiming(width: int, height: int) -> dict[str, bytes]:
    """Return files whose headers claim a size and which hold next to nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + header + struct.pack(">I", zlib.crc32(header))
    bmp = saved(drawn(), "BMP")
    tiff = saved(drawn(), "TIFF")
    gif = saved(drawn(), "GIF")
    pages = {256: width, 257: height}
    entries = bytearray(tiff)
    (start,) = struct.unpack_from("<I", tiff, 4)
    for number in range(struct.unpack_from("<H", tiff, start)[0]):
        place = start + 2 + 12 * number
        if (tag := struct.unpack_from("<H", tiff, place)[0]) in pages:
            struct.pack_into("<HHII", entries, place, tag, 4, 1, pages[tag])
    return {
        "PNG": png + with_chunk(b"tEXt", b"a\0b")[33:],
        "BMP": bmp[:18] + struct.pack("<ii", width, height) + bmp[26:],
        "TIFF": bytes(entries),
        "GIF": gif[:6] + struct.pack("<HH", width, height) + gif[10:],
    }


class TestNoPicture:
    """What cannot go out, each with its own words."""

    def test_empty(self) -> None:
        """A file of no bytes."""
        assert str(refusal(b"")).startswith("photo is empty. ")

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"%PDF-1.7", "a PDF"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
            (b"%!PS-Adobe EPSF", "text"),
            (b'{"a": 1}', "JSON"),
            (bytes(range(256)), "256 bytes of something else"),
            (b"\0\0\0\x18ftypmp42" + bytes(9), "21 bytes of something else"),
        ],
    )
    def test_it_says_what_it_is_instead(self, data: bytes, words: str) -> None:
        """A drawing, a document, a text, a film: what it looks like, and what is accepted."""
        error = refusal(data)
        assert isinstance(error, ImageInvalid)
        assert f"photo is not a picture that can be read here but {words}" in str(error)
        assert "one to convert: GIF, BMP, TIFF" in str(error)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000"])
    @pytest.mark.parametrize("share", [0.3, 0.9])
    def test_cut_short(self, kind: str, share: float) -> None:
        """An incomplete file is refused, in every format."""
        data = saved(noise(120, 90), kind)
        error = refusal(data[: int(len(data) * share)])
        assert isinstance(error, ImageInvalid)
        assert "cut short" in str(error)
        assert "Save it again with another program" in str(error)

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
    def test_a_bomb(self, kind: str) -> None:
        """A header that claims 1,600 megapixels is believed and refused, before room is made for them, even with `fit`."""
        for fit in (False, True):
            error = refusal(claiming(40_000, 40_000)[kind], fit=fit)
            assert isinstance(error, ImageInvalid)
            assert "claims to be 40000×40000 (1600 megapixels), more than the 120 megapixels that are decoded" in str(error)

    def test_an_enormous_image_or_array(self) -> None:
        """The same for what is in memory without being there."""
        assert "megapixels" in str(refusal(np.broadcast_to(np.uint8(0), (40_000, 40_000))))

    def test_an_enormous_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """More bytes than are read are not even looked at."""
        monkeypatch.setattr(reference, "_MAX_FILE", 100)
        assert "MiB that are read" in str(refusal(saved(drawn(), "PNG")))

    @given(
        st.binary(max_size=300),
        st.sampled_from(
            [b"", b"BM", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"GIF89a", b"\xff\x4f\xff\x51", b"\0\0\0\x18ftypavif", b"\xff\xd8\xff"]
        ),
    )
    def test_random_bytes_are_only_ever_refused(self, data: bytes, start: bytes) -> None:
        """Whatever follows a known signature: a picture or our own error, never a warning or another."""
        with contextlib.suppress(ImageInvalid, UnsupportedOption):
            ready(start + data, fit=True)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
    def test_changed_bytes_are_sent_or_refused(self, kind: str) -> None:
        """Flipped, cut out, put in, with metadata to break: a reference that is whole, or one line of ours; no warning."""
        options = {} if kind in ("BMP", "GIF", "JPEG2000") else {"exif": exif(6, place=kind != "TIFF")}
        data, chance = saved(drawn(), kind, **options), random.Random(11)
        for _ in range(120):
            broken = bytearray(data)
            for _ in range(chance.choice((1, 1, 3, 12))):
                place = chance.randrange(len(broken)) if chance.random() < 0.5 else chance.randrange(min(250, len(broken)))
                if chance.random() < 0.5:
                    broken[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, broken[place] ^ 1 << chance.randrange(8)))
                elif chance.random() < 0.5:
                    del broken[place : place + chance.choice((1, 2, 4, 30))]
                else:
                    broken[place:place] = chance.randbytes(chance.choice((1, 2, 4, 30)))
            with warnings.catch_warnings(), contextlib.suppress(ImageInvalid, UnsupportedOption):
                warnings.simplefilter("error")
                picture = prepare(bytes(broken), name="photo", max_bytes=LIMIT, fit=True)
                assert allowed(picture.data)
                assert b"A camera" not in picture.data

    def test_pillows_own_settings_are_not_obeyed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process with a tiny limit of its own still gets its picture, without a warning, and keeps its limit."""
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        for kind in ("PNG", "JPEG", "BMP"):
            assert ready_facts(saved(drawn(), kind)) == (80, 48)
        assert Image.MAX_IMAGE_PIXELS == 1000


def ready_facts(data: bytes) -> tuple[int, int]:
    """Return the pixels of a prepared picture, without opening it by Pillow's own limits."""
    picture = prepare(data, name="photo", max_bytes=LIMIT)
    return picture.width, picture.height


@pytest.mark.parametrize("content", [b"EVOLINK_API_KEY=sk-secret-1a2b3c", b'{"key": "sk-secret-1a2b3c"}', b"<key>sk-secret-1a2b3c</key>"])
def test_what_is_no_picture_is_not_repeated(content: bytes) -> None:
    """A file named by mistake may hold keys: its words reach no message, and with it no saved notebook."""
    with pytest.raises(ImageInvalid) as refusal:
        prepare(content, name=".env", max_bytes=1_000_000)
    assert ".env is not a picture" in str(refusal.value)
    assert "secret" not in str(refusal.value)
