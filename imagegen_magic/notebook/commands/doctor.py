"""`%imagegen doctor`: what is installed, configured and reachable, and how to fix what is not."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator, Mapping
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
from imagegen_magic.notebook.commands.gateways import key_problem, key_status, page_age, page_time
from imagegen_magic.notebook.context import accepts_input, has_kernel
from imagegen_magic.notebook.output.tables import Note, Page, Table
from imagegen_magic.paths import path_of
from imagegen_magic.providers import registry

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext

_PACKAGES = ("imagegen_magic", "ipython", "ipykernel", "ipywidgets", "jupyterlab", "httpx2", "Pillow", "starlette", "keyring")
_OPTIONAL = {"jupyterlab", "ipykernel", "keyring"}

Finding = tuple[str, str, str]
"""What was checked, what was found, and how to fix it (empty if nothing is wrong)."""


def doctor(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show what was found; with --network also whether the services that can be used answer. No key is sent."""
    findings = sorted(_findings(context, "--network" in flags), key=lambda finding: not finding[2])
    problems = sum(bool(fix) for _, _, fix in findings)
    summary = f"{pluralize(problems, 'problem')} found, listed first." if problems else "No problems found."
    display(Page(Note(summary), Table(("", "found", "fix"), findings)))


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
    checks: dict[str, Callable[[Settings], Iterator[Finding]]] = {
        "ledger": _ledger,
        "originals": _save_dir,
        "fonts of grids": _fonts,
        "model data": _pages,
        "unreadable": _unreadable,
        "services": partial(_gateways, network=network),
    }
    for name, find in checks.items():
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
    ledger = api.ledger(settings)
    ledger.inspect()
    loop.run(ledger.check())
    newer = "; it has additions of a newer imagegen_magic, which this version keeps and does not show" if ledger.newer else ""
    size = f"{ledger.path.stat().st_size / 1024:.0f} kB"
    yield "ledger", f"{ledger.path}, {size}, complete and writable{newer}", stored_requests.UPDATE if newer else ""
    waiting = ledger.count_resumable()
    yield "waiting pictures", str(waiting), "%imagegen resume collects them, without paying again" if waiting else ""


def _pages(settings: Settings) -> Iterator[Finding]:
    """Yield how old the oldest page of a model is; that is information, not a problem."""
    read = (page_time(model) for provider in endpoints.known(settings) for model in provider.models)
    if times := [each for each in read if each is not None]:
        yield (
            "model data",
            f"the oldest page was read {page_age(min(times))}; newer data come with a newer version: {stored_requests.UPDATE}",
            "",
        )


def _save_dir(settings: Settings) -> Iterator[Finding]:
    folders.check(settings)
    yield "originals", str(settings.save_dir), ""


def _fonts(settings: Settings) -> Iterator[Finding]:
    """Yield which scripts have no font; this is a problem only for prompts in these scripts."""
    lacking = missing_fonts.unsupported()
    found = f"none for {', '.join(lacking)}. {missing_fonts.remedy(lacking)}" if lacking else ", ".join(missing_fonts.USUAL)
    yield "fonts of grids", found, ""


def _unreadable(settings: Settings) -> Iterator[Finding]:
    """Yield each folder with images that could not be read, with the number of files and their size."""
    paths = history.unreadable_paths_now(api.ledger(settings))
    folders = dict.fromkeys([settings.save_dir.absolute() / images.UNREADABLE, *(path_of(path).parent for path in paths)])
    for folder in folders:
        sizes = list(_sizes(folder))
        if sizes:
            found = f"{pluralize(len(sizes), 'file')} that arrived but cannot be read here, {sum(sizes) / 2**20:.1f} MiB"
            yield "unreadable", f"{found}, in {folder}; each has its reason in a .json file", ""


def _sizes(folder: Path) -> Iterator[int]:
    try:
        for path in folder.iterdir():
            if path.suffix != ".json" and not path.name.startswith(".") and path.is_file():
                yield path.stat().st_size
    except OSError:
        return


def _gateways(settings: Settings, network: bool) -> Iterator[Finding]:
    addresses: dict[str, str] = {}
    yield from _default_gateway(settings)
    unused = []
    for provider in endpoints.known(settings):
        if not endpoints.has_key(provider, settings) and not os.environ.get(endpoints.base_variable(provider)):
            unused.append(provider.name)
            continue
        yield f"key of {provider.name}", key_status(provider, settings), key_problem(provider, settings)[1]
        try:
            addresses[provider.name] = address = endpoints.base_url(provider)
        except ImageGenError as error:
            yield f"address of {provider.name}", error.what, error.hint
        else:
            encrypted = address.startswith("https://") or not provider.needs_key
            yield f"address of {provider.name}", address, "" if encrypted else "use https://, so that the key is encrypted on its way"
    if unused:
        yield "no key for", f"{', '.join(unused)}; %imagegen providers shows where to set one", ""
    yield from _proxies(addresses)
    yield _certificates()
    if network:
        yield from loop.run(_reached(settings, addresses))


def _default_gateway(settings: Settings) -> Iterator[Finding]:
    """Yield which gateway a cell without -p uses, and what is wrong with the configured gateways, each problem once."""
    errors = {error.what: error for error in registry.config_errors(settings.provider_tables).values()}
    yield from (("services", error.what, error.hint) for error in errors.values())
    try:
        gateway = endpoints.select_endpoint(settings)
    except ImageGenError as error:
        if error.what not in errors:
            yield "without -p", error.what, error.hint
    else:
        unchosen = gateway.sandbox and not settings.get("sandbox")
        if unchosen and (services := [provider.name for provider in endpoints.available(settings)]):
            yield "without -p", f"a cell asks once which makes its pictures: {', '.join(services)} or the sandbox", ""
            return
        yield "without -p", gateway.label, gateway.note if unchosen else ""


def _proxies(addresses: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the proxy to each gateway; one line if there is none at all."""
    found = {name: proxy_for(address) for name, address in addresses.items()}
    if not any(found.values()):
        yield "proxy", "none", ""
        return
    for name, proxy in found.items():
        yield f"proxy to {name}", f"{proxy.host} ({proxy.named_by})" if proxy else "none", ""


def _certificates() -> Finding:
    """Return whether this machine has certificates, with which a gateway proves over https who it is."""
    try:
        context = tls_context()
    except NotSent as error:
        return "certificates", str(error), error.hint or ""
    return ("certificates", "found", "") if has_certificates(context) else ("certificates", "none", CERTIFICATES_HINT)


async def _reached(settings: Settings, addresses: Mapping[str, str]) -> list[Finding]:
    return list(await asyncio.gather(*(_reach(settings, name, address) for name, address in addresses.items())))


async def _reach(settings: Settings, name: str, base_url: str) -> Finding:
    try:
        async with context_of(settings).clients.polls(base_url).stream("GET", base_url, headers={}) as response:
            return f"network to {name}", f"answers (HTTP {response.status}); no key was sent", ""
    except (NotSent, OutcomeUnknown) as error:
        return f"network to {name}", f"not reached: {error}", error.hint or "check the connection, the proxy and the address"
