"""What differs from OpenAI's image interface at the servers that speak it, by their own documentation and code, read 2026-11-30."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.providers.gpt_image import SIZES
from imagegen_magic.providers.model import Model, ReferencesAs
from imagegen_magic.providers.parameters import Parameter
from imagegen_magic.records import FrozenDict, Record
from imagegen_magic.request import ImageRequest

DEFAULT: Final = "default"  # the model of a request without one: no name is sent, the server takes its own
UNKNOWN: Final = "the abilities of this server are not known"

_SEED = Parameter("integer", minimum=0, counted=True, common=True, help="the same seed makes the same picture")
_NEGATIVE = Parameter("text", common=True, help="what the picture must not show")
_DIFFUSION = {
    "seed": _SEED,
    "negative_prompt": _NEGATIVE,
    "steps": Parameter("integer", "num_inference_steps", 1, 200, common=True),
    "guidance_scale": Parameter("number", minimum=0, maximum=20),
}


@dataclass(frozen=True, slots=True)
class Flavour(Record):
    """How one kind of server takes references and parameters.

    `reference_field` and `mask_field` hold the pictures of an edit at `edit_path` ("": it is a generation); without a `mask_field` there
    are no masks. `response_format` is sent if it is not empty. With `inside`, the parameters are one field of that name, a JSON text.
    With `negative_after`, the negative prompt follows the prompt, after this mark.
    """

    references_as: ReferencesAs = "part"
    edit_path: str = "/images/edits"
    reference_field: str = "image[]"
    mask_field: str = "mask"
    response_format: str = "b64_json"
    inside: str = ""
    negative_after: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=FrozenDict)

    def pictures(self, who: str, request: ImageRequest) -> dict[str, Any]:
        """Return the fields of references and mask. Raises UnsupportedOption for a mask where there is no field for one."""
        if self.references_as == "data_url":
            mask = {"mask": {"image_url": request.mask}} if request.mask else {}
            return {"images": [{"image_url": each} for each in request.references], **mask}
        if request.mask and not self.mask_field:
            hint = "leave the mask out and describe what to change, or choose a service that takes one: %imagegen plan lists them"
            raise UnsupportedOption(f"{who} takes no mask", option="mask", value="mask", hint=hint, fix={"mask": None})
        return {self.reference_field: list(request.references), **({self.mask_field: request.mask} if request.mask else {})}

    def model(self, name: str) -> Model:
        """Return a model of such a server: nothing but its name is known."""
        return Model(
            name=name,
            sizes=SIZES,
            auto_size=True,
            default_size="auto",
            resolutions=("1k", "2k", "4k"),
            parameters=self.parameters,
            references_as=self.references_as,
            strict=False,
            checked="",
            document=UNKNOWN,
        )


_PLAIN = Flavour()
FLAVOURS: Final = {
    "plain": _PLAIN,
    "litellm": _PLAIN,
    "new-api": _PLAIN,
    "openai": Flavour(references_as="data_url", reference_field="images", response_format=""),  # a proxy that passes all on
    "localai": Flavour(
        references_as="base64",
        edit_path="",
        reference_field="ref_images",
        mask_field="",
        negative_after="|",
        parameters={"steps": Parameter("integer", "step", 1, common=True), "negative_prompt": _NEGATIVE},
    ),
    "vllm-omni": Flavour(mask_field="mask_image", parameters={**_DIFFUSION, "true_cfg_scale": Parameter("number", minimum=0, maximum=20)}),
    "sglang": Flavour(parameters=_DIFFUSION),
    "xinference": Flavour(reference_field="image", mask_field="mask_image", inside="kwargs", parameters=_DIFFUSION),
}
