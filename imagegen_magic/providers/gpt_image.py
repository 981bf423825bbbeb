"""What OpenAI publishes of GPT Image 2 and 2.5, for every service that has these models: usual sizes and output tokens."""

from __future__ import annotations

from fractions import Fraction

from imagegen_magic.providers.model import Pixels, parse_sizes

_PATCH, _MAX_PATCHES = 32, 1536  # pixels; tokens of an input image, by public measurements of September 2026
_STEPS = {"low": 16, "medium": 48, "high": 96}
_STEPS_OF_2_5 = {"low": 16, "medium": 24, "high": 48, "xhigh": 64, "max": 96}
SIZES = parse_sizes(  # fifteen ratios, 4k for all of them: the newer models
    ("1k", "2k", "4k"),
    {
        "1:1": "1024x1024 2048x2048 2880x2880",
        "3:2": "1536x1024 2048x1360 3520x2336",
        "2:3": "1024x1536 1360x2048 2336x3520",
        "4:3": "1024x768 2048x1536 3312x2480",
        "3:4": "768x1024 1536x2048 2480x3312",
        "5:4": "1280x1024 2560x2048 3216x2576",
        "4:5": "1024x1280 2048x2560 2576x3216",
        "16:9": "1536x864 2048x1152 3840x2160",
        "9:16": "864x1536 1152x2048 2160x3840",
        "2:1": "2048x1024 2688x1344 3840x1920",
        "1:2": "1024x2048 1344x2688 1920x3840",
        "3:1": "1536x512 3072x1024 3840x1280",
        "1:3": "512x1536 1024x3072 1280x3840",
        "21:9": "2016x864 2688x1152 3840x1648",
        "9:21": "864x2016 1152x2688 1648x3840",
    },
)


def token_steps(model: str) -> dict[str, int]:
    """Return the steps of a model's longer edge by quality, from which its output tokens are counted."""
    return _STEPS_OF_2_5 if model.startswith("gpt-image-2.5") else _STEPS


def output_tokens(quality: str, pixels: Pixels, model: str = "") -> int:
    """Return the output tokens of gpt-image-2 (of 2.5 by its name) for one picture of this quality, by OpenAI's published formula."""
    steps, long, short = token_steps(model)[quality], max(pixels), min(pixels)
    across = (2 * steps * short + long) // (2 * long)  # rounded half up, exactly
    if token_steps(model) is _STEPS_OF_2_5:
        across = round(Fraction(steps * short, long))  # half to even
    return -(-steps * across * (2_000_000 + long * short) // 4_000_000)


def input_tokens(pixels: Pixels) -> int:
    """Return the tokens of one reference or mask: its patches of 32x32 pixels, at most 1536, to which a larger image is scaled down.

    OpenAI publishes no such table for these models. The count is that of https://github.com/Comfy-Org/docs/pull/1664 (1024 tokens for
    1024x1024), and agrees with the measurements of others.
    """
    across, down = (-(-edge // _PATCH) for edge in pixels)
    return min(across * down, _MAX_PATCHES)
