"""Options of other image tools, such as `--ar 16:9`, and what to use instead."""

from __future__ import annotations

import re

from imagegen_magic.request import Size

_WORDS = "describe it in the prompt; there is no such option here."
_MODEL = "use --model NAME (%imagegen models lists them)."
_REFERENCE = "use --ref PICTURE."
_FIELD = "use --set {name}={value} if the model has such a parameter, or the service's document such a field."
_NEGATIVE = "describe it in the prompt, for example: without {value}. Models that have it take --negative-prompt."

_ADVICE: dict[str, str] = {
    **dict.fromkeys(("ar", "aspect", "aspect-ratio", "ratio"), "use --size {size}."),
    **dict.fromkeys(("w", "h", "width", "height"), "use --size WIDTHxHEIGHT."),
    **dict.fromkeys(("v", "niji", "test", "testp"), _MODEL),
    **dict.fromkeys(("iw", "sref", "cref", "oref", "image"), _REFERENCE),
    **dict.fromkeys(
        ("style", "s", "stylize", "c", "chaos", "weird", "tile", "stop", "raw", "draft", "hd", "fast", "relax", "turbo"), _WORDS
    ),
    **dict.fromkeys(("sw", "cw", "ow", "exp", "video"), _WORDS),
    **dict.fromkeys(("steps", "cfg", "cfg-scale", "guidance", "guidance-scale", "sampler", "scheduler", "strength"), _FIELD),
    **dict.fromkeys(("no", "neg", "negative"), _NEGATIVE),
    "q": "use --quality low, medium or high.",
    "count": "use -n COUNT.",
    "prompt": "write the prompt without an option before it.",
}
"""What to use instead of another tool's option, by its name without dashes."""

_NUMBER = re.compile(r"\d[\d.:x]*")


def replacement(flag: str, value: str = "") -> str:
    """Return what to use instead of another tool's option with this value; empty for an unknown option."""
    name = flag.lstrip("-").lower()
    advice = _MODEL if name == "version" and _NUMBER.fullmatch(value) else _ADVICE.get(name, "")
    return advice.format(name=name.replace("-", "_"), value=value or "VALUE", size=_ratio(value))


def _ratio(value: str) -> str:
    try:
        return str(Size.parse(value))
    except ValueError:
        return "16:9"


def has_a_number(name: str, value: str) -> bool:
    """Return whether this is certainly another tool's option, even with a single dash: its value is a number, as in `—ar 16:9`."""
    return bool(replacement(name, value)) and _NUMBER.fullmatch(value) is not None
