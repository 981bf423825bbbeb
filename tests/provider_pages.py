"""The gateways' pages, typed once more from the documents, as figures the tests hold on their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imagegen_magic.request import ImageRequest

_GCCAI_2 = """
1:1    1024×1024            2048×2048  2880×2880
3:2    1536×1024            2048×1360  3520×2336
2:3    1024×1536            1360×2048  2336×3520
4:3    1024×768             2048×1536  3312×2480
3:4    768×1024             1536×2048  2480×3312
5:4    1280×1024            2560×2048  3216×2576
4:5    1024×1280            2048×2560  2576×3216
16:9   1536×864             2048×1152  3840×2160
9:16   864×1536             1152×2048  2160×3840
2:1    2048×1024            2688×1344  3840×1920
1:2    1024×2048            1344×2688  1920×3840
3:1    1536×512/1881×836    3072×1024  3840×1280
1:3    512×1536/887×1774    1024×3072  1280×3840
21:9   2016×864             2688×1152  3840×1648
9:21   864×2016             1152×2688  1648×3840
"""
_APIMART = """
1:1    1024×1024  2048×2048  ❌
3:2    1536×1024  2048×1360  ❌
2:3    1024×1536  1360×2048  ❌
4:3    1024×768   2048×1536  ❌
3:4    768×1024   1536×2048  ❌
5:4    1280×1024  2560×2048  ❌
4:5    1024×1280  2048×2560  ❌
16:9   1536×864   2048×1152  3840×2160
9:16   864×1536   1152×2048  2160×3840
2:1    2048×1024  2688×1344  3840×1920
1:2    1024×2048  1344×2688  1920×3840
21:9   2016×864   2688×1152  3840×1648
9:21   864×2016   1152×2688  1648×3840
"""
_EVOLINK_LANDSCAPE = """
1:1    1024×1024  2048×2048  2880×2880
2:1    2048×1024  2048×1024  3840×1920
3:1    3072×1024  2048×688   3840×1280
3:2    1536×1024  2048×1360  3520×2336
4:3    1360×1024  2048×1536  3312×2480
5:4    1280×1024  2048×1632  3216×2560
16:9   1824×1024  2048×1152  3840×2160
21:9   2384×1024  2048×880   3840×1648
"""
_FIRST = """
1:1  1024×1024
2:3  1024×1536
3:2  1536×1024
"""
_XINGCHAO_RATIOS = ["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5", "2:1", "1:2", "21:9", "9:21"]
_XINGCHAO_4K = ["16:9", "9:16", "2:1", "1:2", "21:9", "9:21"]

Sizes = dict[str, dict[str, list[tuple[int, int]]]]


def _read(text: str) -> Sizes:
    rows = [line.split() for line in text.strip().splitlines()]
    return {
        ratio: {
            tier: [_pair(each) for each in cell.split("/")] for tier, cell in zip(("1k", "2k", "4k"), cells, strict=False) if "×" in cell
        }
        for ratio, *cells in rows
    }


def _pair(text: str) -> tuple[int, int]:
    width, height = text.split("×")
    return int(width), int(height)


def _with_portrait(sizes: Sizes) -> Sizes:
    portrait = {
        ":".join(reversed(ratio.split(":"))): {tier: [(h, w) for w, h in found] for tier, found in row.items()}
        for ratio, row in sizes.items()
    }
    return {**sizes, **portrait}


@dataclass(frozen=True)
class Page:
    """What one gateway's page allows one model; a field that the page does not have is empty."""

    provider: str
    model: str
    sizes: Sizes
    default_size: str = "1:1"
    pixels: bool = True
    odd: tuple[str, ...] = ()
    most_area: int = 8_294_400
    auto: bool = False
    auto_tier: bool = False
    tiers: tuple[str, ...] = ("1k", "2k", "4k")
    qualities: tuple[str, ...] = ()
    default_quality: str | None = None
    backgrounds: tuple[str, ...] = ()
    moderations: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    compressible: tuple[str, ...] = ()
    max_n: int = 1
    n_field: bool = True
    references: int = 0
    mask: bool = False
    callback: bool = False
    max_prompt: int | None = None
    upper_tier: bool = False
    ratio_field: bool = False
    known_pixels: bool = True
    unsent: bool = False  # whether background and format go out only if requested
    budgets: tuple[tuple[str, int], ...] = ()  # areas whose pixels count as requested too

    @property
    def id(self) -> str:
        """Gateway and model in one word."""
        return f"{self.provider}/{self.model}"

    def legal_pixels(self, size: str) -> bool:
        """Say whether the page allows these pixels: the four size rules, or one of its two odd pairs."""
        width, height = (int(each) for each in size.split("x"))
        rule = width % 16 == 0 and height % 16 == 0 and max(width, height) <= 3840 and max(width, height) <= 3 * min(width, height)
        return self.pixels and (size in self.odd or (rule and 655_360 <= width * height <= self.most_area))

    def legal_size(self, request: ImageRequest) -> bool:
        """Say whether the page allows this size with this resolution."""
        size = (request.size or self.default_size).strip().lower().replace("×", "x")
        tier = None if request.resolution is None else request.resolution.lower()
        if size == "auto":
            return self.auto and (tier is None or (self.auto_tier and tier in self.tiers))
        if "x" in size:
            return tier is None and self.legal_pixels(size)
        return size in self.sizes and (tier is None or (tier in self.tiers and tier in self.sizes[size]))

    def legal(self, request: ImageRequest) -> bool:
        """Say whether the page allows this request."""
        image = (request.output_format or "png").lower()
        transparent = (request.background or "").lower() == "transparent"
        return (
            bool(request.prompt.strip())
            and len(request.prompt) <= (self.max_prompt or 10**9)
            and (request.n is None or request.n >= 1)
            and self.legal_size(request)
            and _in(request.quality, self.qualities)
            and _in(request.background, self.backgrounds)
            and _in(request.moderation, self.moderations)
            and _in(request.output_format, self.formats)
            and not (transparent and image == "jpeg")
            and (request.output_compression is None or (image in self.compressible and 0 <= request.output_compression <= 100))
            and len(request.references) <= self.references
            and (request.mask is None or (self.mask and bool(request.references)))
            and (request.callback_url is None or self.callback)
        )

    def body(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the JSON that the page wants for a legal request, every default of the page in it."""
        size = (request.size or self.default_size).strip().lower().replace("×", "x")
        tier: str | None = (request.resolution or "1k").lower()
        if "x" in size or not self.tiers or (size == "auto" and not self.auto_tier):
            tier = None
        body = {
            "model": self.model,
            "prompt": request.prompt,
            "ratio" if self.ratio_field and tier else "size": size,
            "resolution": tier.upper() if tier and self.upper_tier else tier,
            "quality": (request.quality or self.default_quality or "").lower() or None,
            "background": (request.background or (not self.unsent and self.backgrounds and "auto") or "").lower() or None,
            "moderation": (request.moderation or (self.moderations and "auto") or "").lower() or None,
            "output_format": (request.output_format or (not self.unsent and self.formats and "png") or "").lower() or None,
            "output_compression": request.output_compression,
            "image_urls": list(request.references) or None,
            "mask_url": request.mask,
            "callback_url": request.callback_url,
            "n": n if self.n_field else None,
        }
        return {key: value for key, value in body.items() if value is not None}

    def pixels_of(self, ratio: str, tier: str) -> list[tuple[int, int]]:
        """Return the pixels that count as requested: the table's, and those of the tier's budget in multiples of 16."""
        across, down = map(int, ratio.split(":"))
        found = list(self.sizes[ratio][tier])
        for area in (area for name, area in self.budgets if name == tier):
            pair = tuple(round((area * shape) ** 0.5 / 16) * 16 for shape in (across / down, down / across))
            found += [(pair[0], pair[1])] if max(pair) <= 3840 else []
        return found


def _in(value: str | None, allowed: tuple[str, ...]) -> bool:
    return value is None or value.lower() in allowed


_OFFICIAL = {
    "model": "gpt-image-2-official",
    "qualities": ("auto", "low", "medium", "high"),
    "default_quality": "auto",
    "backgrounds": ("auto", "opaque"),
    "moderations": ("auto", "low"),
    "formats": ("png", "jpeg", "webp"),
    "compressible": ("jpeg", "webp"),
    "max_n": 4,
    "references": 16,
    "mask": True,
}
_BOTH_FIRST = {
    "provider": "gccai",
    "sizes": _read(_FIRST),
    "pixels": False,
    "tiers": (),
    "qualities": ("auto", "low", "medium", "high"),
    "default_quality": "auto",
    "backgrounds": ("auto", "opaque", "transparent"),
    "moderations": ("auto", "low"),
    "formats": ("png", "jpeg"),
    "compressible": ("jpeg",),
    "max_n": 4,
    "references": 15,
    "mask": True,
}
_ANY: list[tuple[int, int]] = []
_APIMART_2_5 = {
    **_OFFICIAL,
    "provider": "apimart",
    "sizes": {ratio: dict.fromkeys(("1k", "2k", "4k"), _ANY) for ratio in _read(_GCCAI_2)},
    "auto": True,
    "default_size": "auto",
    "qualities": ("auto", "low", "medium", "high", "xhigh", "max"),
    "backgrounds": ("auto", "opaque", "transparent"),
    "known_pixels": False,
}
del _APIMART_2_5["model"]
_EVOLINK = {
    "provider": "evolink",
    "sizes": _with_portrait(_read(_EVOLINK_LANDSCAPE)),
    "auto": True,
    "default_size": "auto",
    "default_quality": "medium",
    "formats": ("png", "jpeg", "webp"),
    "max_n": 10,
    "references": 16,
    "mask": True,
    "callback": True,
    "max_prompt": 32_000,
    "upper_tier": True,
    "unsent": True,
    "budgets": (("1k", 1_048_576), ("2k", 4_194_304), ("4k", 8_294_400)),
}

PAGES = (
    Page(provider="gccai", sizes=_read(_GCCAI_2), auto=True, auto_tier=True, odd=("1881x836", "887x1774"), **_OFFICIAL),
    Page(model="gpt-image-1-official", **_BOTH_FIRST),
    Page(model="gpt-image-1.5-official", **_BOTH_FIRST),
    Page(provider="apimart", sizes=_read(_APIMART), **_OFFICIAL),
    *(Page(model=model, **_APIMART_2_5) for model in ("gpt-image-2.5-flare", "gpt-image-2.5-sunburst")),
    Page(
        provider="apimart",
        model="gpt-image-2",
        sizes={ratio: dict.fromkeys(("1k", "2k", "4k"), _ANY) for ratio in _read(_GCCAI_2)},
        pixels=False,
        n_field=True,
        references=15,
        known_pixels=False,
    ),
    Page(model="gpt-image-2", qualities=("low", "medium", "high"), backgrounds=("auto", "opaque"), **_EVOLINK),
    *(
        Page(
            model=model,
            qualities=("low", "medium", "high", "xhigh", "max"),
            backgrounds=("auto", "opaque", "transparent"),
            **_EVOLINK,
        )
        for model in ("gpt-image-2.5-flare", "gpt-image-2.5-sunburst")
    ),
    Page(
        provider="xingchao",
        model="gpt-image-2",
        sizes={ratio: {"1k": _ANY, "2k": _ANY, **({"4k": _ANY} if ratio in _XINGCHAO_4K else {})} for ratio in _XINGCHAO_RATIOS},
        qualities=("low", "medium", "high"),
        default_quality="low",
        n_field=False,
        references=6,
        ratio_field=True,
        known_pixels=False,
    ),
    Page(
        provider="xingchao",
        model="gpt-image-2-r",
        sizes={ratio: {"1k": _ANY} for ratio in _XINGCHAO_RATIOS},
        tiers=("1k",),
        most_area=1_600_000,  # the page: 1K only
        n_field=False,
        references=16,
        ratio_field=True,
        known_pixels=False,
    ),
)
BY_ID = {page.id: page for page in PAGES}
