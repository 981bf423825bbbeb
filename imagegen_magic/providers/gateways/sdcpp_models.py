"""What a server of stable-diffusion.cpp takes, as its own page says: examples/server/api.md, read 2026-11-30."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imagegen_magic.providers import responses
from imagegen_magic.providers.gpt_image import SIZES
from imagegen_magic.providers.model import Model, PixelRule
from imagegen_magic.providers.parameters import Parameter

DOCUMENT = "https://github.com/leejet/stable-diffusion.cpp, examples/server/api.md"
DEFAULT = "default"  # the model of a request without one: a server has one model, which no request names
FORMATS = ("png", "jpeg", "webp")
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


def model(
    name: str = DEFAULT, *, formats: Sequence[str] = FORMATS, edges: tuple[int, int] = (64, 4096), size: str = "auto", **lists: Any
) -> Model:
    """Return a model of a server, with what its capabilities name; `edges` are the limits of an edge in pixels."""
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


def described(answer: Any) -> tuple[Model, ...]:
    """Return the loaded model with its samplers, formats, limits and usual size; none if it makes no pictures."""
    name = responses.value_at(answer, "model", "stem")
    if not isinstance(name, str) or not name or "img_gen" not in responses.texts(responses.value_at(answer, "supported_modes")):
        return ()
    usual = [responses.count(responses.value_at(answer, "defaults_by_mode", "img_gen", edge)) for edge in ("width", "height")]
    edges = [responses.count(responses.value_at(answer, "limits", limit)) for limit in ("min_width", "max_width")]
    found: dict[str, Any] = {key: responses.texts(responses.value_at(answer, key)) for key in ("samplers", "schedulers")}
    if formats := [each for each in responses.texts(responses.value_at(answer, "output_formats_by_mode", "img_gen")) if each in FORMATS]:
        found["formats"] = formats
    if all(usual):
        found["size"] = f"{usual[0]}x{usual[1]}"
    if all(edges):
        found["edges"] = tuple(edges)
    return (model(name, **found),)
