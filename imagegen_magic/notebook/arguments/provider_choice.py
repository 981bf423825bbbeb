"""The question which service makes the pictures, asked once of a user who has keys and has chosen none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError

from imagegen_magic.engine import api, endpoints
from imagegen_magic.engine.settings import own_file, save_own
from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.arguments.confirmation import can_answer

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.providers.base import Provider
    from imagegen_magic.request import ImageRequest


def choose(request: ImageRequest, settings: Settings, provider: str | None, shell: Any) -> Settings:
    """Return the settings with the service that the user chooses and that is kept; unchanged if there is nothing to choose.

    Nothing is asked if a provider is named or configured, if a gateway is the default by its key, if no other key is set, or if the
    question cannot be answered.
    """
    if provider or settings.get("provider") or settings.get("sandbox"):
        return settings
    services = endpoints.available(settings)
    if not services or not endpoints.select_endpoint(settings, model=request.model, planning=True).sandbox or not can_answer(shell):
        return settings
    answer = _asked([*(_priced(each, request, settings) for each in services), (endpoints.SANDBOX_NAME, "drawn here, free")])
    if answer is None:
        return settings
    save_own(settings, "provider", answer)
    undo = f"%imagegen config provider= removes this choice, which is kept in {own_file(settings)}"
    print(f"{answer} makes the pictures of this cell, and of all cells in your notebooks that name no other with -p. {undo}.")
    return settings.replace("your settings", provider=answer)


def _priced(provider: Provider, request: ImageRequest, settings: Settings) -> tuple[str, str]:
    """Return a service's name, and what this request would cost there or why it cannot make it."""
    try:
        plan = api.plan(request, provider=provider.name, settings=settings)
    except ImageGenError as error:
        return provider.name, f"cannot make this: {error.what}"
    price = str(plan.price) if plan.price.amount is not None else "price unknown"
    return provider.name, f"{plan.model.name}, {price}"


def _asked(choices: list[tuple[str, str]]) -> str | None:
    """Ask which service to use, and return its name; None if the question cannot be asked. Raises KeyboardInterrupt."""
    lines = [f"  {number}  {name}: {facts}" for number, (name, facts) in enumerate(choices, 1)]
    print("\n".join(["You have keys and no configured service. What this request would cost:", *lines]))
    names = [name for name, _ in choices]
    while True:
        try:
            answer = input("Which service makes your pictures from now on? Number or name: ").strip().lower()
        except (StdinNotImplementedError, EOFError, OSError):
            return None
        if answer in names:
            return answer
        if answer.isdecimal() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
