"""EvoLink, as its page "GPT Image 2" says: https://docs.evolink.ai, POST /v1/images/generations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from imagegen_magic.providers import responses
from imagegen_magic.providers.base import Balance, Model, PixelRule, PollingPolicy, Provider, UploadCall, UploadRule, standard_field_names
from imagegen_magic.providers.model import parse_sizes
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost

_COMMON: dict[str, Any] = {
    "sizes": parse_sizes(
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
    "auto_size": True,
    "default_size": "auto",
    "pixel_rule": PixelRule(),
    "pixel_budgets": {"1k": 1_048_576, "2k": 4_194_304, "4k": 8_294_400},
    "resolutions": ("1k", "2k", "4k"),
    "default_quality": "medium",
    "formats": ("png", "jpeg", "webp"),
    "unsent": ("background", "output_format"),
    "max_n": 10,
    "max_references": 16,
    "reference_types": ("jpeg", "jpg", "png", "webp"),
    "reference_bytes": 50_000_000,
    "mask": True,
    "callback": True,
    "max_prompt": 32_000,
}
"""What EvoLink's models have in common."""


class EvoLink(Provider):
    """EvoLink: fifteen ratios, size `auto` by default, up to ten pictures a task, callbacks; it reserves credits."""

    name = "evolink"
    title = "EvoLink"
    base_url = "https://api.evolink.ai"
    key_variable = "EVOLINK_API_KEY"
    docs_url = "https://docs.evolink.ai"
    polling = PollingPolicy(min_interval=3.0, initial_delay=3.0, batch_size=50)
    field_names = standard_field_names(
        *("model", "prompt", "size", "resolution", "quality", "n", "background", "output_format", "references", "mask", "callback_url")
    )
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
    failures_free = "https://docs.evolink.ai: GPT Image 2 Image Generation"
    error_hints: ClassVar[Mapping[str, str]] = {
        **Provider.error_hints,
        **dict.fromkeys(
            ("insufficient_token_quota", "token_daily_quota_exceeded"),
            "this is the key's own limit, not the account's: raise it on EvoLink's page for keys, or wait until it is renewed",
        ),
        "key_model_not_allowed": "choose another model, or allow this one for the key on EvoLink's page for keys",
        **dict.fromkeys(("resource_exhausted", "service_unavailable", "generation_timeout"), "try again later"),
        **dict.fromkeys(("invalid_parameters", "image_dimension_mismatch"), "change the request"),
    }
    idempotency = True
    idempotency_seconds = 24 * 3600.0
    balance_path = "/v1/credits"
    list_path = "/v1/tasks"
    models = (
        Model(
            name="gpt-image-2",
            **_COMMON,
            qualities=("low", "medium", "high"),
            backgrounds=("auto", "opaque"),
            checked="2026-11-20",
            document="https://docs.evolink.ai: GPT Image 2 Image Generation; mask, background and format by its tool of 2026-09",
            note="low costs about 0.11 of medium, high about 4 times as much (at 1024x1024); with n above 1, often only one picture comes",
        ),
        *(
            Model(
                name=name,
                **_COMMON,
                qualities=("low", "medium", "high", "xhigh", "max"),
                backgrounds=("auto", "opaque", "transparent"),
                added="2026-11-30",
                checked="2026-11-30",
                document="https://docs.evolink.ai: GPT Image 2.5, page of 2026-09-16",
                note="with n above 1, often only one picture comes",
            )
            for name in ("gpt-image-2.5-flare", "gpt-image-2.5-sunburst")
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

    def read_balance(self, answer: Any) -> Balance:
        """Return the credits of the account. Raises APIError if the answer has none."""
        user: Any = responses.task_object(answer).get("user")
        remaining = responses.amount(user.get("remaining_credits")) if isinstance(user, Mapping) else None
        if remaining is None:
            return super().read_balance(answer)
        return Balance(remaining, "credits", responses.amount(user["used_credits"]) if "used_credits" in user else None)

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the credits that a finished task used, else its dollars, else the credits that are reserved for it."""
        usage: Any = task.get("usage")
        usage = usage if isinstance(usage, Mapping) else {}
        dollars = usage.get("cost")
        source = f"{self.title}'s answer"
        if (used := responses.amount(usage.get("credits_used"))) is not None:
            return Cost(used, "credits", "measured", source)
        if isinstance(dollars, Mapping) and (spent := responses.amount(dollars.get("usd"))) is not None:
            return Cost(spent, "USD", "measured", source)
        reserved = responses.amount(usage.get("credits_reserved"))
        return Cost() if reserved is None else Cost(reserved, "credits", "reserved", source)

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return the warning that often only one picture comes for n above 1."""
        return ("EvoLink often returns only one picture for n above 1; --repeat makes single requests",) if (request.n or 1) > 1 else ()

    def estimated_seconds(self, task: Mapping[str, Any]) -> float | None:
        """Return the estimate that EvoLink gives with a new task."""
        outlook = task.get("task_info")
        return responses.seconds(outlook.get("estimated_time")) if isinstance(outlook, Mapping) else None
