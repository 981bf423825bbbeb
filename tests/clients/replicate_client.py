"""A user of the `replicate` package, run as a process of its own: `python replicate_client.py SERVER TASK`; prints what it got as JSON."""

from __future__ import annotations

import io
import json
import sys
import urllib.request
from typing import Any

import replicate
from PIL import Image
from replicate.exceptions import ModelError, ReplicateError

SCHNELL, BANANA = "black-forest-labs/flux-schnell", "google/nano-banana-2"


def seen(url: str) -> dict[str, Any]:
    """Return what the picture at an address is."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as response, Image.open(io.BytesIO(response.read())) as image:
        image.load()
        return {"format": image.format, "size": image.size}


def generate(client: replicate.Client) -> dict[str, Any]:
    """Generate one picture, waiting in the request, and one with polls."""
    waited: Any = client.run(SCHNELL, {"prompt": "a red fox", "aspect_ratio": "16:9", "output_format": "png"}, use_file_output=False)
    prediction = client.models.predictions.create(SCHNELL, {"prompt": "a red fox", "seed": 7})
    first = prediction.status
    prediction.wait()
    assert prediction.output
    return {"waited": seen(waited[0]), "first": first, "status": prediction.status, "polled": seen(prediction.output[0])}


def edit(client: replicate.Client) -> dict[str, Any]:
    """Edit a picture that the package uploads, and one that travels as data."""
    found = {}
    for strategy in ("url", "base64"):
        file = io.BytesIO()
        Image.new("RGB", (512, 512), (0, 128, 128)).save(file, "PNG")
        file.name = "teal.png"
        fields = {"prompt": "a red fox on teal", "image_input": [file], "output_format": "jpg"}
        output: Any = client.run(BANANA, fields, use_file_output=False, file_encoding_strategy=strategy)
        found[strategy] = seen(output[0])
    return found


def refusals(client: replicate.Client) -> dict[str, Any]:
    """Meet moderation, a field that is wrong, a throttled request, and a wrong token."""
    found: dict[str, Any] = {}
    other = replicate.Client("bad-token", base_url=sys.argv[1])
    requests = {
        "moderation": (client, {"prompt": "a red fox [[fault: moderation]]"}),
        "field": (client, {"prompt": "a red fox", "num_inference_steps": 99}),
        "throttled": (client, {"prompt": "a red fox [[fault: rate-limited]]"}),
        "token": (other, {"prompt": "a red fox"}),
    }
    for name, (each, fields) in requests.items():
        try:
            each.run(SCHNELL, fields)
        except ModelError as error:
            found[name] = {"status": error.prediction.status, "detail": error.prediction.error}
        except ReplicateError as error:
            found[name] = {"status": error.status, "detail": error.detail}
    return found


def cancel(client: replicate.Client) -> dict[str, Any]:
    """Cancel a prediction that has not begun, and find it in the list."""
    prediction = client.models.predictions.create(SCHNELL, {"prompt": "a red fox that comes too late"})
    before = prediction.status
    prediction.cancel()
    listed = {each.id: each.status for each in client.predictions.list()}
    return {"before": before, "after": prediction.status, "started_at": prediction.started_at, "listed": listed[prediction.id]}


def schema(client: replicate.Client) -> list[str]:
    """Return the fields that a model's own schema names."""
    version = client.models.get(SCHNELL).latest_version
    assert version
    return sorted(version.openapi_schema["components"]["schemas"]["Input"]["properties"])


if __name__ == "__main__":
    tasks: dict[str, Any] = {"generate": generate, "edit": edit, "refusals": refusals, "cancel": cancel, "schema": schema}
    print(json.dumps(tasks[sys.argv[2]](replicate.Client("sandbox", base_url=sys.argv[1]))))
