"""GCCAI, as its pages "GPT-Image-2-Official" and "GPT-Image(1/1.5)" say: APIMart's dialect with its own models and limits."""

from __future__ import annotations

from imagegen_magic.providers.base import Model, PixelRule, Pixels, Provider, UploadRule
from imagegen_magic.providers.gateways.apimart import APIMart
from imagegen_magic.providers.gpt_image import SIZES

_FIRST_SIZES: dict[str, dict[str, Pixels]] = {"1:1": {"1k": (1024, 1024)}, "2:3": {"1k": (1024, 1536)}, "3:2": {"1k": (1536, 1024)}}


def _first(name: str, retired: str | None = None) -> Model:
    """Return one of the two models that share the page "GPT-Image(1/1.5)"."""
    return Model(
        name=name,
        sizes=_FIRST_SIZES,
        qualities=("auto", "low", "medium", "high"),
        default_quality="auto",
        backgrounds=("auto", "opaque", "transparent"),
        moderations=("auto", "low"),
        formats=("png", "jpeg"),
        compressible=("jpeg",),
        max_n=4,
        max_references=15,
        mask=True,
        retired=retired,
        checked="2026-11-20",
        document="https://gccai.heqingsong.uk: GPT-Image(1/1.5)",
        note="n above 4 would silently become 4; billed by size and quality, failures are free",
    )


class GCCAI(APIMart):
    """GCCAI: fifteen ratios in every tier, two odd sizes of its own, and the models that can be transparent."""

    name = "gccai"
    title = "GCCAI"
    base_url = "https://gccai.heqingsong.uk"
    key_variable = "GCCAI_API_KEY"
    docs_url = "https://gccai.heqingsong.uk/llms.txt"
    price = Provider.price  # it publishes none
    failures_free = "https://gccai.heqingsong.uk: GPT-Image(1/1.5)"
    balance_path = ""  # its pages name none
    upload = UploadRule(
        address="/v1/uploads/images",
        host="gccai.heqingsong.uk",
        types=("image/jpeg", "image/png", "image/webp", "image/gif"),
        max_bytes=20_000_000,
        lifetime=72 * 3600,
        checked="2026-11-20",
        document="https://docs.apimart.ai: Upload Image, as its own pages name none",
    )
    models = (
        Model(
            name="gpt-image-2-official",
            sizes=SIZES,
            alternate_pixels={("3:1", "1k"): ((1881, 836),), ("1:3", "1k"): ((887, 1774),)},
            auto_size=True,
            auto_resolution=True,
            pixel_rule=PixelRule(),
            extra_sizes=((1881, 836), (887, 1774)),
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
            document="https://gccai.heqingsong.uk: GPT-Image-2-Official",
            note="transparent would silently become auto; quality auto is typically low",
        ),
        _first("gpt-image-1-official", retired="2026-10-23"),
        _first("gpt-image-1.5-official", retired="2026-12-01"),
    )
