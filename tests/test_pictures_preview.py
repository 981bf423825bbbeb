"""A preview is small in pixels and bytes, upright, and looks like the picture."""

from __future__ import annotations

import base64
import io
import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageStat

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.imaging.preview import Preview, preview


@cache
def noise(mode: str, width: int, height: int) -> Image.Image:
    """Return the picture that compresses worst."""
    return Image.frombytes("RGBA", (width, height), random.Random(7).randbytes(width * height * 4)).convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reopened(small: Preview) -> Image.Image:
    """Open a preview and hold what it says of itself against its bytes."""
    image = Image.open(io.BytesIO(small.data))
    image.load()
    assert image.size == (small.width, small.height)
    assert {"JPEG": "image/jpeg", "PNG": "image/png"}[str(image.format)] == small.mime_type
    return image


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Return the colours near the four corners, clockwise from the upper left, rounded to multiples of 64."""
    across, down = image.width // 8, image.height // 8
    places = [(across, down), (image.width - across, down), (image.width - across, image.height - down), (across, image.height - down)]
    rgb = image.convert("RGB")
    return [tuple(round(value / 64) for value in rgb.getpixel(place)) for place in places]  # type: ignore[union-attr]


def quarters(size: tuple[int, int] = (200, 120)) -> Image.Image:
    """Return a picture whose quarters are red, green, blue and white, clockwise from the upper left."""
    image = Image.new("RGB", size)
    across, down = size[0] // 2, size[1] // 2
    for place, colour in zip([(0, 0), (across, 0), (across, down), (0, down)], ["#ff0000", "#00ff00", "#0000ff", "#ffffff"], strict=True):
        image.paste(colour, (*place, place[0] + across, place[1] + down))
    return image


class TestBounds:
    """How large a preview may be."""

    @pytest.mark.parametrize(
        ("mode", "mime_type"), [("RGB", "image/jpeg"), ("L", "image/jpeg"), ("RGBA", "image/png"), ("CMYK", "image/jpeg")]
    )
    def test_the_worst_4k_picture_fits(self, mode: str, mime_type: str) -> None:
        """3840 × 2160 of noise becomes at most 1024 px and 150 kB."""
        small = preview(noise(mode, 3840, 2160))
        assert len(small.data) <= 150_000
        assert max(small.width, small.height) <= 1024
        assert small.mime_type == mime_type
        assert abs(small.width / small.height - 16 / 9) < 0.01
        reopened(small)

    def test_noise_that_is_not_made_smaller_fits_too(self) -> None:
        """1024² of noise, more than 150 kB at any good quality, keeps its pixels or loses some, never the limit."""
        assert len(preview(noise("RGB", 1024, 1024)).data) <= 150_000
        assert len(preview(noise("RGBA", 1024, 1024)).data) <= 150_000

    def test_an_ordinary_picture_keeps_all_of_its_preview_pixels(self) -> None:
        """A smooth 4K picture is 1024 px wide at the first quality."""
        small = preview(quarters((3840, 2160)))
        assert (small.width, small.height) == (1024, 576)

    @pytest.mark.parametrize(
        ("size", "edge", "expected"), [((2000, 1000), 500, (500, 250)), ((1000, 2000), 500, (250, 500)), ((9000, 3), 900, (900, 1))]
    )
    def test_the_long_side_is_the_edge(self, size: tuple[int, int], edge: int, expected: tuple[int, int]) -> None:
        """The aspect ratio stays; no side falls to nothing."""
        small = preview(Image.new("RGB", size), edge)
        assert (small.width, small.height) == expected

    def test_never_enlarged(self) -> None:
        """A picture smaller than the edge keeps its size."""
        small = preview(quarters((60, 40)), 1024)
        assert (small.width, small.height) == (60, 40)

    @given(
        st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "PA", "La", "RGBa", "HSV", "LAB", "RGBX"]),
        st.integers(1, 700),
        st.integers(1, 700),
        st.integers(1, 300),
        st.integers(2_000, 20_000),
    )
    def test_any_picture_any_edge_any_limit(self, mode: str, width: int, height: int, edge: int, limit: int) -> None:
        """Every Pillow mode in every shape: within edge and limit, and a picture again."""
        route = {"PA": ("P",), "La": ("LA",), "RGBa": ("RGBA",), "LAB": ("RGB",), "I;16": ("I",)}.get(mode, ())
        image = noise("RGBA" if mode in ("RGBa", "La", "LA") else "RGB", 700, 700).crop((0, 0, width, height))
        for step in route:
            image = image.convert(step)
        image = Image.new(mode, image.size) if mode in ("LAB", "PA") else image.convert(mode)
        small = preview(image, edge, limit)
        assert max(small.width, small.height) <= min(edge, max(width, height))
        assert len(small.data) <= limit
        reopened(small)

    def test_a_limit_that_nothing_meets_ends_all_the_same(self) -> None:
        """An impossible limit gives the smallest picture rather than none."""
        small = preview(noise("RGB", 300, 200), 256, 10)
        assert max(small.width, small.height) == 1


class TestLikeness:
    """It shows what the picture shows."""

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    def test_from_bytes_of_every_format(self, kind: str) -> None:
        """Bytes are decoded, and each quarter keeps its colour."""
        small = preview(saved(quarters(), kind), 100)
        assert corners(reopened(small)) == corners(quarters())

    @pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "YCbCr", "RGB"])
    def test_in_every_mode(self, mode: str) -> None:
        """The strips of a large picture in an odd mode meet without a seam."""
        image = quarters((1500, 1100))
        small = reopened(preview(image.convert(mode), 512))
        plain = image.resize(small.size, Image.Resampling.LANCZOS)
        difference = ImageStat.Stat(ImageChops.difference(small.convert("RGB"), plain)).mean
        assert max(difference) < 2

    def test_as_good_as_pillows_own_thumbnail(self) -> None:
        """Against `thumbnail` the eye sees no difference: at least 35 dB apart on a soft picture."""
        soft = Image.radial_gradient("L").resize((1920, 1080)).convert("RGB")
        small, plain = reopened(preview(soft)), soft.copy()
        plain.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
        assert max(ImageStat.Stat(ImageChops.difference(small, plain)).rms) < 255 / 10 ** (35 / 20)

    def test_sixteen_bits_are_scaled_not_clipped(self) -> None:
        """A 16-bit middle grey is a middle grey."""
        small = reopened(preview(saved(Image.new("I;16", (40, 40), 32_768), "PNG")))
        assert small.mode == "L"
        assert abs(int(small.getpixel((5, 5))) - 128) <= 2  # type: ignore[arg-type]

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_upright_as_exif_says(self, orientation: int, kind: str) -> None:
        """Each of the eight orientations is turned as Pillow's own `exif_transpose` would."""
        from PIL import ImageOps

        exif = Image.Exif()
        exif[0x0112] = orientation
        data = saved(quarters(), kind, exif=exif)
        with Image.open(io.BytesIO(data)) as opened:
            expected = ImageOps.exif_transpose(opened)
        small = reopened(preview(data, 200))
        assert small.size == expected.size
        assert corners(small) == corners(expected)
        assert not small.getexif()

    @pytest.mark.parametrize(
        "exif", [b"", b"nonsense", b"Exif\0\0MM\0*", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
    )
    def test_broken_exif_is_upright(self, exif: bytes) -> None:
        """An Exif that cannot be read turns nothing."""
        image = quarters()
        image.info["exif"] = exif
        assert corners(reopened(preview(image))) == corners(quarters())

    def test_the_colour_profile_comes_along(self) -> None:
        """An RGB profile of ordinary size is kept for the front end; one of another colour space, or a huge one, is not."""
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert reopened(preview(saved(quarters(), "PNG", icc_profile=profile))).info["icc_profile"] == profile
        assert (
            "icc_profile"
            not in reopened(preview(saved(quarters().convert("CMYK"), "JPEG", icc_profile=profile[:16] + b"CMYK" + profile[20:]))).info
        )
        assert "icc_profile" not in reopened(preview(saved(quarters(), "PNG", icc_profile=profile + bytes(20_000)))).info


class TestTransparency:
    """Real alpha stays, an alpha that says nothing goes."""

    def test_a_transparent_place_stays_transparent(self) -> None:
        """A hole in the middle is a hole in the preview, and the rest is opaque."""
        image = quarters((2000, 1200)).convert("RGBA")
        image.paste((0, 0, 0, 0), (700, 400, 1300, 800))
        small = reopened(preview(image, 500)).convert("RGBA")
        assert small.getpixel((250, 150))[3] == 0  # type: ignore[index]
        assert small.getpixel((20, 20))[3] == 255  # type: ignore[index]

    def test_no_dark_fringe_around_it(self) -> None:
        """What is hidden under full transparency does not bleed into the edge."""
        image = Image.new("RGBA", (1600, 1600), (0, 0, 0, 0))
        image.paste((255, 255, 255, 255), (400, 400, 1203, 1203))
        small = reopened(preview(image, 200)).convert("RGBA")
        visible = [colour for _, colour in small.getcolors(small.width * small.height) or [] if colour[3] > 16]  # type: ignore[index]
        assert min(min(colour[:3]) for colour in visible) >= 235  # type: ignore[index]

    def test_an_opaque_alpha_is_a_jpeg(self) -> None:
        """RGBA that is opaque everywhere needs no PNG."""
        assert preview(quarters().convert("RGBA")).mime_type == "image/jpeg"

    @pytest.mark.parametrize("mode", ["P", "L", "RGB"])
    def test_a_transparent_colour(self, mode: str) -> None:
        """P, grey and RGB with a transparent colour become PNG with that hole."""
        image = Image.new(mode, (60, 40), 1 if mode != "RGB" else (1, 1, 1))
        image.paste(0 if mode != "RGB" else (0, 0, 0), (0, 0, 30, 40))
        if mode == "P":
            image.putpalette([9, 9, 9, 200, 100, 50])
        data = saved(image, "PNG", transparency=0 if mode != "RGB" else (0, 0, 0))
        small = preview(data)
        assert small.mime_type == "image/png"
        pixels = reopened(small).convert("RGBA")
        assert pixels.getpixel((5, 20))[3] == 0  # type: ignore[index]
        assert pixels.getpixel((55, 20))[3] == 255  # type: ignore[index]


class TestPreview:
    """The value itself."""

    def test_base64_is_what_a_notebook_stores(self) -> None:
        """Plain base64 of the bytes, on one line."""
        small = preview(quarters())
        assert base64.b64decode(small.base64) == small.data
        assert "\n" not in small.base64

    def test_the_given_picture_is_left_as_it_was(self) -> None:
        """A picture that belongs to the user keeps size, mode, pixels and info."""
        image = quarters((300, 200)).convert("P")
        image.info["transparency"] = 3
        before = (image.size, image.mode, image.tobytes(), dict(image.info))
        preview(image, 50)
        assert (image.size, image.mode, image.tobytes(), image.info) == before

    def test_half_a_picture_has_no_preview(self) -> None:
        """Bytes that are no whole picture are refused as everywhere."""
        with pytest.raises(ImageInvalid, match="cut short"):
            preview(saved(quarters(), "PNG")[:-30])
