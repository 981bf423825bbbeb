"""The page of an export: one HTML file that needs no network and no script."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from urllib.parse import quote

from imagegen_magic.formats import BY_TYPE
from imagegen_magic.humanize import file_size, gateway_name, local_day, pluralize, truncate
from imagegen_magic.result import total
from imagegen_magic.studies.export.item import MISSING_FILE, ExportItem, as_json
from imagegen_magic.studies.sweeps.result import SweepResult, missing

Clean = Callable[[str, str], str]

_MAX_ALT = 300  # characters of a prompt in an alternative text
_MAX_PROMPT = 500  # characters; a longer prompt is folded
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1c1e; --quiet: #5c5f66; --line: #dedee3; --card: #f6f6f8; --link: #1a5fb4;
  --warn: #8a4b00; }
@media (prefers-color-scheme: dark) { :root { --paper: #17181a; --ink: #ececef; --quiet: #a3a6ad; --line: #37393f; --card: #202226;
  --link: #8ab8f5; --warn: #f0b070; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 40px 24px 56px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 24px; line-height: 1.3; margin: 0 0 8px; text-wrap: pretty; }
h2 { font-size: 18px; margin: 40px 0 12px; }
h3 { font-size: 15px; margin: 0 0 4px; }
.layer { margin: 24px 0 8px; }
h2 + .layer { margin-top: 0; }
a { color: var(--link); text-underline-offset: 2px; }
a:focus-visible, [tabindex]:focus-visible, summary:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
.quiet { color: var(--quiet); }
.facts { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 0; padding: 0; list-style: none; color: var(--quiet); }
.facts strong { color: var(--ink); font-weight: 600; }
.wide { overflow-x: auto; }
table.grid { border-collapse: separate; border-spacing: 8px; margin: 0 -8px; }
.grid th { font-weight: 600; overflow-wrap: break-word; text-align: left; vertical-align: bottom; padding: 0 0 2px; max-width: 240px; }
.grid tbody th { vertical-align: top; padding: 4px 8px 0 0; min-width: 72px; max-width: 180px; }
.grid .axis { color: var(--quiet); font-weight: 400; }
.grid td { vertical-align: top; padding: 0; min-width: 96px; }
.cell { display: flex; flex-wrap: wrap; gap: 8px; }
.cell img { width: 200px; }
.none { display: flex; align-items: center; justify-content: center; width: 200px; min-height: 96px; padding: 8px; border-radius: 4px;
  background: var(--card); color: var(--quiet); text-align: center; }
.pictures { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(520px, 100%), 1fr)); }
article { display: grid; grid-template-columns: minmax(120px, 2fr) 3fr; gap: 16px; padding: 16px; border-radius: 8px;
  background: var(--card); align-content: start; align-items: start; scroll-margin-top: 16px; }
article:target { outline: 2px solid var(--link); }
article .none { width: auto; background: none; border: 1px solid var(--line); }
.prompt { margin: 0 0 10px; white-space: pre-wrap; }
summary { cursor: pointer; }
details .prompt { margin-top: 6px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 12px; margin: 0; font-size: 13px; }
dt { color: var(--quiet); }
dd { margin: 0; }
.warn { color: var(--warn); }
footer { margin-top: 48px; padding-top: 12px; border-top: 1px solid var(--line); color: var(--quiet); font-size: 13px; }
@media (max-width: 560px) { article { grid-template-columns: 1fr; } }
@media print { :root { --paper: #fff; --ink: #000; --quiet: #444; --line: #bbb; --card: #fff; --link: #000; --warn: #000; }
  body { max-width: none; padding: 0; font-size: 11px; } h1 { font-size: 18px; } h2 { font-size: 14px; break-after: avoid; }
  .wide { overflow: visible; } .cell img, .none { width: 120px; } dl { font-size: 10px; }
  article { border: 1px solid var(--line); padding: 8px; break-inside: avoid; } tr { break-inside: avoid; }
  .pictures { grid-template-columns: 1fr 1fr; gap: 8px; } a { text-decoration: none; } }
"""


def page(items: Sequence[ExportItem], sweep: SweepResult | None, clean: Clean) -> str:
    """Return the page: a summary with the cost, the grid of a sweep, and every image with its settings.

    `clean(name, text)` returns a text without what must not leave this machine.
    """
    title = _title(items, sweep, clean)
    grids = _grids(items, sweep, clean) if sweep and sweep.axes else ()
    common = _common(items)
    articles = [_article(number, item, common) for number, item in enumerate(items, 1)]
    images = ["<h2>Pictures</h2>", '<div class="pictures">', *articles, "</div>"]
    body = [_header(title, items, common), "<main>", *grids, *images, "</main>", _footer(items)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(truncate(title, 80))}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _title(items: Sequence[ExportItem], sweep: SweepResult | None, clean: Clean) -> str:
    prompts = {item.prompt for item in items}
    if sweep and sweep.prompt:
        return clean("prompt", sweep.prompt)
    return prompts.pop() if len(prompts) == 1 else pluralize(len(items), "picture")


def _header(title: str, items: Sequence[ExportItem], common: Mapping[str, str]) -> str:
    days = sorted({local_day(item.image.created) for item in items})
    gateways = sorted({f"{item.image.provider} {item.image.model}" for item in items})
    facts = [pluralize(len(items), "picture"), ", ".join(gateways), f"made {' to '.join(dict.fromkeys((days[0], days[-1])))}"]
    facts += [f"{name} {value}" for name, value in common.items()]
    entries = [*(f"<li>{escape(fact)}</li>" for fact in facts), f"<li>cost <strong>{escape(costs(items))}</strong></li>"]
    return f'<header>\n<h1 dir="auto">{escape(truncate(title, 300))}</h1>\n<ul class="facts">{"".join(entries)}</ul>\n</header>'


def _common(items: Sequence[ExportItem]) -> dict[str, str]:
    """Return the options with the same value in all items."""
    first, *others = [_options(item) for item in items]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _options(item: ExportItem) -> dict[str, str]:
    """Return an item's options as text, without those that the page shows elsewhere."""
    return {name: _text(value) for name, value in item.named_options(["model", "n"]).items()}


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else as_json(value)


def costs(items: Iterable[ExportItem]) -> str:
    """Return the cost of the images, each currency separately and the sandbox's play money last."""
    known = [(item.image.sandbox, item.image.cost) for item in items]
    separate = [[cost for sandbox, cost in known if sandbox == play] for play in (False, True)]
    return ", ".join(str(cost) for group in separate if group for cost in total(group))


def _grids(items: Sequence[ExportItem], sweep: SweepResult, clean: Clean) -> Iterator[str]:
    """Yield a table for each combination of the axes beyond the first two."""
    names = list(sweep.axes)
    down, across = (names[0], names[1]) if len(names) > 1 else ("", names[0])
    cells = _cells(items, sweep, clean)
    yield "<h2>Grid</h2>"
    for layer in itertools.product(*(sweep.axes[name] for name in names[2:])):
        fixed = dict(zip(names[2:], layer, strict=True))
        if fixed:
            heading = ", ".join(f"{name}: {clean(name, value)}" for name, value in fixed.items())
            yield f'<h3 class="layer">{escape(heading)}</h3>'
        yield _grid(sweep, down, across, fixed, cells, clean)


def _cells(items: Sequence[ExportItem], sweep: SweepResult, clean: Clean) -> dict[tuple[str, ...], list[str]]:
    """Return the content of each cell: its images, or why there is none."""
    found = [(sweep.places[item.image.task], _linked(item, f"#picture-{number}")) for number, item in enumerate(items, 1)]
    found += [(combination, _none(clean("", why))) for combination, why in missing(sweep)]
    cells: dict[tuple[str, ...], list[str]] = {}
    for combination, html in found:
        cells.setdefault(tuple(combination[name] for name in sweep.axes), []).append(html)
    return cells


def _grid(
    sweep: SweepResult, down: str, across: str, fixed: Mapping[str, str], cells: Mapping[tuple[str, ...], Sequence[str]], clean: Clean
) -> str:
    """Return the table of two axes with `fixed` values of the others; `down` is empty if there is one axis only."""
    values = sweep.axes[across]
    corner = "<td></td>" if down else ""
    names = f'<tr>{corner}<th class="axis" colspan="{len(values)}" scope="colgroup">{escape(across)}</th></tr>'
    side = f'<th class="axis" scope="col">{escape(down)}</th>' if down else ""
    heads = "".join(f'<th scope="col" dir="auto">{escape(clean(across, value))}</th>' for value in values)
    rows = []
    for row in sweep.axes[down] if down else ("",):
        head = f'<th scope="row" dir="auto">{escape(clean(down, row))}</th>' if down else ""
        combinations = [{down: row, across: value, **fixed} for value in values]
        found = [cells.get(tuple(combination[name] for name in sweep.axes)) or [_none("missing")] for combination in combinations]
        filled = "".join(f'<td><div class="cell">{" ".join(cell)}</div></td>' for cell in found)
        rows.append(f"<tr>{head}{filled}</tr>")
    table = f'<table class="grid"><thead>{names}<tr>{side}{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="wide" tabindex="0" role="region" aria-label="Grid">{table}</div>'


def _linked(item: ExportItem, url: str) -> str:
    if not item.thumbnail:
        return f'<a href="{escape(url)}">{_none("no preview" if item.file else MISSING_FILE)}</a>'
    return f'<a href="{escape(url)}"><img src="{item.thumbnail}" alt="{escape(truncate(item.prompt, _MAX_ALT))}" loading="lazy"></a>'


def _none(words: str) -> str:
    return f'<span class="none">{escape(words)}</span>'


def _article(number: int, item: ExportItem, common: Mapping[str, str]) -> str:
    values = " · ".join(item.combination.values())
    heading = f'<h3 dir="auto">{number}{escape(f". {values}" if values else "")}</h3>'
    image = _linked(item, quote(item.file)) if item.file else _none(MISSING_FILE)
    return f'<article id="picture-{number}">{image}<div>{heading}{_prompt(item.prompt)}{_facts(item, common)}</div></article>'


def _prompt(prompt: str) -> str:
    text = f'<p class="prompt" dir="auto">{escape(prompt)}</p>'
    return text if len(prompt) <= _MAX_PROMPT else f"<details><summary>{escape(truncate(prompt, 120))}</summary>{text}</details>"


def _facts(item: ExportItem, common: Mapping[str, str]) -> str:
    image = item.image
    facts = [
        ("service", gateway_name(f"{image.provider} {image.model}", image.sandbox)),
        *((name, value) for name, value in _options(item).items() if name not in common),
        ("took", "" if image.seconds is None else f"{image.seconds:.1f} s"),
        ("cost", str(image.cost)),
    ]
    rows = [f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts if value]
    rows += [f'<dt>but</dt><dd class="warn">{escape(difference)}</dd>' for difference in image.differences]
    if item.file:
        image_format = BY_TYPE[image.mime_type].name if image.mime_type in BY_TYPE else image.mime_type
        description = f"{image.width}×{image.height} {image_format}, {file_size(item.size)}"
        rows.append(f'<dt>file</dt><dd><a href="{escape(quote(item.file))}">{escape(description)}</a></dd>')
    return f"<dl>{''.join(rows)}</dl>"


def _footer(items: Sequence[ExportItem]) -> str:
    record = "; the copies record how they were made" if any(item.has_metadata for item in items) else ""
    text = f"These pictures were made by a model, not photographed or drawn{record}. "
    table = '<a href="pictures.csv">The same as a table (pictures.csv)</a>.'
    return f"<footer>{escape(text)}{table} Made with imagegen_magic.</footer>"
