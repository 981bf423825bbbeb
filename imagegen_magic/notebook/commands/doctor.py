"""`%imagegen doctor`: what is installed, configured and reachable, and how to mend what is not."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.context import accepts_input, has_kernel
from imagegen_magic.notebook.output.tables import Note, Page, Table
from imagegen_magic.paths import path_of

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.providers.base import Provider

_PACKAGES = ("imagegen_magic", "ipython", "ipykernel", "ipywidgets", "jupyterlab", "httpx", "Pillow", "starlette", "keyring")
_OPTIONAL = {"jupyterlab", "ipykernel", "keyring"}

Finding = tuple[str, str, str]
"""What was looked at, what was found, and how to mend it (empty where nothing is wrong)."""


def report(context: NotebookContext, *, network: bool = False) -> Page:
    """Return what was found; asks the gateways' addresses only where `network`, and never sends a key."""
    findings = sorted(_findings(context, network), key=lambda finding: not finding[2])
    wrong = sum(bool(mend) for _, _, mend in findings)
    summary = "Nothing needs mending." if not wrong else f"{wrong} thing{'s' if wrong > 1 else ''} to mend, on top."
    return Page(Note(summary), Table(("", "found", "to mend"), findings))


def _findings(context: NotebookContext, network: bool) -> Iterator[Finding]:
    from imagegen_magic.engine.settings import unknown_variables

    yield from _versions()
    yield _front_end(context.shell)
    settings = context.settings()
    for trouble in settings.troubles.values():
        yield "settings", trouble.what, trouble.hint
    for name, near in unknown_variables().items():
        yield "settings", f"{name} is in the environment and sets nothing", f"rename it to {near}" if near else "remove it"
    yield "settings", f"read from {settings.folder}; %imagegen config shows them", ""
    settings = settings.sound
    yield from _ledger(settings)
    yield _save_dir(settings)
    yield _fonts()
    for name, find in (("unreadable files", _unreadable), ("gateways", partial(_gateways, network=network))):
        try:
            yield from find(settings)
        except ImageGenError as error:
            yield name, error.what, error.hint


def _versions() -> Iterator[Finding]:
    yield "Python", platform.python_version(), ""
    for package in _PACKAGES:
        try:
            yield package, importlib.metadata.version(package), ""
        except importlib.metadata.PackageNotFoundError:
            yield package, "not installed", "" if package in _OPTIONAL else f"pip install {package}"


def _front_end(shell: Any) -> Finding:
    if not has_kernel(shell):
        return "front end", "a terminal: pictures are named with their paths", ""
    if not accepts_input(shell):
        return "front end", "runs without a person (nbclient, papermill): progress is plain text, no widgets", ""
    return "front end", "a notebook: progress is a widget", ""


def _ledger(settings: Settings) -> Iterator[Finding]:
    from imagegen_magic.engine import api, loop
    from imagegen_magic.engine.ledger import stored_requests

    try:
        ledger = api.ledger(settings)
        ledger.inspect()
        loop.run(ledger.check())
    except ImageGenError as error:
        yield "ledger", error.what, error.hint
        return
    newer = "; a newer imagegen_magic added to it what this version keeps and does not show" if ledger.newer else ""
    yield (
        "ledger",
        f"{ledger.path}, {ledger.path.stat().st_size / 1024:.0f} kB, whole and writable{newer}",
        stored_requests.UPDATE if newer else "",
    )
    waiting = ledger.count_resumable()
    yield "waiting pictures", str(waiting), "%imagegen resume collects them, without paying again" if waiting else ""


def _save_dir(settings: Settings) -> Finding:
    from imagegen_magic.engine.storage import folders

    try:
        folders.check(settings)
    except ImageGenError as error:
        return "originals", error.what, error.hint
    return "originals", str(settings.save_dir), ""


def _fonts() -> Finding:
    """Say which scripts cannot be drawn; that is nothing wrong for somebody who writes in another."""
    from imagegen_magic.imaging.text import missing_fonts

    lacking = missing_fonts.unsupported()
    if not lacking:
        return "fonts of grids", ", ".join(missing_fonts.USUAL), ""
    return "fonts of grids", f"none for {', '.join(lacking)}. {missing_fonts.remedy(lacking)}", ""


def _unreadable(settings: Settings) -> Iterator[Finding]:
    """Yield each folder that holds what came as pictures and could not be read, with the number of its files and their size."""
    from imagegen_magic.engine import api
    from imagegen_magic.engine.ledger import history
    from imagegen_magic.engine.storage import images

    paths = history.unreadable_paths_now(api.ledger(settings))
    folders = dict.fromkeys([settings.save_dir.absolute() / images.UNREADABLE, *(path_of(path).parent for path in paths)])
    for folder in folders:
        sizes = list(_sizes(folder))
        if sizes:
            found = f"{len(sizes)} file{'s' if len(sizes) > 1 else ''} that came and cannot be read here, {sum(sizes) / 2**20:.1f} MiB"
            yield "unreadable", f"{found}, in {folder}; the reasons stand beside them", ""


def _sizes(folder: Path) -> Iterator[int]:
    try:
        for path in folder.iterdir():
            if path.suffix != ".json" and not path.name.startswith(".") and path.is_file():
                yield path.stat().st_size
    except OSError:
        return


def _gateways(settings: Settings, network: bool) -> Iterator[Finding]:
    from imagegen_magic.engine import endpoints
    from imagegen_magic.notebook.commands.dispatch import key_trouble, key_words
    from imagegen_magic.providers import registry

    providers = list(endpoints.known(settings))
    chosen = _chosen(settings)
    yield chosen
    yield from (("gateways", one.what, one.hint) for one in registry.unsound(settings.look_alikes).values() if one.what != chosen[1])
    for provider in providers:
        yield f"key of {provider.name}", key_words(provider, settings), key_trouble(provider, settings)[1]
        yield _address(provider)
    found = [provider for provider in providers if not _address_trouble(provider)]
    yield from _proxies(found)
    if network:
        yield from _reached(settings, found)


def _chosen(settings: Settings) -> Finding:
    from imagegen_magic.engine import endpoints

    try:
        gateway = endpoints.choose(settings)
    except ImageGenError as error:
        return "without -p", error.what, error.hint
    return "without -p", gateway.label, gateway.note if gateway.sandbox and not settings.get("sandbox") else ""


def _address(provider: Provider) -> Finding:
    from imagegen_magic.engine import endpoints

    name = f"address of {provider.name}"
    if trouble := _address_trouble(provider):
        return name, trouble.what, trouble.hint
    address = endpoints.base_url(provider)
    return name, address, "" if address.startswith("https://") else "https:// keeps the key unseen on its way"


def _address_trouble(provider: Provider) -> ImageGenError | None:
    from imagegen_magic.engine import endpoints

    try:
        endpoints.base_url(provider)
    except ImageGenError as error:
        return error
    return None


def _proxies(providers: list[Provider]) -> Iterator[Finding]:
    """Yield the proxy on the way to each gateway; one line where there is none at all."""
    from imagegen_magic.engine import endpoints
    from imagegen_magic.engine.net.proxies import proxy_of

    found = [(provider.name, proxy_of(endpoints.base_url(provider))) for provider in providers]
    if not any(proxy for _, proxy in found):
        yield "proxy", "none", ""
        return
    for name, proxy in found:
        yield f"proxy to {name}", f"{proxy.place} ({proxy.origin})" if proxy else "none", ""


def _reached(settings: Settings, providers: list[Provider]) -> list[Finding]:
    from imagegen_magic.engine import loop

    return loop.run(_reach_all(settings, providers))


async def _reach_all(settings: Settings, providers: list[Provider]) -> list[Finding]:
    import asyncio

    return list(await asyncio.gather(*(_reach(settings, provider) for provider in providers)))


async def _reach(settings: Settings, provider: Provider) -> Finding:
    from imagegen_magic.engine import endpoints
    from imagegen_magic.engine.context import context_of
    from imagegen_magic.engine.net.exchange import Lost, NotSent, ProxyFailed

    name = f"network to {provider.name}"
    base_url = endpoints.base_url(provider)
    try:
        async with context_of(settings).clients.looks(base_url).stream("GET", base_url, headers={}) as response:
            return name, f"answers (HTTP {response.status}); no key was sent", ""
    except ProxyFailed as error:
        return name, f"not reached: {error}", error.hint.removesuffix(", then run the cell again")
    except (NotSent, Lost) as error:
        return name, f"no answer: {error}", "check the connection, the proxy and the address"
