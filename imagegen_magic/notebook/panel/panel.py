"""The panel: widgets for the same engine, ledger and options as `%%imagegen`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imagegen_magic.engine import api, credentials, loop
from imagegen_magic.engine.context import context_of
from imagegen_magic.engine.ledger import stored_requests
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.arguments import cell_text, confirmation
from imagegen_magic.notebook.context import current_settings, current_shell, has_kernel, shows_widgets
from imagegen_magic.notebook.output import captions
from imagegen_magic.notebook.output.display import Bundle, Canvas, widget_bundle
from imagegen_magic.notebook.panel import static_sheet
from imagegen_magic.notebook.panel.gallery import ImageStore
from imagegen_magic.notebook.panel.runs import Run
from imagegen_magic.notebook.panel.state import PanelState, read, request_of
from imagegen_magic.notebook.panel.summary import Usual
from imagegen_magic.notebook.panel.sweep import PanelSweep
from imagegen_magic.notebook.panel.view import PanelEvents, View
from imagegen_magic.notebook.widgets.errors import report_errors
from imagegen_magic.notebook_folder import NotebookFolder
from imagegen_magic.records import ProcessBound
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import GeneratedImage, Generation
from imagegen_magic.studies.history import provenance
from imagegen_magic.studies.history.provenance import Recollection

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job
    from imagegen_magic.engine.ledger.sweeps import SweepRecord

_TICK = 0.2  # seconds between two drawings of the runs


class Panel(ProcessBound):
    """Widgets instead of options: `Panel()` as a cell's last line, or `%imagegen panel`; presets by keyword.

    Takes `provider`, `sandbox`, `prompt` and every other field of ImageRequest. `request` is the current choice (an
    ImageRequest, to be read and set), `images` the visible images, newest first, `selected` up to two of them,
    `value` the last Generation. Events of the front end are handled on the engine's loop.
    Raises UnsupportedOption for a preset that does not exist, UnknownProvider for a gateway or model that does not.
    """

    _instead = "pickle its value, which is a Generation, or its request"

    def __init__(
        self, *, provider: str | None = None, sandbox: bool | None = None, settings: Settings | None = None, **options: Any
    ) -> None:
        self._settings = settings or current_settings()
        self._folder = NotebookFolder(self._settings.folder)
        self._state = PanelState(self._settings, request_of(options), provider, sandbox)
        self._store = ImageStore(api.ledger(self._settings))
        self._runs: list[Run] = []
        self._view: View | None = None
        self._sheets: list[tuple[Canvas, str]] = []
        self._thumbnails: dict[str, str] = {}
        self._usual: Usual = None
        self._sweep = PanelSweep(self._state)
        self._ticker: asyncio.Task[None] | None = None
        self._planning: asyncio.Task[None] | None = None
        self._unconfirmed: tuple[str, bool, ImageRequest] | None = None  # the request whose confirmation is pending
        self.value: Generation | None = None

    # --- the interface for Python

    @property
    def request(self) -> ImageRequest:
        """The current choice; `None` in it is the model's default."""
        return self._state.request

    @request.setter
    def request(self, request: ImageRequest) -> None:
        self._state.set_request(request)
        self._submit(self._draw())

    @property
    def provider(self) -> str:
        """The chosen gateway's name."""
        return self._state.provider.name

    @property
    def images(self) -> tuple[GeneratedImage, ...]:
        """The visible images, newest first."""
        return self._store.images

    @property
    def selected(self) -> tuple[GeneratedImage, ...]:
        """The selected images, at most two."""
        chosen = self._view.gallery_view.gallery.selected if self._view else ()
        return tuple(image for number in chosen if (image := self._store.find(number)))

    def generate(self) -> Job:
        """Start the current request, as the button does, and return at once. Raises before anything is sent if it cannot be made."""
        job = self._state.start(self._folder.path)
        loop.submit(self._follow(job))
        return job

    def cell(self, image: GeneratedImage | None = None) -> str:
        """Return the `%%imagegen` cell of an image's request (default: the selected, else the newest), and open it below.

        The front end opens it if this is called in a cell. Raises LookupError if there is no image.
        """
        if image is None:
            image = next(iter((*self.selected, *self.images)), None)
        if image is None:
            raise LookupError("the panel has no picture yet")
        text = loop.run(self._cell_of(image))
        if shell := current_shell():
            shell.set_next_input(text)
        return text

    def close(self) -> None:
        """Close every widget. Runs continue, and are in the ledger; their images still reach `images` and `value`."""
        loop.run(self._close_widgets())

    def __repr__(self) -> str:
        where = "" if shows_widgets(current_shell()) else f". {static_sheet.where_it_works(shown=False)}"
        return f"<Panel of {self.provider}: {len(self.images)} pictures, {sum(not run.ended for run in self._runs)} running{where}>"

    def _ipython_display_(self, **_: Any) -> None:
        shell = current_shell()
        if not has_kernel(shell):
            print(repr(self))
            return
        canvas = Canvas(shell)
        if shows_widgets(shell):
            canvas.show(widget_bundle(self._open().root, "imagegen panel"))
        self._sheets.append((canvas, canvas.show(loop.run(self._sheet()))))

    def _open(self) -> View:
        if self._view is None:
            self._view = View(self._events(), self._thumbnails)
            loop.run(self._draw_all())
        return self._view

    def _events(self) -> PanelEvents:
        return PanelEvents(
            option_changed=self._handler(self._set_option),
            generate_clicked=self._handler(self._generate),
            fixes_accepted=self._handler(self._apply_fixes),
            balance_clicked=self._handler(self._ask_balance),
            compare_unfolded=self._handler(self._draw),
            sweep_changed=self._handler(self._set_sweep),
            sweep_started=self._handler(self._start_sweep),
            key_entered=lambda secret: self._submit(self._store_key(credentials.Key(secret))),
            image_action=self._handler(self._act),
            gallery_turned=self._handler(self._turn_gallery),
            run_dismissed=self._handler(self._dismiss),
        )

    def _handler(self, work: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        """Return the handler of an event: the kernel's threads call it, and it only submits the work to the engine's loop."""
        return lambda *values: self._submit(work(*values))

    def _submit(self, work: Coroutine[Any, Any, None]) -> None:
        loop.submit(self._report_errors(work))

    # --- from here on, on the engine's loop

    async def _report_errors(self, work: Coroutine[Any, Any, None]) -> None:
        await report_errors(work, lambda text: self._show_message(text, wrong=True), "panel")

    def _show_message(self, text: str, *, wrong: bool = False) -> None:
        if self._view is not None:
            self._view.show_message(text, wrong=wrong)

    async def _set_option(self, option: str, value: Any) -> None:
        chosen = value(getattr(self._state.request, option)) if callable(value) else read(option, value)
        if self._state.choose(option, chosen):
            await self._draw()

    async def _apply_fixes(self) -> None:
        self._state.apply_fixes()
        await self._draw()

    async def _ask_balance(self) -> None:
        if self._view is None:
            return
        with self._view.asking_balance():
            await self._state.ask_balance()
        await self._draw()

    async def _set_sweep(self, control: str, value: Any) -> None:
        self._sweep.set(control, value)
        await self._draw()

    async def _start_sweep(self) -> None:
        if not self._sweep.is_planned:
            await asyncio.to_thread(self._sweep.make_plan)
        if question := self._sweep.question():
            self._show_message(question)
            return
        self._show_message("")
        job, planned = await asyncio.to_thread(self._sweep.start, self._folder.path)
        loop.submit(self._follow(job, planned.record))
        await self._draw()

    async def _store_key(self, key: credentials.Key) -> None:
        credentials.remember(self._state.provider.name, key)
        title = self._state.provider.title
        await self._draw()
        self._show_message(f"The key of {title} is kept until this kernel ends. Nothing was sent; the next picture uses it.")

    async def _generate(self, prompt: str) -> None:
        self._state.choose("prompt", prompt)
        await self._draw()
        if problems := self._state.validation.problems:
            self._show_message(problems[0].text, wrong=True)
            return
        if question := self._question():
            self._show_message(question)
            return
        self._show_message("")
        job = await asyncio.to_thread(self._state.start, self._folder.path)
        loop.submit(self._follow(job))
        await self._draw()

    def _question(self) -> str:
        """Return the question that a second press confirms; empty if none is needed, or if it was just confirmed."""
        chosen = (self.provider, self._state.sandbox, self.request)
        confirmed, self._unconfirmed = self._unconfirmed == chosen, None
        plan = self._state.validation.plan
        reasons = "" if confirmed or plan is None else confirmation.reasons_of(plan, self._settings, sandbox=self._state.sandbox)
        if not reasons:
            return ""
        self._unconfirmed = chosen
        return f"This is {reasons}. Nothing was sent: press Generate again to make {'it' if plan and plan.count == 1 else 'them'}."

    async def _follow(self, job: Job, sweep: SweepRecord | None = None) -> None:
        """Follow a run: its row, its images, its Generation, which is a SweepResult for a sweep."""
        run = Run(job, sweep)
        self._runs.insert(0, run)
        self._tick()
        async for image in run.pictures():
            self._store.add(image)
            await self._report_errors(self._show_images())
        self.value = job.generation or self.value
        await self._report_errors(self._draw())  # the duration of this run is in the history now

    async def _show_images(self) -> None:
        await self._draw_gallery()
        if self._sheets:
            bundle = await self._sheet()
            for canvas, display_id in self._sheets:
                canvas.update(display_id, bundle)

    def _tick(self) -> None:
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.create_task(self._report_errors(self._draw_runs()))

    async def _draw_runs(self) -> None:
        while True:
            now = time.time()
            self._runs = [run for run in self._runs if not run.is_over(now)]
            if self._view is not None:
                self._view.draw_runs(self._runs, now)
            if all(run.settled for run in self._runs):
                return
            await asyncio.sleep(_TICK)

    async def _dismiss(self, run: Run) -> None:
        if run.ended:
            self._runs.remove(run)
        self._tick()

    async def _close_widgets(self) -> None:
        """Close the widgets on the loop that draws them, so that none is created meanwhile."""
        view, self._view = self._view, None
        if view is not None:
            view.close()

    async def _draw_all(self) -> None:
        await self._draw()
        await self._draw_gallery()
        self._tick()

    async def _draw(self) -> None:
        if self._view is None:
            return
        self._view.draw(self._state, self._usual, self._sweep)
        if self._planning is None or self._planning.done():
            self._planning = asyncio.create_task(self._report_errors(self._plan()))
        usual = await self._waiting_time()
        if usual != self._usual and self._view is not None:
            self._usual = usual
            self._view.draw(self._state, usual, self._sweep)

    async def _plan(self) -> None:
        """Make the plans that are visible and not of the current choice: of the sweep, and of other services."""
        while self._view is not None and (make := self._outdated()):
            await asyncio.to_thread(make)
            if self._view is not None:
                self._view.draw(self._state, self._usual, self._sweep)

    def _outdated(self) -> Callable[[], None] | None:
        if not self._sweep.is_planned:
            return self._sweep.make_plan
        return self._state.compare if self._view and self._view.compares and not self._state.is_compared else None

    async def _waiting_time(self) -> Usual:
        """Return the usual duration of a task like the chosen one, from history."""
        plan = self._state.validation.likely
        kind = (plan.provider, self._state.sandbox, plan.model.name, *plan.tier)
        megapixels = plan.pixels[0][0] * plan.pixels[0][1] / 1e6 if plan.pixels else 1.0
        history = await context_of(self._settings).history(kind, megapixels)
        return history.typical()

    async def _draw_gallery(self) -> None:
        if self._view is not None:
            await self._view.gallery_view.draw(self._store)

    async def _turn_gallery(self, trait: str, value: Any) -> None:
        if self._view is not None:
            await (self._view.gallery_view.draw_comparison(self._store) if trait == "selected" else self._draw_gallery())

    async def _sheet(self) -> Bundle:
        images = self._store.images
        pictures = [(image, await self._store.thumbnail(image)) for image in images[: static_sheet.MAX_PICTURES]]
        return static_sheet.bundle(pictures, len(images), self._view.root.model_id if self._view else "")

    # --- actions on an image

    async def _act(self, action: str, picture: Any) -> None:
        if action == "ledger":
            await self._show_ledger(picture == "all")
            return
        image = self._store.find(picture)
        if action in _ACTIONS and image is not None:
            await _ACTIONS[action](self, image)

    async def _show_ledger(self, whole: bool) -> None:
        if whole:
            self._store.load(await api.ledger(self._settings).pictures(limit=None))
        self._store.whole_ledger = whole
        await self._show_images()

    async def _use_settings(self, image: GeneratedImage) -> None:
        self._state.use_settings_of(image, await self._with_local_sources(image))
        self._show_message(await self._left_out(image))
        await self._draw()

    async def _left_out(self, image: GeneratedImage) -> str:
        """Return a note on parts of the request that a newer version stored and this one does not know; usually empty."""
        rows = await api.ledger(self._settings).pictures(ids=[image.id])
        return stored_requests.version_note(row.asked for row in rows)

    async def _use_reference(self, image: GeneratedImage) -> None:
        from imagegen_magic.engine.references import ReferenceLoader

        source = await asyncio.to_thread(ReferenceLoader(self._settings).picture, image)
        self._state.add_reference(source)
        if isinstance(source, str):  # its file is missing, but its address still works
            self._thumbnails[source] = await self._store.thumbnail(image)
        self._show_message("")
        await self._draw()

    async def _copy_cell(self, image: GeneratedImage) -> None:
        if self._view is not None:
            self._view.gallery_view.gallery.copy(await self._cell_of(image), image.id)

    async def _cell_of(self, image: GeneratedImage) -> str:
        return cell_text.cell(_named(image, await self._recalled(image)), image.provider, sandbox=image.sandbox)

    async def _recalled(self, image: GeneratedImage) -> Recollection | None:
        """Return what the ledger has of an image's request; None if it no longer has it."""
        with contextlib.suppress(LookupError):
            return await provenance.of_picture(api.ledger(self._settings), image.id, self._folder.path)
        return None

    async def _with_local_sources(self, image: GeneratedImage) -> ImageRequest:
        """Return an image's request with its references and mask from this machine, if they are unchanged."""
        request = image.request
        if not request.references and request.mask is None:
            return request
        ledger = api.ledger(self._settings)
        used = [source for row in await ledger.pictures(ids=[image.id]) for source in await ledger.sources(row.job)]
        named, settings = _named(image, await self._recalled(image)), replace(self._settings, folder=self._folder.path)
        return await asyncio.to_thread(_load_sources, named, request, {source.sha256 for source in used if source.sha256}, settings)

    async def _copied(self, image: GeneratedImage) -> None:
        text = "The cell is on the clipboard. panel.cell() in a cell opens it as a new one."
        found = await self._recalled(image)
        self._show_message(" ".join([text, *(found.notes if found else ())]))

    async def _copy_failed(self, image: GeneratedImage) -> None:
        self._show_message("The page cannot use the clipboard: panel.cell() in a cell opens it as a new one.")

    async def _open_file(self, image: GeneratedImage) -> None:
        if self._view is not None:
            self._view.show_file_link(image)

    async def _show_differences(self, image: GeneratedImage) -> None:
        self._show_message("; ".join(image.differences) or f"{image.file.name} is exactly as requested: {image.width}×{image.height}.")

    async def _star(self, image: GeneratedImage) -> None:
        await self._store.toggle_star(image.id)
        await self._draw_gallery()

    async def _hide(self, image: GeneratedImage) -> None:
        self._store.hide(image.id)
        await self._show_images()
        self._show_message(f"Hidden. The file stays: {captions.caption(image).text.rpartition(' · ')[2]}")

    async def _enlarge(self, image: GeneratedImage) -> None:
        if self._view is not None:
            await self._view.gallery_view.enlarge(image)


_ACTIONS: dict[str, Callable[[Panel, GeneratedImage], Coroutine[Any, Any, None]]] = {
    "use-settings": Panel._use_settings,
    "use-reference": Panel._use_reference,
    "copy-cell": Panel._copy_cell,
    "copied": Panel._copied,
    "copy-failed": Panel._copy_failed,
    "open-file": Panel._open_file,
    "differences": Panel._show_differences,
    "star": Panel._star,
    "remove": Panel._hide,
    "enlarge": Panel._enlarge,
}


def _named(image: GeneratedImage, found: Recollection | None) -> ImageRequest:
    """Return an image's request with its references and mask named as by `recall`: as `@17`, by file, by address."""
    return image.request if found is None else replace(image.request, references=found.request.references, mask=found.request.mask)


def _load_sources(named: ImageRequest, sent: ImageRequest, identities: Collection[str], settings: Settings) -> ImageRequest:
    """Return a request with its references loaded; one that is missing or was changed stays the address that was sent."""
    from imagegen_magic.engine.references import ReferenceLoader

    if len(named.references) != len(sent.references):
        return sent
    loader = ReferenceLoader(settings)

    def source(load: Callable[[Any], str | LocalImage], name: Any, address: Any) -> Any:
        try:
            found = load(name)
        except ImageGenError:
            return address
        return found if isinstance(found, str) or found.identity in identities else address

    pairs = zip(named.references, sent.references, strict=True)
    mask = None if named.mask is None else source(loader.mask, named.mask, sent.mask)
    return replace(sent, references=tuple(source(loader.picture, *pair) for pair in pairs), mask=mask)
