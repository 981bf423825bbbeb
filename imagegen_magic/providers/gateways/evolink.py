"""EvoLink, as its page "GPT Image 2" says: https://docs.evolink.ai, POST /v1/images/generations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from imagegen_magic.providers import responses
from imagegen_magic.providers.base import Model, PixelRule, PollingPolicy, Provider, UploadCall, UploadRule, standard_field_names
from imagegen_magic.providers.model import parse_sizes
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost


class EvoLink(Provider):
    """EvoLink: fifteen ratios, size `auto` by default, up to ten pictures a task, callbacks; it reserves credits."""

    name = "evolink"
    title = "EvoLink"
    base_url = "https://api.evolink.ai"
    key_variable = "EVOLINK_API_KEY"
    docs_url = "https://docs.evolink.ai"
    polling = PollingPolicy(min_interval=3.0, initial_delay=3.0, batch_size=50)
    field_names = standard_field_names("model", "prompt", "size", "resolution", "quality", "n", "references", "callback_url")
    upload = UploadRule(
        address="https://files-api.evolink.ai/api/v1/files/upload/stream",
        host="files-api.evolink.ai",
        types=("image/jpeg", "image/png", "image/webp", "image/gif"),
        max_bytes=100_000_000,
        lifetime=72 * 3600,
        checked="2026-11-20",
        document="https://docs.evolink.ai: File Stream Upload",
    )
    key_hosts = ("files-api.evolink.ai",)
    models = (
        Model(
            name="gpt-image-2",
            sizes=parse_sizes(
                ("1k", "2k", "4k"),
                {
                    "1:1": "1024x1024 2048x2048 2880x2880",
                    "1:2": "1024x2048 1024x2048 1920x3840",
                    "2:1": "2048x1024 2048x1024 3840x1920",
                    "1:3": "1024x3072 688x2048 1280x3840",
                    "3:1": "3072x1024 2048x688 3840x1280",
                    "2:3": "1024x1536 1360x2048 2336x3520",
                    "3:2": "1536x1024 2048x1360 3520x2336",
                    "3:4": "1024x1360 1536x2048 2480x3312",
                    "4:3": "1360x1024 2048x1536 3312x2480",
                    "4:5": "1024x1280 1632x2048 2560x3216",
                    "5:4": "1280x1024 2048x1632 3216x2560",
                    "9:16": "1024x1824 1152x2048 2160x3840",
                    "16:9": "1824x1024 2048x1152 3840x2160",
                    "9:21": "1024x2384 880x2048 1648x3840",
                    "21:9": "2384x1024 2048x880 3840x1648",
                },
            ),
            auto_size=True,
            default_size="auto",
            pixel_rule=PixelRule(),
            resolutions=("1k", "2k", "4k"),
            qualities=("low", "medium", "high"),
            default_quality="medium",
            max_n=10,
            max_references=16,
            reference_types=("jpeg", "jpg", "png", "webp"),
            reference_bytes=50_000_000,
            callback=True,
            max_prompt=32_000,
            checked="2026-11-20",
            document="https://docs.evolink.ai: GPT Image 2 Image Generation",
            note="low costs about 0.11 of medium, high about 4 times as much (at 1024x1024)",
        ),
    )

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the JSON of one submission; the tiers are written 1K, 2K, 4K."""
        body = super().payload(request, n)
        if request.resolution:
            body["resolution"] = request.resolution.upper()
        return body

    def upload_call(self, picture: LocalImage) -> UploadCall:
        """Return the upload of a picture, with its folder and its name there."""
        call = super().upload_call(picture)
        return replace(call, form={"uploadPath": "references", "fileName": call.file_name})

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the credits that are reserved for a task."""
        usage = task.get("usage")
        amount = responses.amount(usage.get("credits_reserved")) if isinstance(usage, Mapping) else None
        return Cost() if amount is None else Cost(amount, "credits", "reserved", f"{self.title}'s answer")

    def estimated_seconds(self, task: Mapping[str, Any]) -> float | None:
        """Return the estimate that EvoLink gives with a new task."""
        outlook = task.get("task_info")
        return responses.seconds(outlook.get("estimated_time")) if isinstance(outlook, Mapping) else None
