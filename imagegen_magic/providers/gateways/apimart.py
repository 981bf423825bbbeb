"""APIMart, as its page "GPT-Image-2-Official" says: https://docs.apimart.ai, POST /v1/images/generations."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from imagegen_magic.providers import responses
from imagegen_magic.providers.base import Balance, Model, PixelRule, Pixels, PollingPolicy, Provider, UploadRule, standard_field_names
from imagegen_magic.providers.gpt_image import SIZES, input_tokens, output_tokens, token_steps
from imagegen_magic.providers.model import parse_sizes
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost

_DOLLARS_A_MILLION = 24  # output tokens, APIMart's price list
_INPUT_DOLLARS_A_MILLION = Decimal("6.4")  # tokens of input images, APIMart's page of 2026-08-21
_INPUT_SOURCE = f"${_INPUT_DOLLARS_A_MILLION} per million tokens of references and mask (page of 2026-08-21), a token for each 32x32 pixels"
_EXT_DOLLARS = {"1k": Decimal("0.0085"), "2k": Decimal("0.014"), "4k": Decimal("0.021")}  # one picture of gpt-image-2 (ext.)


def _newer(name: str) -> Model:
    """Return one of the two models of gpt-image-2.5."""
    return Model(
        name=name,
        sizes=SIZES,
        pixels_documented=False,
        auto_size=True,
        default_size="auto",
        pixel_rule=PixelRule(),
        resolutions=("1k", "2k", "4k"),
        qualities=("auto", "low", "medium", "high", "xhigh", "max"),
        default_quality="auto",
        backgrounds=("auto", "opaque", "transparent"),
        moderations=("auto", "low"),
        formats=("png", "jpeg", "webp"),
        compressible=("jpeg", "webp"),
        max_n=4,
        max_references=16,
        mask=True,
        added="2026-11-30",
        checked="2026-11-30",
        document="https://docs.apimart.ai: GPT-Image-2.5, page of 2026-09-09",
    )


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
    failures_free = "https://docs.apimart.ai: GPT-Image-2-Official"
    balance_path = "/v1/user/balance"
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
            newer={"size": ("auto", "3:1", "1:3"), "resolution": ("4k",)},
            newer_document="APIMart's page of 2026-08-21",
        ),
        _newer("gpt-image-2.5-flare"),
        _newer("gpt-image-2.5-sunburst"),
        Model(
            name="gpt-image-2",
            sizes=SIZES,
            pixels_documented=False,
            resolutions=("1k", "2k", "4k"),
            max_references=15,
            added="2026-11-30",
            checked="2026-11-30",
            document="https://docs.apimart.ai: GPT-Image-2 (ext.), page of 2026-09-16",
            note="billed by resolution, whatever the ratio",
        ),
    )

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return the price of one picture: its output tokens, and the tokens of its references and mask.

        Unknown for quality auto, which the model chooses. References count for every picture of a task: the page does not say whether
        a task pays for them once, so the estimate is rather too high.
        """
        if request.model == "gpt-image-2":
            return Cost(_EXT_DOLLARS[request.resolution or "1k"], "USD", "estimated", "APIMart's price of one picture", "2026-09-16")
        steps = token_steps(request.model or "")
        if pixels is None or request.quality not in steps:
            return Cost()
        amount = Decimal(output_tokens(request.quality, pixels, request.model or "") * _DOLLARS_A_MILLION) / 1_000_000
        source = f"APIMart's ${_DOLLARS_A_MILLION} per million output tokens, OpenAI's count of tokens"
        given = [image for image in (*request.references, request.mask) if image is not None]
        local = [image for image in given if isinstance(image, LocalImage)]
        amount += sum(input_tokens((image.width, image.height)) for image in local) * _INPUT_DOLLARS_A_MILLION / 1_000_000
        source += f"; {_INPUT_SOURCE}" if local else ""
        unknown = 1 if len(local) < len(given) else 0  # the pixels behind an address are not known
        return Cost(amount, "USD", "estimated", f"{source}; the prompt's tokens not counted", "2026-11-20", unknown)

    def read_balance(self, answer: Any) -> Balance:
        """Return the dollars of the account; -1 is unlimited. Raises the refusal that a 200 can hold, APIError if there is none."""
        if responses.is_error(answer):
            raise self.read_error(0, answer)
        values = responses.task_object(answer)
        remaining = responses.number(values.get("remain_balance"))
        if remaining is None:
            return super().read_balance(answer)
        unlimited = values.get("unlimited_quota") is True or remaining == -1
        return Balance(None if unlimited else Decimal(str(values["remain_balance"])), "USD", responses.amount(values.get("used_balance")))

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the dollars that a finished task names."""
        amount = responses.amount(task.get("cost"))
        return Cost() if amount is None else Cost(amount, "USD", "measured", f"{self.title}'s answer")
