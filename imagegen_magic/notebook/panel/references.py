"""The panel's references and the mask of the first one: addresses, files, variables, earlier images, and a painter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.engine import loop
from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.context import current_settings, current_shell, notebook_folder
from imagegen_magic.notebook.panel import controls
from imagegen_magic.request import LocalImage
from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    from imagegen_magic.notebook.widgets.painter import Painter

Source = str | LocalImage
Edit = Callable[[tuple[Source, ...]], tuple[Source, ...]]
_ADDRESS = ("https://", "http://")
_PLACEHOLDER = "https://…, a file, a variable or @17, then Enter"
_MOST_NAME = 72  # characters of a name or an address that are shown; the title has the whole
_THUMBNAIL, _THUMBNAIL_BYTES = 108, 12_000  # pixels (of 36 CSS pixels, for dense screens), bytes


class References:
    """The references of a request, and the mask of the first one.

    `on_references` gets a function from the current references to the new ones, so that each of two quick clicks counts. `on_mask`
    gets the new mask or None; without it there are no masks. `thumbnails` maps an address to its image. Drawn on the engine's loop.
    """

    def __init__(
        self,
        on_references: Callable[[Edit], None],
        thumbnails: Mapping[str, str],
        *,
        on_mask: Callable[[Source | None], None] | None = None,
    ) -> None:
        self._on_references, self._on_mask = on_references, on_mask or _ignore
        self._thumbnails = thumbnails
        self._loaded: dict[str, str] = {}
        self._mask_texts: dict[str, str] = {}
        self._texts: list[tuple[Source, Any]] = []
        self._references: tuple[Source, ...] = ()
        self._mask: Source | None = None
        self._drawn: Any = None
        self._can_mask = False
        self._painted_on: Source | None = None
        self._rows, self._mask_row, self._painter_box = (controls.box("stack") for _ in range(3))
        self._error = controls.html()
        text = {"placeholder": _PLACEHOLDER, "continuous_update": False}
        self.field = controls.field(ipywidgets.Text, "References", "grow", "references", self._add, **text)
        self.mask_field = controls.field(ipywidgets.Text, "Mask", "grow", "mask", self._add_mask, **text)
        self.widget = controls.box("stack", self.field, self._rows, self.mask_field, self._mask_row, self._error, self._painter_box)
        controls.set_visible(self.mask_field, False)

    def draw(self, references: tuple[Source, ...], most: int, *, mask: Source | None = None, masks: bool = False) -> None:
        """Show these references and this mask; hide all of it if the model takes none and there are none."""
        controls.set_visible(self.widget, bool(most or references or mask))
        words = f"References: {len(references)} of at most {most}" if references else f"References: at most {most}"
        controls.update(self.field, description=words, disabled=len(references) >= most)
        self._can_mask = masks and self._on_mask is not _ignore
        controls.set_visible(self.mask_field, self._can_mask and bool(references) and mask is None)
        if references != self._references or mask != self._mask:
            self._show_error("")
        self._references, self._mask = references, mask
        self._close_stale_painter()
        self._draw_rows()

    def _draw_rows(self) -> None:
        state = (self._references, self._mask, self._can_mask)
        if state == self._drawn:
            return
        self._drawn = state
        self._texts.clear()
        controls.set_children(self._rows, [self._row(number, one) for number, one in enumerate(self._references)])
        controls.set_children(self._mask_row, [] if self._mask is None else [self._row_of_mask(self._mask)])
        controls.update(self.field, value="")
        controls.update(self.mask_field, value="")

    def _row(self, number: int, one: Source) -> Any:
        buttons = [controls.button("Remove", lambda: self._on_references(_without(one)), tooltip=f"Remove reference {number + 1}")]
        if number == 0 and self._can_mask and self._mask is None and isinstance(one, LocalImage):
            tip = f"Mark on {_name(one)} what is to be repainted"
            buttons.insert(0, controls.button("Paint a mask", lambda: self._submit(self._paint()), tooltip=tip))
        return self._line(one, buttons)

    def _row_of_mask(self, mask: Source) -> Any:
        buttons = [controls.button("Remove mask", lambda: self._on_mask(None), tooltip="Repaint all of the picture")]
        if self._can_mask and self._references and isinstance(self._references[0], LocalImage) and isinstance(mask, LocalImage):
            again = controls.button("Go on painting", lambda: self._submit(self._paint()), tooltip="Change what is to be repainted")
            buttons.insert(0, again)
        return self._line(mask, buttons)

    def _line(self, one: Source, buttons: Iterable[Any]) -> Any:
        """Return a source with its buttons, on one line if there is room."""
        text = controls.html(self._markup(one))
        text.layout.flex, text.layout.min_width = "1 1 190px", "0"
        self._texts.append((one, text))
        line = controls.box("line", text, controls.box("line", *buttons))
        line.layout.flex_flow = "row wrap"
        return line

    def _markup(self, one: Source) -> str:
        picture = self._thumbnail(one)
        if one is self._mask:
            return _markup(f"Mask: {_name(one)}", self._mask_texts.get(_key(one), ""), picture)
        return _markup(_name(one), _about(one), picture)

    # --- thumbnails: made in a thread, then shown beside the name

    def _thumbnail(self, one: Source) -> str:
        if isinstance(one, str):
            return self._thumbnails.get(one, "")
        if (found := self._loaded.get(one.sha256)) is None:
            self._submit(self._load_thumbnail(one))
        return found or ""

    async def _load_thumbnail(self, one: LocalImage) -> None:
        mask, references = self._mask, self._references
        under = references[0] if one is mask and references and isinstance(references[0], LocalImage) else None
        address, words = await asyncio.to_thread(_thumbnail_and_text, one, under, one is mask)
        self._loaded[one.sha256] = address
        self._mask_texts[_key(one)] = words
        for shown, text in self._texts:
            controls.update(text, value=self._markup(shown))

    # --- input: an address is used unchanged, everything else is resolved on this machine

    def _add(self, _: str, text: str) -> None:
        self._take(text.strip(), "references", lambda source: self._on_references(_with(source)))

    def _add_mask(self, _: str, text: str) -> None:
        self._take(text.strip(), "mask", self._on_mask)

    def _take(self, text: str, option: str, on_source: Callable[[Source], None]) -> None:
        if text.lower().startswith(_ADDRESS):
            on_source(text)
        elif text:
            self._submit(self._resolve(text, option, on_source))

    async def _resolve(self, text: str, option: str, on_source: Callable[[Source], None]) -> None:
        on_source(await asyncio.to_thread(_resolved, text, option))

    def _submit(self, work: Coroutine[Any, Any, None]) -> None:
        loop.submit(self._report_errors(work))

    async def _report_errors(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except ImageGenError as error:
            self._show_error(str(error))
        except Exception as error:  # also an error of this package
            self._show_error(f"The panel itself failed: {type(error).__name__}: {error}")

    def _show_error(self, words: str) -> None:
        controls.update(self._error, value=f'<div class="imagegen-problem" role="alert">{escape(words)}</div>' if words else "")

    # --- the painter

    async def _paint(self) -> None:
        """Open the painter on the first reference, with the current mask."""
        from imagegen_magic.notebook import mask_editor

        first = next(iter(self._references), None)
        if not isinstance(first, LocalImage):
            return  # it was removed meanwhile
        start = self._mask if isinstance(self._mask, LocalImage) else None
        if start is not None:
            await asyncio.to_thread(mask_editor.checked, start, first)
        shown: asyncio.Future[Painter] = asyncio.get_running_loop().create_future()

        async def use(png: bytes) -> None:
            await mask_editor.report_errors(self._use(png, first), await shown)

        async def leave() -> None:
            await shown
            await self._close_painter()

        def used(png: bytes) -> None:
            loop.submit(use(png))

        painter = await asyncio.to_thread(mask_editor.painter, first, used, lambda: self._submit(leave()), start=start)
        self._painted_on = first
        controls.set_children(self._painter_box, [painter])
        self._close_stale_painter()
        shown.set_result(painter)

    async def _use(self, png: bytes, picture: LocalImage) -> None:
        from imagegen_magic.notebook import mask_editor

        mask = await asyncio.to_thread(mask_editor.local_mask, png, picture)
        path = await asyncio.to_thread(mask_editor.save, png, notebook_folder(), picture.name)
        await self._close_painter()
        self._on_mask(replace(mask, name=path.name))  # a copied cell finds it by this name

    async def _close_painter(self) -> None:
        self._painted_on = None
        controls.set_children(self._painter_box, [])

    def _close_stale_painter(self) -> None:
        if self._painted_on is not None and self._references[:1] != (self._painted_on,):
            self._painted_on = None
            controls.set_children(self._painter_box, [])


def _with(source: Source) -> Edit:
    return lambda references: (*references, source)


def _without(source: Source) -> Edit:
    """Remove a reference; do nothing if it is not there."""

    def edit(references: tuple[Source, ...]) -> tuple[Source, ...]:
        place = references.index(source) if source in references else len(references)
        return (*references[:place], *references[place + 1 :])

    return edit


def _ignore(_: Source | None) -> None:
    """Ignore a mask: this panel has none."""


def _name(one: Source) -> str:
    return without_queries(one if isinstance(one, str) else one.name)


def _key(one: Source) -> str:
    return one if isinstance(one, str) else one.sha256


def _about(one: Source) -> str:
    return "" if isinstance(one, str) else " · ".join((f"{one.width}×{one.height}", *one.notes))


def _markup(name: str, about: str, picture: str) -> str:
    image = f'<img src="{escape(picture)}" alt="{escape(name)}">' if picture else ""
    called = name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME // 2]}…{name[-_MOST_NAME // 2 :]}"
    more = f'<br><span class="imagegen-quiet">{escape(about)}</span>' if about else ""
    words = f'<span style="white-space:normal;overflow-wrap:anywhere">{escape(called)}{more}</span>'
    return f'<div class="imagegen-reference" title="{escape(name)}">{image}{words}</div>'


def _thumbnail_and_text(one: LocalImage, under: LocalImage | None, is_mask: bool) -> tuple[str, str]:
    """Return a thumbnail's data URL, and for a mask the share that is repainted, in words."""
    from imagegen_magic.imaging import decode, mask_overlay, preview

    if not is_mask:
        small = preview.preview(one.data, _THUMBNAIL, _THUMBNAIL_BYTES)
        return small.data_url, ""
    with decode.DECODERS:
        mask = decode.decoded(one.data).convert("RGBA")
    small = (
        mask_overlay.overlay(under.data, mask, _THUMBNAIL, _THUMBNAIL_BYTES)
        if under
        else preview.preview(mask, _THUMBNAIL, _THUMBNAIL_BYTES)
    )
    return small.data_url, mask_overlay.describe_fraction(mask_overlay.masked_fraction(mask))


def _resolved(text: str, option: str) -> Source:
    """Return the image that a word names: a file, a variable, an image of the history."""
    shell = current_shell()
    return image_selector.resolve(text, shell.user_ns if shell else {}, notebook_folder(), current_settings(), option=option)
