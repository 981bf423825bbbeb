"""Only a complete image is accepted: its facts come from its bytes, and the message names what else came."""

from __future__ import annotations

import io
import random
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.imaging import decode
from imagegen_magic.imaging.verify import MAX_BYTES, ImageInfo, verify

KINDS = ["PNG", "JPEG", "WEBP"]


@cache
def drawn(kind: str, mode: str = "RGB", size: tuple[int, int] = (160, 96)) -> bytes:
    """Return a picture of noise over a gradient, as a file."""
    width, height = size
    noise = random.Random(3).randbytes(width * height * 4)
    image = Image.blend(Image.frombytes("RGBA", size, noise), Image.radial_gradient("L").resize(size).convert("RGBA"), 0.6)
    return saved(image.convert("RGB").convert(mode), kind)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """Return one PNG chunk."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def claiming(width: int, height: int) -> bytes:
    """Return a PNG whose header claims a size and which holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


class TestFacts:
    """What a whole picture is."""

    @pytest.mark.parametrize(
        ("kind", "mode", "expected"),
        [
            ("PNG", "RGB", ImageInfo(160, 96, "image/png", ".png", False, False)),
            ("JPEG", "RGB", ImageInfo(160, 96, "image/jpeg", ".jpg", False, False)),
            ("WEBP", "RGB", ImageInfo(160, 96, "image/webp", ".webp", False, False)),
            ("PNG", "L", ImageInfo(160, 96, "image/png", ".png", False, False)),
            ("PNG", "1", ImageInfo(160, 96, "image/png", ".png", False, False)),
            ("PNG", "P", ImageInfo(160, 96, "image/png", ".png", False, False)),
            ("JPEG", "CMYK", ImageInfo(160, 96, "image/jpeg", ".jpg", False, False)),
        ],
    )
    def test_of_an_opaque_picture(self, kind: str, mode: str, expected: ImageInfo) -> None:
        """Pixels, format, suffix and no alpha, for each mode a gateway may send."""
        assert verify(drawn(kind, mode))[0] == expected

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    @pytest.mark.parametrize(("alpha", "transparent"), [(255, False), (254, True), (0, True)])
    def test_alpha_is_not_yet_transparency(self, kind: str, alpha: int, transparent: bool) -> None:
        """A channel that is opaque everywhere differs from one that is not."""
        image = Image.new("RGBA", (40, 30), (10, 200, 30, 255))
        image.putpixel((7, 7), (1, 2, 3, alpha))
        data = saved(image, kind, lossless=True) if kind == "WEBP" else saved(image, kind)
        if kind == "WEBP" and alpha == 255:
            data = saved(image, kind, lossless=True, exact=True)
        facts = verify(data)[0]
        assert facts.transparent is transparent
        assert facts.alpha or not transparent

    def test_grey_with_alpha(self) -> None:
        """LA counts as RGBA does."""
        facts = verify(saved(Image.new("LA", (9, 9), (100, 30)), "PNG"))[0]
        assert (facts.alpha, facts.transparent) == (True, True)

    @pytest.mark.parametrize(("used", "transparent"), [(0, True), (1, False)])
    def test_a_transparent_palette_entry_counts_if_it_is_used(self, used: int, transparent: bool) -> None:
        """P with a transparent colour: transparent only if a pixel has that colour."""
        image = Image.new("P", (30, 30), 1)
        image.putpalette([255, 0, 0, 0, 255, 0])
        image.putpixel((3, 3), used)
        facts = verify(saved(image, "PNG", transparency=0))[0]
        assert (facts.alpha, facts.transparent) == (True, transparent)

    def test_a_transparent_colour_of_rgb(self) -> None:
        """RGB with tRNS has transparent places where that colour is."""
        image = Image.new("RGB", (30, 30), (1, 2, 3))
        assert verify(saved(image, "PNG", transparency=(1, 2, 3)))[0].transparent is True
        assert verify(saved(image, "PNG", transparency=(9, 9, 9)))[0].transparent is False

    def test_sixteen_bits(self) -> None:
        """A 16-bit grey picture is read; whether a grey of it is transparent is not checked."""
        image = Image.new("I;16", (20, 10), 40_000)
        assert verify(saved(image, "PNG"))[0] == ImageInfo(20, 10, "image/png", ".png", False, False)
        assert verify(saved(image, "PNG", transparency=5))[0].transparent is None

    def test_the_preview_comes_from_the_same_pixels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With an edge, a preview; and the picture was decoded once."""
        loads: list[PngImagePlugin.PngImageFile] = []
        load = PngImagePlugin.PngImageFile.load_prepare

        def pluralize(image: PngImagePlugin.PngImageFile) -> None:
            loads.append(image)
            load(image)

        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_prepare", pluralize)
        _, small = verify(drawn("PNG", size=(600, 400)), preview_edge=300)
        assert small is not None
        assert (small.width, small.height, small.mime_type) == (300, 200, "image/jpeg")
        assert len(loads) == 1

    def test_no_preview_unless_asked(self) -> None:
        """Without an edge there is none."""
        assert verify(drawn("PNG"))[1] is None


class TestCutShort:
    """A download that ended early."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_words_say_so(self, kind: str) -> None:
        """The message names the format and that the end is missing."""
        with pytest.raises(ImageInvalid, match="cut short"):
            verify(drawn(kind)[:-2])


class TestCorrupt:
    """Bytes that were changed on the way."""

    def test_any_flipped_bit_of_a_png_is_seen(self) -> None:
        """PNG carries checksums, and they are held."""
        data, rng = drawn("PNG"), random.Random(1)
        for _ in range(200):
            broken = bytearray(data)
            broken[rng.randrange(8, len(data))] ^= 1 << rng.randrange(8)
            with pytest.raises(ImageInvalid):
                verify(bytes(broken))

    def test_a_hole_in_the_middle_says_corrupt(self) -> None:
        """The message is about corruption, not about Python."""
        data = bytearray(drawn("PNG"))
        data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
        with pytest.raises(ImageInvalid, match="corrupt"):
            verify(bytes(data))

    def test_chunks_in_order_with_a_broken_stream(self) -> None:
        """Checksums that are right do not save a stream that is not."""
        header = struct.pack(">IIBBBBB", 300, 300, 8, 2, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"\x78\x9cnonsense" * 20) + chunk(b"IEND", b"")
        with pytest.raises(ImageInvalid, match="corrupt"):
            verify(data)


class TestBombs:
    """Small files that claim to be enormous."""

    @pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (50_000_001, 1), (10_000, 9_000)])
    def test_a_claim_is_refused_before_decoding(self, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        """More than 50 megapixels: refused from the header, in megapixels, without decoding a row."""
        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_prepare", lambda self: pytest.fail("decoded"))
        with pytest.raises(ImageInvalid, match="megapixels"):
            verify(claiming(*size))

    def test_a_webp_bomb_is_refused_before_libwebp_sees_it(self) -> None:
        """Each of WebP's three headers is read before room is made for its canvas."""
        pixels = drawn("WEBP")[12:]
        extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_000).to_bytes(3, "little") * 2 + pixels
        lossless = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", 16_000 | 16_000 << 14) + bytes(8)
        lossy = b"VP8 " + struct.pack("<I", 10) + b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 16_000, 16_000) + bytes(8)
        for body in (extended, lossless, lossy):
            with pytest.raises(ImageInvalid, match="megapixels"):
                verify(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body)

    def test_a_jpeg_bomb_is_refused_before_decoding(self) -> None:
        """The frame header alone condemns it."""
        data = bytearray(drawn("JPEG"))
        place = data.index(b"\xff\xc0")
        data[place + 5 : place + 9] = struct.pack(">HH", 60_000, 60_000)
        with pytest.raises(ImageInvalid, match="megapixels"):
            verify(bytes(data))

    def test_too_many_bytes(self) -> None:
        """More than 64 MiB are refused unread."""
        with pytest.raises(ImageInvalid, match="64 MiB"):
            verify(drawn("PNG") + bytes(MAX_BYTES))

    def test_no_pixels(self) -> None:
        """A header of nothing is refused too."""
        with pytest.raises(ImageInvalid):
            verify(claiming(0, 50))

    def test_pillows_own_limit_is_neither_obeyed_nor_changed_nor_warned_about(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process with a tiny limit of its own still gets its picture, without a warning, and keeps its limit."""
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for kind in ("PNG", "JPEG"):
                facts, _ = verify(drawn(kind, size=(400, 300)), preview_edge=100)
                assert facts.width == 400
        assert Image.MAX_IMAGE_PIXELS == 100_000


class TestNoPicture:
    """What a gateway, a proxy or a captive portal may send in its place."""

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "empty"),
            (b" \n\n ", "blank"),
            (b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "HTML"),
            (b"\n <html>Log in</html>", "HTML"),
            (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "AccessDenied"),
            (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
            (b'{"error": "expired"}', 'JSON: \'{"error": "expired"}\''),
            (b"\xef\xbb\xbf[1, 2]", "JSON"),
            ("请求已过期".encode(), "text: '请求已过期'"),
            (b"GIF89a" + bytes(20), "The GIF picture is corrupt"),
            (b"%PDF-1.7", "a PDF"),
            (b"PK\x03\x04 zip", "ZIP"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"\0\0\0\x20ftypavif", "AVIF"),
            (b"\0\0\0\x20ftypheic", "HEIC"),
            (bytes(range(256)), "256 bytes of something else"),
        ],
    )
    def test_it_says_what_came(self, data: bytes, words: str) -> None:
        """The message says what the bytes look like, and quotes a little if they are text."""
        with pytest.raises(ImageInvalid) as caught:
            verify(data)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400

    @given(
        st.binary(max_size=400),
        st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1\0\x20Exif\0\0", b"RIFF\x20\0\0\0WEBPVP8 "]),
    )
    def test_random_bytes_are_only_ever_invalid(self, data: bytes, start: bytes) -> None:
        """Whatever comes, with or without a known signature: ImageInvalid and nothing else."""
        with pytest.raises(ImageInvalid):
            verify(start + data)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        b"IHDR",
                        b"PLTE",
                        b"tRNS",
                        b"IDAT",
                        b"acTL",
                        b"fcTL",
                        b"iCCP",
                        b"tEXt",
                        b"zTXt",
                        b"iTXt",
                        b"eXIf",
                        b"pHYs",
                        b"gAMA",
                        b"abcd",
                    ]
                ),
                st.binary(max_size=40),
            ),
            max_size=8,
        )
    )
    def test_any_chunks_with_true_checksums_are_survived(self, chunks: list[tuple[bytes, bytes]]) -> None:
        """A PNG made to confuse a reader is a picture or ImageInvalid, never a warning or another error."""
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 3, 8, 2, 0, 0, 0))
        pixels = chunk(b"IDAT", zlib.compress(bytes(30)))
        middle = b"".join(chunk(*each) for each in chunks)
        try:
            facts, _ = verify(b"\x89PNG\r\n\x1a\n" + header + middle + pixels + chunk(b"IEND", b""), preview_edge=64)
        except ImageInvalid:
            return
        assert facts.mime_type == "image/png"


class TestExtras:
    """Extras in a file."""

    def test_padding_before_a_jpeg_marker(self) -> None:
        """Fill bytes, which the standard allows, are no fault."""
        data = drawn("JPEG")
        assert verify(data[:2] + b"\xff\xff" + data[2:])[0].width == 160


class TestThreads:
    """Decoding in several threads."""

    def test_at_most_two_decode_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Six threads, two decoders: their memory stays bounded, and all of them get their picture."""
        lock, inside, most = threading.Lock(), 0, 0
        load = PngImagePlugin.PngImageFile.load_prepare
        together = threading.Barrier(2)

        def pluralize(image: PngImagePlugin.PngImageFile) -> None:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            together.wait(20)
            load(image)
            with lock:
                inside -= 1

        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_prepare", pluralize)
        with ThreadPoolExecutor(6) as pool:
            facts = list(pool.map(lambda _: verify(drawn("PNG"))[0], range(6)))
        assert len(facts) == 6
        assert most == 2

    def test_a_failure_gives_its_place_back(self) -> None:
        """Three broken pictures do not block the next whole one."""
        for _ in range(3):
            with pytest.raises(ImageInvalid):
                verify(drawn("PNG")[:100])
        assert decode.DECODERS.acquire(blocking=False)
        assert decode.DECODERS.acquire(blocking=False)
        decode.DECODERS.release()
        decode.DECODERS.release()
