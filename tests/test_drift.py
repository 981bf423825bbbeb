"""After an edit with a mask: how much of what the mask protects has changed, and where."""

from __future__ import annotations

import io
import random
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.imaging.decode import DECODERS
from imagegen_magic.imaging.mask_drift import COARSE_TOLERANCE, COLOURS, TOLERANCE, Drift, drift, heatmap
from imagegen_magic.imaging.masks import invert, mask_box, mask_from

pytestmark = pytest.mark.slow

SIZE = (384, 256)
BOX = (96, 64, 224, 192)  # 1/6 of the picture


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def photograph(size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a picture with grain, light, edges and colours, as soft as a camera's."""
    chance = random.Random(5)
    grain = [Image.frombytes("L", size, random.Random(each).randbytes(size[0] * size[1])) for each in range(3)]
    light = Image.radial_gradient("L").resize(size)
    image = Image.merge("RGB", [Image.blend(light, each, 0.12) for each in grain])
    draw = ImageDraw.Draw(image)
    for _ in range(30):
        x, y, edge = chance.randrange(size[0]), chance.randrange(size[1]), chance.randrange(8, size[0] // 5)
        colour = tuple(chance.randrange(256) for _ in range(3))
        draw.ellipse((x, y, x + edge, y + edge // 2), fill=colour)
        draw.line((x, y, chance.randrange(size[0]), chance.randrange(size[1])), fill=colour, width=2)
    return image.filter(ImageFilter.GaussianBlur(1.2))


def box_mask(size: tuple[int, int] = SIZE) -> bytes:
    """Return a mask that frees the box."""
    return saved(mask_box(Image.new("RGB", size), *BOX))


def painted(image: Image.Image, box: tuple[int, int, int, int], colour: str = "magenta") -> Image.Image:
    """Return a copy with a painted box."""
    image = image.copy()
    image.paste(colour, box)
    return image


class TestFigures:
    """The share and the mean, against truth."""

    @given(
        st.integers(1, 40),
        st.integers(1, 40),
        st.integers(0, 255),
        st.integers(0, 255),
        st.randoms(use_true_random=False),
        st.sampled_from(["RGB", "L", "RGBA", "P"]),
    )
    def test_counted_pixel_by_pixel(self, width: int, height: int, grey: int, level: int, chance: random.Random, mode: str) -> None:
        """Of two lossless pictures of one size: exactly the opaque pixels above the tolerance, and exactly their mean."""
        free = Image.frombytes("L", (width, height), bytes(chance.choice((0, 0, 90, 255)) for _ in range(width * height)))
        after = Image.frombytes("L", (width, height), bytes(chance.choice((grey, level)) for _ in range(width * height)))
        before = Image.new("L", (width, height), grey)
        protected = [value for value, open_ in zip(after.tobytes(), free.tobytes(), strict=True) if not open_]
        mask = Image.merge("RGBA", (free, free, free, free.point(lambda value: 255 - value)))  # each grey as it is
        found = drift(saved(before.convert(mode)), saved(after.convert(mode)), saved(mask))
        changed = sum(abs(value - grey) > TOLERANCE for value in protected)
        total = sum(abs(value - grey) for value in protected)
        channels = 3 / 4 if mode == "RGBA" else 1  # the alpha, which does not differ, is a channel too
        count = len(protected)
        assert found.share == pytest.approx(changed / count if count else 0)
        assert found.mean == pytest.approx(total / count / 255 * channels if count else 0)
        assert found.alignment == "same"

    def test_an_edit_that_kept_to_its_mask(self) -> None:
        """Everything changed inside, nothing outside: no drift at all."""
        assert drift(saved(photograph()), saved(painted(photograph(), BOX)), box_mask()) == Drift(0.0, 0.0)

    def test_an_edit_that_did_not(self) -> None:
        """A quarter of the whole picture repainted outside the mask is a share of what is protected."""
        white, black = Image.new("RGB", SIZE, "white"), painted(Image.new("RGB", SIZE, "white"), (0, 192, 384, 256), "black")
        assert drift(saved(white), saved(black), box_mask()) == Drift(0.25 / (5 / 6), 0.25 / (5 / 6))

    def test_the_other_way_round(self) -> None:
        """With the mask inverted, the same edit is all drift."""
        mask = saved(invert(mask_box(Image.new("RGB", SIZE), *BOX)))
        assert drift(saved(Image.new("RGB", SIZE, "white")), saved(painted(Image.new("RGB", SIZE), BOX, "black")), mask) == Drift(1.0, 1.0)

    @pytest.mark.parametrize(("by", "share"), [(TOLERANCE, 0.0), (TOLERANCE + 1, 1.0)])
    def test_the_tolerance(self, by: int, share: float) -> None:
        """A difference up to it in the strongest channel does not count, one above it does; the mean sees both."""
        before, after = Image.new("RGB", SIZE, (100, 100, 100)), Image.new("RGB", SIZE, (100, 100, 100 + by))
        found = drift(saved(before), saved(after), box_mask())
        assert found.share == share
        assert found.mean == pytest.approx(by / 3 / 255)

    def test_soft_edges_do_not_count(self) -> None:
        """What is neither free nor protected may change."""
        mask = Image.new("L", SIZE, 0)
        mask.paste(255, BOX)
        mask.paste(128, (BOX[0] - 20, BOX[1], BOX[0], BOX[3]))
        after = painted(photograph(), (BOX[0] - 20, BOX[1], BOX[2], BOX[3]))
        assert drift(saved(photograph()), saved(after), saved(mask_from(mask))).share == 0
        hard = drift(saved(photograph()), saved(after), box_mask())
        assert hard.share > 0.02

    def test_what_is_hidden_by_transparency_is_not_seen(self) -> None:
        """Colours under full transparency may differ; transparency itself may not."""
        clear, other = Image.new("RGBA", SIZE, (255, 0, 0, 0)), Image.new("RGBA", SIZE, (0, 255, 0, 0))
        assert drift(saved(clear), saved(other), box_mask()).share == 0
        assert drift(saved(Image.new("RGB", SIZE)), saved(clear), box_mask()).share == 1

    @pytest.mark.parametrize(("mask", "share"), [("RGBA", 0.0), ("RGB", 1.0)])
    def test_a_mask_that_protects_nothing_or_everything(self, mask: str, share: float) -> None:
        """All transparent: no drift. No alpha: all of it is protected."""
        assert (
            drift(saved(Image.new("RGB", (9, 9))), saved(Image.new("RGB", (9, 9), "white")), saved(Image.new(mask, (9, 9)))).share == share
        )


def opaque(image: Image.Image) -> Image.Image:
    """Return a mask that protects everything."""
    return Image.new("RGBA", image.size, (0, 0, 0, 255))


class TestLossy:
    """A JPEG is not a drift."""

    @pytest.mark.parametrize(
        ("kind", "options"),
        [("JPEG", {"quality": 85}), ("JPEG", {"quality": 92}), ("JPEG", {"quality": 95, "subsampling": 0}), ("WEBP", {"quality": 90})],
    )
    def test_saving_is_not_counted(self, kind: str, options: dict[str, Any]) -> None:
        """A photograph that only was saved, or only painted within the mask, has changed by less than one percent."""
        for after in (photograph(), painted(photograph(), BOX)):
            found = drift(saved(photograph()), saved(after, kind, **options), box_mask())
            assert found.share < 0.01
            assert 0 < found.mean < 0.02

    def test_what_changed_is_counted_all_the_same(self) -> None:
        """A band painted outside is found in a JPEG, too."""
        found = drift(saved(photograph()), saved(painted(photograph(), (0, 224, 384, 256)), "JPEG", quality=85), box_mask())
        assert found.share == pytest.approx(0.125 / (5 / 6), abs=0.03)

    def test_its_tolerance_is_larger(self) -> None:
        """An even shift between both tolerances counts in a PNG and not in a JPEG; a lossless WebP is as strict as a PNG."""
        by = (TOLERANCE + COARSE_TOLERANCE) // 2
        before, after = (Image.new("RGB", SIZE, (level, level, level)) for level in (100, 100 + by))
        shares = [drift(saved(before), data, box_mask()).share for data in (saved(after), saved(after, "JPEG", quality=95))]
        assert shares == [1.0, 0.0]
        assert drift(saved(before), saved(after, "WEBP", lossless=True), box_mask()).share == 1.0

    def test_a_mask_of_thin_lines_still_protects(self) -> None:
        """If an edge crosses every block, all that is opaque counts."""
        stripes = Image.new("L", SIZE, 0)
        for x in range(0, SIZE[0], 8):
            stripes.paste(255, (x, 0, x + 2, SIZE[1]))
        found = drift(saved(Image.new("RGB", SIZE)), saved(Image.new("RGB", SIZE, "white"), "JPEG"), saved(mask_from(stripes)))
        assert found.share == 1.0


class TestSizes:
    """Pictures of different sizes are aligned."""

    @pytest.mark.parametrize("size", [(768, 512), (192, 128), (390, 260), (576, 384)])
    @pytest.mark.parametrize("filter_", [Image.Resampling.BILINEAR, Image.Resampling.LANCZOS])
    def test_scaling_is_not_counted(self, size: tuple[int, int], filter_: Image.Resampling) -> None:
        """The same picture, or one painted within the mask, at another size: hardly anything has changed."""
        for after in (photograph(), painted(photograph(), BOX)):
            found = drift(saved(photograph()), saved(after.resize(size, filter_)), box_mask())
            assert found.share < 0.005
            assert found.alignment == "scaled"

    @pytest.mark.parametrize("size", [(768, 512), (200, 133)])
    def test_what_changed_is_counted_all_the_same(self, size: tuple[int, int]) -> None:
        """The share is that of the picture, at whatever size."""
        after = painted(photograph(), (0, 0, 384, 32)).resize(size, Image.Resampling.LANCZOS)
        assert drift(saved(photograph()), saved(after), box_mask()).share == pytest.approx(0.125 / (5 / 6), abs=0.035)

    def test_another_shape_is_reported(self) -> None:
        """A square answer to a wide picture is compared stretched, and the result reports it."""
        after = photograph().resize((256, 256))
        found = drift(saved(photograph()), saved(after), box_mask())
        assert found.alignment == "stretched"
        assert found.share < 0.02

    def test_a_much_larger_jpeg_as_reference(self) -> None:
        """A camera's picture, of which fewer pixels are decoded."""
        large = photograph().resize((3072, 2048), Image.Resampling.BICUBIC)
        mask = saved(mask_box(large, *(8 * each for each in BOX)))
        assert drift(saved(large, "JPEG", quality=95), saved(painted(photograph(), BOX)), mask).share < 0.005

    @given(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.tuples(st.integers(1, 90), st.integers(1, 90)))
    def test_any_two_sizes(self, first: tuple[int, int], second: tuple[int, int]) -> None:
        """Whatever the sizes: one colour is not changed, another is, and a heat map can be drawn."""
        mask = saved(opaque(Image.new("L", first)))
        grey, white = (saved(Image.new("RGB", size, colour)) for size, colour in ((first, "grey"), (second, "white")))
        assert drift(grey, saved(Image.new("RGB", second, "grey")), mask).share == 0
        assert drift(grey, white, mask).share == 1
        assert max(heatmap(grey, white, mask, 50).size) <= 50


class TestHeatMap:
    """Where it changed."""

    def test_bounded_and_opaque(self) -> None:
        """At most the edge, of the result's shape, never enlarged, and RGB, so that neither page shines through."""
        before, mask = saved(photograph((1600, 1000))), saved(mask_box(Image.new("RGB", (1600, 1000)), 10, 10, 500, 500))
        assert heatmap(before, before, mask).size == (1024, 640)
        assert heatmap(before, before, mask, 100).size == (100, 62)
        small = heatmap(saved(photograph()), saved(photograph()), box_mask())
        assert (small.size, small.mode) == (SIZE, "RGB")

    def test_each_part_has_its_colour(self) -> None:
        """Unchanged is grey, free is tinted blue, a slight change is amber and a strong one magenta."""
        before = Image.new("RGB", SIZE, (128, 128, 128))
        after = painted(painted(before, (0, 0, 384, 32), "#949494"), (0, 224, 384, 256), "black")
        seen = heatmap(saved(before), saved(after), box_mask())
        plain = seen.getpixel((20, 120))
        assert len(set(plain)) == 1  # type: ignore[arg-type]
        red, _, blue = seen.getpixel((160, 128))  # type: ignore[misc]
        assert blue > red + 30
        assert near(seen.getpixel((200, 10)), COLOURS["slight"])
        assert near(seen.getpixel((200, 240)), COLOURS["strong"])

    def test_legible_on_light_and_dark(self) -> None:
        """Even a black or a white result stays between both pages' colours, and lighter than the one and darker than the other."""
        for colour in ("black", "white"):
            image = Image.new("RGB", SIZE, colour)
            level = heatmap(saved(image), saved(image), box_mask()).getpixel((5, 5))[0]  # type: ignore[index]
            assert 60 <= level <= 220

    def test_a_thin_change_stays_visible_when_it_is_made_small(self) -> None:
        """A line of 2 px across a picture of 1600 is seen at 400."""
        before = Image.new("RGB", (1600, 1000), "grey")
        after = painted(before, (0, 600, 1600, 602), "white")
        seen = heatmap(saved(before), saved(after), saved(opaque(before)), 400)
        column = [seen.getpixel((200, y)) for y in range(seen.height)]
        assert max(abs(red - blue) for red, _, blue in column) > 60  # type: ignore[misc]

    def test_what_is_free_has_no_heat(self) -> None:
        """Inside the mask everything may change."""
        quiet = heatmap(saved(photograph()), saved(photograph()), box_mask())
        loud = heatmap(saved(photograph()), saved(painted(photograph(), BOX, "#808080")), box_mask())
        outside = Image.new("L", SIZE, 255)
        outside.paste(0, BOX)
        assert [sum(image.convert("L").histogram(outside)) for image in (quiet, loud)] == [outside.histogram()[255]] * 2
        assert quiet.convert("RGB").histogram(outside) == loud.convert("RGB").histogram(outside)
        assert near(loud.getpixel((160, 128)), "#8c97b9", 30)


def near(pixel: Any, colour: str, by: int = 25) -> bool:
    """Return whether a pixel is about that colour."""
    return all(abs(value - wanted) <= by for value, wanted in zip(pixel, bytes.fromhex(colour[1:]), strict=True))


class TestBroken:
    """Bytes that are no picture."""

    @pytest.mark.parametrize("broken", range(3))
    def test_each_of_the_three(self, broken: int) -> None:
        """ImageInvalid, and every decoder is released."""
        three = [saved(photograph()), saved(photograph(), "JPEG"), box_mask()]
        three[broken] = three[broken][: len(three[broken]) // 2]
        for _ in range(3):
            with pytest.raises(ImageInvalid, match="cut short"):
                drift(*three)
        assert DECODERS.acquire(blocking=False)
        assert DECODERS.acquire(blocking=False)
        DECODERS.release()
        DECODERS.release()
