"""Azure OpenAI: deployments, versions, and the resource's own key header."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from servers import Sandbox

from imagegen_magic import generate, run
from imagegen_magic.engine import endpoints
from imagegen_magic.engine.endpoints import select_endpoint
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnknownProvider, UnsupportedOption
from imagegen_magic.providers.base import Plan, Provider
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest, LocalImage

AZURE = get_provider("azure-openai")
PHOTO = LocalImage(b"photo", "image/png", 1024, 1024, "photo.png")
MASK = LocalImage(b"mask", "image/png", 1024, 1024, "mask.png")


def plan(provider: Provider = AZURE, **options: Any) -> Plan:
    """Return the plan of a red fox."""
    return provider.plan(ImageRequest("a red fox", **options))


def of_version(version: str) -> Provider:
    """Return Azure OpenAI with that version of the API."""
    return AZURE.configured({"AZURE_OPENAI_API_VERSION": version})


def test_it_is_openai_at_an_address_of_ones_own() -> None:
    """With Azure's own variables and header; OpenAI's organization is not sent to it."""
    assert (AZURE.base_url, AZURE.base_variable, AZURE.key_variable) == ("", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY")
    assert (AZURE.key_header, AZURE.version_segment) == (("api-key", "{}"), "/openai/v1")
    assert (AZURE.chosen_by_key, AZURE.synchronous, dict(AZURE.extra_headers)) == (False, True, {})


def test_a_deployment_is_the_model() -> None:
    """Any name; one of a model has its price and its limits, any other has neither."""
    named, other = plan(model="gpt-image-2"), plan(model="lab-Images")
    assert [(made.calls[0].path, (made.calls[0].json or {})["model"]) for made in (named, other)] == [
        ("/images/generations", "gpt-image-2"),
        ("/images/generations", "lab-Images"),
    ]
    assert (str(named.price), other.price.amount) == ("about $0.0527", None)
    unknown = plan(model="lab-images", quality="ultra")
    assert (unknown.calls[0].json or {})["quality"] == "ultra"
    assert unknown.warnings == ("not checked: quality 'ultra' (the deployment's model is not known)",)
    with pytest.raises(UnsupportedOption, match="has no quality"):
        plan(model="gpt-image-2", quality="max")


@pytest.mark.parametrize(
    ("version", "path", "segment"),
    [
        ("", "/images/generations", "/openai/v1"),
        ("preview", "/images/generations?api-version=preview", "/openai/v1"),
        ("2026-09-01", "/deployments/lab%2Fimages/images/generations?api-version=2026-09-01", "/openai"),
        ("2025-04-01-preview", "/deployments/lab%2Fimages/images/generations?api-version=2025-04-01-preview", "/openai"),
    ],
)
def test_a_dated_version_has_the_deployment_in_the_address(version: str, path: str, segment: str) -> None:
    """Without one it stands in the body only."""
    provider = of_version(version)
    made = plan(provider, model="lab/images")
    assert (made.calls[0].path, (made.calls[0].json or {})["model"], provider.version_segment) == (path, "lab/images", segment)
    assert pickle.loads(pickle.dumps(provider)).version_segment == segment


def test_a_version_of_another_form_is_refused() -> None:
    """It becomes a part of the address."""
    for version in ("2026-9-1", "v1&x=y", "new"):
        with pytest.raises(UnknownProvider, match="is no version"):
            of_version(version)


def test_an_edit_is_a_form() -> None:
    """Its pictures are files; an address cannot be one."""
    made = plan(model="gpt-image-2", references=(PHOTO, PHOTO), mask=MASK, n=1, parameters={"partials": 1})
    call = made.calls[0]
    assert (call.path, call.json, call.events) == ("/images/edits", None, True)
    form = dict(call.form or {})
    assert list(form["image[]"]) == [PHOTO.placeholder] * 2
    assert (form["mask"], form["n"], form["stream"], form["partial_images"]) == (MASK.placeholder, "1", "true", "1")
    with pytest.raises(UnsupportedOption, match="it takes no addresses"):
        plan(model="gpt-image-2", references=("https://example.com/a.png",))


def test_too_many_references_are_fixed_by_those_that_it_takes() -> None:
    """Addresses are none of them."""
    addresses = tuple(f"https://example.com/{number}.png" for number in range(17))
    with pytest.raises(UnsupportedOption, match="takes at most 16 reference pictures") as refused:
        plan(model="gpt-image-2", references=(*addresses, PHOTO))
    assert refused.value.fix == {"references": (PHOTO,)}


def test_its_charge_is_an_estimate() -> None:
    """The answer does not name the deployment's model."""
    cost = AZURE.cost({"usage": {"output_tokens": 1000}})
    assert (str(cost), cost.kind) == ("about $0.03", "estimated")
    assert cost.source.endswith("if the deployment is of GPT Image 2 or later")
    assert AZURE.cost({}).amount is None


def test_a_resource_without_an_address_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable to set. A plan needs none, and it is not among the services that can be chosen."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key")
    with pytest.raises(UnsupportedOption, match=r"no address of its own\. .*Set AZURE_OPENAI_ENDPOINT"):
        run(generate("a fox", provider="azure-openai"))
    assert select_endpoint(load(), provider="azure-openai", planning=True).base_url == ""
    assert endpoints.available(load()) == []


@pytest.mark.slow
def test_pictures_are_made_and_edited_at_a_resource(gateway: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sandbox as a resource: the key travels in Azure's header, the edit as a form."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{gateway.origin}/azure-openai/")
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "teal").save(photo)
    options: dict[str, Any] = {"provider": "azure-openai", "model": "lab-images", "quality": "low"}
    (image,) = run(generate("azure makes a fox", **options))
    assert (image.width, image.height, image.cost.kind) == (1024, 1024, "estimated")
    assert len(run(generate("azure edits a fox", references=[photo], **options))) == 1
    (made,), (edited,) = gateway.accepted("azure makes a fox"), gateway.accepted("azure edits a fox")
    assert [(entry["provider"], entry["json"]["model"]) for entry in (made, edited)] == [("azure-openai", "lab-images")] * 2
    assert len(edited["json"]["images"]) == 1
