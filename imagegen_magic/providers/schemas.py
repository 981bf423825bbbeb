"""The parameters of a model from its own JSON schema, as services publish it in OpenAPI documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagegen_magic.providers.parameters import Kind, Parameter
from imagegen_magic.providers.responses import number, one_line, texts, value_at

NAMES: Mapping[str, str] = {"num_inference_steps": "steps", "guidance_scale": "guidance"}
"""The usual names of parameters that services call differently."""
_COMMON = ("seed", "negative_prompt", "steps", "guidance")
_KINDS: Mapping[str, Kind] = {"integer": "integer", "number": "number", "boolean": "flag", "string": "text"}
_MAX_DEPTH = 4


def schema_of(document: Any, *path: str) -> Mapping[str, Any]:
    """Return the object at a path of a document; empty if there is none."""
    found = value_at(document, *path)
    return found if isinstance(found, Mapping) else {}


def resolved(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return a property with its references followed, and without the alternative null."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return {}
    own = {name: value for name, value in schema.items() if name not in ("$ref", "allOf", "anyOf", "oneOf")}
    inner = [definitions.get(schema["$ref"].rpartition("/")[2])] if isinstance(schema.get("$ref"), str) else []
    for joint in ("allOf", "anyOf", "oneOf"):
        inner += schema[joint] if isinstance(schema.get(joint), list) else []
    parts = [part for part in (resolved(each, definitions, depth + 1) for each in inner) if part.get("type") != "null"]
    merged: dict[str, Any] = {}
    for part in reversed(parts):
        merged |= part
    return {**merged, **own}


def parameters_of(properties: Mapping[str, Any], definitions: Mapping[str, Any], other: frozenset[str]) -> dict[str, Parameter]:
    """Return the parameters of a schema's properties by their usual names, without those in `other`, lists and objects."""
    found = {NAMES.get(name, name): _parameter(name, resolved(each, definitions)) for name, each in properties.items() if name not in other}
    return {name: parameter for name, parameter in found.items() if parameter is not None}


def abilities(properties: Mapping[str, Any], definitions: Mapping[str, Any], options: frozenset[str]) -> dict[str, Any]:
    """Return what a schema's properties say of a model, as fields of `Model`; `options` are the properties that are no parameters."""
    formats, qualities = (texts(resolved(properties.get(name), definitions).get("enum")) for name in ("output_format", "quality"))
    learnt = parameters_of(properties, definitions, options)
    return {"formats": tuple(formats), "qualities": tuple(qualities), "parameters": learnt}


def _parameter(name: str, schema: Mapping[str, Any]) -> Parameter | None:
    usual, default = NAMES.get(name, name), schema.get("default")
    choices = schema.get("enum")
    kind = _KINDS.get(str(schema.get("type", "string" if choices else "")))
    if kind is None:
        return None
    named = tuple(texts(choices))
    return Parameter(
        kind="choice" if named and kind == "text" else kind,
        path=name if usual != name else "",
        minimum=number(schema.get("minimum")),
        maximum=number(schema.get("maximum")),
        choices=named,
        default=default if isinstance(default, str | int | float | bool) else None,
        counted=usual == "seed" and kind == "integer",
        common=usual in _COMMON,
        help=one_line(str(schema.get("description", ""))),
    )
