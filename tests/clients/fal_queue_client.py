"""A user of the `fal-client` package, run as a process of its own: `python fal_queue_client.py TASK`; prints what it got as JSON.

The package builds https addresses: FAL_QUEUE_RUN_HOST is the server, and SSL_CERT_FILE its certificate.
"""

from __future__ import annotations

import io
import json
import os
import ssl
import sys
import urllib.request
from typing import Any

import fal_client
from PIL import Image

SCHNELL, EDIT = "fal-ai/flux/schnell", "fal-ai/nano-banana-2/edit"


def seen(url: str) -> dict[str, Any]:
    """Return what the picture at an address is."""
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(url, timeout=60) as response, Image.open(io.BytesIO(response.read())) as image:
        image.load()
        return {"format": image.format, "size": image.size}


def generate(client: fal_client.SyncClient) -> dict[str, Any]:
    """Generate one picture, and follow its request through the queue."""
    states: list[str] = []
    arguments = {"prompt": "a red fox", "seed": 7, "num_inference_steps": 4, "image_size": "landscape_16_9", "output_format": "png"}
    result = client.subscribe(SCHNELL, arguments, on_queue_update=lambda state: states.append(type(state).__name__))
    (picture,) = result["images"]
    about = {name: picture[name] for name in ("width", "height", "content_type")}
    return {**about, "seed": result["seed"], "states": sorted(set(states)), "picture": seen(picture["url"])}


def edit(client: fal_client.SyncClient) -> dict[str, Any]:
    """Edit a picture that travels as data."""
    given = fal_client.encode_image(Image.new("RGB", (512, 512), (0, 128, 128)), "png")
    arguments = {"prompt": "a red fox on teal", "image_urls": [given], "aspect_ratio": "1:1"}
    handle = client.submit(EDIT, arguments)
    return {"picture": seen(handle.get()["images"][0]["url"]), "address": handle.status_url.partition("/fal/")[2]}


def refusals(client: fal_client.SyncClient) -> dict[str, Any]:
    """Meet moderation, a field that is wrong, a failed runner and a wrong key."""
    found: dict[str, Any] = {}
    requests = {
        "moderation": (client, {"prompt": "a red fox [[fault: moderation]]"}),
        "field": (client, {"prompt": "a red fox", "num_inference_steps": 99}),
        "runner": (client, {"prompt": "a red fox [[fault: failed]]"}),
        "key": (fal_client.SyncClient(key="bad"), {"prompt": "a red fox"}),
    }
    for name, (each, arguments) in requests.items():
        try:
            each.subscribe(SCHNELL, arguments)
        except fal_client.FalClientHTTPError as error:
            detail = error.message[0] if isinstance(error.message, list) else {"msg": error.message}
            found[name] = {
                "status": error.status_code,
                "type": detail.get("type"),
                "error_type": error.error_type,
                "ctx": detail.get("ctx"),
            }
    return found


def cancel(client: fal_client.SyncClient) -> dict[str, Any]:
    """Cancel a request that waits in the queue."""
    handle = client.submit(SCHNELL, {"prompt": "a red fox that comes too late"})
    before = type(handle.status()).__name__
    handle.cancel()
    after = handle.status()
    return {"before": before, "after": type(after).__name__, "error_type": getattr(after, "error_type", None)}


if __name__ == "__main__":
    print(json.dumps({"generate": generate, "edit": edit, "refusals": refusals, "cancel": cancel}[sys.argv[1]](fal_client.SyncClient())))
