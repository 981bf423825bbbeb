"""The panel: exploring by hand, on the same engine, ledger and words as `%%imagegen`."""

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
from imagegen_magic.notebook_folder import NotebookFolder
from imagegen_magic.records import ProcessBound
from imagegen_magic.request import ImageRequest, LocalPicture
from imagegen_magic.result import GeneratedImage, Generation
from imagegen_magic.studies.history import provenance
from imagegen_magic.studies.history.provenance import Recollection

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job
    from imagegen_magic.notebook.panel.view import View

_TICK = 0.2  # seconds between two drawings of the runs


class Panel(ProcessBound):
    """Knobs instead of options: `Panel()` as a cell's last line, or `%imagegen panel`; presets by keyword.

    Takes `provider`, `sandbox`, `prompt` and every other field of ImageRequest. `request` is what is chosen now (an
    ImageRequest, to be read and set), `images` the pictures in view, newest first, `selected` the up to two marked ones,
    `value` the last Generation. What a front end tells is handed to the engine's loop at once; everything happens there.
    Raises UnsupportedOption for a preset that does not exist, UnknownProvider for a gateway or model that does not.
    """

    _instead = "pickle its value, which is a Generation, or its request"

    def __init__(
        self, *, provider: str | None = None, sandbox: bool | None = None, settings: Settings | None = None, **options: Any
    ) -> None:
        self._settings = settings or current_settings()
        self._place = NotebookFolder(self._settings.folder)
        self._desk = PanelState(self._settings, request_of(options), provider, sandbox)
        self._album = ImageStore(api.ledger(self._settings))
        self._runs: list[Run] = []
        self._view: View | None = None
        self._sheets: list[tuple[Canvas, str]] = []
        self._thumbnails: dict[str, str] = {}
        self._usual: Usual = None
        self._ticking: asyncio.Task[None] | None = None
        self._asked: tuple[str, bool, ImageRequest] | None = None  # what was asked about and not confirmed yet
        self.value: Generation | None = None

    # --- what Python sees

    @property
    def request(self) -> ImageRequest:
        """What is chosen now; `None` in it is the model's own default."""
        return self._desk.request

    @request.setter
    def request(self, request: ImageRequest) -> None:
        self._desk.use(request)
        self._later(self._draw())

    @property
    def provider(self) -> str:
        """The chosen gateway's name."""
        return self._desk.provider.name

    @property
    def images(self) -> tuple[GeneratedImage, ...]:
        """The pictures in view, newest first."""
        return self._album.images

    @property
    def selected(self) -> tuple[GeneratedImage, ...]:
        """The pictures that are marked, at most two."""
        chosen = self._view.shelf.gallery.selected if self._view else ()
        return tuple(image for number in chosen if (image := self._album.find(number)))

    def generate(self) -> Job:
        """Begin what is chosen, as the button does, and return at once. Raises what keeps it from that, before anything is sent."""
        job = self._desk.start(self._place.path)
        loop.submit(self._follow(job))
        return job

    def cell(self, image: GeneratedImage | None = None) -> str:
        """Return the `%%imagegen` cell that asks for a picture again (default: the selected, else the newest), and open it below.

        The front end opens it where this is called in a cell. Raises LookupError where there is no picture.
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
        """Free every widget. Runs go on, and are in the ledger; their pictures still reach `images` and `value`."""
        loop.run(self._free())

    def __repr__(self) -> str:
        return f"<Panel of {self.provider}: {len(self.images)} pictures, {sum(not run.ended for run in self._runs)} under way>"

    def _ipython_display_(self, **_: Any) -> None:
        shell = current_shell()
        if not has_kernel(shell):
            print(repr(self))
            return
        canvas = Canvas(shell)
        if shows_widgets(shell):
            self._open()
            assert self._view is not None
            canvas.show(widget_bundle(self._view.root, "imagegen panel"))
        self._sheets.append((canvas, canvas.show(loop.run(self._sheet()))))

    def _open(self) -> None:
        if self._view is None:
            from imagegen_magic.notebook.panel.view import View

            self._view = View(self, self._thumbnails)
            loop.run(self._draw_all())

    # --- what the widgets tell, in the kernel's threads: handed over, and nothing else

    def heard(self, option: str, value: Any) -> None:
        """Set an option; a function as the value is given the one that is chosen then, and returns the new one."""
        self._later(self._choose(option, value))

    def pressed(self, prompt: str) -> None:
        """Begin a run with this prompt."""
        self._later(self._generate(prompt))

    def mended(self) -> None:
        """Take the offered nearest values."""
        self._later(self._mend())

    def typed_key(self, secret: str) -> None:
        """Keep a key for this session, in memory alone."""
        self._later(self._sign_in(credentials.Key(secret)))

    def acted(self, action: str, picture: Any) -> None:
        """Do something with a picture."""
        self._later(self._act(action, picture))

    def turned(self, name: str, value: Any) -> None:
        """Show another page, or what is selected."""
        self._later(self._turn(name))

    def dismissed(self, run: Run) -> None:
        """Take an ended run from view."""
        self._later(self._dismiss(run))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        loop.submit(self._told(work))

    # --- from here on, on the engine's loop

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        """Await something and show what went wrong: an exception here would reach nobody."""
        try:
            await work
        except ImageGenError as error:
            self._say(str(error), wrong=True)
        except Exception as error:  # a fault of ours is told, too, for no cell would show it
            self._say(f"The panel itself failed: {type(error).__name__}: {error}", wrong=True)

    def _say(self, words: str, *, wrong: bool = False) -> None:
        if self._view is not None:
            self._view.tell(words, wrong=wrong)

    async def _choose(self, option: str, value: Any) -> None:
        chosen = value(getattr(self._desk.request, option)) if callable(value) else read(option, value)
        if self._desk.choose(option, chosen):
            await self._draw()

    async def _mend(self) -> None:
        self._desk.mend()
        await self._draw()

    async def _sign_in(self, key: credentials.Key) -> None:
        credentials.remember(self._desk.provider.name, key)
        title = self._desk.provider.title
        await self._draw()
        self._say(f"The key of {title} is remembered until this kernel ends. Nothing was sent; the next picture tries it.")

    async def _generate(self, prompt: str) -> None:
        self._desk.choose("prompt", prompt)
        await self._draw()
        if problems := self._desk.judgement.problems:
            self._say(problems[0].text, wrong=True)
            return
        if question := self._question():
            self._say(question)
            return
        self._say("")
        job = await asyncio.to_thread(self._desk.start, self._place.path)
        loop.submit(self._follow(job))

    def _question(self) -> str:
        """Return what is to be confirmed by a second press before much is made; empty where nothing is, or it just was."""
        chosen = (self.provider, self._desk.sandbox, self.request)
        confirmed, self._asked = self._asked == chosen, None
        plan = self._desk.judgement.plan
        words = "" if confirmed or plan is None else confirmation.reasons_of(plan, self._settings, sandbox=self._desk.sandbox)
        if not words:
            return ""
        self._asked = chosen
        return f"This is {words}. Nothing was sent: press Generate again to make {'it' if plan and plan.count == 1 else 'them'}."

    async def _follow(self, job: Job) -> None:
        """See a run through: its row, its pictures, its Generation."""
        run = Run(job)
        self._runs.insert(0, run)
        self._tick()
        async for image in run.pictures():
            self._album.add(image)
            await self._told(self._show_new())
        self.value = job.generation or self.value
        await self._told(self._draw())  # with one more duration known

    async def _show_new(self) -> None:
        await self._draw_gallery()
        await self._publish_sheets()

    def _tick(self) -> None:
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._told(self._draw_runs()))

    async def _draw_runs(self) -> None:
        while True:
            now = time.time()
            self._runs = [run for run in self._runs if not run.over(now)]
            if self._view is not None:
                self._view.draw_runs(self._runs, now)
            if all(run.failed for run in self._runs):
                return
            await asyncio.sleep(_TICK)

    async def _dismiss(self, run: Run) -> None:
        if run.ended:
            self._runs = [one for one in self._runs if one is not run]
        self._tick()

    async def _free(self) -> None:
        """Close the widgets where they are drawn, so that none is made behind our back."""
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
        self._view.draw(self._desk, self._usual)
        usual = await self._waiting_time()
        if usual != self._usual and self._view is not None:
            self._usual = usual
            self._view.draw(self._desk, usual)

    async def _waiting_time(self) -> Usual:
        """Return what a task like the chosen one usually takes, from history."""
        plan = self._desk.judgement.likely
        kind = (plan.provider, self._desk.sandbox, plan.model.name, *plan.tier)
        megapixels = plan.pixels[0][0] * plan.pixels[0][1] / 1e6 if plan.pixels else 1.0
        history = await context_of(self._settings).history(kind, megapixels)
        return history.usual()

    async def _draw_gallery(self) -> None:
        if self._view is not None:
            await self._view.draw_gallery(self._album)

    async def _turn(self, name: str) -> None:
        if self._view is not None:
            await (self._view.shelf.draw_comparison(self._album) if name == "selected" else self._draw_gallery())

    async def _sheet(self) -> Bundle:
        images = self._album.images
        pictures = [(image, await self._album.thumbnail(image)) for image in images[: static_sheet.MOST]]
        return static_sheet.bundle(pictures, len(images))

    async def _publish_sheets(self) -> None:
        if self._sheets:
            bundle = await self._sheet()
            for canvas, display_id in self._sheets:
                canvas.update(display_id, bundle)

    # --- what is done with a picture

    async def _act(self, action: str, picture: Any) -> None:
        if action == "ledger":
            await self._look_at_ledger(picture == "all")
            return
        image = self._album.find(picture)
        if action in _ACTIONS and image is not None:
            await _ACTIONS[action](self, image)

    async def _look_at_ledger(self, whole: bool) -> None:
        if whole:
            self._album.fill(await api.ledger(self._settings).pictures(limit=None))
        self._album.whole_ledger = whole
        await self._show_new()

    async def _use_settings(self, image: GeneratedImage) -> None:
        self._desk.use_settings_of(image, await self._with_its_pictures(image))
        self._say(await self._left_out(image))
        await self._draw()

    async def _left_out(self, image: GeneratedImage) -> str:
        """Return the line about what a newer version stored of a picture's request and this one does not know; mostly empty."""
        rows = await api.ledger(self._settings).pictures(ids=[image.id])
        return stored_requests.version_note(row.asked for row in rows)

    async def _use_reference(self, image: GeneratedImage) -> None:
        from imagegen_magic.engine.references import ReferenceLoader

        source = await asyncio.to_thread(ReferenceLoader(self._settings).picture, image)
        self._desk.refer_to(source)
        if isinstance(source, str):  # its file is gone, and its address lives
            self._thumbnails[source] = await self._album.thumbnail(image)
        self._say("")
        await self._draw()

    async def _copy_cell(self, image: GeneratedImage) -> None:
        if self._view is not None:
            self._view.shelf.gallery.copy(await self._cell_of(image))

    async def _cell_of(self, image: GeneratedImage) -> str:
        return cell_text.cell(_named(image, await self._recalled(image)), image.provider, sandbox=image.sandbox)

    async def _recalled(self, image: GeneratedImage) -> Recollection | None:
        """Return what the ledger tells of a picture's request, None where it has it no more."""
        with contextlib.suppress(LookupError):
            return await provenance.of_picture(api.ledger(self._settings), image.id, self._place.path)
        return None

    async def _with_its_pictures(self, image: GeneratedImage) -> ImageRequest:
        """Return a picture's request with its references and mask from this machine, where the same pictures are still there."""
        request = image.request
        if not request.references and request.mask is None:
            return request
        book = api.ledger(self._settings)
        used = [source for row in await book.pictures(ids=[image.id]) for source in await book.sources(row.job)]
        named, settings = _named(image, await self._recalled(image)), replace(self._settings, folder=self._place.path)
        return await asyncio.to_thread(_gathered, named, request, {source.sha256 for source in used if source.sha256}, settings)

    async def _copied(self, image: GeneratedImage) -> None:
        words = "The cell is on the clipboard. panel.cell() in a cell opens it as a new one."
        found = await self._recalled(image)
        self._say(" ".join([words, *(found.notes if found else ())]))

    async def _copy_failed(self, image: GeneratedImage) -> None:
        self._say("The page may not use the clipboard: panel.cell() in a cell opens it as a new one.")

    async def _open_file(self, image: GeneratedImage) -> None:
        if self._view is not None:
            self._view.point_to(image)

    async def _reveal(self, image: GeneratedImage) -> None:
        self._say("; ".join(image.differences) or f"{image.path.name} is exactly what was asked: {image.width}×{image.height}.")

    async def _star(self, image: GeneratedImage) -> None:
        await self._album.turn_star(image.id)
        await self._draw_gallery()

    async def _put_aside(self, image: GeneratedImage) -> None:
        self._album.put_aside(image.id)
        await self._show_new()
        self._say(f"Out of view. The file stays: {captions.caption(image).text.rpartition(' · ')[2]}")

    async def _enlarge(self, image: GeneratedImage) -> None:
        if self._view is not None:
            await self._view.shelf.enlarge(image)


_ACTIONS: dict[str, Callable[[Panel, GeneratedImage], Coroutine[Any, Any, None]]] = {
    "use-settings": Panel._use_settings,
    "use-reference": Panel._use_reference,
    "copy-cell": Panel._copy_cell,
    "copied": Panel._copied,
    "copy-failed": Panel._copy_failed,
    "open-file": Panel._open_file,
    "differences": Panel._reveal,
    "star": Panel._star,
    "remove": Panel._put_aside,
    "enlarge": Panel._enlarge,
}


def _named(image: GeneratedImage, found: Recollection | None) -> ImageRequest:
    """Return a picture's request with its references and mask named as `recall` names them: as `@17`, by file, by address."""
    return image.request if found is None else replace(image.request, references=found.request.references, mask=found.request.mask)


def _gathered(named: ImageRequest, sent: ImageRequest, identities: Collection[str], settings: Settings) -> ImageRequest:
    """Return a request with its pictures ready; one that is gone, or was changed, stays the address that was sent."""
    from imagegen_magic.engine.references import ReferenceLoader

    gathering = ReferenceLoader(settings)

    def ready(gather: Callable[[Any], str | LocalPicture], name: Any, address: Any) -> Any:
        try:
            found = gather(name)
        except ImageGenError:
            return address
        return found if isinstance(found, str) or found.identity in identities else address

    if len(named.references) != len(sent.references):
        return sent
    pairs = zip(named.references, sent.references, strict=True)
    mask = None if named.mask is None else ready(gathering.mask, named.mask, sent.mask)
    return replace(sent, references=tuple(ready(gathering.picture, *pair) for pair in pairs), mask=mask)
