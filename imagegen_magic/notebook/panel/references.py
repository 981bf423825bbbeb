"""The panel's references and the mask of the first one: addresses, files, variables, earlier images, and a painter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.engine import loop
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.context import current_settings, current_shell, notebook_folder
from imagegen_magic.notebook.panel import controls
from imagegen_magic.notebook.progress import renderers
from imagegen_magic.notebook.widgets.errors import report_errors
from imagegen_magic.request import LocalImage
from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    from imagegen_magic.notebook.widgets.painter import Painter

Source = str | LocalImage
Edit = Callable[[tuple[Source, ...]], tuple[Source, ...]]
_PLACEHOLDER = "https://…, a file, a variable or @17, then Enter"
_NAME = 72  # characters of a name or an address that are shown; the title has the whole
_THUMBNAIL, _THUMBNAIL_BYTES = 108, 12_000  # pixels (of 36 CSS pixels, for dense screens), bytes


class References:
    """The references of a request, and the mask of the first one; drawn on the engine's loop.

    `on_references` gets a function from the current references to the new ones, so that each of two quick clicks counts. `on_mask`
    gets the new mask or None. `thumbnails` maps an address to a data URL.
    """

    def __init__(self, on_references: Callable[[Edit], None], on_mask: Callable[[Source | None], None], thumbnails: dict[str, str]) -> None:
        self._on_references, self._on_mask, self._thumbnails = on_references, on_mask, thumbnails
        self._loaded: dict[str, tuple[str, str]] = {}  # by SHA-256: a data URL, and the text on what a mask repaints
        self._texts: list[tuple[Source, Any]] = []
        self._references: tuple[Source, ...] = ()
        self._mask: Source | None = None
        self._can_mask = False
        self._painted_on: Source | None = None
        self._rows, self._mask_row, self._painter_box = (controls.box("stack") for _ in range(3))
        self._error = controls.html()
        text = {"placeholder": _PLACEHOLDER, "continuous_update": False}
        self.field = controls.field(ipywidgets.Text, "Add a reference", "grow", "references", self._add, **text)
        self.mask_field = controls.field(ipywidgets.Text, "Mask", "grow", "mask", self._add, **text)
        parts = (self.field, self._rows, self.mask_field, self._mask_row, self._error, self._painter_box)
        self._head, self.widget = controls.fold("References and mask", *parts)

    def draw(self, references: tuple[Source, ...], most: int, *, mask: Source | None = None, masks: bool = False) -> None:
        """Show these references and this mask; hide all of it if the model takes none and there are none."""
        controls.set_visible(self.widget, bool(most or references or mask))
        given = f"{len(references)} of at most {most}" if references else f"at most {most}"
        controls.update(self._head, summary=given if mask is None else f"{given}, with a mask")
        if len(references) > len(self._references) or (mask is not None and self._mask is None):
            controls.update(self._head, unfolded=True)
        controls.update(self.field, disabled=len(references) >= most)
        controls.set_visible(self.mask_field, masks and bool(references) and mask is None)
        before = self._references, self._mask, self._can_mask
        self._references, self._mask, self._can_mask = references, mask, masks
        if (references, mask, masks) != before:
            self._draw_rows()
        if (references, mask) != before[:2]:
            self._show_error("")
        if self._painted_on is not None and references[:1] != (self._painted_on,):
            self._close_painter()

    def _draw_rows(self) -> None:
        self._texts.clear()
        renderers.set_children(self._rows, *(self._row(number, each) for number, each in enumerate(self._references)))
        renderers.set_children(self._mask_row, *(() if self._mask is None else (self._row_of_mask(self._mask),)))
        controls.update(self.field, value="")
        controls.update(self.mask_field, value="")

    def _row(self, number: int, source: Source) -> Any:
        buttons = [controls.button("Remove", lambda: self._on_references(_without(source)), tooltip=f"Remove reference {number + 1}")]
        if number == 0 and self._can_mask and self._mask is None and isinstance(source, LocalImage):
            tip = f"Mark on {_name(source)} what is to be repainted"
            buttons.insert(0, controls.button("Paint a mask", lambda: self._submit(self._paint()), tooltip=tip))
        return self._line(source, *buttons)

    def _row_of_mask(self, mask: Source) -> Any:
        buttons = [controls.button("Remove mask", lambda: self._on_mask(None), tooltip="Repaint all of the picture")]
        if self._can_mask and self._references and isinstance(self._references[0], LocalImage) and isinstance(mask, LocalImage):
            again = controls.button("Go on painting", lambda: self._submit(self._paint()), tooltip="Change what is to be repainted")
            buttons.insert(0, again)
        return self._line(mask, *buttons)

    def _line(self, source: Source, *buttons: Any) -> Any:
        """Return a source with its buttons, on one line if there is room."""
        text = controls.html(self._markup(source))
        text.layout.flex, text.layout.min_width = "1 1 190px", "0"
        self._texts.append((source, text))
        line = controls.box("line", text, controls.box("line", *buttons))
        line.layout.flex_flow = "row wrap"
        return line

    def _markup(self, source: Source) -> str:
        name = f"Mask: {_name(source)}" if source is self._mask else _name(source)
        if isinstance(source, str):
            return _markup(name, "", self._thumbnails.get(source, ""))
        if source.sha256 not in self._loaded:
            self._loaded[source.sha256] = "", ""
            self._submit(self._load_thumbnail(source))
        thumbnail, fraction = self._loaded[source.sha256]
        about = fraction if source is self._mask else " · ".join((f"{source.width}×{source.height}", *source.notes))
        return _markup(name, about, thumbnail)

    async def _load_thumbnail(self, picture: LocalImage) -> None:
        """Create a thumbnail in a thread, and show it."""
        if picture is self._mask:
            under = next((each for each in self._references[:1] if isinstance(each, LocalImage)), None)
            loaded = await asyncio.to_thread(_mask_thumbnail, picture, under)
        else:
            loaded = await asyncio.to_thread(_thumbnail, picture), ""
        self._loaded[picture.sha256] = loaded
        for source, text in self._texts:
            controls.update(text, value=self._markup(source))

    # --- input: an address is used unchanged, everything else is resolved on this machine

    def _add(self, option: str, text: str) -> None:
        if text := text.strip():
            self._submit(self._resolve(text, option))

    async def _resolve(self, text: str, option: str) -> None:
        is_address = text.lower().startswith(("https://", "http://"))
        source = text if is_address else await asyncio.to_thread(_resolved, text, option)
        if option == "mask":
            self._on_mask(source)
        else:
            self._on_references(lambda references: (*references, source))

    def _submit(self, work: Coroutine[Any, Any, None]) -> None:
        loop.submit(report_errors(work, self._show_error, "panel"))

    def _show_error(self, text: str) -> None:
        controls.update(self._error, value=controls.alert([text]))

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
        shown: asyncio.Future[Painter] = asyncio.get_running_loop().create_future()  # its messages may arrive earlier

        async def use(png: bytes) -> None:
            await report_errors(self._use(png, first), (await shown).refuse, "painter")

        async def leave() -> None:
            await shown
            self._close_painter()

        def on_mask(png: bytes) -> None:
            loop.submit(use(png))

        painter = await asyncio.to_thread(mask_editor.painter, first, on_mask, lambda: self._submit(leave()), start=start)
        if self._references[:1] == (first,):
            self._painted_on = first
            renderers.set_children(self._painter_box, painter)
        else:  # it was removed meanwhile
            painter.close()
        shown.set_result(painter)

    async def _use(self, png: bytes, picture: LocalImage) -> None:
        from imagegen_magic.notebook import mask_editor

        mask = await asyncio.to_thread(mask_editor.local_mask, png, picture)
        path = await asyncio.to_thread(mask_editor.save, png, notebook_folder(), picture.name)
        self._close_painter()
        self._on_mask(replace(mask, name=path.name))  # a copied cell finds it by this name

    def _close_painter(self) -> None:
        self._painted_on = None
        renderers.set_children(self._painter_box)


def _without(source: Source) -> Edit:
    """Remove a reference; do nothing if it is not there."""

    def edit(references: tuple[Source, ...]) -> tuple[Source, ...]:
        index = references.index(source) if source in references else len(references)
        return (*references[:index], *references[index + 1 :])

    return edit


def _name(source: Source) -> str:
    return without_queries(source if isinstance(source, str) else source.name)


def _markup(name: str, about: str, thumbnail: str) -> str:
    image = f'<img src="{escape(thumbnail)}" alt="{escape(name)}">' if thumbnail else ""
    shown = name if len(name) <= _NAME else f"{name[: _NAME // 2]}…{name[-_NAME // 2 :]}"
    more = f'<br><span class="imagegen-quiet">{escape(about)}</span>' if about else ""
    text = f'<span style="white-space:normal;overflow-wrap:anywhere">{escape(shown)}{more}</span>'
    return f'<div class="imagegen-reference" title="{escape(name)}">{image}{text}</div>'


def _thumbnail(picture: LocalImage) -> str:
    from imagegen_magic.imaging.preview import preview

    return preview(picture.data, _THUMBNAIL, _THUMBNAIL_BYTES).data_url


def _mask_thumbnail(picture: LocalImage, under: LocalImage | None) -> tuple[str, str]:
    """Return the thumbnail of a mask over its picture, and the fraction that is repainted, as text."""
    from imagegen_magic.imaging import decode, mask_overlay, preview

    with decode.DECODERS:
        mask = decode.decoded(picture.data).convert("RGBA")
    limits = _THUMBNAIL, _THUMBNAIL_BYTES
    small = mask_overlay.overlay(under.data, mask, *limits) if under else preview.preview(mask, *limits)
    return small.data_url, mask_overlay.describe_fraction(mask_overlay.masked_fraction(mask))


def _resolved(text: str, option: str) -> Source:
    """Return the image that the text names: a file, a variable, an image of the history."""
    shell = current_shell()
    return image_selector.resolve(text, shell.user_ns if shell else {}, notebook_folder(), current_settings(), option=option)
