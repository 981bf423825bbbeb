"""stable-diffusion.cpp's own interface: jobs that are polled and, while they wait, cancelled; what the server can do is asked of it.

https://github.com/leejet/stable-diffusion.cpp, examples/server/api.md. A template for `[tool.imagegen.providers.NAME]`: it has no address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from imagegen_magic.providers import parameters, responses, sizes
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.calls import Call, Pending, PollingPolicy, TaskState
from imagegen_magic.providers.gateways import sdcpp_models
from imagegen_magic.providers.gpt_image import SIZES
from imagegen_magic.providers.model import Model
from imagegen_magic.request import ImageRequest
from imagegen_magic.secret_patterns import Address


class StableDiffusionCpp(Provider):
    """A server of stable-diffusion.cpp, with its own jobs."""

    name, title = "sdcpp", "stable-diffusion.cpp"
    base_url, key_variable = "", ""
    docs_url = "https://github.com/leejet/stable-diffusion.cpp"
    template, needs_key, chosen_by_key = True, False, False
    submit_path = "/sdcpp/v1/img_gen"
    task_path, cancel_path = "/sdcpp/v1/jobs/{}", "/sdcpp/v1/jobs/{}/cancel"
    cancel_outcomes: ClassVar[Mapping[str, str]] = {"cancelled": "cancelled", "completed": "finished", "failed": "finished"}
    polling = PollingPolicy(min_interval=1.0, initial_delay=1.0)
    failures_free = sdcpp_models.DOCUMENT
    field_names: ClassVar[Mapping[str, str]] = {
        **{name: name for name in ("prompt", "output_format", "output_compression")},
        **{"n": "batch_count", "size": "width", "references": "ref_images", "mask": "mask_image"},
    }
    reserved_fields: ClassVar[Mapping[str, str]] = {"height": "size", "init_image": "references", "sample_params": "parameters"}
    models: ClassVar[tuple[Model, ...]] = (sdcpp_models.model(),)

    @classmethod
    def from_table(cls, table: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the address without the version of either interface, because the paths have it."""
        address = table.get("base_url", "").strip().rstrip("/")
        return {"base_url": address.removesuffix("/sdcpp/v1").removesuffix("/v1")}

    def models_call(self) -> Call | None:
        """Return the request for the loaded model and what the server can do with it."""
        return Call("GET", "/sdcpp/v1/capabilities")

    def read_models(self, answer: Any) -> tuple[Model, ...]:
        """Read the loaded model with its samplers, formats, limits and usual size; none if it makes no pictures."""
        return sdcpp_models.described(answer)

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission of one job."""
        given = dict(request.parameters)
        start = given.pop("start", False)
        values = parameters.placed(self.model(request.model).parameters, given)
        further = {name: value for name, value in self._further_fields(request).items() if name not in ("model", "resolution")}
        return Call("POST", self.submit_path, {**self.payload(request, n), **self._references(request, start), **values, **further})

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the JSON of one job; without a size, the server's own."""
        sizes.refuse_lone_resolution(self.name, request)
        width, _, height = sizes.as_pixels(SIZES.get(request.size or "", {}), request).partition("x")
        size = {"width": int(width), "height": int(height)} if height else {}
        fields = {name: getattr(request, name) for name in ("prompt", "output_format", "output_compression")}
        return {**{name: value for name, value in fields.items() if value is not None}, "batch_count": n, **size}

    def _references(self, request: ImageRequest, start: bool) -> dict[str, Any]:
        if not request.references:
            return {}
        if start or request.mask:
            first, *others = request.references
            mask = {"mask_image": request.mask} if request.mask else {}
            return {"init_image": first, **mask, **({"ref_images": others} if others else {})}
        return {"ref_images": list(request.references)}

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return how references are used."""
        if not request.references or request.mask or request.parameters.get("start"):
            return ()
        return ("references are pictures to look at, which models for edits use; --set start=true begins with the first one",)

    def read_task(self, answer: Any) -> TaskState:
        """Read a job; one that is queued has its position."""
        state = super().read_task(answer)
        if not isinstance(state, Pending) or state.status != "queued":
            return state
        position = responses.count(answer.get("queue_position"))
        return Pending(f"queued, position {position}" if position else "queued", queued=True)

    def _image_urls(self, result: Any) -> tuple[str, ...]:
        """Return the pictures of a job as data: addresses."""
        form = responses.value_at(result, "result", "output_format")
        head = f"data:image/{form if form in sdcpp_models.FORMATS else 'png'};base64,"
        images = responses.objects(responses.value_at(result, "result", "images"))
        return tuple(Address(head + text) for each in images if isinstance(text := each.get("b64_json"), str) and text)

    def read_cancel(self, answer: Any) -> str:
        """Read the answer to `cancel_call`: a queued job is cancelled, one that is generating goes on."""
        message = "" if responses.status_in(answer) else responses.message_of(answer)
        return "running" if re.search(r"generating|queue state changed", message) else super().read_cancel(answer)
