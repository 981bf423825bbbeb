"""The pictures of one cell as one output: a gallery in HTML, one composed sheet as its image, and text that begins with the prompt.

Styles only improve the HTML. GitHub removes them, and pictures in one line of text still stand side by side. Front ends without HTML,
LaTeX among them, show the sheet. Screen readers get the `alt` of each picture; VS Code reads the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.humanize import truncate
from imagegen_magic.notebook.context import current_shell, has_kernel
from imagegen_magic.notebook.output import captions
from imagegen_magic.notebook.output.display import EDGE, Bundle, caption, line, on_page, show_all, with_image
from imagegen_magic.notebook.output.style import AS_TEXT
from imagegen_magic.notebook.output.thumbnails import smallest_source
from imagegen_magic.paths import text_of
from imagegen_magic.result import GeneratedImage
from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    from imagegen_magic.imaging.preview import Preview

SHOWN = 24  # pictures of one gallery; more are on a sheet alone
_WIDTH, _GAP = 656, 4  # CSS pixels
_HEIGHTS = ((4, 544), (SHOWN, 650))  # (maximum number of pictures, CSS pixels)
_NARROWEST = 120  # CSS pixels of a picture before a narrow page gets fewer columns
_COPIES = ((2, 640, 50_000), (4, 512, 27_000), (SHOWN, 384, 11_500))  # (maximum number, pixels, bytes of each)
_STATIC = 640, 60_000  # pixels, bytes of a single picture for front ends without HTML
_SHEETS = ((4, 900, 70_000), (SHOWN, 1024, 125_000), (0, 1600, 200_000))  # (maximum number, pixels of the width, bytes)
_ALT = 200  # characters of a prompt


class _Picture(NamedTuple):
    """A picture of a gallery: its number, the image, and its small copy; None if the file cannot be read."""

    number: int
    image: GeneratedImage
    copy: Preview | None


def bundle(images: Sequence[GeneratedImage], *, edge: int = EDGE) -> Bundle:
    """Return images as one output, each of at most `edge` pixels; above `SHOWN` images a sheet alone."""
    if len(images) == 1:
        return _single(images[0], edge)
    if len(images) > SHOWN:
        return _sheet_alone(images)
    _, longest, limit = next(each for each in _COPIES if len(images) <= each[0])
    pictures = [_Picture(number, image, _copy(image, min(edge, longest), limit)) for number, image in enumerate(images)]
    if not any(picture.copy for picture in pictures):
        return line("\n".join(_lost(image) for image in images), stands_out=True)
    below = captions.gallery(images)
    columns, width, height = _arrangement([picture.copy for picture in pictures if picture.copy])
    body = "\n".join(_tile(picture, len(images), columns, (width, height)) for picture in pictures)
    html = f'<div style="display:flex;flex-wrap:wrap;gap:{_GAP}px;margin:4px 0 2px">{body}</div>{below.html}'
    page = _page(html, columns * (width + _GAP) - _GAP)
    return with_image(page, _text(images, below.text), _sheet(pictures, columns, len(images)), _alt_of_all(images))


def text(images: Sequence[GeneratedImage]) -> str:
    """Return images as text that begins with their prompt, for front ends that show no pictures."""
    return _text(images, (captions.caption(images[0]) if len(images) == 1 else captions.gallery(images)).text)


def show(image: GeneratedImage, shell: Any = None) -> None:
    """Show an image with its caption in the running cell; in a terminal, only the caption."""
    shell = shell or current_shell()
    show_all(shell, [bundle([image]) if has_kernel(shell) else caption(image)])


def mimebundle(images: Sequence[GeneratedImage]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return images as the last value of a cell shows them: text alone in a terminal."""
    shell = current_shell()
    if shell is not None and not has_kernel(shell):
        return {"text/plain": text(images)}, {}
    return bundle(images)


def alt(image: GeneratedImage, number: int = 0, of: int = 1) -> str:
    """Return the alternative text of an image: its prompt in one line, and which of several it is; `number` counts from 0."""
    prompt = truncate(without_queries(" ".join(image.request.prompt.split())), _ALT)
    return f"{prompt} ({number + 1} of {of})" if of > 1 else prompt


def _single(image: GeneratedImage, edge: int) -> Bundle:
    from imagegen_magic.imaging.preview import preview

    small = _copy(image, edge)
    if small is None:
        return line(_lost(image), stands_out=True)
    below = captions.caption(image)
    size = on_page(small.width, small.height, edge)
    style = "margin:4px 0 2px"
    html = f'<div style="{style}">{_linked(image, _img(small, size, alt(image)))}</div>{below.html}'
    static = preview(small.data, min(edge, _STATIC[0]), _STATIC[1])
    return with_image(_page(html, max(size[0], _WIDTH)), _text([image], below.text), static, alt(image), size)


def _sheet_alone(images: Sequence[GeneratedImage]) -> Bundle:
    """Return one sheet of all images, with links to the originals."""
    below, words = captions.gallery(images), _alt_of_all(images)
    pictures = [_Picture(number, image, _copy(image, 192, 20_000)) for number, image in enumerate(images)]
    sheet = _sheet(pictures, None, len(images))
    size = on_page(sheet.width, sheet.height, max(sheet.width, sheet.height))
    html = f'<div style="margin:4px 0 2px">{_img(sheet, size, words)}</div>{below.html}'
    return with_image(_page(html, max(size[0], _WIDTH)), _text(images, below.text), sheet, words, size)


def _page(html: str, width: int) -> str:
    return f'<div class="imagegen-gallery {AS_TEXT}" style="max-width:{width}px">{html}</div>'


def _text(images: Sequence[GeneratedImage], caption: str) -> str:
    prompts = dict.fromkeys(alt(image) for image in images)
    return "\n".join([*list(prompts)[:SHOWN], caption])


def _alt_of_all(images: Sequence[GeneratedImage]) -> str:
    return f"{alt(images[0])} ({len(images)} pictures)"


def _copy(image: GeneratedImage, edge: int, limit: int | None = None) -> Preview | None:
    """Return a small copy of an image within `edge` pixels and `limit` bytes; None if its file cannot be read."""
    from imagegen_magic.imaging.preview import LIMIT, preview

    limit, small = limit or LIMIT, image.preview
    if small is not None and max(small.width, small.height) <= edge and len(small.data) <= limit:
        return small
    try:
        return preview(smallest_source(image, edge), edge, limit)
    except (OSError, ImageInvalid):
        return None


def _lost(image: GeneratedImage) -> str:
    """Return why an image is not shown."""
    from imagegen_magic.imaging.preview import preview

    try:
        preview(image.data)
    except (OSError, ImageInvalid) as error:
        why = str(getattr(error, "strerror", None) or error)
    else:
        why = "it was not readable a moment ago"
    return f"{text_of(image.file.name)}, {image.width}×{image.height} is no longer readable: {why}"


def _arrangement(copies: Sequence[Preview]) -> tuple[int, int, int]:
    """Return the columns, and the box of each picture in CSS pixels: the largest within the width and the height of the gallery."""
    ratio = max(copy.width / copy.height for copy in copies)
    tallest = max(on_page(copy.width, copy.height, EDGE)[1] for copy in copies)
    height = next(height for most, height in _HEIGHTS if len(copies) <= most)
    best = (1, 1, 1)
    for columns in range(min(2, len(copies)), len(copies) + 1):
        rows = -(-len(copies) // columns)
        across = (_WIDTH + _GAP) // columns - _GAP
        down = min(across / ratio, (height + _GAP) / rows - _GAP, tallest)
        if int(down * ratio) > best[1]:
            best = (columns, int(down * ratio), int(down))
    return best


def _tile(picture: _Picture, of: int, columns: int, box: tuple[int, int]) -> str:
    """Return a picture of a gallery; on a narrow page it is smaller, and below its smallest width there are fewer columns."""
    if picture.copy is None:
        return f"<span>[{picture.number}] {escape(_lost(picture.image))}</span>"
    scale = min(1.0, box[0] / picture.copy.width, box[1] / picture.copy.height)
    size = max(1, round(picture.copy.width * scale)), max(1, round(picture.copy.height * scale))
    share = f"calc((100% - {_GAP * (columns - 1)}px)/{columns})"
    style = f"flex:1 1 max({share},{min(_NARROWEST, size[0])}px);max-width:{size[0]}px"
    title = f"[{picture.number}] {text_of(picture.image.file.name)}"
    return _linked(picture.image, _img(picture.copy, size, alt(picture.image, picture.number, of)), style, title)


def _linked(image: GeneratedImage, img: str, style: str = "", title: str = "") -> str:
    address = captions.address_of(image.file)
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in (("style", style), ("title", title)) if value)
    return f'<a href="{escape(address)}"{attributes}>{img}</a>' if address else f"<span{attributes}>{img}</span>"


def _img(copy: Preview, size: tuple[int, int], words: str) -> str:
    box = f'width="{size[0]}" height="{size[1]}" style="display:block;max-width:100%;height:auto"'
    return f'<img src="{copy.data_url}" alt="{escape(words)}" {box}>'


def _sheet(pictures: Iterable[_Picture], columns: int | None, count: int) -> Preview:
    """Return all pictures as one, with white between them."""
    from imagegen_magic.imaging.sheet.grid import contact_sheet

    width, limit = next(each[1:] for each in _SHEETS if count <= each[0] or not each[0])
    sheet = contact_sheet([picture.copy.data if picture.copy else "not readable" for picture in pictures], columns=columns)
    return sheet.preview(width, limit)
