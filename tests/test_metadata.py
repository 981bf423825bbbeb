"""A copy holds how it was made, in standard XMP, with no pixel changed, and never a path or a key."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagegen_magic.errors import ImageInvalid, UnsupportedOption
from imagegen_magic.formats import format_of
from imagegen_magic.imaging.containers import Chunk, jpeg_header, png_chunks, riff_chunks
from imagegen_magic.imaging.decode import displayed_size
from imagegen_magic.imaging.metadata.embed import LEVELS, Level, Origin, embed, has_credentials, read, redact
from imagegen_magic.imaging.metadata.xmp import NAMESPACE, SOURCE_TYPE
from imagegen_magic.imaging.verify import verify

KINDS = [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "RGB"), ("JPEG", "L"), ("WEBP", "RGB"), ("WEBP", "RGBA")]
FORMATS = ["PNG", "JPEG", "WEBP"]
PROMPT = 'A "fox" <in> & the snow 🦊👨‍👩‍👧,\r\n\t古老的城堡\x00\x07\x1b\ufffe   end '
ORIGIN = Origin(
    prompt=PROMPT,
    asked={"prompt": PROMPT, "size": "16:9", "n": 2, "extra": {"seed": 7, "ratio": 0.5, "on": True, "none": None}},
    sent={"prompt": PROMPT, "model": "gpt-image-2", "list": [1, "two"], "text": "tab\tbell\x07 \u2028"},
    gateway="evolink",
    model="gpt-image-2",
    task_id="task-unified-1757156493-imcg5zqt",
    created="2026-11-20T13:43:00Z",
    tool="imagegen_magic 0.1.0",
    sha256="ab" * 32,
)
THEIRS = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description r:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmp:CreatorTool="Their Tool 3"><dc:rights><r:Alt><r:li xml:lang="x-default">© they</r:li>
</r:Alt></dc:rights><dc:description><r:Alt><r:li xml:lang="x-default">their words</r:li></r:Alt></dc:description></r:Description>
</r:RDF></x:xmpmeta>    <?xpacket end="w"?>"""


def picture(kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (65, 33), **options: Any) -> bytes:
    """Return a small noisy picture as a file."""
    image = Image.effect_noise(size, 90).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.radial_gradient("L").resize(size))
    if kind == "WEBP":
        options = {"lossless": mode == "RGBA", **options}
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reopened(data: bytes) -> Image.Image:
    """Return a file decoded by Pillow."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def description(data: bytes) -> dict[str, Any]:
    """Return the properties of the one description that Pillow reads."""
    found = reopened(data).getxmp()["xmpmeta"]["RDF"]["Description"]
    assert isinstance(found, dict)
    return found


def boxes(data: bytes) -> list[Chunk]:
    """Return a file's chunks, of a JPEG those before the first scan."""
    image_format = format_of(data)
    assert image_format is not None
    return list({"PNG": png_chunks, "JPEG": jpeg_header, "WebP": riff_chunks}[image_format.name](data))


def without(data: bytes, *names: bytes) -> list[bytes]:
    """Return the contents of a file's boxes but for some."""
    return [data[box.content : box.content_end] for box in boxes(data) if box.name not in names]


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


class TestPixels:
    """What stays as it was."""

    @pytest.mark.parametrize(("kind", "mode"), KINDS)
    def test_no_pixel_changes_and_the_coded_picture_is_the_same_bytes(self, kind: str, mode: str) -> None:
        """The boxes that hold the picture are byte for byte what they were; Pillow decodes the same pixels in the same mode."""
        data = picture(kind, mode)
        copy = embed(data, ORIGIN)
        assert copy != data
        before, after = reopened(data), reopened(copy)
        assert (after.mode, after.size, after.tobytes()) == (before.mode, before.size, before.tobytes())
        added = (b"iTXt", b"\xff\xe1", b"XMP ", b"VP8X")
        assert without(copy, *added) == without(data, *added)
        if kind == "JPEG":
            assert copy[copy.index(b"\xff\xda") :] == data[data.index(b"\xff\xda") :]

    @pytest.mark.parametrize("kind", FORMATS)
    def test_none_changes_no_byte(self, kind: str) -> None:
        """The level none gives the very bytes."""
        data = picture(kind)
        assert embed(data, ORIGIN, "none") == data

    @pytest.mark.parametrize(("kind", "mode"), KINDS)
    def test_the_copy_is_a_whole_picture(self, kind: str, mode: str) -> None:
        """What we verify of an original, we verify of its copy: all checksums and lengths are right."""
        data = picture(kind, mode)
        assert verify(embed(data, ORIGIN))[0] == verify(data)[0]

    def test_exif_and_colour_profile_stay(self) -> None:
        """A JPEG keeps JFIF and Exif in front, and its profile."""
        exif = Image.Exif()
        exif[0x0112] = 6
        data = picture("JPEG", exif=exif, icc_profile=b"profile" * 20, dpi=(300, 300))
        copy = embed(data, ORIGIN)
        assert [data[box.start : box.start + 2] for box in boxes(data)][:2] == [copy[box.start : box.start + 2] for box in boxes(copy)][:2]
        after = reopened(copy)
        assert after.info["icc_profile"] == b"profile" * 20
        assert after.getexif()[0x0112] == 6
        assert read(copy) == ORIGIN

    def test_a_plain_webp_becomes_an_extended_one_with_its_size_and_alpha(self) -> None:
        """VP8X holds the canvas, and alpha if the lossless stream has it."""
        for mode, alpha in (("RGB", 0), ("RGBA", 0x10)):
            data = picture("WEBP", mode, (65, 33), exact=True)
            first = boxes(embed(data, ORIGIN))[0]
            copy = embed(data, ORIGIN)
            assert first.name == b"VP8X"
            assert copy[first.content] & 0x14 == 0x04 | alpha
            assert displayed_size(copy) == (65, 33)

    def test_what_follows_the_picture_stays(self) -> None:
        """Bytes after the end of a file, which some programs leave there, are kept."""
        for kind in FORMATS:
            data = picture(kind) + b"trailer"
            assert embed(data, ORIGIN).endswith(b"trailer")


class TestStandard:
    """What other programs read."""

    @pytest.mark.parametrize("kind", FORMATS)
    def test_pillow_reads_the_standard_properties(self, kind: str) -> None:
        """The prompt as dc:description x-default, time, tool, IPTC's source type, model and prompt."""
        copy = embed(
            picture(kind), Origin(prompt="a red fox 🦊 古老", model="gpt-image-2", created="2026-11-20T13:43:00Z", tool="imagegen_magic 1")
        )
        found = description(copy)
        assert found["description"]["Alt"]["li"] == {"lang": "x-default", "text": "a red fox 🦊 古老"}
        assert found["CreateDate"] == "2026-11-20T13:43:00Z"
        assert found["CreatorTool"] == "imagegen_magic 1"
        assert found["DigitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia" == SOURCE_TYPE
        assert found["AISystemUsed"] == "gpt-image-2"
        assert found["AIPromptInformation"] == "a red fox 🦊 古老"

    def test_the_packet_lies_where_the_specification_puts_it(self) -> None:
        """An uncompressed iTXt before the pixels; an APP1 segment before the frame; an `XMP ` chunk."""
        png, jpeg, webp = (embed(picture(kind), ORIGIN) for kind in FORMATS)
        names = [box.name for box in boxes(png)]
        assert names.index(b"iTXt") < names.index(b"IDAT")
        assert b"iTXtXML:com.adobe.xmp\0\0\0\0\0<?xpacket begin=" in png
        assert b"\xff\xe1" in [box.name for box in boxes(jpeg)]
        assert b"http://ns.adobe.com/xap/1.0/\0<?xpacket begin=" in jpeg
        assert [box.name for box in boxes(webp)][-1] == b"XMP "


class TestRoundTrip:
    """What is read back."""

    @pytest.mark.parametrize("kind", FORMATS)
    def test_everything_comes_back(self, kind: str) -> None:
        """Quotes, markup, line ends, emoji, Chinese and control characters among it."""
        assert read(embed(picture(kind), ORIGIN)) == ORIGIN

    @pytest.mark.parametrize("kind", FORMATS)
    def test_a_second_time_replaces_the_first(self, kind: str) -> None:
        """Written again, the copy holds the new facts only, and is as short as if written once."""
        once = embed(picture(kind), Origin(prompt="first"))
        again = embed(once, ORIGIN)
        assert read(again) == ORIGIN
        assert again == embed(embed(again, Origin()), ORIGIN)
        assert len([box for box in boxes(again) if box.name in (b"iTXt", b"\xff\xe1", b"XMP ")]) == 1
        assert b"first" not in again

    @given(
        st.text(),
        st.dictionaries(
            st.sampled_from(["size", "style", "seed", "quality"]), st.none() | st.booleans() | st.integers() | st.text(max_size=5)
        ),
        st.sampled_from(FORMATS),
    )
    def test_any_prompt_comes_back(self, prompt: str, options: dict[str, Any], kind: str) -> None:
        """Any prompt; options without their paths and keys."""
        written = Origin(prompt=prompt, asked=options, sent={"prompt": prompt}, tool="imagegen_magic")
        copy = embed(TINY[kind], written)
        assert read(copy) == redact(written)
        assert reopened(copy).tobytes() == reopened(TINY[kind]).tobytes()

    def test_half_a_surrogate_pair_comes_back(self) -> None:
        """Which a prompt can hold and UTF-8 cannot."""
        assert read(embed(picture(), Origin(prompt="cut \ud83d emoji"))) == Origin(prompt="cut \ud83d emoji")

    @pytest.mark.parametrize(
        "data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", picture(), picture("JPEG")]
    )
    def test_what_tells_nothing_is_none(self, data: bytes) -> None:
        """No picture, a broken one, or one without our XMP: None, never an error."""
        assert read(data) is None

    def test_another_tools_packet_is_not_ours(self) -> None:
        """XMP of others is no record of ours."""
        assert read(with_xmp("PNG", THEIRS.encode())) is None

    @given(st.data())
    def test_a_damaged_copy_raises_nothing_when_read(self, data: st.DataObject) -> None:
        """Bytes cut off or turned over anywhere: facts or None."""
        copy = bytearray(embed(TINY[data.draw(st.sampled_from(FORMATS))], ORIGIN))
        place = data.draw(st.integers(0, len(copy) - 1))
        copy[place] ^= data.draw(st.integers(1, 255))
        read(bytes(copy))
        read(bytes(copy[:place]))

    def test_the_sidecar_says_the_same(self) -> None:
        """The JSON file of a saved image becomes an origin."""
        sidecar = {"prompt": "fox", "asked": {"n": 1}, "sent": {"n": 1}, "gateway": "evolink", "model": "m", "task_id": "t", "sha256": "00"}
        written = Origin.of_sidecar({**sidecar, "submitted": "2026-01-01T00:00:00Z", "saved": None, "made_with": "imagegen_magic 0.1.0"})
        assert written == Origin("fox", {"n": 1}, {"n": 1}, "evolink", "m", "t", "2026-01-01T00:00:00Z", "imagegen_magic 0.1.0", "00")
        assert Origin.of_sidecar({}) == Origin()


class TestLevels:
    """How much is written."""

    @pytest.mark.parametrize("kind", FORMATS)
    def test_minimal_tells_source_type_tool_and_time_only(self, kind: str) -> None:
        """And nothing of the request."""
        copy = embed(picture(kind), ORIGIN, "minimal")
        assert {name for name in description(copy) if name != "about"} == {"CreateDate", "CreatorTool", "DigitalSourceType"}
        assert NAMESPACE.encode() + b'">\n<xmp' in copy  # declared, and nothing in it
        for secret in ("fox", "evolink", "gpt-image", "task-unified", "16:9", "abab"):
            assert secret.encode() not in copy
        assert read(copy) == Origin(created=ORIGIN.created, tool=ORIGIN.tool)

    def test_full_is_the_default(self) -> None:
        """Without a level, all of it."""
        data = picture()
        assert embed(data, ORIGIN) == embed(data, ORIGIN, "full")

    def test_another_level_is_refused(self) -> None:
        """With the three that there are."""
        with pytest.raises(UnsupportedOption) as refusal:
            embed(picture(), ORIGIN, "some")  # type: ignore[arg-type]
        assert refusal.value.allowed == LEVELS == ("full", "minimal", "none")

    @pytest.mark.parametrize("data", [b"GIF89a", b"", picture()[:60], picture("JPEG")[:30], picture("WEBP")[:60], picture()[:-12]])
    def test_what_is_no_whole_picture_is_refused(self, data: bytes) -> None:
        """In words: your move, nothing charged."""
        with pytest.raises(ImageInvalid) as refusal:
            embed(data, ORIGIN)
        assert (refusal.value.blame, refusal.value.charge) == ("you", "no")
        assert "--metadata none" in str(refusal.value)


class TestSecrets:
    """What is never in it."""

    def test_no_path_is_told(self) -> None:
        """Of a file only its name; also inside a sentence, on Windows, and with spaces."""
        written = redact(
            Origin(
                asked={
                    "references": ["/home/joe/My Pictures/fox.png", "C:\\Users\\Joe\\cat.jpg", "secret project/owl.png", "~/dog.webp"],
                    "mask": "file:///Users/joe/mask.png",
                    "extra": {"note": "see /home/joe/deep/x.png and D:\\stuff\\y.png", "size": "16:9", "style": "black/white"},
                }
            )
        )
        assert written.asked["references"] == ["fox.png", "cat.jpg", "owl.png", "dog.webp"]
        assert written.asked["mask"] == "mask.png"
        assert written.asked["extra"] == {"note": "see x.png and y.png", "size": "16:9", "style": "black/white"}

    def test_no_key_is_told(self) -> None:
        """By its field's name, by its look, and as it is known; also in the prompt."""
        known = "hunter2hunter2"
        written = Origin(
            prompt=f"a sign with sk-abcdefgh12345678 and {known}",
            asked={"api_key": "x", "accessToken": "y", "callback_url": "https://hooks.example/T/B", "style": f"like {known}"},
            sent={"prompt": f"a sign with sk-abcdefgh12345678 and {known}", "nested": [{"secret": "z", "header": "Bearer abcdefgh123"}]},
            task_id=known,
        )
        copy = embed(picture(), written, secrets=[known, ""])
        for secret in (known, "sk-abcdefgh", "hooks.example", "abcdefgh123", "accessToken"):
            assert secret.encode() not in copy
        back = read(copy)
        assert back is not None
        assert back.prompt == "a sign with [key] and [key]" == back.sent["prompt"]
        assert back.asked == {"style": "like [key]"}
        assert back.sent["nested"] == [{"header": "[key]"}]

    def test_an_address_loses_what_opens_it(self) -> None:
        """Name, password, query and fragment; what it names stays."""
        asked = {
            "references": ["https://joe:pw@files.example/a/fox.png?X-Amz-Signature=abc#top"],
            "text": "at https://e.example/x?token=1 .",
        }
        assert redact(Origin(asked=asked)).asked == {
            "references": ["https://files.example/a/fox.png"],
            "text": "at https://e.example/x .",
        }

    def test_a_picture_as_data_address_is_not_repeated(self) -> None:
        """Its type is written, its bytes are not."""
        asked = {"references": ["data:image/png;base64," + "A" * 100_000], "upload": "upload:" + "ab" * 32}
        written = redact(Origin(asked=asked)).asked
        assert written == {"references": ["data:image/png;base64,…"], "upload": "upload:" + "ab" * 32}

    def test_a_prompt_about_paths_stays(self) -> None:
        """A prompt is verbatim but for keys."""
        prompt = "a sign that reads /etc/passwd, and C:\\WINDOWS"
        assert redact(Origin(prompt=prompt, asked={"prompt": prompt})).asked["prompt"] == prompt


def with_xmp(kind: str, packet: bytes, *, compressed: bool = False) -> bytes:
    """Return an image with another tool's packet."""
    if kind != "PNG":
        return picture(kind, xmp=packet)
    data = picture()
    place = boxes(data)[0].end
    text = b"\x01\0\0\0" + zlib.compress(packet) if compressed else b"\0\0\0\0" + packet
    return data[:place] + chunk(b"iTXt", b"XML:com.adobe.xmp\0" + text) + data[place:]


class TestOtherTools:
    """A file that has another tool's XMP or content credentials stays as it is, byte for byte."""

    @pytest.mark.parametrize("level", ["full", "minimal"])
    @pytest.mark.parametrize("kind", FORMATS)
    def test_another_tools_packet_is_kept(self, kind: str, level: Level) -> None:
        """A PNG's iTXt, a JPEG's APP1 and a WebP's XMP chunk."""
        data = with_xmp(kind, THEIRS.encode())
        assert reopened(data).getxmp()["xmpmeta"]["RDF"]["Description"]["CreatorTool"] == "Their Tool 3"
        assert embed(data, ORIGIN, level) == data

    def test_a_compressed_packet_is_kept(self) -> None:
        """A PNG's iTXt may be deflated."""
        data = with_xmp("PNG", THEIRS.encode(), compressed=True)
        assert embed(data, ORIGIN) == data

    @pytest.mark.parametrize(
        "packet",
        [
            b"<broken",
            b"",
            b"\xff\xfe<\0x\0",
            b"<x/>",
            b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>',
            b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description/></r:RDF><!-- </r:RDF> -->',
        ],
    )
    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_a_packet_that_cannot_be_read_is_kept(self, kind: str, packet: bytes) -> None:
        """Broken, no text, no RDF, or with entities."""
        if not packet and kind == "JPEG":
            packet = b" "
        data = with_xmp(kind, packet)
        assert embed(data, ORIGIN) == data
        assert read(data) is None

    def test_a_packet_of_ours_to_which_another_tool_added_is_kept(self) -> None:
        """Its description is not lost with ours; what we wrote is read all the same."""
        ours = embed(picture(), ORIGIN)
        packet = ours[ours.index(b"<?xpacket") : ours.index(b'end="w"?>') + 9].decode()
        added = packet.replace("</rdf:RDF>", '<rdf:Description rdf:about="" xmlns:o="urn:other" o:stars="5"/>\n</rdf:RDF>')
        data = with_xmp("PNG", added.encode())
        assert embed(data, Origin(prompt="new")) == data
        assert read(data) == ORIGIN

    def test_what_0_1_0_added_to_another_tools_packet_is_read(self) -> None:
        """It added a description of its own, and did not repeat the properties that were set."""
        ours = (
            '<rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" rdf:about="" '
            'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:imagegen="urn:imagegen-magic:xmp:1.0/">\n'
            "<xmp:CreateDate>2026-11-20T13:43:00Z</xmp:CreateDate>\n"
            '<imagegen:prompt>"a red fox"</imagegen:prompt>\n<imagegen:asked>{"n":1}</imagegen:asked>\n'
            "<imagegen:prompted>asked</imagegen:prompted>\n<imagegen:gateway>evolink</imagegen:gateway>\n"
            "<imagegen:tool>imagegen_magic 0.1.0</imagegen:tool>\n</rdf:Description>\n"
        )
        asked = {"prompt": "a red fox", "n": 1}
        expected = Origin("a red fox", asked, gateway="evolink", created="2026-11-20T13:43:00Z", tool="imagegen_magic 0.1.0")
        assert read(with_xmp("PNG", THEIRS.replace("</r:RDF>", f"{ours}</r:RDF>").encode())) == expected

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
    def test_a_signed_file_is_kept(self, suffix: str) -> None:
        """Files signed by the C2PA library: a PNG's caBX, a JPEG's APP11 segments, a WebP's C2PA chunk."""
        data = (Path(__file__).parent / "data" / "credentials" / f"signed.{suffix}").read_bytes()
        assert has_credentials(data)
        assert embed(data, ORIGIN) == data
        assert verify(data)[0].width == 24

    def test_credentials_are_found_only_in_their_chunks(self) -> None:
        """Not in plain images, other files, or nothing."""
        for data in (*map(picture, FORMATS), b"", b"GIF89a", b"RIFF\0\0\0\0WEBP"):
            assert not has_credentials(data)


class TestBounds:
    """What does not fit."""

    def test_a_long_prompt_fits_a_jpeg_without_saying_it_twice(self) -> None:
        """A prompt of 32,000 letters, also asked and sent, is whole."""
        prompt = "fox & snow " * 2900
        written = Origin(prompt=prompt, asked={"prompt": prompt, "n": 1}, sent={"prompt": prompt})
        copy = embed(picture("JPEG"), written)
        assert read(copy) == written
        assert reopened(copy).size == (65, 33)

    def test_what_does_not_fit_a_jpeg_is_cut_and_said(self) -> None:
        """One segment holds 64 kB: first what was sent goes, then what was asked, then the prompt's end."""
        sent = {str(number): "x" * 4000 for number in range(20)}
        back = read(embed(picture("JPEG"), Origin(prompt="fox", asked={"n": 1}, sent=sent)))
        assert back == Origin(prompt="fox", asked={"n": 1}, shortened=("sent",))
        back = read(embed(picture("JPEG"), Origin(prompt="狐" * 32_000, asked={"n": 1}, sent=sent)))
        assert back is not None
        assert back.shortened == ("sent", "asked", "prompt")
        assert 20_000 < len(back.prompt) < 22_000
        assert back.prompt == "狐" * (len(back.prompt) - 1) + "…"

    def test_a_png_and_a_webp_hold_it_whole(self) -> None:
        """They have no such limit."""
        written = Origin(prompt="狐" * 32_000, sent={"n": 1})
        for kind in ("PNG", "WEBP"):
            assert read(embed(picture(kind), written)) == written


TINY = {kind: picture(kind, size=(8, 8)) for kind in FORMATS}
