"""`%imagegen doctor`: what is installed, configured and reachable, and how to fix what is not."""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.display import display

from imagegen_magic.engine import api, endpoints, loop
from imagegen_magic.engine.context import context_of
from imagegen_magic.engine.ledger import history, stored_requests
from imagegen_magic.engine.net.transport import CERTIFICATES_HINT, NotSent, OutcomeUnknown, has_certificates, proxy_for, tls_context
from imagegen_magic.engine.settings import unknown_variables
from imagegen_magic.engine.storage import folders, images
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import pluralize
from imagegen_magic.imaging.text import missing_fonts
from imagegen_magic.notebook.commands.gateways import key_problem, key_status
from imagegen_magic.notebook.context import accepts_input, has_kernel
from imagegen_magic.notebook.output.tables import Note, Page, Table
from imagegen_magic.paths import path_of
from imagegen_magic.providers import registry

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.providers.base import Provider

_PACKAGES = ("imagegen_magic", "ipython", "ipykernel", "ipywidgets", "jupyterlab", "httpx2", "Pillow", "starlette", "keyring")
_OPTIONAL = {"jupyterlab", "ipykernel", "keyring"}

Finding = tuple[str, str, str]
"""What was checked, what was found, and how to fix it (empty if nothing is wrong)."""


def doctor(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show what was found; with --network also whether the gateways answer. No key is sent."""
    display(_report(context, network="--network" in flags))


def _report(context: NotebookContext, *, network: bool) -> Page:
    findings = sorted(_findings(context, network), key=lambda finding: not finding[2])
    problems = sum(bool(fix) for _, _, fix in findings)
    summary = f"{pluralize(problems, 'problem')} found, listed first." if problems else "No problems found."
    return Page(Note(summary), Table(("", "found", "fix"), findings))


def _findings(context: NotebookContext, network: bool) -> Iterator[Finding]:
    yield from _versions()
    yield _front_end(context.shell)
    settings = context.settings()
    for error in settings.errors.values():
        yield "settings", error.what, error.hint
    for name, near in unknown_variables().items():
        yield "settings", f"{name} is in the environment and sets nothing", f"rename it to {near}" if near else "remove it"
    yield "settings", f"read from {settings.folder}; %imagegen config shows them", ""
    settings = settings.without_errors
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
        return "front end", "takes no input (nbclient, papermill): progress is plain text, no widgets", ""
    return "front end", "a notebook: progress is a widget", ""


def _ledger(settings: Settings) -> Iterator[Finding]:
    try:
        ledger = api.ledger(settings)
        ledger.inspect()
        loop.run(ledger.check())
    except ImageGenError as error:
        yield "ledger", error.what, error.hint
        return
    newer = "; it has additions of a newer imagegen_magic, which this version keeps and does not show" if ledger.newer else ""
    yield (
        "ledger",
        f"{ledger.path}, {ledger.path.stat().st_size / 1024:.0f} kB, complete and writable{newer}",
        stored_requests.UPDATE if newer else "",
    )
    waiting = ledger.count_resumable()
    yield "waiting pictures", str(waiting), "%imagegen resume collects them, without paying again" if waiting else ""


def _save_dir(settings: Settings) -> Finding:
    try:
        folders.check(settings)
    except ImageGenError as error:
        return "originals", error.what, error.hint
    return "originals", str(settings.save_dir), ""


def _fonts() -> Finding:
    """Return which scripts have no font; this is a problem only for prompts in these scripts."""
    lacking = missing_fonts.unsupported()
    if not lacking:
        return "fonts of grids", ", ".join(missing_fonts.USUAL), ""
    return "fonts of grids", f"none for {', '.join(lacking)}. {missing_fonts.remedy(lacking)}", ""


def _unreadable(settings: Settings) -> Iterator[Finding]:
    """Yield each folder with images that could not be read, with the number of files and their size."""
    paths = history.unreadable_paths_now(api.ledger(settings))
    folders = dict.fromkeys([settings.save_dir.absolute() / images.UNREADABLE, *(path_of(path).parent for path in paths)])
    for folder in folders:
        sizes = list(_sizes(folder))
        if sizes:
            found = f"{pluralize(len(sizes), 'file')} that arrived but cannot be read here, {sum(sizes) / 2**20:.1f} MiB"
            yield "unreadable", f"{found}, in {folder}; the reasons are beside them", ""


def _sizes(folder: Path) -> Iterator[int]:
    try:
        for path in folder.iterdir():
            if path.suffix != ".json" and not path.name.startswith(".") and path.is_file():
                yield path.stat().st_size
    except OSError:
        return


def _gateways(settings: Settings, network: bool) -> Iterator[Finding]:
    providers = list(endpoints.known(settings))
    chosen = _chosen(settings)
    yield chosen
    yield from (
        ("gateways", one.what, one.hint)
        for one in registry.config_errors(settings.provider_tables).values()
        if ("without -p", one.what, one.hint) != chosen
    )
    for provider in providers:
        yield f"key of {provider.name}", key_status(provider, settings), key_problem(provider, settings)[1]
        yield _address(provider)
    found = [provider for provider in providers if not _address_error(provider)]
    yield from _proxies(found)
    yield _certificates()
    if network:
        yield from _reached(settings, found)


def _chosen(settings: Settings) -> Finding:
    try:
        gateway = endpoints.select_endpoint(settings)
    except ImageGenError as error:
        return "without -p", error.what, error.hint
    return "without -p", gateway.label, gateway.note if gateway.sandbox and not settings.get("sandbox") else ""


def _address(provider: Provider) -> Finding:
    name = f"address of {provider.name}"
    if error := _address_error(provider):
        return name, error.what, error.hint
    address = endpoints.base_url(provider)
    return name, address, "" if address.startswith("https://") else "use https://, so that the key is encrypted on its way"


def _address_error(provider: Provider) -> ImageGenError | None:
    try:
        endpoints.base_url(provider)
    except ImageGenError as error:
        return error
    return None


def _proxies(providers: list[Provider]) -> Iterator[Finding]:
    """Yield the proxy of each gateway; one line if there is none at all."""
    found = [(provider.name, proxy_for(endpoints.base_url(provider))) for provider in providers]
    if not any(proxy for _, proxy in found):
        yield "proxy", "none", ""
        return
    for name, proxy in found:
        yield f"proxy to {name}", f"{proxy.host} ({proxy.named_by})" if proxy else "none", ""


def _certificates() -> Finding:
    """Return whether this machine has certificates, with which a gateway proves over https who it is."""
    try:
        context = tls_context()
    except NotSent as error:
        return "certificates", str(error), error.hint or ""
    return ("certificates", "found", "") if has_certificates(context) else ("certificates", "none", CERTIFICATES_HINT)


def _reached(settings: Settings, providers: list[Provider]) -> list[Finding]:
    return loop.run(_reach_all(settings, providers))


async def _reach_all(settings: Settings, providers: list[Provider]) -> list[Finding]:
    return list(await asyncio.gather(*(_reach(settings, provider) for provider in providers)))


async def _reach(settings: Settings, provider: Provider) -> Finding:
    name = f"network to {provider.name}"
    base_url = endpoints.base_url(provider)
    try:
        async with context_of(settings).clients.polls(base_url).stream("GET", base_url, headers={}) as response:
            return name, f"answers (HTTP {response.status}); no key was sent", ""
    except (NotSent, OutcomeUnknown) as error:
        hint = error.hint or "check the connection, the proxy and the address"
        return name, f"not reached: {error}", hint
