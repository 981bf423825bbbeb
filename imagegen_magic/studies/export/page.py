"""The page of an export: one file that shows everything by itself, without a network and without a script."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from imagegen_magic.formats import BY_TYPE
from imagegen_magic.result import total

if TYPE_CHECKING:
    from imagegen_magic.studies.export.archive import Copy
    from imagegen_magic.studies.sweeps.result import SweepResult

Clean = Callable[[str, str], str]

_ALT = 300  # characters of a prompt that say what a picture shows
_LONG = 500  # characters from which a prompt is folded
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


def page(copies: Sequence[Copy], sweep: SweepResult | None, clean: Clean) -> str:
    """Return the page: what it is, what it cost, the grid of a sweep, and every picture with its settings.

    `clean` returns what of a text, given with the name of what it is, may leave this machine.
    """
    title = _title(copies, sweep, clean)
    grids = _grids(copies, sweep, clean) if sweep and sweep.axes else ()
    common = _common(copies)
    body = [_head(title, copies, common), "<main>", *grids, _pictures(copies, common), "</main>", _foot(copies)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(_short(title, 80))}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _title(copies: Sequence[Copy], sweep: SweepResult | None, clean: Clean) -> str:
    prompts = {copy.prompt for copy in copies}
    if sweep and sweep.prompt:
        return clean("prompt", sweep.prompt)
    return prompts.pop() if len(prompts) == 1 else _counted(len(copies), "picture")


def _head(title: str, copies: Sequence[Copy], common: Mapping[str, str]) -> str:
    days = sorted({time.strftime("%Y-%m-%d", time.localtime(copy.image.created)) for copy in copies})
    made = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    gateways = sorted({f"{copy.image.provider} {copy.image.model}" for copy in copies})
    facts = [_counted(len(copies), "picture"), ", ".join(gateways), f"made {made}"]
    facts += [f"{name} {words}" for name, words in common.items()]
    items = [*(f"<li>{escape(fact)}</li>" for fact in facts), f"<li>cost <strong>{escape(costs(copies))}</strong></li>"]
    return f'<header>\n<h1 dir="auto">{escape(_short(title, 300))}</h1>\n<ul class="facts">{"".join(items)}</ul>\n</header>'


def _common(copies: Sequence[Copy]) -> dict[str, str]:
    """Return the options that all pictures were asked with alike."""
    first, *others = [_options(copy) for copy in copies]
    return {name: words for name, words in first.items() if all(other.get(name) == words for other in others)}


def _options(copy: Copy) -> dict[str, str]:
    """Return a picture's options in words, but for what stands elsewhere."""
    told = {name: value for name, value in copy.options.items() if name not in ("model", "n", *copy.place)}
    return {name.replace("_", " "): _words(value) for name, value in told.items()}


def costs(copies: Iterable[Copy]) -> str:
    """Return what the pictures cost, each currency by itself and the sandbox's play money apart."""
    known = [(copy.image.sandbox, copy.image.cost) for copy in copies]
    apart = [[cost for sandbox, cost in known if sandbox == play] for play in (False, True)]
    return ", ".join(str(cost) for some in apart if some for cost in total(some))


def _grids(copies: Sequence[Copy], sweep: SweepResult, clean: Clean) -> Iterator[str]:
    """Yield a table for each combination of the axes beyond the first two."""
    names = list(sweep.axes)
    across, down = names[0] if len(names) == 1 else names[1], "" if len(names) == 1 else names[0]
    cells = _cells(copies, sweep, clean)
    labels = {name: {value: clean(name, value) for value in sweep.axes[name]} for name in names}
    yield "<h2>Grid</h2>"
    for layer in itertools.product(*(sweep.axes[name] for name in names[2:])):
        further = dict(zip(names[2:], layer, strict=True))
        if further:
            yield f"<h3 class='layer'>{escape(', '.join(f'{name}: {labels[name][value]}' for name, value in further.items()))}</h3>"
        yield _grid(sweep, down, across, further, cells, labels)


def _cells(copies: Sequence[Copy], sweep: SweepResult, clean: Clean) -> dict[tuple[str, ...], list[str]]:
    """Return what stands in each cell: its pictures, or why there is none."""
    cells: dict[tuple[str, ...], list[str]] = {}
    for number, copy in enumerate(copies, 1):
        cells.setdefault(tuple(sweep.place(copy.image)[name] for name in sweep.axes), []).append(_linked(copy, f"#picture-{number}"))
    missing = [(place, words) for place, words in zip(sweep.places, sweep.words, strict=False) if words]
    missing += [(one.place, "not possible here") for one in sweep.impossible]
    for place, words in missing:
        cells.setdefault(tuple(place[name] for name in sweep.axes), []).append(_none(clean("", words)))
    return cells


def _grid(
    sweep: SweepResult,
    down: str,
    across: str,
    further: Mapping[str, str],
    cells: Mapping[tuple[str, ...], Sequence[str]],
    labels: Mapping[str, Mapping[str, str]],
) -> str:
    columns = sweep.axes[across]
    corner = "<td></td>" if down else ""
    names = f'<tr>{corner}<th class="axis" colspan="{len(columns)}" scope="colgroup">{escape(across)}</th></tr>'
    side = f'<th class="axis" scope="col">{escape(down)}</th>' if down else ""
    heads = "".join(f'<th scope="col" dir="auto">{escape(labels[across][value])}</th>' for value in columns)
    rows = []
    for row in sweep.axes[down] if down else ("",):
        head = f'<th scope="row" dir="auto">{escape(labels[down][row])}</th>' if down else ""
        places = [{down: row, across: column, **further} for column in columns]
        found = [cells.get(tuple(place[name] for name in sweep.axes)) or [_none("missing")] for place in places]
        filled = "".join(f'<td><div class="cell">{" ".join(cell)}</div></td>' for cell in found)
        rows.append(f"<tr>{head}{filled}</tr>")
    table = f'<table class="grid"><thead>{names}<tr>{side}{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="wide" tabindex="0" role="region" aria-label="Grid">{table}</div>'


def _linked(copy: Copy, address: str) -> str:
    if not copy.thumbnail:
        return f'<a href="{escape(address)}">{_none("file is gone" if not copy.file else "no preview")}</a>'
    return f'<a href="{escape(address)}"><img src="{copy.thumbnail}" alt="{escape(_short(copy.prompt, _ALT))}" loading="lazy"></a>'


def _none(words: str) -> str:
    return f'<span class="none">{escape(words)}</span>'


def _pictures(copies: Sequence[Copy], common: Mapping[str, str]) -> str:
    articles = "\n".join(_article(number, copy, common) for number, copy in enumerate(copies, 1))
    return f'<h2>Pictures</h2>\n<div class="pictures">\n{articles}\n</div>'


def _article(number: int, copy: Copy, common: Mapping[str, str]) -> str:
    place = " · ".join(copy.place.values())
    heading = f'<h3 dir="auto">{number}{escape(f". {place}" if place else "")}</h3>'
    picture = _linked(copy, quote(copy.file)) if copy.file else _none("file is gone")
    return f'<article id="picture-{number}">{picture}<div>{heading}{_prompt(copy.prompt)}{_facts(copy, common)}</div></article>'


def _prompt(prompt: str) -> str:
    words = f'<p class="prompt" dir="auto">{escape(prompt)}</p>'
    return words if len(prompt) <= _LONG else f"<details><summary>{escape(_short(prompt, 120))}</summary>{words}</details>"


def _facts(copy: Copy, common: Mapping[str, str]) -> str:
    image = copy.image
    kind = BY_TYPE[image.mime_type].name if image.mime_type in BY_TYPE else image.mime_type
    file = f'<a href="{escape(quote(copy.file))}">{image.width}×{image.height} {escape(kind)}, {_bytes(copy.size)}</a>' if copy.file else ""
    facts = [
        ("gateway", f"{image.provider} {image.model}" + (" (sandbox)" if image.sandbox else "")),
        *((name, words) for name, words in _options(copy).items() if name not in common),
        ("took", "" if image.seconds is None else f"{image.seconds:.1f} s"),
        ("cost", str(image.cost)),
    ]
    rows = [f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in facts if words]
    rows += [f'<dt>but</dt><dd class="warn">{escape(words)}</dd>' for words in image.differences]
    return f"<dl>{''.join(rows)}{f'<dt>file</dt><dd>{file}</dd>' if file else ''}</dl>"


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _foot(copies: Sequence[Copy]) -> str:
    told = "; the copies carry how they were made" if any(copy.tells for copy in copies) else ""
    words = f"These pictures were made by a model, not photographed or drawn{told}. "
    table = '<a href="pictures.csv">The same as a table (pictures.csv)</a>.'
    return f"<footer>{escape(words)}{table} Made with imagegen_magic.</footer>"


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{max(1, round(size / 1000))} kB"
