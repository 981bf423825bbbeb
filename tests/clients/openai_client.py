"""A user of the `openai` package, run as a process of its own: `python openai_client.py SERVER TASK`; prints what it got as JSON."""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import Any

from openai import APIStatusError, AzureOpenAI, OpenAI
from PIL import Image

PROMPT, MODEL = "a red fox", "gpt-image-2.5-flare"


def png(mode: str, colour: Any, hole: tuple[int, int, int, int] | None = None) -> bytes:
    """Return a PNG of 1024x1024; `hole` is a transparent box in it."""
    image = Image.new(mode, (1024, 1024), colour)
    if hole:
        image.paste((0, 0, 0, 0), hole)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def seen(content: str) -> dict[str, Any]:
    """Return what a picture in base64 is: format, pixels and the colour of a corner and of the middle."""
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        image.load()
        rgb = image.convert("RGB")
        return {"format": image.format, "size": image.size, "corner": rgb.getpixel((5, 5)), "middle": rgb.getpixel((512, 512))}


def refused(error: APIStatusError) -> dict[str, Any]:
    """Return what the package reports of a refusal."""
    found: Any = error.body
    return {"class": type(error).__name__, "status": error.status_code, "code": error.code, "type": error.type, "body": found}


def generate(client: OpenAI) -> dict[str, Any]:
    """Generate one picture."""
    answer = client.images.generate(model=MODEL, prompt=PROMPT, size="1024x1536", quality="high", output_format="webp")
    assert answer.data
    assert answer.usage
    about = {"size": answer.size, "quality": answer.quality, "output_format": answer.output_format, "background": answer.background}
    return {"picture": seen(str(answer.data[0].b64_json)), **about, "output_tokens": answer.usage.output_tokens}


def stream(client: OpenAI) -> list[dict[str, Any]]:
    """Generate one picture with two partial ones."""
    events = client.images.generate(model=MODEL, prompt=PROMPT, size="1024x1024", quality="low", stream=True, partial_images=2)
    return [{"type": event.type, "picture": seen(event.b64_json), **event.model_dump(exclude={"b64_json"})} for event in events]


def edit(client: OpenAI) -> dict[str, Any]:
    """Repaint the middle of a teal picture; the package sends a form."""
    picture, mask = png("RGB", (0, 128, 128)), png("RGBA", (0, 0, 0, 255), (256, 256, 768, 768))
    files: Any = {"image": [("photo.png", picture, "image/png")], "mask": ("mask.png", mask, "image/png")}
    answer = client.images.edit(model=MODEL, prompt=PROMPT, size="1024x1024", quality="low", **files)
    assert answer.data
    assert answer.usage
    return {"picture": seen(str(answer.data[0].b64_json)), "image_tokens": answer.usage.input_tokens_details.image_tokens}


def refusals(client: OpenAI) -> dict[str, Any]:
    """Meet a moderation, an unverified organization, an empty account, an overload and a wrong type of file."""
    found = {}
    once = client.with_options(max_retries=0)
    for fault in ("moderation", "failed-by-moderation", "unverified", "no-balance", "unavailable", "unauthorized"):
        try:
            once.images.generate(model=MODEL, prompt=f"{PROMPT} [[fault: {fault}]]", quality="low")
        except APIStatusError as error:
            found[fault] = refused(error)
    try:
        once.images.edit(model=MODEL, prompt=PROMPT, image=("photo", png("RGB", 0), "application/octet-stream"))
    except APIStatusError as error:
        found["mimetype"] = refused(error)
    return found


def models(client: OpenAI) -> list[str]:
    """List the models."""
    return [model.id for model in client.models.list()]


def azure(client: OpenAI) -> dict[str, Any]:
    """Generate one picture with a deployment of Azure's, at the address that Azure's own class makes."""
    host = f"{str(client.base_url).removesuffix('/openai/v1/')}/azure-openai"
    own = AzureOpenAI(azure_endpoint=host, api_key="a-key", api_version="2026-09-01")
    answer = own.images.generate(model="lab-images", prompt=PROMPT, size="1024x1024", quality="low")
    assert answer.data
    return {"picture": seen(str(answer.data[0].b64_json))}


if __name__ == "__main__":
    tasks = {"generate": generate, "stream": stream, "edit": edit, "refusals": refusals, "models": models, "azure": azure}
    print(json.dumps(tasks[sys.argv[2]](OpenAI(base_url=sys.argv[1], api_key="a-key"))))
