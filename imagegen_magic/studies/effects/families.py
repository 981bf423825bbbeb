"""Families of models by their names: a judge of the generator's own family may prefer its pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_NAMES = {  # a family, and how the names of its models begin
    "OpenAI": ("gpt", "chatgpt", "dall", "o1", "o3", "o4"),
    "Google": ("gemini", "imagen", "gemma", "nano-banana", "veo"),
    "Black Forest Labs": ("flux",),
    "ByteDance": ("seedream", "seededit", "doubao"),
    "Alibaba": ("qwen", "wan", "z-image"),
    "xAI": ("grok",),
    "Tencent": ("hunyuan",),
    "Zhipu": ("glm", "cogview"),
    "Mistral": ("mistral", "pixtral"),
}
_FAMILIES = {family: re.compile(rf"(?<![a-z])(?:{'|'.join(names)})(?![a-z])", re.IGNORECASE) for family, names in _NAMES.items()}


def family_of(name: str) -> str:
    """Return the family of the model in a name, such as `openai/gpt-4.1-mini`; empty if it is not known."""
    return next((family for family, pattern in _FAMILIES.items() if pattern.search(name)), "")


def warnings(judges: Iterable[str], models: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each judge that is of the same family as a model that made the pictures."""
    made: Mapping[str, str] = {family: model for model in models if (family := family_of(model))}
    for judge in judges:
        if (family := family_of(judge)) in made:
            yield f"The judge {judge} and the generator {made[family]} are both of {family}: it may prefer pictures of its own family."
