"""What a task takes at a gateway, in seconds and in money: the sandbox's own model, near the published figures."""

from __future__ import annotations

import math
import random
from typing import Final

from imagegen_magic.providers.base import Pixels
from imagegen_magic.providers.gpt_image import output_tokens

# median seconds at one megapixel, spread (sigma of the logarithm) and growth per further megapixel: published measurements
# of 20/45, 46/90 and 115/160 s (median/p95), and 195/280 s for high quality at 4K
_SECONDS: Final = {"low": (20.0, 0.45, 0.02), "medium": (46.0, 0.38, 0.05), "high": (115.0, 0.21, 0.095)}
_SECONDS_OF: Final = {"auto": "low", "": "low", "xhigh": "high", "max": "high"}  # qualities without measurements
_MEGAPIXEL: Final = 1_048_576

_FIRST_MODELS: Final = {  # OpenAI's table of output tokens: square, portrait, landscape
    "low": (272, 408, 400),
    "medium": (1056, 1584, 1568),
    "high": (4160, 6240, 6208),
}
_DOLLARS_A_MILLION: Final = {"gpt-image-1-official": 40.0, "gpt-image-1.5-official": 32.0}


def median_seconds(quality: str, pixels: Pixels) -> float:
    """Return how long such a picture usually takes, in seconds before scaling."""
    median, _, growth = _SECONDS[_SECONDS_OF.get(quality, quality)]
    beyond = max(0.0, pixels[0] * pixels[1] / _MEGAPIXEL - 1)
    return median * (1 + growth * beyond)


def seconds(quality: str, pixels: Pixels, task_id: str) -> float:
    """Return how long this task takes, in seconds before scaling: log-normal, and the same for the same id."""
    spread = _SECONDS[_SECONDS_OF.get(quality, quality)][1]
    return median_seconds(quality, pixels) * math.exp(random.Random(task_id).gauss(0.0, spread))


def tokens(quality: str, pixels: Pixels, model: str = "") -> int:
    """Return a model's output tokens for one picture; auto counts as low."""
    return output_tokens("low" if quality in ("auto", "") else quality, pixels, model)


def dollars(model: str, quality: str, pixels: Pixels, count: int) -> float:
    """Return what apimart or gccai charge for `count` pictures, in dollars."""
    price = _DOLLARS_A_MILLION.get(model)
    if price is None:
        return round(count * tokens(quality, pixels, model) * 24 / 1_000_000, 5)
    square, portrait, landscape = _FIRST_MODELS["low" if quality == "auto" else quality]
    width, height = pixels
    spent = square if width == height else portrait if width < height else landscape
    return round(count * spent * price / 1_000_000, 5)


def credits_for(quality: str, pixels: Pixels, count: int, model: str = "") -> float:
    """Return what evolink reserves for `count` pictures: 4 credits for a medium 1024x1024 one, the rest in proportion of tokens."""
    return round(count * tokens(quality, pixels, model) * 4 / tokens("medium", (1024, 1024)), 2)
