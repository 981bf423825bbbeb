"""APIMart, as its page "GPT-Image-2-Official" says: https://docs.apimart.ai, POST /v1/images/generations."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from imagegen_magic.providers import responses
from imagegen_magic.providers.base import Model, PixelRule, Pixels, PollingPolicy, Provider, UploadRule, standard_field_names
from imagegen_magic.providers.model import parse_sizes
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

_DOLLARS_A_MILLION = 24  # output tokens, APIMart's price list
_STEPS = {"low": 16, "medium": 48, "high": 96}


class APIMart(Provider):
    """APIMart: one model, thirteen ratios; 4k only if the long edge fits the pixel cap."""

    name = "apimart"
    title = "APIMart"
    base_url = "https://api.apimart.ai"
    key_variable = "APIMART_API_KEY"
    docs_url = "https://docs.apimart.ai"
    polling = PollingPolicy(min_interval=3.0, initial_delay=10.0, batch_size=50)
    field_names = standard_field_names(*(field for field in Provider.field_names if field != "callback_url"))
    refusal_phrases = ("build_request_failed",)
    upload: ClassVar[UploadRule | None] = UploadRule(
        address="/v1/uploads/images",
        host="api.apimart.ai",
        types=("image/jpeg", "image/png", "image/webp", "image/gif"),
        max_bytes=20_000_000,
        lifetime=72 * 3600,
        checked="2026-11-20",
        document="https://docs.apimart.ai: Upload Image",
    )
    models: ClassVar[tuple[Model, ...]] = (
        Model(
            name="gpt-image-2-official",
            sizes=parse_sizes(
                ("1k", "2k", "4k"),
                {
                    "1:1": "1024x1024 2048x2048 -",
                    "3:2": "1536x1024 2048x1360 -",
                    "2:3": "1024x1536 1360x2048 -",
                    "4:3": "1024x768 2048x1536 -",
                    "3:4": "768x1024 1536x2048 -",
                    "5:4": "1280x1024 2560x2048 -",
                    "4:5": "1024x1280 2048x2560 -",
                    "16:9": "1536x864 2048x1152 3840x2160",
                    "9:16": "864x1536 1152x2048 2160x3840",
                    "2:1": "2048x1024 2688x1344 3840x1920",
                    "1:2": "1024x2048 1344x2688 1920x3840",
                    "21:9": "2016x864 2688x1152 3840x1648",
                    "9:21": "864x2016 1152x2688 1648x3840",
                },
            ),
            pixel_rule=PixelRule(),
            resolutions=("1k", "2k", "4k"),
            qualities=("auto", "low", "medium", "high"),
            default_quality="auto",
            backgrounds=("auto", "opaque"),
            moderations=("auto", "low"),
            formats=("png", "jpeg", "webp"),
            compressible=("jpeg", "webp"),
            max_n=4,
            max_references=16,
            mask=True,
            checked="2026-11-20",
            document="https://docs.apimart.ai: GPT-Image-2-Official",
            note="transparent would silently become auto; quality auto is typically low",
        ),
    )

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return the price of one picture's output tokens; unknown for quality auto, which the model chooses."""
        if pixels is None or request.quality not in _STEPS:
            return Cost()
        amount = Decimal(output_tokens(request.quality, pixels) * _DOLLARS_A_MILLION) / 1_000_000
        source = f"APIMart's ${_DOLLARS_A_MILLION} per million output tokens, OpenAI's count of tokens; input tokens not counted"
        return Cost(amount, "USD", "estimated", source, "2026-11-20", unknown=1 if request.references else 0)

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the dollars that a finished task names."""
        amount = responses.amount(task.get("cost"))
        return Cost() if amount is None else Cost(amount, "USD", "measured", f"{self.title}'s answer")


def output_tokens(quality: str, pixels: Pixels) -> int:
    """Return gpt-image-2's output tokens for one picture of `low`, `medium` or `high` quality, by OpenAI's published formula."""
    steps, long, short = _STEPS[quality], max(pixels), min(pixels)
    across = (2 * steps * short + long) // (2 * long)  # rounded half up, exactly
    return -(-steps * across * (2_000_000 + long * short) // 4_000_000)
