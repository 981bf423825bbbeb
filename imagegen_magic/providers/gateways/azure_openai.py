"""Azure OpenAI: OpenAI's Image API at a resource of one's own, where a deployment is the model.

https://learn.microsoft.com/azure/ai-foundry/openai/how-to/dall-e, of 2026. Without a version, or with `v1`, `preview` and `latest`, the
deployment stands in the body; a dated version needs it in the path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote

from imagegen_magic.errors import UnknownProvider
from imagegen_magic.providers.base import Call, Model, Pixels, Provider
from imagegen_magic.providers.describe import shown
from imagegen_magic.providers.gateways.openai import OpenAI
from imagegen_magic.providers.gateways.openai_models import MODELS
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

_VERSION = "AZURE_OPENAI_API_VERSION"
_WORDS = ("v1", "preview", "latest")  # versions of the address that has no date
_UNKNOWN = "the deployment's model is not known"


class AzureOpenAI(OpenAI):
    """Azure OpenAI. Listed are the models that it has, for deployments of the same name; any other name is a deployment too."""

    name = "azure-openai"
    title = "Azure OpenAI"
    base_url = ""  # every resource has its own
    base_variable = "AZURE_OPENAI_ENDPOINT"
    key_variable = "AZURE_OPENAI_API_KEY"
    key_header: ClassVar[tuple[str, str]] = ("api-key", "{}")
    docs_url = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/dall-e"
    version_segment = "/openai/v1"
    variables: ClassVar[tuple[str, ...]] = (_VERSION,)
    extra_headers: ClassVar[Mapping[str, str]] = {}
    models: ClassVar[tuple[Model, ...]] = tuple(replace(model, references_as="part") for model in MODELS if "2.6" not in model.name)
    version: ClassVar[str] = ""

    def template_at(self, base_url: str) -> str:
        """Return that it speaks at every address: each resource has its own."""
        return ""

    def configured(self, values: Mapping[str, str]) -> Provider:
        """Return this provider for a version of the API."""
        version = values.get(_VERSION, "").strip()
        if not version:
            return self
        if not re.fullmatch(r"\d{4}-\d\d-\d\d(-preview)?", version) and version not in _WORDS:
            raise UnknownProvider(f"{_VERSION} = {shown(version)} is no version", hint=f"give it like 2026-09-01, or {', '.join(_WORDS)}")
        cls = type(self)
        segment = cls.version_segment if version in _WORDS else "/openai"
        attributes = {"version": version, "version_segment": segment, "__module__": cls.__module__, "__doc__": cls.__doc__}
        made: type[Provider] = type(cls.__name__, (cls,), {**attributes, "__reduce__": lambda self: (_of_version, (version,))})
        return made()

    def unlisted_model(self, name: str) -> Model | None:
        """Return the model of a deployment: with the abilities of GPT Image 2.5, unchecked."""
        known = super().unlisted_model(name)
        return known or replace(self.models[0], name=name, strict=False, document=_UNKNOWN, checked="", note=_UNKNOWN)

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission; a dated version has the deployment in its path."""
        call = super().submission(request, n)
        if not self.version:
            return call
        deployment = "" if self.version in _WORDS else f"/deployments/{quote(str(request.model), safe='')}"
        return replace(call, path=f"{deployment}{call.path}?api-version={self.version}")

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return OpenAI's price for a deployment with the name of its model; unknown for any other."""
        listed = self.model(request.model)
        return super().price(request, pixels) if listed.strict else Cost()

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the cost of the counted tokens, as an estimate: the answer does not name the deployment's model."""
        cost = super().cost(task)
        if cost.amount is None:
            return cost
        return replace(cost, kind="estimated", source=f"{cost.source}, if the deployment is of GPT Image 2 or later")


def _of_version(version: str) -> Provider:
    return AzureOpenAI().configured({_VERSION: version})
