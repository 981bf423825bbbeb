"""Xingchao, as its page "GPT Image 2" says: https://docs.xingchaoyiqing.com, POST /v1/image2/images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from imagegen_magic.providers import responses
from imagegen_magic.providers.base import Model, PixelRule, PollingPolicy, Provider, standard_field_names
from imagegen_magic.providers.model import parse_sizes
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

_PAGE = "https://docs.xingchaoyiqing.com: GPT Image 2"

# The page names ratios and tiers but no pixels: these are what OpenAI's limits suggest, and the plan promises none of them.
_SIZES = parse_sizes(
    ("1k", "2k", "4k"),
    {
        "1:1": "1024x1024 2048x2048 -",
        "16:9": "1536x864 2048x1152 3840x2160",
        "9:16": "864x1536 1152x2048 2160x3840",
        "4:3": "1024x768 2048x1536 -",
        "3:4": "768x1024 1536x2048 -",
        "3:2": "1536x1024 2048x1360 -",
        "2:3": "1024x1536 1360x2048 -",
        "5:4": "1280x1024 2560x2048 -",
        "4:5": "1024x1280 2048x2560 -",
        "2:1": "2048x1024 2688x1344 3840x1920",
        "1:2": "1024x2048 1344x2688 1920x3840",
        "21:9": "2016x864 2688x1152 3840x1648",
        "9:21": "864x2016 1152x2688 1648x3840",
    },
)


class Xingchao(Provider):
    """Xingchao: one picture a task; `gpt-image-2` by quality, `gpt-image-2-r` with more references at 1k."""

    name = "xingchao"
    title = "Xingchao"
    base_url = "https://zcbservice.aizfw.cn/kyyReactApiServer"
    key_variable = "XINGCHAO_API_KEY"
    docs_url = "https://docs.xingchaoyiqing.com"
    polling = PollingPolicy(min_interval=2.0, initial_delay=2.0, batch_size=0)
    submit_path = "/v1/image2/images"
    task_path = "/v1/result/{}"
    field_names = standard_field_names("model", "prompt", "size", "resolution", "quality", "references")
    reserved_fields: ClassVar[Mapping[str, str]] = {"ratio": "size"}
    models = (
        Model(
            name="gpt-image-2",
            sizes=_SIZES,
            pixels_documented=False,
            pixel_rule=PixelRule(),
            resolutions=("1k", "2k", "4k"),
            qualities=("low", "medium", "high"),
            default_quality="low",
            max_references=6,
            checked="2026-11-20",
            document=_PAGE,
            note="billed by quality; 4k only at 16:9, 9:16, 2:1, 1:2, 21:9 and 9:21",
        ),
        Model(
            name="gpt-image-2-r",
            sizes={ratio: {"1k": tiers["1k"]} for ratio, tiers in _SIZES.items()},
            pixels_documented=False,
            pixel_rule=PixelRule(max_area=1_600_000),
            resolutions=("1k",),
            max_references=16,
            checked="2026-11-20",
            document=_PAGE,
            note="billed by resolution; quality would silently be ignored; the page says 1k only, so larger pixels are refused here",
        ),
    )

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the amount that a finished task names, in a currency that it does not state."""
        amount = responses.amount(task.get("amount"))
        return Cost() if amount is None else Cost(amount, "", "measured", f"{self.title}'s answer")

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the JSON of one submission: a ratio with its tier, or pixels alone."""
        body = super().payload(request, n)
        if request.resolution:
            body["ratio"] = body.pop("size")
        return body
