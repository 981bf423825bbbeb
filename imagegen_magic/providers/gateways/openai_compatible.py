"""Servers that speak OpenAI's image interface: LocalAI, vLLM-omni, SGLang, Xinference, LiteLLM, new-api, and others.

A template for `[tool.imagegen.providers.NAME]`: it has no address of its own. What such a server can do is not known, so that every
option is sent, and the plan lists it as not checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.providers import image_answers, parameters, responses, sizes
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.calls import Call
from imagegen_magic.providers.gateways.openai import OpenAI
from imagegen_magic.providers.gateways.openai_compatible_models import DEFAULT, FLAVOURS, UNKNOWN, Flavour
from imagegen_magic.providers.model import Model, Pixels
from imagegen_magic.request import ImageRequest, Size
from imagegen_magic.result import Cost

_COST = "x-litellm-response-cost"
_AMOUNT = re.compile(r"\d{1,9}(\.\d{1,20})?([eE]-\d{1,2})?")


class OpenAICompatible(OpenAI):
    """A server that speaks OpenAI's image interface."""

    name, title = "openai-compatible", "OpenAI-compatible server"
    base_url, key_variable, docs_url = "", "", ""
    template, needs_key = True, False
    extra_headers: ClassVar[Mapping[str, str]] = {}
    error_hints = Provider.error_hints
    cost_headers: ClassVar[tuple[str, ...]] = (_COST,)
    reserved_fields: ClassVar[Mapping[str, str]] = {"image": "references", "image[]": "references", "ref_images": "references"}
    table_keys: ClassVar[tuple[str, ...]] = ("flavour", "model")
    flavour: ClassVar[Flavour] = FLAVOURS["plain"]
    models: ClassVar[tuple[Model, ...]] = (FLAVOURS["plain"].model(DEFAULT),)

    @classmethod
    def from_table(cls, table: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the flavour and the default model that a table names. Raises UnsupportedOption for an unknown flavour."""
        name = table.get("flavour", "plain")
        if name not in FLAVOURS:
            what = f"has a flavour {name!r} that is not known"
            raise UnsupportedOption(what, option="flavour", value=name, hint=f"it is one of {', '.join(FLAVOURS)}")
        flavour = FLAVOURS[name]
        return {"flavour": flavour, "models": (flavour.model(table.get("model") or DEFAULT),)}

    def template_at(self, base_url: str) -> str:
        """Return that it speaks at every address."""
        return ""

    def unlisted_model(self, name: str) -> Model | None:
        """Return a model of any name."""
        return self.flavour.model(name)

    def models_call(self) -> Call | None:
        """Return the request for the server's models."""
        return Call("GET", "/models")

    def read_models(self, answer: Any) -> tuple[Model, ...]:
        """Return the models of the list; it may hold models that make no pictures."""
        found = (item.get("id") for item in responses.objects(responses.value_at(answer, "data")))
        names = (name for name in found if isinstance(name, str) and name.strip())
        return tuple(map(self.flavour.model, dict.fromkeys(names)))

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission: JSON, or a form for an edit of pictures of this machine."""
        sizes.refuse_lone_resolution(self.name, request)
        body = self._body(request, n)
        if not request.references:
            return Call("POST", self.submit_path, body)
        path, pictures = self.flavour.edit_path or self.submit_path, self.flavour.pictures(self.name, request)
        if self.flavour.references_as == "part":
            return Call("POST", path, form={**image_answers.form_texts(body), **pictures})
        return Call("POST", path, {**body, **pictures})

    def _body(self, request: ImageRequest, n: int) -> dict[str, Any]:
        body = self.payload(replace(request, references=(), mask=None), n)
        for name, value in (("model", DEFAULT), ("size", "auto")):  # the server has its own
            if body.get(name) == value:
                del body[name]
        if self.flavour.response_format:
            body["response_format"] = self.flavour.response_format
        given = dict(request.parameters)
        if self.flavour.negative_after and given.get("negative_prompt"):
            body["prompt"] += self.flavour.negative_after + given.pop("negative_prompt")
        values = parameters.placed(self.model(request.model).parameters, given)
        return {**body, **({self.flavour.inside: json.dumps(values)} if self.flavour.inside and values else values)}

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return what is sent unchecked, and what the server reads in another way."""
        return tuple(self._noted(request))

    def _noted(self, request: ImageRequest) -> Iterator[str]:
        if Size.parse(str(request.size)).kind == "ratio":
            yield f"not checked: size {request.size}, sent as {self._size(request)} ({UNKNOWN})"
        if self.flavour.negative_after and self.flavour.negative_after in request.prompt:
            yield f"this server reads what follows {self.flavour.negative_after} in the prompt as a negative prompt"

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return an unknown price, never that of OpenAI."""
        return Cost()

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return an unknown cost: what the tokens of such a server cost is not known."""
        return Cost()

    def cost_of_headers(self, headers: Mapping[str, str]) -> Cost:
        """Return the dollars that LiteLLM reports."""
        text = headers.get(_COST, "").strip()
        return Cost(Decimal(text), "USD", "measured", f"{self.title}'s answer") if _AMOUNT.fullmatch(text) else Cost()

    def _hint(self, details: responses.ErrorDetails) -> str | None:
        if self.flavour.response_format and "response_format" in details.message:
            return f'set flavour = "openai" in [tool.imagegen.providers.{self.name}]'
        return super()._hint(details)
