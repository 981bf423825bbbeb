"""The sandbox's drawings: exact pixels, format and alpha; the same for the same prompt and seed, different for any other."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import time
from collections.abc import Callable

import pytest
from PIL import Image, ImageChops, ImageStat

from imagegen_magic.sandbox import canvas, drawing
from imagegen_magic.sandbox.drawing import draw
from imagegen_magic.sandbox.images import Drawing, Gallery

STYLES = (*drawing._LAND, *drawing._SHEET)


def opened(picture: bytes) -> Image.Image:
    """Return the decoded picture."""
    image = Image.open(io.BytesIO(picture))
    image.load()
    return image


@pytest.mark.parametrize(
    ("width", "height"), [(1024, 1024), (1881, 836), (512, 1536), (688, 2048), (3840, 1280), (64, 48), (17, 5), (1, 1)]
)
def test_the_pixels_are_exact(width: int, height: int) -> None:
    """Any size, odd and tiny ones too."""
    assert opened(draw("a quiet lake", seed=0, width=width, height=height)).size == (width, height)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("width", "height"), [(384, 256), (160, 480), (40, 30)])
def test_every_style_fits_every_shape(style: str, width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide, tall and tiny sheets are painted, and are no blank paper."""
    monkeypatch.setattr(drawing, "_style", lambda words, rng: style)
    for prompt in ("plain", "night"):
        image = opened(draw(prompt, seed=3, width=width, height=height, quality="high"))
        assert (image.size, max(ImageStat.Stat(image).stddev) > 8) == ((width, height), True)


@pytest.mark.parametrize(("mime_type", "form"), [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP")])
def test_the_format_is_the_one_asked_for(mime_type: str, form: str) -> None:
    """PNG, JPEG, WebP; another is a ValueError."""
    assert opened(draw("x", seed=0, width=96, height=64, mime_type=mime_type)).format == form
    with pytest.raises(ValueError, match="image/gif"):
        draw("x", seed=0, width=96, height=64, mime_type="image/gif")


@pytest.mark.parametrize("mime_type", ["image/png", "image/webp"])
def test_alpha_is_a_transparent_ground_around_an_opaque_picture(mime_type: str) -> None:
    """Corners are clear, the middle is not, edges are smooth."""
    alpha = opened(draw("x", seed=0, width=300, height=200, mime_type=mime_type, alpha=True)).getchannel("A")
    assert [alpha.getpixel(place) for place in ((0, 0), (299, 199), (150, 100))] == [0, 0, 255]
    assert len(alpha.getcolors() or []) > 4


def test_without_alpha_there_is_none() -> None:
    """Opaque pictures are plain RGB, and a JPEG never has alpha."""
    assert opened(draw("x", seed=0, width=96, height=64)).mode == "RGB"
    assert opened(draw("x", seed=0, width=96, height=64, mime_type="image/jpeg", alpha=True)).mode == "RGB"


def test_compression_is_heeded_by_jpeg_and_webp() -> None:
    """Fewer per cent, fewer bytes."""
    for mime_type in ("image/jpeg", "image/webp"):
        sizes = [len(draw("a quiet lake", seed=0, width=512, height=512, mime_type=mime_type, compression=part)) for part in (0, 50, 100)]
        assert sizes == sorted(set(sizes))


def test_the_same_prompt_and_seed_draw_the_same_bytes() -> None:
    """Deterministic, also for a prompt that is no valid Unicode."""
    for prompt in ("a red fox", "星空下的古堡", "emoji 🦊 {braces}", "lone \ud83e surrogate", ""):
        assert draw(prompt, seed=7, width=200, height=120) == draw(prompt, seed=7, width=200, height=120)


def test_every_prompt_and_every_seed_draw_another_picture() -> None:
    """Fifty of them, among them prompts of one subject, and no two alike."""
    pictures = [draw(prompt, seed=seed, width=72, height=48) for prompt in ("a red fox", "castle", "sea", "x", "y") for seed in range(10)]
    assert len({hashlib.sha256(picture).digest() for picture in pictures}) == 50


def test_words_of_the_prompt_nudge_the_subject() -> None:
    """Night is dark, and a castle, a lighthouse, a fox or a portrait are drawn as such."""
    dark, bright = (
        ImageStat.Stat(opened(draw(f"mountains {words}", seed=0, width=96, height=64)).convert("L")).mean[0]
        for words in ("at night", "in mist")
    )
    assert dark + 40 < bright
    assert [drawing._style(f"x {word} y", drawing.random.Random(0)) for word in ("castle", "lighthouse", "fox", "portrait", "城市")] == [
        "castle",
        "lighthouse",
        "fox",
        "portrait",
        "city",
    ]


def test_a_quiet_mark_says_that_it_is_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the lower right corner differs from the same drawing without the mark."""
    monkeypatch.setattr(drawing, "_style", lambda words, rng: "mountains")
    marked = opened(draw("x", seed=0, width=900, height=600))
    monkeypatch.setattr(drawing, "_mark", lambda canvas, inset: None)
    bare = opened(draw("x", seed=0, width=900, height=600))
    box = ImageChops.difference(marked, bare).getbbox()
    assert box is not None
    assert (box[0] > 780, box[1] > 565, (box[2] - box[0]) * (box[3] - box[1]) < 0.004 * 900 * 600) == (True, True, True)


@pytest.mark.parametrize("style", ["orbits", "city", "paper", "ribbons"])
def test_a_large_drawing_in_tiles_is_the_same_as_in_one_piece(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thin strokes, cut-outs and full areas survive the tiling; only the smoothness of edges may differ."""
    monkeypatch.setattr(drawing, "_style", lambda words, rng: style)
    tiled = opened(draw("x", seed=5, width=1800, height=1200, quality="high"))
    monkeypatch.setattr(canvas, "_tiles", lambda box, draw: [(box, False)])
    whole = opened(draw("x", seed=5, width=1800, height=1200, quality="high"))
    histogram = ImageChops.difference(tiled, whole).convert("L").histogram()
    assert sum(histogram[128:]) == 0
    assert sum(histogram[24:]) < 0.01 * 1800 * 1200


def test_a_gradient_is_the_same_in_two_steps_and_costs_a_part() -> None:
    """A column stretched first and widened then is, pixel for pixel, the strip resized in one step, at less than half its cost."""
    stops, box, tile = ((250, 240, 230), (20, 90, 160), (5, 5, 30)), (0, 0, 1600, 1200), (100, 60, 1500, 1100)
    rows = (0, 60 * 256 / 1200, 1, 1100 * 256 / 1200)
    in_two = functools.partial(canvas._fill, stops, box, tile)
    in_one = functools.partial(canvas._strip(stops).resize, (1400, 1040), Image.Resampling.BILINEAR, box=rows)
    assert ImageChops.difference(in_two(), in_one()).getbbox() is None
    assert _least_seconds(in_two) < 0.5 * _least_seconds(in_one)


def test_a_colour_through_a_mask_is_the_same_as_an_image_of_it() -> None:
    """A shape of one colour looks as if the colour had been pasted, and costs less."""
    sheet, mask = canvas.Canvas(700, 500, ((240, 230, 220), (10, 20, 60))), Image.radial_gradient("L").resize((700, 500))
    expected = sheet.image.copy()
    expected.paste((200, 40, 30), (0, 0, 700, 500), mask)
    plain = _least_seconds(functools.partial(expected.copy().paste, (200, 40, 30), (0, 0, 700, 500), mask))
    assert _least_seconds(functools.partial(canvas.Canvas(700, 500, (0, 0, 0))._paste, (200, 40, 30), (0, 0, 700, 500), mask)) < plain
    sheet._paste((200, 40, 30), (0, 0, 700, 500), mask)
    assert ImageChops.difference(sheet.image, expected).getbbox() is None


def _least_seconds(work: Callable[[], object]) -> float:
    """Return the least CPU time of eight runs: both sides of a comparison are taken on the same machine in the same minute."""
    spent = []
    for _ in range(8):
        before = time.thread_time()
        work()
        spent.append(time.thread_time() - before)
    return min(spent)


def test_quality_decides_how_much_there_is_to_see() -> None:
    """High draws more than low."""
    low, high = (draw("starry night over mountains", seed=0, width=512, height=512, quality=quality) for quality in ("low", "high"))
    assert len(low) < len(high)


def test_drawing_leaves_the_event_loop_free() -> None:
    """While two large pictures are drawn, the loop goes on turning."""

    async def beside() -> int:
        gallery = Gallery()
        wanted = [Drawing(f"castle {n}", 0, 1600, 1200, "image/png", False, "high", None) for n in range(4)]
        fetching = asyncio.gather(*map(gallery.fetch, wanted))
        turns = 0
        while not fetching.done():
            await asyncio.sleep(0.002)
            turns += 1
        assert len({len(picture) for picture in await fetching}) == 4
        return turns

    assert asyncio.run(beside()) > 10


def test_two_are_drawn_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawings share two threads."""
    drawn: list[int] = []
    most: list[int] = []

    def slow(self: Drawing, find: object) -> bytes:
        drawn.append(1)
        most.append(len(drawn))
        time.sleep(0.02)
        drawn.pop()
        return b"x"

    monkeypatch.setattr(Drawing, "bytes", slow)

    async def crowd() -> None:
        gallery = Gallery()
        await asyncio.gather(*(gallery.fetch(Drawing(str(n), 0, 8, 8, "image/png", False, "low", None)) for n in range(8)))

    asyncio.run(crowd())
    assert max(most) == 2
