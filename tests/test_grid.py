"""Grids and contact sheets: labels readable, pictures true, sizes bounded, nothing missing without a word."""

from __future__ import annotations

import io
import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import typefaces
from PIL import Image, ImageChops, ImageCms, ImageStat

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.imaging.preview import Preview
from imagegen_magic.imaging.sheet import layout as layouts
from imagegen_magic.imaging.sheet import renderer, tiles
from imagegen_magic.imaging.sheet import sheet as sheets
from imagegen_magic.imaging.sheet.grid import NO_AXIS, Axis, Sheet, Tile, contact_sheet, grid
from imagegen_magic.imaging.sheet.layout import MAX_CANVAS, Layout
from imagegen_magic.imaging.sheet.sheet import _pages, _whole_bands
from imagegen_magic.imaging.text import fonts

pytestmark = pytest.mark.slow

RED, GREEN, BLUE = (220, 30, 30), (30, 200, 60), (40, 60, 230)
STYLE = Axis("style", ("oil", "ink", "chalk"))
QUALITY = Axis("quality", ("low", "high"))


def flat(colour: tuple[int, ...] = RED, size: tuple[int, int] = (256, 256), kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture of one colour as a file."""
    file = io.BytesIO()
    Image.new("RGB" if len(colour) == 3 else "RGBA", size, colour).save(file, kind, **options)
    return file.getvalue()


def noise(size: tuple[int, int] = (512, 512), seed: int = 1) -> bytes:
    """Return the picture that compresses worst."""
    file = io.BytesIO()
    Image.frombytes("RGB", size, random.Random(seed).randbytes(size[0] * size[1] * 3)).save(file, "PNG", compress_level=0)
    return file.getvalue()


def full(rows: Axis = QUALITY, columns: Axis = STYLE, colour: tuple[int, ...] = RED, **options: Any) -> dict[tuple[Any, ...], bytes]:
    """Return a picture for every cell."""
    return {(row, column): flat(colour, **options) for row in rows.values for column in columns.values}


def opened(data: bytes | Preview) -> Image.Image:
    """Return a drawn sheet as pixels, having held a preview against what it says of itself."""
    image = Image.open(io.BytesIO(data if isinstance(data, bytes) else data.data))
    image.load()
    if isinstance(data, Preview):
        assert image.size == (data.width, data.height)
        assert f"image/{str(image.format).lower()}" == data.mime_type
    return image.convert("RGB")


def boxes_of(image: Image.Image, colour: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """Return the boxes of all rectangles of one exact colour, in reading order."""
    coloured, found = (numpy.asarray(image) == colour).all(axis=2), []
    rest = coloured.copy()
    while rest.any():
        y, x = divmod(int(rest.argmax()), image.width)
        right, bottom = x + _length(coloured[y, x:]), y + _length(coloured[y:, x])
        rest[y:bottom, x:right] = False
        found.append((x, y, right, bottom))
    return found


def _length(line: Any) -> int:
    """Return how many values are true before the first that is not."""
    return len(line) if line.all() else int(line.argmin())


def near(image: Image.Image, colour: tuple[int, int, int]) -> int:
    """Return how many pixels are close to a colour."""
    difference = ImageChops.difference(image, Image.new("RGB", image.size, colour))
    red, green, blue = (channel.point(lambda value: value < 24 and 255) for channel in difference.split())
    return ImageChops.darker(ImageChops.darker(red, green), blue).histogram()[255]


def texts(monkeypatch: pytest.MonkeyPatch, sheet: Sheet, form: str = "png") -> list[str]:
    """Return every line that is drawn on a sheet, in order."""
    lines: list[str] = []
    draw = fonts.draw

    def noted(image: Any, place: Any, text: str, *rest: Any, **options: Any) -> None:
        lines.append(text)
        draw(image, place, text, *rest, **options)

    monkeypatch.setattr(fonts, "draw", noted)
    getattr(sheet, form)()
    return lines


@pytest.fixture(autouse=True, scope="module")
def brought() -> Iterator[None]:
    """Have the same fonts on every machine: those that these tests bring."""
    with typefaces.only(typefaces.LATIN, typefaces.BOLD, typefaces.CJK, typefaces.emoji()):
        yield


class TestGrid:
    """What stands where."""

    def test_cells_stand_at_their_row_and_column(self) -> None:
        """A picture alone in its colour is in the place of its key, at its own pixels."""
        cells = full(colour=BLUE, size=(60, 60)) | {("high", "ink"): flat(GREEN, (60, 60))}
        image = opened(grid(cells, QUALITY, STYLE).png())
        blue, green = boxes_of(image, BLUE), boxes_of(image, GREEN)
        assert [box[2] - box[0] for box in blue + green] == [60] * 6
        lefts, tops = sorted({box[0] for box in blue}), sorted({box[1] for box in blue})
        assert (len(lefts), len(tops)) == (3, 2)
        assert [(box[0], box[1]) for box in green] == [(lefts[1], tops[1])]

    def test_gutters_are_the_same_everywhere(self) -> None:
        """Between columns as between rows."""
        boxes = boxes_of(opened(grid(full(), QUALITY, STYLE).png()), RED)
        lefts, tops = sorted({box[0] for box in boxes}), sorted({box[1] for box in boxes})
        steps = {second - first - 256 for side in (lefts, tops) for first, second in itertools.pairwise(side)}
        assert len(steps) == 1

    def test_labels_names_title_and_note_are_drawn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Column labels above, row labels at the left, the names of both axes."""
        lines = texts(monkeypatch, grid(full(), QUALITY, STYLE, title="A castle", note="evolink · about $0.24"))
        assert lines == ["A castle", "style →", "quality ↓", "oil", "ink", "chalk", "low", "high", "evolink · about $0.24"]

    def test_labels_can_be_written_otherwise_than_their_values(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A value is any key, its label any text."""
        lines = texts(monkeypatch, grid({(1, 2.5): flat()}, Axis("n", (1,), ("one",)), Axis("s", (2.5,))))
        assert lines == ["s →", "n ↓", "2.5", "one"]

    def test_a_third_axis_is_stacked_grids_with_headings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One grid for each value, all of the same columns."""
        cells = {
            (q, s, p): flat(RED if p == "evolink" else BLUE, (64, 64))
            for q in QUALITY.values
            for s in STYLE.values
            for p in ("evolink", "apimart")
        }
        sheet = grid(cells, QUALITY, STYLE, Axis("provider", ("evolink", "apimart")))
        lines = texts(monkeypatch, sheet)
        assert [line for line in lines if line in ("evolink", "apimart", "provider  ")] == [
            "provider  ",
            "evolink",
            "provider  ",
            "apimart",
        ]
        image = opened(sheet.png())
        first, second = boxes_of(image, RED), boxes_of(image, BLUE)
        assert max(box[3] for box in first) < min(box[1] for box in second)
        assert {box[0] for box in first} == {box[0] for box in second}

    def test_several_pictures_of_a_cell_stand_together(self) -> None:
        """Repeats are closer to one another than to the next cell; four are two by two."""
        cells = {("", value): [flat(RED, (50, 50))] * 4 for value in (1, 2)}
        boxes = boxes_of(opened(grid(cells, columns=Axis("seed", (1, 2))).png()), RED)
        assert len(boxes) == 8
        lefts, tops = sorted({box[0] for box in boxes}), sorted({box[1] for box in boxes})
        assert (len(lefts), len(tops)) == (4, 2)
        assert lefts[1] - lefts[0] < lefts[2] - lefts[1]

    def test_one_axis_is_enough_and_none_too(self) -> None:
        """1 × N, N × 1, and a single picture."""
        axis = Axis("seed", (1, 2, 3))
        for sheet, count in (
            (grid({("", value): flat(size=(40, 40)) for value in axis.values}, columns=axis), 3),
            (grid({(value, ""): flat(size=(40, 40)) for value in axis.values}, axis), 3),
            (grid({("", ""): flat(size=(40, 40))}), 1),
        ):
            assert len(boxes_of(opened(sheet.png()), RED)) == count

    def test_a_long_single_row_is_broken_into_lines_of_equal_length(self) -> None:
        """Twenty pictures are three lines, not a strip; each labelled."""
        axis = Axis("seed", tuple(range(20)))
        boxes = boxes_of(opened(grid({("", value): flat(size=(40, 40)) for value in axis.values}, columns=axis).png()), RED)
        assert [sum(box[1] == top for box in boxes) for top in sorted({box[1] for box in boxes})] == [7, 7, 6]

    def test_different_shapes_keep_theirs(self) -> None:
        """A column is as wide as its widest, a row as high as its highest; nothing is stretched or cut."""
        cells = {("", "16:9"): flat(RED, (160, 90)), ("", "9:16"): flat(BLUE, (90, 160))}
        image = opened(grid(cells, columns=Axis("size", ("16:9", "9:16"))).png())
        (wide,), (high,) = boxes_of(image, RED), boxes_of(image, BLUE)
        assert (wide[2] - wide[0], wide[3] - wide[1]) == (160, 90)
        assert (high[2] - high[0], high[3] - high[1]) == (90, 160)
        assert wide[1] == high[1]

    def test_an_axis_without_a_value_is_refused(self) -> None:
        """There is nothing to lay out."""
        with pytest.raises(UnsupportedOption, match="style has no value"):
            grid({}, QUALITY, Axis("style", ()))

    def test_alt_text_says_what_is_seen(self) -> None:
        """Title, how many pictures, both axes with their values."""
        alt = grid({("low", "ink"): flat()}, QUALITY, STYLE, title="A castle").alt
        assert alt == "A castle. Grid of 1 pictures. rows: quality (low, high); columns: style (oil, ink, chalk)"
        assert grid({}, NO_AXIS).alt == "Grid of 0 pictures"


class TestAbsent:
    """What is not there."""

    def test_it_is_a_quiet_box_with_its_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A missing key says missing, a failed one its own word; the box is as large as a picture."""
        cells: dict[tuple[Any, ...], Any] = full() | {("low", "ink"): "refused by moderation"}
        del cells["high", "chalk"]
        sheet = grid(cells, QUALITY, STYLE)
        lines = texts(monkeypatch, sheet)
        assert "missing" in lines
        assert " ".join(lines).count("refused by moderation") == 1
        image = opened(sheet.png())
        box = renderer.BOX
        assert len([each for each in boxes_of(image, box) if each[2] - each[0] == 256]) >= 2
        assert max(box) - min(box) == 0
        assert 235 < box[0] < 250

    @pytest.mark.parametrize(
        ("data", "word"),
        [
            (None, "file not found"),
            (b"", "not readable"),
            (b"nonsense", "not readable"),
            (flat()[:200], "not readable"),
            (b"GIF89a....", "not readable"),
        ],
    )
    def test_a_file_that_cannot_be_had_spoils_no_grid(
        self, data: bytes | None, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Moved, empty, broken, cut: its box says so, the others are drawn."""
        path = tmp_path / "picture.png"
        if data is not None:
            path.write_bytes(data)
        cells: dict[tuple[Any, ...], Any] = {("low", "oil"): path, ("low", "ink"): flat()}
        sheet = grid(cells, Axis("quality", ("low",)), Axis("style", ("oil", "ink")))
        assert word in texts(monkeypatch, sheet)
        assert len(boxes_of(opened(sheet.png()), RED)) == 1

    def test_a_picture_too_large_to_decode_is_not_decoded(self) -> None:
        """A header that claims more than 50 megapixels is shown as not readable."""
        bomb = bytearray(flat())
        bomb[16:24] = (60_000).to_bytes(4, "big") * 2
        assert tiles.size_of(Tile(bytes(bomb))) == tiles.UNREADABLE


class TestPictures:
    """What is on the pictures."""

    def test_sources_are_paths_bytes_or_pillow_pictures(self, tmp_path: Path) -> None:
        """All three are drawn alike."""
        path = tmp_path / "a.png"
        path.write_bytes(flat())
        image = Image.open(io.BytesIO(flat()))
        sheet = contact_sheet([path, flat(), image, Tile(flat(), caption="x")])
        assert len(boxes_of(opened(sheet.png()), RED)) == 4

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    def test_at_its_own_pixels_a_picture_is_exact(self, kind: str) -> None:
        """The full-resolution sheet holds the decoded picture unchanged."""
        data = flat(RED, (97, 61), kind, **({"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}))
        expected = Image.open(io.BytesIO(data)).convert("RGB")
        sheet = grid({("", ""): data})
        layout = Layout(sheet.contents, None, _whole_bands(sheet.contents))
        image = opened(sheet.png())
        place = (layout.margin, layout.margin)
        assert image.crop((*place, place[0] + 97, place[1] + 61)).tobytes() == expected.tobytes()

    def test_a_turned_photograph_stands_upright(self) -> None:
        """As its Exif says, in size and in pixels; JPEG, PNG and WebP."""
        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.new("RGB", (80, 40), RED)
        image.paste(BLUE, (0, 0, 40, 40))
        for kind, options in (("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True})):
            file = io.BytesIO()
            image.save(file, kind, exif=exif, **options)
            tile = Tile(file.getvalue())
            assert tiles.size_of(tile) == (40, 80)
            upright = tiles.load(tile, 80)
            assert isinstance(upright, Image.Image)
            assert upright.size == (40, 80)
            assert upright.convert("RGB").getpixel((20, 10))[2] > 200  # type: ignore[index]
            assert upright.convert("RGB").getpixel((20, 70))[0] > 200  # type: ignore[index]

    def test_a_large_jpeg_is_decoded_only_as_far_as_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """libjpeg's scaling is used; orientation and look are the same."""
        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.radial_gradient("L").resize((3840, 2160)).convert("RGB")
        file = io.BytesIO()
        image.save(file, "JPEG", quality=92, exif=exif)
        seen: list[tuple[int, int]] = []
        shrink = tiles.small
        monkeypatch.setattr(tiles, "small", lambda picture, edge: (seen.append(picture.size), shrink(picture, edge))[1])
        fast = tiles.load(Tile(file.getvalue()), 200)
        assert seen == [(480, 270)]
        slow = shrink(Image.open(io.BytesIO(file.getvalue())), 200)
        assert isinstance(fast, Image.Image)
        assert fast.size == slow.size == (112, 200)
        assert ImageStat.Stat(ImageChops.difference(fast, slow)).mean[0] < 2

    def test_a_large_jpeg_that_is_cut_is_not_readable(self) -> None:
        """Even if only a part would be decoded."""
        data = noise((900, 900))
        file = io.BytesIO()
        Image.open(io.BytesIO(data)).save(file, "JPEG")
        assert tiles.load(Tile(file.getvalue()[:40_000]), 50) == tiles.UNREADABLE

    def test_what_is_transparent_lies_on_checks(self) -> None:
        """Not on white, where white would look like nothing."""
        image = opened(grid({("", ""): flat((0, 0, 0, 0), (100, 100))}).png())
        light, dark = renderer.CHECKS
        assert near(image, dark) > 3000
        assert near(image, light) > 3000

    def test_colours_of_another_profile_become_those_of_the_screen(self) -> None:
        """A picture with a profile of its own is converted, as the sheet has none."""
        swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        plain = tiles.load(Tile(flat(RED, icc_profile=swapped)), 64)
        assert isinstance(plain, Image.Image)
        assert near(plain.convert("RGB"), RED) == 64 * 64
        assert "icc_profile" not in plain.info
        broken = tiles.load(Tile(flat(RED, icc_profile=b"\0" * 16 + b"RGB " + b"\0" * 100)), 64)
        assert isinstance(broken, Image.Image)
        assert near(broken.convert("RGB"), RED) == 64 * 64

    def test_a_small_picture_is_never_enlarged(self) -> None:
        """Neither on a preview nor with a cell edge larger than it."""
        sheet = grid({("", ""): flat(size=(40, 30))})
        assert [(box[2] - box[0], box[3] - box[1]) for box in boxes_of(opened(sheet.png(500)), RED)] == [(40, 30)]
        assert near(opened(sheet.preview()), RED) <= 40 * 30 * 1.1


class TestText:
    """Labels are readable, whatever is asked."""

    LONG = "古老的城堡，星空之下🏰✨：水彩画「细节丰富」，光影柔和。An ancient castle beneath a starry sky, in watercolour, " * 12

    def test_a_long_prompt_is_wrapped_and_never_cut_without_an_ellipsis(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As title, as row, as column and as caption."""
        axis = Axis("prompt", (self.LONG, "short"))
        sheet = grid({(row, column): flat() for row in axis.values for column in axis.values}, axis, axis, title=self.LONG)
        lines = texts(monkeypatch, sheet)
        assert len([line for line in lines if line.endswith("…")]) == 3
        assert lines.count("short") == 2
        monkeypatch.undo()
        assert texts(monkeypatch, contact_sheet([flat()], [self.LONG]))[-1].endswith("…")

    def test_nothing_is_drawn_outside_the_sheet_or_over_a_picture(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every line ends before the right margin, and pictures stay whole."""
        places: list[tuple[float, float, float, float]] = []
        draw = fonts.draw

        def noted(image: Any, place: Any, text: str, size: int, *rest: Any, bold: bool = False) -> None:
            places.append((place[0], place[1], place[0] + fonts.width(text, size, bold=bold), image.width))
            draw(image, place, text, size, *rest, bold=bold)

        monkeypatch.setattr(fonts, "draw", noted)
        axis = Axis("prompt", (self.LONG, "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen"))
        sheet = grid(
            {(row, column): flat() for row in axis.values for column in axis.values}, axis, axis, axis, title=self.LONG, note=self.LONG
        )
        whole = grid({(row, column): flat() for row in axis.values for column in axis.values}, axis, axis, title=self.LONG, note=self.LONG)
        sheet.preview()
        image = opened(whole.png())
        assert all(left >= 0 and top >= 0 and right <= width for left, top, right, width in places)
        assert [(box[2] - box[0], box[3] - box[1]) for box in boxes_of(image, RED)] == [(256, 256)] * 4

    def test_text_grows_with_the_sheet(self) -> None:
        """On a sheet of large pictures the labels are as legible as on a small one."""
        sheet = grid(full(size=(1024, 1024)), QUALITY, STYLE)
        bands = _whole_bands(sheet.contents)
        small, large = (Layout(sheet.contents, edge, bands) for edge in (256, 1024))
        assert 3 <= large.text / small.text <= 4.5
        assert 1 / 90 < large.text / large.width < 1 / 40

    def test_text_has_contrast(self) -> None:
        """At least 4.5 to 1 on paper and on boxes (WCAG 2.2, 1.4.3)."""

        def luminance(colour: tuple[int, int, int]) -> float:
            parts = [value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in colour]
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

        for ink in (renderer.INK, renderer.QUIET):
            for ground in (renderer.PAPER, renderer.BOX):
                dark, light = sorted((luminance(ink), luminance(ground)))
                assert (light + 0.05) / (dark + 0.05) >= 4.5


class TestPreview:
    """The static picture in the notebook."""

    def test_the_worst_pictures_fit(self) -> None:
        """Twenty-four of noise: at most 300 kB and 1600 px wide, and recognisable."""
        pictures = [noise(seed=seed) for seed in range(6)]
        axis = Axis("a", tuple(range(6)))
        small = grid(
            {(row, column): pictures[(row + column) % 6] for row in range(4) for column in range(6)}, Axis("b", (0, 1, 2, 3)), axis
        ).preview()
        assert len(small.data) <= 300_000
        assert 700 < small.width <= 1600
        opened(small)

    def test_a_thousand_combinations_fit_and_are_all_there(self) -> None:
        """Ten by ten by ten, the grids side by side."""
        data = flat(BLUE, (64, 64), "JPEG")
        axis = Axis("a", tuple(range(10)))
        cells = {(row, column, layer): data for row in range(10) for column in range(10) for layer in range(10)}
        small = grid(cells, axis, Axis("b", axis.values), Axis("c", axis.values)).preview()
        image = opened(small)
        assert len(small.data) <= 300_000
        assert small.width <= 1600
        assert small.height <= 2400
        assert near(image, BLUE) > 1000 * 24 * 24

    def test_a_wide_grid_is_broken_into_bands_with_their_labels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Forty columns: each row and column label is there, the rows' once for each band."""
        axis = Axis("seed", tuple(range(40)))
        lines = texts(
            monkeypatch, grid({(row, column): flat() for row in QUALITY.values for column in axis.values}, QUALITY, axis), "preview"
        )
        assert [line for line in lines if line.isdigit()] == [str(each) for each in range(40)]
        assert lines.count("low") == lines.count("seed →") > 1

    def test_a_tall_grid_is_broken_into_columns_of_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A hundred prompts: each is there once, in order, and the picture is no ribbon."""
        axis = Axis("prompt", tuple(f"prompt {number:02} about a castle" for number in range(100)))
        sheet = grid({(prompt, ""): flat(size=(96, 64)) for prompt in axis.values}, axis)
        lines = texts(monkeypatch, sheet, "preview")
        assert re.findall(r"prompt (\d\d)", " ".join(lines)) == [f"{number:02}" for number in range(100)]
        small = sheet.preview()
        assert small.width > 800
        assert small.height <= 2400

    def test_more_than_a_preview_can_hold_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A contact sheet of thousands begins, and says how many there are."""
        data = flat(BLUE, (64, 64), "JPEG")
        sheet = contact_sheet([data] * 1200, ["a red fox in the snow, high"] * 1200, 4, note="all of them")
        small: list[Preview] = []
        encoded = sheets._encoded
        monkeypatch.setattr(
            sheets, "_encoded", lambda *given, **named: (small.append(made) if (made := encoded(*given, **named)) else None, made)[1]
        )
        lines = texts(monkeypatch, sheet, "preview")
        note = re.search(r"The beginning: ([\d,]+) of 1,200 pictures\. all of them", " ".join(lines))
        assert note is not None
        assert 100 < int(note[1].replace(",", "")) == len([line for line in lines if line.startswith("a red")]) < 1200
        assert len(small[-1].data) <= 300_000
        assert small[-1].height <= 6000

    def test_a_narrow_preview_can_be_asked(self) -> None:
        """Width and bytes are the caller's."""
        small = grid(full(), QUALITY, STYLE).preview(600, 40_000)
        assert small.width <= 600
        assert len(small.data) <= 40_000

    def test_labels_wider_than_the_preview_are_made_smaller(self) -> None:
        """The bound holds, whatever the labels."""
        axis = Axis("prompt", (TestText.LONG,))
        assert grid({(TestText.LONG, TestText.LONG): flat()}, axis, axis).preview(150).width <= 150

    def test_without_a_picture_it_is_a_png(self) -> None:
        """Words and boxes are sharp."""
        assert grid({}, QUALITY, STYLE).preview().mime_type == "image/png"
        assert grid(full(), QUALITY, STYLE).preview().mime_type == "image/jpeg"

    def test_each_picture_is_decoded_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Even if the sheet is drawn again, smaller, to keep to its bytes."""
        calls: list[int] = []
        load = renderer.load
        monkeypatch.setattr(renderer, "load", lambda tile, edge: (calls.append(id(tile)), load(tile, edge))[1])
        pictures = [noise(seed=seed) for seed in range(4)]
        contact_sheet(pictures).preview(limit=60_000)
        assert len(calls) == len(set(calls)) == 4

    def test_nothing_is_decoded_before_it_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sheet costs nothing until then, and a refusal decodes nothing."""
        monkeypatch.setattr(tiles, "decoded", lambda data: pytest.fail("decoded"))
        monkeypatch.setattr(layouts, "MAX_CANVAS", 1000)
        with pytest.raises(UnsupportedOption):
            grid(full(), QUALITY, STYLE).png()


class TestFull:
    """For a paper."""

    def test_a_cell_edge_is_kept(self) -> None:
        """Pictures within so many pixels on the long side."""
        boxes = boxes_of(opened(grid(full(size=(512, 256)), QUALITY, STYLE).png(100)), RED)
        assert [(box[2] - box[0], box[3] - box[1]) for box in boxes] == [(100, 50)] * 6

    def test_a_canvas_beyond_all_bounds_is_refused_with_the_edge_that_fits(self) -> None:
        """In words, nothing charged; and that edge does fit, while a little more does not."""
        data = flat(size=(3840, 2160))
        axis = Axis("a", tuple(range(10)))
        sheet = grid({(row, column): data for row in range(10) for column in range(10)}, axis, Axis("b", axis.values))
        with pytest.raises(UnsupportedOption, match="megapixels that are drawn at once") as refusal:
            sheet.png()
        assert refusal.value.charge == "no"
        edge = refusal.value.fix["edge"]
        bands = _whole_bands(sheet.contents)
        assert Layout(sheet.contents, edge, bands).within_limits
        assert not Layout(sheet.contents, round(edge * 1.1), bands).within_limits
        assert MAX_CANVAS == 60_000_000

    def test_a_pdf_is_one_page_as_wide_as_a4(self) -> None:
        """With the title in its properties, and the picture on it."""
        data = grid(full(), QUALITY, STYLE, title="Château 城").pdf()
        assert data.startswith(b"%PDF-")
        (box,) = set(re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data))
        assert abs(float(box[0]) - 595.28) < 0.5
        assert "Château 城".encode("utf-16-be") in data
        (page,) = pages_of(data)
        assert near(page, RED) > 6 * 250 * 250

    def test_a_long_sheet_is_broken_into_pages_between_rows(self) -> None:
        """Every picture is on one page, every page is A4, and each has its labels."""
        axis = Axis("row", tuple(range(30)))
        sheet = grid({(row, column): flat(size=(200, 200)) for row in axis.values for column in STYLE.values}, axis, STYLE, title="Many")
        data = sheet.pdf()
        pages = pages_of(data)
        assert len(pages) > 2
        assert {page.size for page in pages} == {pages[0].size}
        assert abs(pages[0].height / pages[0].width - 2**0.5) < 0.01
        assert sum(round(near(page, RED) / 200 / 200) for page in pages) == 90
        layout = Layout(sheet.contents, None, _whole_bands(sheet.contents))
        broken = list(_pages(layout, round(layout.width * 2**0.5)))
        assert [row for page in broken for band in page.bands for row in band.rows] == list(axis.values)
        assert all(page.height <= round(layout.width * 2**0.5) for page in broken)

    def test_a_page_shows_no_more_than_600_dpi_unless_asked(self) -> None:
        """Ten pictures of 2048 px side by side would be 20,000 px."""
        axis = Axis("a", tuple(range(3)))
        sheet = grid({(row, ""): flat(size=(6000, 500)) for row in axis.values}, axis)
        assert pages_of(sheet.pdf())[0].width <= 4960 * 1.02
        assert pages_of(sheet.pdf(5500))[0].width > 5500
        large, columns = io.BytesIO(), Axis("b", tuple(range(10)))
        Image.new("1", (6000, 6000)).save(large, "PNG")
        with pytest.raises(UnsupportedOption, match="megapixels"):
            grid({(0, column): large.getvalue() for column in columns.values}, Axis("a", (0, 1)), columns).pdf(6000)


class TestContactSheet:
    """Pictures with captions, in reading order."""

    def test_captions_stand_under_their_pictures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One each, in order; the columns as asked."""
        colours = [RED, GREEN, BLUE, RED, GREEN]
        sheet = contact_sheet([flat(each, (80, 80)) for each in colours], [f"@{number}" for number in range(5)], 2, title="Foxes")
        assert texts(monkeypatch, sheet) == ["Foxes", "@0", "@1", "@2", "@3", "@4"]
        image = opened(sheet.png())
        first = [boxes_of(image, each)[0] for each in (RED, GREEN, BLUE)]
        assert first[0][1] == first[1][1] < first[2][1]
        assert first[0][0] == first[2][0] < first[1][0]
        assert sheet.alt == "Foxes: 5 pictures"

    def test_pictures_of_different_height_stand_on_their_captions(self) -> None:
        """The lower edges of a row are level, so that a caption is next to its own picture."""
        image = opened(contact_sheet([flat(RED, (160, 90)), flat(BLUE, (90, 160))], ["a", "b"], 2).png())
        assert boxes_of(image, RED)[0][3] == boxes_of(image, BLUE)[0][3]

    def test_none_is_refused_and_captions_are_for_all(self) -> None:
        """An empty sheet is no sheet."""
        with pytest.raises(UnsupportedOption, match="no picture"):
            contact_sheet([])
        with pytest.raises(ValueError, match="1 captions for 2 pictures"):
            contact_sheet([flat(), flat()], ["a"])


def pages_of(data: bytes) -> list[Image.Image]:
    """Return the pages of a PDF of pictures."""
    found = re.findall(rb"stream\r?\n(\xff\xd8.*?)\r?\nendstream", data, re.DOTALL)
    counts = [int(each) for each in re.findall(rb"/Count (\d+)", data)]
    assert max(counts) == len(found)
    return [Image.open(io.BytesIO(each)).convert("RGB") for each in found]
