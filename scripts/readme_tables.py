"""Writes the tables of the README and of docs/ again from the package's own data: `python scripts/readme_tables.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from imagegen_magic.engine.endpoints import base_variable
from imagegen_magic.notebook.subcommands import COMMANDS
from imagegen_magic.options import OPTIONS, SETTINGS
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Model, Provider
from imagegen_magic.request import ImageRequest

PROJECT = Path(__file__).resolve().parent.parent
PLACES = {  # a page, and the tables that stand in it
    "README.md": ("keys",),
    "README.zh-CN.md": ("keys_zh",),
    "docs/keys.md": ("keys",),
    "docs/services.md": ("services", "models"),
    "docs/money.md": ("answers",),
    "docs/cells.md": ("options", "commands"),
    "docs/configuration.md": ("settings",),
}


def services() -> str:
    """Return the table of services: how each is named, where its key and another address are read, and how its pictures come."""
    heads = ("`-p`", "service", "key", "another address", "models", "pictures come")
    return _table(heads, [_service(provider) for provider in registry.built_in()])


def _service(provider: Provider) -> Sequence[str]:
    key = f"`{provider.key_variable}`" if provider.key_variable else "none"
    others = "".join(f", with `-p {provider.name}` also `{name}`" for name in provider.other_key_variables)
    more = ", and any other by its name" if provider.unlisted_model("owner/name") else ""
    come = "in the answer" if provider.synchronous else "as a task"
    return _linked(provider), provider.title, key + others, f"`{base_variable(provider)}`", f"{len(provider.models)}{more}", come


def keys() -> str:
    """Return the table of keys: each service's variable, and the list price of a first picture."""
    rows = [(_linked(one), one.title, f"`{one.key_variable}`", first_picture(one) or "not listed") for one in registry.built_in()]
    return _table(("`-p`", "service", "key", "a first picture"), rows)


def keys_zh() -> str:
    """Return the same table in Chinese."""
    rows = [(_linked(one), one.title, f"`{one.key_variable}`", first_picture(one) or "未列出") for one in registry.built_in()]
    return _table(("`-p`", "服务", "密钥变量", "第一张图片的价格"), rows)


def first_picture(provider: Provider) -> str:
    """Return the list price of one square picture of a service's first model, at its lowest quality if it has one; "" if unknown."""
    model = provider.models[0]
    qualities = [word for word in model.qualities if word != "auto"]
    price = provider.plan(ImageRequest("a fox", size="1:1", quality=qualities[0] if qualities else None)).price
    return f"${price.amount:.4f}".rstrip("0") if price.amount is not None and price.unit == "USD" else ""


def _linked(provider: Provider) -> str:
    return f"[`{provider.name}`]({provider.docs_url})"


def answers() -> str:
    """Return the table of what a lost connection costs, for services with tasks and for those whose answer carries the pictures."""
    heads = ("pictures come", "at", "what that means")
    return _table(heads, [(f"**{kind}**", _names(synchronous=kind == _IN_ANSWER), means) for kind, means in _MEANING.items()])


_IN_ANSWER = "in the answer"
_MEANING = {
    "as a task": "The service answers with a task's id, and makes the pictures afterwards. The id is in the ledger, so that "
    "`%imagegen resume` collects them even if the connection, the kernel or the machine fails.",
    _IN_ANSWER: "One request stays open until the pictures are made, up to 600 s. The answer goes to the disk as it arrives; once "
    "its last byte is here, no picture in it is lost. If the connection breaks before that, its pictures are lost and may be charged. "
    "The request is not repeated.",
}


def _names(*, synchronous: bool) -> str:
    names = [f"`{provider.name}`" for provider in registry.built_in() if provider.synchronous is synchronous]
    names += [f'`like = "{provider.name}"`' for provider in registry.templates() if provider.synchronous is synchronous]
    return ", ".join(names)


def models() -> str:
    """Return the table of models, one row each."""
    heads = ("`-p`", "`-m`", "ratios", "resolution", "other sizes", "quality", "pictures a task", "references", "background", "format")
    return _table(heads, [row for provider in registry.built_in() for row in _rows(provider)])


def _rows(provider: Provider) -> Iterator[Sequence[str]]:
    for number, model in enumerate(provider.models):
        name = f"`{provider.name}`" if number == 0 else ""
        yield name, _name(model), str(len(model.sizes)), _tiers(model), _other_sizes(model), *_fields(model)


def _name(model: Model) -> str:
    return model.label.replace(model.name, f"`{model.name}`", 1)


def _tiers(model: Model) -> str:
    def words(tier: str) -> str:
        having = [ratio for ratio, tiers in model.sizes.items() if tier in tiers]
        return tier if len(having) == len(model.sizes) else f"{tier} at {' '.join(having)}"

    return ", ".join(words(tier) for tier in model.resolutions)


def _other_sizes(model: Model) -> str:
    kinds = ("auto" if model.auto_size else "", "pixels" if model.pixel_rule else "")
    return ", ".join(filter(None, kinds))


def _fields(model: Model) -> tuple[str, ...]:
    qualities = " ".join(f"**{word}**" if word == model.default_quality else word for word in model.qualities)
    references = f"{model.max_references}" + (", mask" if model.mask else "")
    return qualities, str(model.max_n), references, " ".join(model.backgrounds), " ".join(model.formats)


def settings() -> str:
    """Return the table of settings that are no option of a cell."""
    own = [option for option in SETTINGS.values() if not option.flags]
    return _table(("setting", "meaning"), [(f"`{option.name}`", option.help) for option in own])


def options() -> str:
    """Return the table of a cell's options."""
    rows = [(option, f"`{option.metavar}`: " if option.metavar else "") for option in OPTIONS if option.flags]
    return _table(("option", "meaning"), [(" ".join(f"`{flag}`" for flag in option.flags), value + option.help) for option, value in rows])


def commands() -> str:
    """Return the table of subcommands."""
    return _table(("command", "does"), [(f"`{command.usage}`", command.help) for command in COMMANDS])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(cell, first=not number) for number, cell in enumerate(row)] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str, *, first: bool) -> str:
    return text.replace("|", "\\|") if text or first else "–"


TABLES = {
    "services": services,
    "models": models,
    "answers": answers,
    "options": options,
    "commands": commands,
    "settings": settings,
    "keys": keys,
    "keys_zh": keys_zh,
}


def renewed(text: str, names: Sequence[str]) -> str:
    """Return a page with each named table between its two comments written again. Raises ValueError if it has no place for one."""
    for name in names:
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text, found = between.subn(lambda marks, name=name: f"{marks[1]}{TABLES[name]()}\n{marks[2]}", text)
        if found != 1:
            raise ValueError(f"the page must have one place for the table of {name}, not {found}")
    return text


if __name__ == "__main__":
    for page, names in PLACES.items():
        path = PROJECT / page
        path.write_text(renewed(path.read_text(encoding="utf-8"), names), encoding="utf-8")
