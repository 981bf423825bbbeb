"""The dialect of Azure OpenAI: OpenAI's, with the key in a header of its own and deployments as models."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from imagegen_magic.sandbox.dialects.base import Json, Refusal
from imagegen_magic.sandbox.dialects.openai import OpenAI

if TYPE_CHECKING:
    from starlette.requests import Request


class AzureOpenAI(OpenAI):
    """Azure OpenAI's dialect: without a version in the address, or with the deployment and a dated version in it."""

    key_header: ClassVar[tuple[str, str]] = ("api-key", "{}")
    prefixes: ClassVar[tuple[str, ...]] = ("/openai/v1", "/openai/deployments/{deployment}")

    def in_address(self, request: Request) -> Json:
        """Return the deployment as the model; its address needs an api-version."""
        deployment = request.path_params.get("deployment")
        if deployment and not request.query_params.get("api-version"):
            raise Refusal(404, "404", "Resource not found")
        return {"model": deployment} if deployment else {}

    def wrong_key(self) -> Refusal:
        """Return the refusal of a key that is missing or wrong."""
        return Refusal(401, "401", "Access denied due to invalid subscription key or wrong API endpoint.")


DIALECT = AzureOpenAI("azure-openai")
