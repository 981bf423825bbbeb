"""`%imagegen mask`: a painter on the page, and the mask it makes as a variable, a file and a picture of the saved notebook."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import keyword
import os
from collections.abc import Callable, Coroutine
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from imagegen_magic.engine import loop
from imagegen_magic.engine.storage import images
from imagegen_magic.errors import ImageGenError, ImageInvalid, SaveError, UnsupportedOption
from imagegen_magic.notebook.context import current_shell, has_kernel, notebook_folder, shows_widgets
from imagegen_magic.notebook.output.display import Bundle, Canvas, Caption, line, on_page
from imagegen_magic.paths import path_of
from imagegen_magic.request import LocalPicture

if TYPE_CHECKING:
    from PIL.Image import Image

    from imagegen_magic.imaging.preview import Preview
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.notebook.widgets.painter import Painter

_EDGE, _BYTES = 2048, 700_000  # of the preview that is painted on: pixels, bytes
_MOST_BYTES = 64 * 2**20
_VIEW = "application/vnd.jupyter.widget-view+json"
_USAGE = "%imagegen mask NAME|FILE [-o NAME] [--from MASK]"
# a painter that is no more (its widget cannot be found) is hidden by the sheet that stands behind it
_HIDE_BROKEN = (
    "<style>.jp-OutputArea-child:not(:has(.imagegen-painter)):has(+.jp-OutputArea-child .imagegen-mask-sheet){display:none}</style>"
)


def run(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Open a painter on the picture of that name; `-o` names the variable, `--from` a mask to go on from."""
    if not arguments:
        raise UsageError(f"The subcommand is {_USAGE}, with a file, a variable or a picture of the history (@17).")
    out = flags.get("-o") or flags.get("--out") or "mask"
    if not out.isidentifier() or keyword.iskeyword(out):
        raise UsageError(f"-o takes the name of a variable, not {out!r}.")
    picture = _resolved(context, arguments[0], "references")
    start = _resolved(context, flags["--from"], "mask") if "--from" in flags else None
    open_painter(picture, shell=context.shell, folder=context.folder, out=out, start=start)


def _resolved(context: NotebookContext, text: str, option: str) -> LocalPicture:
    from imagegen_magic.notebook.arguments import image_sources

    found = image_sources.resolve(text, context.shell.user_ns, context.folder, context.settings(), option=option)
    if isinstance(found, str):
        raise UnsupportedOption(
            f"{found} is an address, and its picture is not on this machine",
            option=option,
            value=found,
            hint="fetch it into a file first, and name that",
        )
    return found


def open_painter(
    picture: Any, *, shell: Any = None, folder: Path | None = None, out: str = "mask", start: LocalPicture | None = None
) -> Painter | None:
    """Show a painter for a picture (a LocalPicture, a PIL image or a path) in the cell that runs now, and return it.

    When its button is pressed, the mask (PIL, RGBA, transparent where to paint) is bound to the variable `out` and written into
    `folder` as `<name>-mask.png`, never over another file. `start` is a mask to go on from, bound at once; where no page is there to
    paint on, that is all, and None is returned. Raises UnsupportedOption for a mask that does not fit, ImageInvalid for no picture.
    """
    easel = MaskEditor(_local(picture), shell or current_shell(), folder or notebook_folder(), out)
    return easel.begin(start)


def _local(picture: Any) -> LocalPicture:
    if isinstance(picture, LocalPicture):
        return picture
    from imagegen_magic.imaging.reference import prepare

    if isinstance(picture, str | os.PathLike):
        path = path_of(os.path.expanduser(picture))
        return prepare(path.read_bytes(), name=path.name, most_bytes=_MOST_BYTES)
    return prepare(picture, name="picture", most_bytes=_MOST_BYTES)


class MaskEditor:
    """One picture being masked: its painter, the two outputs of its cell, and what becomes of the mask."""

    def __init__(self, picture: LocalPicture, shell: Any, folder: Path, out: str) -> None:
        self._picture, self._shell, self._folder, self._out = picture, shell, folder, out
        self._shown: concurrent.futures.Future[list[str]] = concurrent.futures.Future()  # the display ids, once both outputs are there
        self._painter: Painter | None = None
        self._turn = asyncio.Lock()

    def begin(self, start: LocalPicture | None) -> Painter | None:
        """Show the painter, where there is a page for it; in the main thread, inside the cell."""
        mask = None if start is None else checked(start, self._picture)
        if mask is not None:
            self._shell.user_ns[self._out] = mask
        if shows_widgets(self._shell):
            return self._open(start)
        if mask is None:
            raise ImageGenError(
                f"There is no page here to paint the mask of {self._picture.name} on",
                blame="you",
                charge="no",
                hint="open the notebook in Jupyter, give a finished mask with --from, or make one in code: "
                "mask_box(image, left, top, right, bottom)",
            )
        self._show_static(mask, start.name if start else "")
        return None

    def _open(self, start: LocalPicture | None) -> Painter:
        self._canvas = Canvas(self._shell)
        self._painter = painter(self._picture, self._take, self._give_up, start=start)
        view = {"version_major": 2, "version_minor": 0, "model_id": self._painter.model_id}
        text = f"a painter for the mask of {self._picture.name}"
        bundles = [Bundle({_VIEW: view, "text/plain": text}, {}), self._sheet()]
        self._shown.set_result([self._canvas.show(bundle) for bundle in bundles])
        return self._painter

    def _sheet(self) -> Bundle:
        """Return what a notebook shows that was saved while the painter was open."""
        from imagegen_magic.imaging.preview import preview

        words = f"{self._picture.name}: no mask was finished when this was saved. Run the cell to paint one."
        small = preview(self._picture.data)
        width, _ = on_page(small.width, small.height)
        image = f'<img src="data:{small.mime_type};base64,{small.base64}" alt="{escape(self._picture.name)}" width="{width}">'
        html = f'{_HIDE_BROKEN}<div class="imagegen-mask-sheet">{image}<p>{escape(words)}</p></div>'
        return Bundle({"text/plain": words, "text/html": html}, {})

    def _take(self, png: bytes) -> None:
        loop.submit(self._in_turn(lambda: self._use(png)))

    def _give_up(self) -> None:
        loop.submit(self._in_turn(self._leave))

    # --- from here on, on the engine's loop

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do what the page says, after the cell has shown both outputs: the painter can be pressed before that."""
        await asyncio.wrap_future(self._shown)
        async with self._turn:
            if self._painter is not None:  # else there are two pages, and the other was quicker
                await told(work(), self._painter)

    async def _use(self, png: bytes) -> None:
        mask = await asyncio.to_thread(_read, png, self._picture)
        path = await asyncio.to_thread(save, png, self._folder, self._picture.name)
        static = await asyncio.to_thread(_overlay, self._picture, mask)
        self._shell.user_ns[self._out] = mask
        self._update(_picture_bundle(static, self._words(mask)), self._caption(mask, path.name).bundle())

    async def _leave(self) -> None:
        from imagegen_magic.imaging.preview import preview

        small = await asyncio.to_thread(preview, self._picture.data)
        self._update(
            _picture_bundle(small, self._picture.name), line(f"{self._picture.name}: no mask was made. Run the cell to paint one.")
        )

    def _update(self, *bundles: Bundle) -> None:
        open_painter, self._painter = self._painter, None
        if open_painter is not None:
            for display_id, bundle in zip(self._shown.result(), bundles, strict=True):
                self._canvas.update(display_id, bundle)
            open_painter.close()

    def _words(self, mask: Image) -> str:
        from imagegen_magic.imaging import mask_overlay

        return f"{self._picture.name} with its mask: {mask_overlay.words(mask_overlay.share(mask))}"

    def _caption(self, mask: Image, file: str) -> Caption:
        pixels = f"{mask.width}×{mask.height}"
        facts = [self._words(mask), pixels, *([file] if file else []), f"bound to {self._out}", f"--mask {self._out} uses it"]
        text = " · ".join(facts)
        return Caption(text, str(line(text).data["text/html"]))

    def _show_static(self, mask: Image, name: str) -> None:
        caption = self._caption(mask, name)
        if not has_kernel(self._shell):
            print(caption.text)
            return
        canvas = Canvas(self._shell)
        canvas.show(_picture_bundle(_overlay(self._picture, mask), self._words(mask)))
        canvas.show(caption.bundle())


def painter(
    picture: LocalPicture,
    used: Callable[[bytes], None],
    given_up: Callable[[], None],
    *,
    start: LocalPicture | None = None,
    label: str = "Use this mask",
) -> Painter:
    """Return a painter for a picture; what `used` is told is not checked yet: `checked` and `told` do that."""
    from imagegen_magic.imaging.preview import preview
    from imagegen_magic.notebook.widgets.painter import Painter

    small = preview(picture.data, _EDGE, _BYTES)
    return Painter(
        used,
        given_up,
        picture=small.data,
        mime_type=small.mime_type,
        width=picture.width,
        height=picture.height,
        name=picture.name,
        start=start.data if start else b"",
        label=label,
    )


async def told(work: Any, open_painter: Painter | None) -> None:
    """Await something and say in the painter what went wrong: an exception here would reach nobody."""
    try:
        await work
    except ImageGenError as error:
        words = str(error)
    except Exception as error:  # a fault of ours is told, too, for no cell would show it
        words = f"The painter itself failed: {type(error).__name__}: {error}"
    else:
        return
    if open_painter is not None:
        open_painter.refuse(words)


def checked(mask: LocalPicture, picture: LocalPicture) -> Image:
    """Return a mask decoded, as RGBA; raises UnsupportedOption or ImageInvalid where it does not fit the picture."""
    from imagegen_magic.imaging import decode, masks

    masks.check_mask(mask, picture)
    with decode.DECODERS:
        return decode.decoded(mask.data).convert("RGBA")


def local_mask(png: bytes, picture: LocalPicture) -> LocalPicture:
    """Return what a page sent as the mask of a picture, named after it; raises ImageInvalid, UnsupportedOption where it is none."""
    from imagegen_magic.imaging import containers, decode

    try:
        with decode.DECODERS:
            width, height = decode.decoded(png).size
    except ImageInvalid as error:
        raise ImageInvalid(f"What the page sent is no mask: {error.what}", blame="you", charge="no", hint="press again") from None
    mask = LocalPicture(png, containers.identify(png).mime_type, width, height, f"{Path(picture.name).stem}-mask.png")
    checked(mask, picture)
    return mask


def _read(png: bytes, picture: LocalPicture) -> Image:
    return checked(local_mask(png, picture), picture)


def save(png: bytes, folder: Path, name: str) -> Path:
    """Write a mask as `<name>-mask.png` into a folder, as `-mask-2` where that is there already; raises SaveError."""
    stem = images.stem("", "mask", Path(name).stem)
    number = 1
    while True:
        path = folder / f"{stem}{f'-{number}' if number > 1 else ''}.png"
        try:
            with path.open("xb") as file:
                file.write(png)
        except FileExistsError:
            number += 1
        except OSError as error:
            words = f"The mask could not be written to {path.name} ({error.strerror})"
            raise SaveError(words, charge="no", hint="make room, or make the folder writable, and press again") from None
        else:
            return path


def _overlay(picture: LocalPicture, mask: Image) -> Preview:

    from imagegen_magic.imaging.mask_overlay import overlay

    return overlay(picture.data, mask)


def _picture_bundle(small: Preview, text: str) -> Bundle:
    width, height = on_page(small.width, small.height)
    data = {small.mime_type: base64.b64encode(small.data).decode("ascii"), "text/plain": text}
    return Bundle(data, {small.mime_type: {"width": width, "height": height}})
