"""The sandbox's drawings: exact pixels, format and alpha; the same for the same prompt and seed, different for any other."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from imagegen_magic.formats import PNG
from imagegen_magic.sandbox import drawing
from imagegen_magic.sandbox.drawing import encoded, paint
from imagegen_magic.sandbox.images import ImageCache, ImageSpec

pytestmark = pytest.mark.slow

STYLES = (*drawing._LAND, "ribbons")


def draw(prompt: str, *, mime_type: str = PNG.mime_type, compression: int | None = None, **options: Any) -> bytes:
    """Return an encoded drawing."""
    return encoded(paint(prompt, **options), mime_type, compression)


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
    """Night is dark, and a castle, a lighthouse, a fox or a city is drawn as such."""
    dark, bright = (
        ImageStat.Stat(opened(draw(f"mountains {words}", seed=0, width=96, height=64)).convert("L")).mean[0]
        for words in ("at night", "in mist")
    )
    assert dark + 40 < bright
    assert [drawing._style(f"x {word} y", drawing.random.Random(0)) for word in ("castle", "lighthouse", "fox", "城市")] == [
        "castle",
        "lighthouse",
        "fox",
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


def test_quality_decides_how_much_there_is_to_see() -> None:
    """High draws more than low."""
    low, high = (draw("starry night over mountains", seed=0, width=512, height=512, quality=quality) for quality in ("low", "high"))
    assert len(low) < len(high)


def test_drawing_leaves_the_event_loop_free() -> None:
    """While two large pictures are drawn, the loop goes on turning."""

    async def beside() -> int:
        gallery = ImageCache()
        wanted = [ImageSpec(f"castle {n}", 0, 1600, 1200, "image/png", False, "high", None) for n in range(4)]
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

    def slow(self: ImageSpec, find: object) -> bytes:
        drawn.append(1)
        most.append(len(drawn))
        time.sleep(0.02)
        drawn.pop()
        return b"x"

    monkeypatch.setattr(ImageSpec, "bytes", slow)

    async def crowd() -> None:
        gallery = ImageCache()
        await asyncio.gather(*(gallery.fetch(ImageSpec(str(n), 0, 8, 8, "image/png", False, "low", None)) for n in range(8)))

    asyncio.run(crowd())
    assert max(most) == 2
