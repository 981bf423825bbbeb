"""stable-diffusion.cpp's own interface: jobs that are polled and, while they wait, cancelled; what the server can do is asked of it.

https://github.com/leejet/stable-diffusion.cpp, examples/server/api.md. A template for `[tool.imagegen.providers.NAME]`: it has no address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from imagegen_magic.providers import parameters, responses
from imagegen_magic.providers.base import Call, Model, Parameter, Pending, PixelRule, PollingPolicy, Provider, TaskState
from imagegen_magic.providers.gpt_image import SIZES
from imagegen_magic.request import ImageRequest
from imagegen_magic.secret_patterns import Address

DOCUMENT = "https://github.com/leejet/stable-diffusion.cpp, examples/server/api.md"
_DEFAULT = "default"  # the model of a request without one: a server has one model, which no request names
_FORMATS = ("png", "jpeg", "webp")
_CFG = "sample_params.guidance"


def _parameters(samplers: Sequence[str] = (), schedulers: Sequence[str] = ()) -> dict[str, Parameter]:
    def listed(path: str, names: Sequence[str]) -> Parameter:
        return Parameter("choice" if names else "text", path, choices=tuple(names))

    return {
        "seed": Parameter("integer", minimum=0, counted=True, common=True, help="the same seed makes the same picture"),
        "negative_prompt": Parameter("text", common=True, help="what the picture must not show"),
        "steps": Parameter("integer", "sample_params.sample_steps", 1, 200, common=True),
        "cfg_scale": Parameter("number", f"{_CFG}.txt_cfg", 0, common=True),
        "guidance": Parameter("number", f"{_CFG}.distilled_guidance", 0),
        "image_cfg": Parameter("number", f"{_CFG}.img_cfg", 0),
        "sampler": listed("sample_params.sample_method", samplers),
        "scheduler": listed("sample_params.scheduler", schedulers),
        "eta": Parameter("number", "sample_params.eta"),
        "flow_shift": Parameter("number", "sample_params.flow_shift"),
        "clip_skip": Parameter("integer"),
        "strength": Parameter("number", minimum=0, maximum=1, help="how far the picture departs from the one that it starts from"),
        "start": Parameter("flag", default=False, help="the reference is the picture to start from, instead of one to look at"),
    }


def _model(name: str, *, formats: Sequence[str] = _FORMATS, edges: tuple[int, int] = (64, 4096), size: str = "auto", **lists: Any) -> Model:
    smallest, largest = edges
    return Model(
        name=name,
        sizes=SIZES,
        resolutions=("1k", "2k", "4k"),
        auto_size=True,
        default_size=size,
        pixel_rule=PixelRule(1, largest, largest / smallest, smallest**2, largest**2),
        formats=tuple(formats),
        compressible=tuple(name for name in formats if name != "png"),
        max_references=16,
        references_as="base64",
        mask=True,
        mask_paints="white",
        parameters=_parameters(**lists),
        checked="2026-11-30",
        document=DOCUMENT,
    )


class StableDiffusionCpp(Provider):
    """A server of stable-diffusion.cpp, with its own jobs."""

    name, title = "sdcpp", "stable-diffusion.cpp"
    base_url, key_variable = "", ""
    docs_url = "https://github.com/leejet/stable-diffusion.cpp"
    template, needs_key, chosen_by_key = True, False, False
    submit_path = "/sdcpp/v1/img_gen"
    task_path = "/sdcpp/v1/jobs/{}"
    polling = PollingPolicy(min_interval=1.0, initial_delay=1.0)
    failures_free = DOCUMENT
    field_names: ClassVar[Mapping[str, str]] = {
        **{name: name for name in ("prompt", "output_format", "output_compression")},
        **{"n": "batch_count", "size": "width", "references": "ref_images", "mask": "mask_image"},
    }
    reserved_fields: ClassVar[Mapping[str, str]] = {"height": "size", "init_image": "references", "sample_params": "parameters"}
    models: ClassVar[tuple[Model, ...]] = (_model(_DEFAULT),)

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
        given = answer if isinstance(answer, Mapping) else {}
        name = _inner(given, "model", "stem")
        if not isinstance(name, str) or not name or "img_gen" not in _texts(given.get("supported_modes")):
            return ()
        usual = [responses.count(_inner(given, "defaults_by_mode", "img_gen", edge)) for edge in ("width", "height")]
        edges = [responses.count(_inner(given, "limits", limit)) for limit in ("min_width", "max_width")]
        found: dict[str, Any] = {"samplers": _texts(given.get("samplers")), "schedulers": _texts(given.get("schedulers"))}
        if formats := [each for each in _texts(_inner(given, "output_formats_by_mode", "img_gen")) if each in _FORMATS]:
            found["formats"] = formats
        if all(usual):
            found["size"] = f"{usual[0]}x{usual[1]}"
        if all(edges):
            found["edges"] = tuple(edges)
        return (_model(name, **found),)

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission of one job."""
        given = dict(request.parameters)
        start = given.pop("start", False)
        values = parameters.placed(self.model(request.model).parameters, given)
        further = {name: value for name, value in self._further_fields(request).items() if name not in ("model", "resolution")}
        return Call("POST", self.submit_path, {**self.payload(request, n), **self._references(request, start), **values, **further})

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the JSON of one job; without a size, the server's own."""
        width, _, height = self._pixels(request).partition("x")
        size = {"width": int(width), "height": int(height)} if height else {}
        fields = {name: getattr(request, name) for name in ("prompt", "output_format", "output_compression")}
        return {**{name: value for name, value in fields.items() if value is not None}, "batch_count": n, **size}

    def _pixels(self, request: ImageRequest) -> str:
        tiers = SIZES.get(request.size or "", {})
        pixels = tiers.get(request.resolution or "1k")
        return f"{pixels[0]}x{pixels[1]}" if pixels else request.size or ""

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
        made = result.get("result") if isinstance(result, Mapping) else None
        images = made.get("images") if isinstance(made, Mapping) else None
        texts = [each.get("b64_json") for each in images if isinstance(each, Mapping)] if isinstance(images, list) else []
        form = made.get("output_format") if isinstance(made, Mapping) else ""
        head = f"data:image/{form if form in _FORMATS else 'png'};base64,"
        return tuple(Address(head + text) for text in texts if isinstance(text, str) and text)

    def cancel_call(self, task_id: str) -> Call | None:
        """Return the request that cancels a job."""
        return Call("POST", f"/sdcpp/v1/jobs/{quote(task_id, safe='')}/cancel")

    def read_cancel(self, answer: Any) -> str:
        """Read the answer to `cancel_call`: a queued job is cancelled, one that is generating goes on."""
        status = responses.status_of(answer.get("status")) if isinstance(answer, Mapping) else ""
        if not status and re.search(r"generating|queue state changed", responses.message_of(answer)):
            return "running"
        return {"cancelled": "cancelled", "completed": "finished", "failed": "finished"}.get(status, "unknown")


def _inner(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
