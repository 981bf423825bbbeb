"""The state of the panel: gateway, model and options, and their validation. Knows no widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from imagegen_magic import readers
from imagegen_magic.engine import api, credentials, endpoints
from imagegen_magic.engine.jobs.job import Job
from imagegen_magic.engine.settings import REQUEST_OPTIONS, Settings
from imagegen_magic.errors import MissingKey, UnsupportedOption
from imagegen_magic.providers import alternatives, registry
from imagegen_magic.providers.alternatives import Validation
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.describe import shown
from imagegen_magic.request import ImageRequest, LocalImage, is_blank
from imagegen_magic.result import GeneratedImage

_FIELDS = {field.name for field in fields(ImageRequest)}


class PanelState:
    """The choices, and their validation after each change. `None` in the request is the model's default."""

    def __init__(self, settings: Settings, request: ImageRequest, provider: str | None, sandbox: bool | None) -> None:
        self.settings = settings
        self.providers = {one.name: one for one in endpoints.known(settings)}
        self._job_settings = replace(
            settings,
            values={name: one for name, one in settings.values.items() if name not in REQUEST_OPTIONS},
            errors={name: one for name, one in settings.errors.items() if name not in REQUEST_OPTIONS},
        )
        self.request = api.apply_defaults(request, settings)
        self.provider, self.sandbox = self._begin(provider, sandbox)
        self.validation = self._validate()

    def _begin(self, provider: str | None, sandbox: bool | None) -> tuple[Provider, bool]:
        """Choose as a cell would; a named gateway is chosen even without a key."""
        wanted = self.settings.get("sandbox") if sandbox is None else sandbox
        if name := provider or self.settings.get("provider"):
            return registry.get_provider(name, self.settings.provider_tables), bool(wanted)
        chosen = endpoints.select_endpoint(self.settings, sandbox=wanted, model=self.request.model, planning=True)
        return chosen.provider, chosen.sandbox

    def _validate(self) -> Validation:
        self.provider.model(self.request.model)  # raises UnknownProvider for a model of another gateway
        others, ready = tuple(self.providers.values()), endpoints.ready(self.settings, self.sandbox)
        return alternatives.validate(self.provider, self.request, others, sandbox=self.sandbox, ready=ready)

    def choose(self, option: str, value: Any) -> bool:
        """Set one option; `provider`, `sandbox` and every field of ImageRequest. Returns whether anything changed."""
        before = self.provider, self.sandbox, self.request
        if option == "provider":
            self._select_provider(value)
        elif option == "sandbox":
            self.sandbox = bool(value)
        elif option == "prompt" or str(value) != self.validation.chosen(option) or getattr(self.request, option) not in (None, value):
            self.request = replace(self.request, **{option: value})
        changed = before != (self.provider, self.sandbox, self.request)
        if changed:
            self.validation = self._validate()
        return changed

    def _select_provider(self, name: str) -> None:
        """Select a gateway, with the model of the same name if it has one, else its first."""
        self.provider = self.providers.get(name) or registry.get_provider(name, self.settings.provider_tables)
        names = {model.name for model in self.provider.models}
        model = self.request.model if self.request.model in names else None
        self.request = replace(self.request, model=model)

    def apply_fixes(self) -> None:
        """Replace the values that are not possible by their fixes."""
        self.request = alternatives.apply_fixes(self.request, self.validation.problems)
        self.validation = self._validate()

    def set_request(self, request: ImageRequest) -> None:
        """Set the whole request. Raises UnknownProvider, without a change, if the gateway has no such model."""
        before, self.request = self.request, request
        try:
            self.validation = self._validate()
        except LookupError:
            self.request = before
            raise

    def use_settings_of(self, image: GeneratedImage, request: ImageRequest) -> None:
        """Set all that an image was made with. Raises UnknownProvider if its gateway no longer exists."""
        provider = registry.get_provider(image.provider, self.settings.provider_tables)
        provider.model(image.request.model)
        self.provider, self.sandbox, self.request = provider, image.sandbox, request
        self.validation = self._validate()

    def add_reference(self, source: str | LocalImage) -> None:
        """Add a reference if it is not among them."""
        if source not in self.request.references:
            self.request = replace(self.request, references=(*self.request.references, source))
            self.validation = self._validate()

    @property
    def missing_key(self) -> str:
        """How to set this gateway's key if it is needed and cannot be used; else empty."""
        provider = self.provider
        try:
            if self.sandbox or credentials.find(provider, self.settings.home):
                return ""
        except MissingKey as error:
            return str(error)
        return f"No key is set for {provider.title}. Set {provider.key_variable} in the environment, or type the key here:"

    @property
    def not_ready_reason(self) -> str:
        """Why Generate cannot start; empty if it can."""
        if is_blank(self.request.prompt):
            return "Describe the picture"
        if self.validation.problems:
            return self.validation.problems[0].text
        return self.missing_key

    def start(self, folder: Path) -> Job:
        """Start the current request, for a notebook in `folder`. Raises UnsupportedOption or MissingKey before anything is sent."""
        if is_blank(self.request.prompt):
            raise UnsupportedOption("There is no prompt", option="prompt", value="", hint="describe the picture")
        return api.start(
            self.request, provider=self.provider.name, sandbox=self.sandbox, settings=replace(self._job_settings, folder=folder)
        )


def request_of(options: Mapping[str, Any]) -> ImageRequest:
    """Return presets as a request. Raises UnsupportedOption for an unknown one."""
    for name in options:
        if name not in _FIELDS:
            raise UnsupportedOption(f"The panel has no option {name!r}", option=name, value=options[name], allowed=sorted(_FIELDS))
    prompt = options.get("prompt", "")
    if not isinstance(prompt, str):
        raise UnsupportedOption(f"The panel takes a prompt in words, not {shown(prompt)}", option="prompt", value=prompt)
    return ImageRequest(**{"prompt": "", **options})


def read(option: str, value: Any) -> Any:
    """Return the value of a control as a value of a request; empty is the model's default."""
    if option in ("n", "output_compression") and isinstance(value, str):
        try:
            return readers.whole(value)
        except ValueError:
            return value.strip() or None
    return None if value == "" and option != "prompt" else value
