"""The state of the panel: gateway, model and options, and their validation. Knows no widgets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from imagegen_magic import readers
from imagegen_magic.engine import api, credentials, endpoints
from imagegen_magic.engine.jobs.job import Job
from imagegen_magic.engine.learnt_models import with_learnt
from imagegen_magic.engine.offers import Offer, offers
from imagegen_magic.engine.settings import REQUEST_OPTIONS, Settings
from imagegen_magic.errors import ImageGenError, MissingKey, UnsupportedOption
from imagegen_magic.options import PARAMETERS
from imagegen_magic.providers import alternatives, registry
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.describe import shown
from imagegen_magic.request import ImageRequest, LocalImage, is_blank, with_parameters
from imagegen_magic.result import GeneratedImage

_ALWAYS_SET = ("prompt", "unchecked", "extra")  # options without a value that a model chooses
_FIELDS = {field.name for field in fields(ImageRequest)}


class PanelState:
    """The choices, and their validation after each change. `None` in the request is the model's default."""

    def __init__(self, settings: Settings, request: ImageRequest, provider: str | None, sandbox: bool | None) -> None:
        self.settings = settings
        self.providers = {one.name: one for one in endpoints.known(settings)}
        self.job_settings = replace(
            settings,
            values={name: one for name, one in settings.values.items() if name not in REQUEST_OPTIONS},
            errors={name: one for name, one in settings.errors.items() if name not in REQUEST_OPTIONS},
        )
        self._balance = ("", "")  # the gateway that reported it, and its text
        self._offers: tuple[ImageRequest | None, list[Offer]] = (None, [])  # the request that they are for
        request = api.apply_defaults(request, settings)
        self._set(*self._first_gateway(request, provider, sandbox), request)

    def _first_gateway(self, request: ImageRequest, provider: str | None, sandbox: bool | None) -> tuple[Provider, bool]:
        """Choose as a cell would; a named gateway is chosen even without a key."""
        sandbox = self.settings.get("sandbox") if sandbox is None else sandbox
        if (name := provider or self.settings.get("provider")) and name != endpoints.SANDBOX_NAME:
            return registry.get_provider(name, self.settings.provider_tables), bool(sandbox)
        chosen = endpoints.select_endpoint(self.settings, sandbox=sandbox, model=request.model, planning=True)
        return chosen.provider, chosen.sandbox

    def _set(self, provider: Provider, sandbox: bool, request: ImageRequest) -> None:
        """Set all choices. Raises UnknownProvider, without a change, if the gateway has no such model."""
        provider = self._with_learnt(provider, sandbox, request.model)
        others, ready = tuple(self.providers.values()), endpoints.ready(self.settings, sandbox)
        self.validation = alternatives.validate(provider, request, others, sandbox=sandbox, ready=ready)
        self.provider, self.sandbox, self.request = provider, sandbox, request

    def _with_learnt(self, provider: Provider, sandbox: bool, model: str | None) -> Provider:
        """Return the provider with the models that its service described before; nothing is requested."""
        try:
            return with_learnt(endpoints.without_key(provider, self.settings, sandbox=sandbox), self.settings, model).provider
        except ImageGenError:  # of its address, or the sandbox does not have it
            return provider

    def choose(self, option: str, value: Any) -> bool:
        """Set one option; `provider`, `sandbox`, every field of ImageRequest and every parameter. Returns whether anything changed.

        Another gateway keeps the model if it has one of that name.
        """
        before = provider, sandbox, request = self.provider, self.sandbox, self.request
        if option == "provider":
            provider = self.providers.get(value) or registry.get_provider(value, self.settings.provider_tables)
            has_model = any(model.name == request.model for model in provider.models)
            request = request if has_model else replace(request, model=None)
        elif option == "sandbox":
            sandbox = bool(value)
        elif option not in _FIELDS:
            request = self._with_parameter(option, value)
        elif option in _ALWAYS_SET or str(value) != self.validation.chosen(option) or getattr(request, option) not in (None, value):
            request = replace(request, **{option: value})
        if (provider, sandbox, request) == before:
            return False
        self._set(provider, sandbox, request)
        return True

    def _with_parameter(self, name: str, value: Any) -> ImageRequest:
        """Return the request with a parameter as it is sent, or as it was typed if the model cannot take that; None leaves it out."""
        parameter = self.validation.model.parameters.get(name)
        if parameter is not None and value is not None:
            with suppress(TypeError, ValueError, OverflowError):
                value = parameter.read(value)
        given = {**self.request.parameters, name: value}
        extra = {key: each for key, each in self.request.extra.items() if key != name}
        return replace(self.request, extra=extra, parameters={key: each for key, each in given.items() if each is not None})

    def apply_fixes(self) -> None:
        """Replace the values that are not possible by their fixes."""
        self.set_request(alternatives.apply_fixes(self.request, self.validation.problems))

    def set_request(self, request: ImageRequest) -> None:
        """Set the whole request. Raises UnknownProvider, without a change, if the gateway has no such model."""
        self._set(self.provider, self.sandbox, request)

    def use_settings_of(self, image: GeneratedImage, request: ImageRequest) -> None:
        """Set all that an image was made with. Raises UnknownProvider if its gateway no longer exists."""
        self._set(registry.get_provider(image.provider, self.settings.provider_tables), image.sandbox, request)

    def add_reference(self, source: str | LocalImage) -> None:
        """Add a reference if it is not among them."""
        if source not in self.request.references:
            self.set_request(replace(self.request, references=(*self.request.references, source)))

    @property
    def balance(self) -> str:
        """What the account has, as the chosen gateway last reported it; empty if it was not asked or a request was started since."""
        name, text = self._balance
        return text if name == self.provider.name and self.reports_balance else ""

    @property
    def reports_balance(self) -> bool:
        """Whether the chosen gateway can be asked what the account has."""
        return not self.sandbox and self.provider.balance_call() is not None and not self.missing_key

    async def ask_balance(self) -> None:
        """Ask the chosen gateway what the account has. Raises like `api.balance`."""
        name = self.provider.name
        found = await api.balance(name, settings=self.job_settings.replace("the panel", sandbox=False))
        self._balance = (name, str(found))

    @property
    def offers(self) -> list[Offer]:
        """The services that can make the current request, as last compared; empty if it has changed since."""
        request, found = self._offers
        return found if request == self._comparable else []

    @property
    def is_compared(self) -> bool:
        """Whether `offers` are those of the current request."""
        return self._offers[0] == self._comparable

    @property
    def _comparable(self) -> ImageRequest:
        """The current request for any service: its prompt changes no price."""
        return replace(self.request, model=None, prompt="a picture")

    def compare(self) -> None:
        """Find the services with a key that can make the current request. Sends nothing; may read files."""
        request = self._comparable
        self._offers = (request, offers(request, self.job_settings))

    @property
    def missing_key(self) -> str:
        """How to set this gateway's key if it is needed and cannot be used; else empty."""
        provider = self.provider
        try:
            if self.sandbox or not provider.needs_key or credentials.find(provider, self.settings.home):
                return ""
        except MissingKey as error:
            return str(error)
        ways = credentials.ways_to_set(provider).partition(", or %imagegen login")[0]
        return f"No key is set for {provider.title}. {ways[:1].upper()}{ways[1:]}, or type the key here:"

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
        self._balance = ("", "")  # no longer up to date
        return api.start(
            self.request, provider=self.provider.name, sandbox=self.sandbox, settings=replace(self.job_settings, folder=folder)
        )


def request_of(options: Mapping[str, Any]) -> ImageRequest:
    """Return presets as a request. Raises UnsupportedOption for an unknown one."""
    allowed = _FIELDS | set(PARAMETERS)
    for name in options:
        if name not in allowed:
            raise UnsupportedOption(f"The panel has no option {name!r}", option=name, value=options[name], allowed=sorted(allowed))
    prompt = options.get("prompt", "")
    if not isinstance(prompt, str):
        raise UnsupportedOption(f"The panel takes a prompt in words, not {shown(prompt)}", option="prompt", value=prompt)
    return ImageRequest(**{"prompt": "", **with_parameters(options)})


def read(option: str, value: Any) -> Any:
    """Return the value of a control as a value of a request; empty is the default. Raises UnsupportedOption for unreadable fields."""
    if option == "extra" and isinstance(value, str):
        return _fields_of(value)
    if option in ("n", "output_compression") and isinstance(value, str):
        try:
            return readers.whole(value)
        except ValueError:
            return value.strip() or None
    return None if value == "" and option != "prompt" else value


def _fields_of(text: str) -> dict[str, Any]:
    """Return fields typed as `NAME=VALUE NAME=VALUE`; a value is JSON if it can be read as such, else text."""
    try:
        return dict(map(readers.pair, shlex.split(text)))
    except ValueError:
        hint = 'type them as NAME=VALUE, as in seed=7 "style=oil painting"'
        raise UnsupportedOption(f"{shown(text)} are no fields", option="extra", value=text, hint=hint) from None
