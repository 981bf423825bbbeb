"""The mask editor: a painter on the page, and the mask it makes as a variable, a file and an output of the saved notebook."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import Callable, Coroutine
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagegen_magic.engine import loop
from imagegen_magic.engine.storage.filenames import filename_stem
from imagegen_magic.errors import ImageGenError, ImageInvalid, SaveError
from imagegen_magic.imaging import containers, decode, mask_overlay, masks
from imagegen_magic.imaging.preview import preview
from imagegen_magic.imaging.reference import prepare
from imagegen_magic.notebook.context import current_shell, has_kernel, notebook_folder, shows_widgets
from imagegen_magic.notebook.output.captions import note
from imagegen_magic.notebook.output.display import Bundle, Canvas, line, on_page, preview_bundle, show_all, text_bundle, widget_bundle
from imagegen_magic.notebook.output.style import AS_TEXT, hide_broken
from imagegen_magic.notebook.widgets.errors import report_errors
from imagegen_magic.paths import located
from imagegen_magic.request import LocalImage

if TYPE_CHECKING:
    from PIL.Image import Image

    from imagegen_magic.notebook.widgets.painter import Painter

_EDGE, _BYTES = 2048, 700_000  # of the preview under the painter: pixels, bytes
_MAX_BYTES = 64 * 2**20


def open_painter(
    picture: Any, *, shell: Any = None, folder: Path | None = None, out: str = "mask", start: LocalImage | None = None
) -> Painter | None:
    """Show a painter for an image (a LocalImage, a PIL image or a path) in the running cell, and return it.

    When its button is pressed, the mask (PIL, RGBA, transparent where to paint) is bound to the variable `out` and written into
    `folder` as `<name>-mask.png`; no file is overwritten. `start` is a mask to continue with, and is bound at once. Without a page to
    paint on, None is returned. Raises UnsupportedOption for a mask that does not fit, ImageInvalid for no image.
    """
    return MaskEditor(_local(picture), shell or current_shell(), folder or notebook_folder(), out).begin(start)


def _local(picture: Any) -> LocalImage:
    if isinstance(picture, LocalImage):
        return picture
    if isinstance(picture, str | os.PathLike):
        path = located(os.path.expanduser(picture))
        return prepare(path.read_bytes(), name=path.name, max_bytes=_MAX_BYTES)
    return prepare(picture, name="picture", max_bytes=_MAX_BYTES)


class MaskEditor:
    """A mask in the making: its painter, the two outputs of its cell, and what happens to the finished mask."""

    def __init__(self, picture: LocalImage, shell: Any, folder: Path, out: str) -> None:
        self._picture, self._shell, self._folder, self._out = picture, shell, folder, out
        self._shown: concurrent.futures.Future[list[str]] = concurrent.futures.Future()  # the display ids of both outputs
        self._painter: Painter | None = None
        self._lock = asyncio.Lock()

    def begin(self, start: LocalImage | None) -> Painter | None:
        """Show the painter if there is a page for it; in the main thread, inside the cell."""
        mask = None if start is None else checked(start, self._picture)
        if mask is not None:
            self._shell.user_ns[self._out] = mask
        if shows_widgets(self._shell):
            return self._open(start)
        if mask is None:
            raise ImageGenError(
                f"There is no page here on which to paint the mask of {self._picture.name}",
                blame="you",
                charge="no",
                hint="open the notebook in Jupyter, give a finished mask with --from, or make one in code: "
                "mask_box(image, left, top, right, bottom)",
            )
        self._show_static(mask, start.name if start else "")
        return None

    def _open(self, start: LocalImage | None) -> Painter:
        self._canvas = Canvas(self._shell)
        self._painter = painter(self._picture, self._on_mask, self._on_close, start=start)
        bundles = [widget_bundle(self._painter, f"a painter for the mask of {self._picture.name}"), self._sheet()]
        self._shown.set_result([self._canvas.show(bundle) for bundle in bundles])
        return self._painter

    def _sheet(self) -> Bundle:
        """Return what a notebook shows that was saved while the painter was open."""
        assert self._painter is not None
        text = f"{self._picture.name}: no mask is finished. The painter works while its kernel runs."
        small = preview(self._picture.data)
        width, _ = on_page(small.width, small.height)
        image = f'<img src="{small.data_url}" alt="{escape(self._picture.name)}" width="{width}">'
        hide = hide_broken("imagegen-painter", "imagegen-mask-sheet")
        return text_bundle(
            text, f'{hide}<div class="imagegen-mask-sheet imagegen-mask-{self._painter.key} {AS_TEXT}">{image}<p>{escape(text)}</p></div>'
        )

    def _on_mask(self, png: bytes) -> None:
        loop.submit(self._serialized(lambda: self._use(png)))

    def _on_close(self) -> None:
        loop.submit(self._serialized(self._leave))

    # --- from here on, on the engine's loop

    async def _serialized(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Handle a message of the page after the cell has shown both outputs: the painter can be used before that."""
        await asyncio.wrap_future(self._shown)
        async with self._lock:
            if self._painter is not None:  # otherwise another page of this notebook was quicker
                await report_errors(work(), self._painter.refuse, "painter")

    async def _use(self, png: bytes) -> None:
        mask = await asyncio.to_thread(lambda: checked(local_mask(png, self._picture), self._picture))
        path = await asyncio.to_thread(save, png, self._folder, self._picture.name)
        static = await asyncio.to_thread(mask_overlay.overlay, self._picture.data, mask)
        self._shell.user_ns[self._out] = mask
        self._update(preview_bundle(static, self._description(mask)), text_bundle(*self._caption(mask, path.name)))

    async def _leave(self) -> None:
        small = await asyncio.to_thread(preview, self._picture.data)
        text = f"{self._picture.name}: no mask was made. Run the cell to paint one."
        self._update(preview_bundle(small, self._picture.name), line(text))

    def _update(self, *bundles: Bundle) -> None:
        open_painter, self._painter = self._painter, None
        if open_painter is not None:
            for display_id, bundle in zip(self._shown.result(), bundles, strict=True):
                self._canvas.update(display_id, bundle)
            open_painter.close()

    def _description(self, mask: Image) -> str:
        return f"{self._picture.name} with its mask: {mask_overlay.describe_fraction(mask_overlay.masked_fraction(mask))}"

    def _caption(self, mask: Image, file: str) -> tuple[str, str]:
        pixels = f"{mask.width}×{mask.height}"
        facts = [self._description(mask), pixels, *([file] if file else []), f"bound to {self._out}", f"--mask {self._out} uses it"]
        return note(" · ".join(facts))

    def _show_static(self, mask: Image, name: str) -> None:
        outputs = [text_bundle(*self._caption(mask, name))]
        if has_kernel(self._shell):
            outputs.insert(0, preview_bundle(mask_overlay.overlay(self._picture.data, mask), self._description(mask)))
        show_all(self._shell, outputs)


def painter(
    picture: LocalImage,
    on_mask: Callable[[bytes], None],
    on_close: Callable[[], None],
    *,
    start: LocalImage | None = None,
    label: str = "Use this mask",
) -> Painter:
    """Return a painter for an image; the mask that `on_mask` receives is not checked yet: see `local_mask`."""
    from imagegen_magic.notebook.widgets.painter import Painter

    small = preview(picture.data, _EDGE, _BYTES)
    return Painter(
        on_mask,
        on_close,
        picture=small.data,
        mime_type=small.mime_type,
        width=picture.width,
        height=picture.height,
        name=picture.name,
        start=start.data if start else b"",
        label=label,
    )


def checked(mask: LocalImage, picture: LocalImage) -> Image:
    """Return a mask decoded, as RGBA; raises UnsupportedOption or ImageInvalid if it does not fit the image."""
    masks.check_mask(mask, picture)
    with decode.DECODERS:
        return decode.decoded(mask.data).convert("RGBA")


def local_mask(png: bytes, picture: LocalImage) -> LocalImage:
    """Return the mask that a page sent, named after its image; raises ImageInvalid, UnsupportedOption if it is not a mask of it."""
    try:
        with decode.DECODERS:
            width, height = decode.decoded(png).size
    except ImageInvalid as error:
        raise ImageInvalid(f"The page sent no valid mask: {error.what}", blame="you", charge="no", hint="press again") from None
    mime_type = containers.identify(png).mime_type
    mask = LocalImage(png, mime_type, width, height, f"{Path(picture.name).stem}-mask.png")
    checked(mask, picture)
    return mask


def save(png: bytes, folder: Path, name: str) -> Path:
    """Write a mask as `<name>-mask.png` into a folder, as `-mask-2` if that exists; raises SaveError."""
    stem = filename_stem("", "mask", Path(name).stem)
    number = 1
    while True:
        path = folder / f"{stem}{f'-{number}' if number > 1 else ''}.png"
        try:
            with path.open("xb") as file:
                file.write(png)
        except FileExistsError:
            number += 1
        except OSError as error:
            what = f"The mask could not be written to {path.name} ({error.strerror})"
            raise SaveError(what, charge="no", hint="make room, or make the folder writable, and press again") from None
        else:
            return path
