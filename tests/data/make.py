"""Makes what a release leaves behind: a ledger with its folders, and the requests that `--reuse` must find again with every later release.

    PYTHONPATH=FOLDER_OF_THE_RELEASE python tests/data/make.py tests/data/0.1.0

Run once for a release, with the very package that was released; what it writes is never changed afterwards. Its far end is the sandbox,
which answers for the gateways' own addresses, too, so that the fingerprints are those of real requests. Nothing leaves the machine.
`package.tar.xz` beside it is the content of the release's wheel.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

sys.path.append(str(Path(__file__).parent.parent))
from released import PLACE, request_of

HOME, WORK = PLACE / "home", PLACE / "work"
PROMPTS = [
    "A red fox in the snow",
    "星空下的古堡 🦊, Ölfarbe, façade",
    'quotes "and" {braces} {{x}} \\ back\\slash ? %s\nsecond line\ttab',
    "  spaces around  ",
    "e\u0301 decomposed, \u00e9 composed, \u202ertl, שלום",
    "word " * 200,
]
HOSTS = {
    "api.evolink.ai": "evolink",
    "files-api.evolink.ai": "evolink",
    "api.apimart.ai": "apimart",
    "gccai.heqingsong.uk": "gccai",
    "zcbservice.aizfw.cn": "xingchao",
}


def main(target: Path) -> None:
    """Write `ledger.tar.xz` and `requests.json` into the folder."""
    shutil.rmtree(PLACE, ignore_errors=True)
    WORK.mkdir(parents=True)
    os.chdir(WORK)
    for name in list(os.environ):
        if name.startswith("IMAGEGEN_") or name.endswith(("_API_KEY", "_BASE_URL")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ |= {"IMAGEGEN_HOME": str(HOME), "IMAGEGEN_POLL_SECONDS": "0.02"}
    os.environ |= {f"{name.upper()}_API_KEY": "a-key-of-the-tests" for name in set(HOSTS.values())}
    be_the_far_end()
    draw_sources()
    made = {"requests": make_requests(), "sweeps": make_sweeps()}
    made["states"] = make_states()
    make_notes(made)
    export_some()
    from imagegen_magic.engine import loop

    loop.stop()
    make_notebook()
    pack(target)
    lines = {name: ",\n".join(map(json.dumps, each)) for name, each in made.items() if isinstance(each, list)}
    told = [*(f'"{name}": [\n{text}\n]' for name, text in lines.items()), f'"states": {json.dumps(made["states"])}']
    target.joinpath("requests.json").write_text("{" + ",\n".join(told) + "}\n")


# the far end


def be_the_far_end() -> None:
    """Let the sandbox answer for every gateway, with small pictures and at once."""
    import httpx2

    from imagegen_magic.engine.net import client
    from imagegen_magic.sandbox import app
    from imagegen_magic.sandbox import images as gallery

    class AtHome(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            parts = urlsplit(str(request.url))
            path, dialect = parts.path.removeprefix("/kyyReactApiServer"), HOSTS.get(parts.hostname or "")
            if dialect and not path.startswith("/files/"):
                request.url = httpx2.URL(parts._replace(path=f"/{dialect}{path}").geturl())
            return await super().handle_async_request(request)

    client.app_transport = AtHome
    client._in_sandbox = lambda url: urlsplit(url).hostname in (*HOSTS, "sandbox.invalid")
    app.create_app = partial(app.create_app, duration=0.01)
    gallery.Drawing.bytes = small_picture


def small_picture(drawing: Any, find: Any = None) -> bytes:
    """Return a picture of one colour, of the right size and format."""
    size, ink = (drawing.width, drawing.height), hashlib.sha256(repr(drawing).encode()).digest()
    memory = io.BytesIO()
    if drawing.mime_type == "image/png":
        image = Image.new("P", size, 0)
        image.putpalette(ink[:6])
        options = {"transparency": 0} if drawing.alpha else {}
        image.save(memory, "PNG", bits=1, optimize=True, **options)
    else:
        image = Image.new("RGB", size, tuple(ink[:3]))
        image.save(memory, drawing.mime_type.removeprefix("image/").upper(), quality=20)
    return memory.getvalue()


# the near end


def draw_sources() -> None:
    """Draw what the requests refer to: files of each kind, a mask, arrays."""
    folder = WORK / "sources"
    folder.mkdir()
    base = Image.new("RGB", (64, 48), (200, 120, 40))
    ImageDraw.Draw(base).ellipse((8, 8, 40, 40), (20, 60, 200))
    base.save(folder / "plain.png")
    base.save(folder / "plain.jpg", quality=80)
    base.save(folder / "plain.webp", lossless=True)
    text = PngInfo()
    text.add_text("Comment", "kept as it was")
    base.save(folder / "text.png", pnginfo=text)
    base.convert("L").save(folder / "grey.png")
    base.convert("P", palette=Image.Palette.ADAPTIVE, colors=8).save(folder / "palette.png")
    base.convert("RGBA").save(folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    base.save(folder / "turned.jpg", quality=80, exif=exif)
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 1.0), 3: "E", 4: (11.0, 34.0, 1.0)})
    base.save(folder / "placed.jpg", quality=80, exif=exif)
    base.save(folder / "exif.jpg", quality=80, exif=_camera())
    base.save(folder / "bitmap.bmp")
    base.save(folder / "tagged.tiff")
    base.convert("P").save(folder / "still.gif")
    base.save(folder / "comment.jpg", quality=80, comment=b"a comment")
    mask = Image.new("RGBA", (64, 48), (0, 0, 0, 255))
    ImageDraw.Draw(mask).rectangle((16, 12, 40, 36), (0, 0, 0, 0))
    mask.save(folder / "mask.png")
    np.save(folder / "colours.npy", np.arange(48 * 64 * 3, dtype="uint32").reshape(48, 64, 3).astype("uint8"))
    np.save(folder / "greys.npy", np.linspace(0, 1, 48 * 64, dtype="float32").reshape(48, 64))


def _camera() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    return exif


def specs() -> Iterator[dict[str, Any]]:
    """Yield requests of every gateway and model, with every option that it has."""
    from imagegen_magic.providers import registry

    for provider in registry.all_providers({}):
        for model in provider.models:
            yield from of_model(provider, model)
    for number, words in enumerate(PROMPTS):
        yield {"prompt": words, "provider": ("evolink", "apimart", "gccai", "xingchao")[number % 4], "quality": "low"}
    for dialect in ("evolink", "apimart", "gccai", "xingchao"):
        yield {"prompt": "play", "provider": dialect, "sandbox": True, "size": "1:1"}
        yield {"prompt": "play", "provider": dialect, "sandbox": True, "size": "16:9", "quality": "low", "n": 2}
    yield {
        "prompt": "play with a picture",
        "provider": "gccai",
        "sandbox": True,
        "references": ["sources/plain.png"],
        "mask": "sources/mask.png",
    }


def of_model(provider: Any, model: Any) -> Iterator[dict[str, Any]]:
    """Yield requests for one model: each option by itself, then together."""
    where = {"provider": provider.name, "model": model.name}
    named = f"of {provider.name} {model.name}"
    yield {"prompt": f"bare {named}", **where}
    yield {"prompt": f"sandboxed {named}", **where, "sandbox": True}
    for ratio, tiers in model.sizes.items():
        yield {"prompt": f"ratio {named}", **where, "size": ratio}
        for tier in tiers if model.resolutions else ():
            yield {"prompt": f"tier {named}", **where, "size": ratio, "resolution": tier}
    if model.pixel_rule:
        for pixels in ("1024x1024", "1536x1024", "1280x720", "1008x1008"):
            yield {"prompt": f"pixels {named}", **where, "size": pixels}
    for pixels in model.odd_pixels:
        yield {"prompt": f"odd pixels {named}", **where, "size": f"{pixels[0]}x{pixels[1]}"}
    if model.auto_size:
        yield {"prompt": f"auto {named}", **where, "size": "auto"}
    values = (
        ("quality", model.qualities),
        ("background", model.backgrounds),
        ("moderation", model.moderations),
        ("output_format", model.formats),
    )
    for option, choices in values:
        for value in choices:
            yield {"prompt": f"{option} {named}", **where, option: value}
    for kind in model.compressible:
        for share in (0, 79, 100):
            yield {"prompt": f"compressed {named}", **where, "output_format": kind, "output_compression": share}
    for number in {2, model.max_n, model.max_n + 3}:
        yield {"prompt": f"several {named}", **where, "n": number, "size": "1:1"}
    if model.callback:
        yield {"prompt": f"called back {named}", **where, "callback_url": "https://example.com/done?task=1&x=ü"}
    yield {
        "prompt": f"further fields {named}",
        **where,
        "extra": {"seed": 7, "style": "oil", "nested": {"b": [1, 2.5, None], "a": "ü"}, "on": True},
    }
    if model.max_references:
        yield from with_references(named, where, provider, model)


def with_references(named: str, where: dict[str, Any], provider: Any, model: Any) -> Iterator[dict[str, Any]]:
    """Yield requests with pictures: addresses, files of each kind, things in memory, masks, pictures of the ledger."""
    urls = ["https://example.com/fox.png?size=large&x=1", "https://example.org/星.jpg"]
    yield {"prompt": f"by address {named}", **where, "references": urls[:1]}
    yield {"prompt": f"by addresses {named}", **where, "references": urls}
    if model.mask:
        yield {"prompt": f"masked by address {named}", **where, "references": urls[:1], "mask": "https://example.com/mask.png"}
    if provider.upload is None:
        return
    for path in sorted((WORK / "sources").glob("*.*")):
        if path.suffix != ".npy":
            yield {"prompt": f"by file {named}", **where, "references": [f"sources/{path.name}"]}
    yield {"prompt": f"by files {named}", **where, "references": ["sources/plain.png", urls[0], "sources/plain.jpg"]}
    yield {"prompt": f"by pattern {named}", **where, "references": ["sources/plain.*"]}
    for thing in ("array::sources/colours.npy", "array::sources/greys.npy", "image::sources/palette.png", "bytes::sources/text.png"):
        yield {"prompt": f"by {thing.partition('::')[0]} {named}", **where, "references": [thing]}
    yield {"prompt": f"by number {named}", **where, "references": ["@1"]}
    if model.mask:
        yield {"prompt": f"masked {named}", **where, "references": ["sources/plain.png"], "mask": "sources/mask.png"}


def settings(**said: Any) -> Any:
    """Return the settings of a call."""
    from imagegen_magic.engine.settings import load

    return load().replace("this call", **said)


def make_requests() -> list[dict[str, Any]]:
    """Make the pictures of every request; returns each with its calls and fingerprints."""
    from imagegen_magic.engine import api
    from imagegen_magic.engine.jobs.builder import fingerprint

    made: list[dict[str, Any]] = []
    for spec in specs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wish = api.prepare(request_of(spec), settings(sandbox=spec.get("sandbox", False)), spec["provider"])
        job = api.start_batch([wish], settings(sandbox=spec.get("sandbox", False), reuse=False))
        images = job.wait()
        assert len(images) == wish.plan.count, (spec, images.errors)
        marks = [fingerprint(wish, call) for call in wish.plan.calls]
        made.append(
            {
                "request": spec,
                "fingerprints": marks,
                "pictures": [image.id for image in images],
                "calls": [dict(call.json) for call in wish.plan.calls],
            }
        )
    assert made[0]["pictures"] == [1]  # which others refer to
    return made


def make_sweeps() -> list[dict[str, Any]]:
    """Make sweeps: an option, a slot, gateways, in the sandbox and not; returns each with its number and the record's key."""
    from imagegen_magic.engine import loop
    from imagegen_magic.studies.sweeps.plan import sweep

    told = [
        {"prompt": "A red fox", "axes": {"quality": ["low", "high"]}, "provider": "evolink", "size": "1:1"},
        {
            "prompt": "A fox as {{style}}",
            "axes": {"style": ["oil", "ink, 墨"], "size": ["1:1", "16:9"]},
            "repeat": 2,
            "provider": "apimart",
        },
        {"prompt": "A fox by all", "axes": {"provider": ["evolink", "gccai", "apimart"]}, "size": "1:1"},
        {"prompt": "A fox for play", "axes": {"provider": ["evolink", "gccai"]}, "size": "1:1", "sandbox": True},
        {"prompt": "A fox to vote on", "axes": {"quality": ["low", "medium", "high"]}, "provider": "gccai", "size": "1:1", "sandbox": True},
        # a record that both share, as this release does where the gateway is an axis
        {"prompt": "A fox for both", "axes": {"provider": ["apimart", "evolink"]}, "size": "1:1", "sandbox": True},
        {"prompt": "A fox for both", "axes": {"provider": ["apimart", "evolink"]}, "size": "1:1"},
    ]
    made = []
    for one in told:
        said = dict(one)
        result = loop.run(sweep(said.pop("prompt"), said.pop("axes"), **said))
        made.append(
            {**one, "study": result.study, "pictures": [image.id for image in result], "places": [dict(place) for place in result.places]}
        )
    return made


def make_states() -> dict[str, Any]:
    """Bring tasks to every other state: failed, unknown, given up, submitted and not collected, made and not fetched."""
    from imagegen_magic import generate
    from imagegen_magic.engine import api, loop
    from imagegen_magic.errors import ImageGenError

    def ask(prompt: str, **more: Any) -> None:
        with contextlib.suppress(ImageGenError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loop.run(generate(prompt, size="1:1", quality="low", **{"provider": "evolink", "sandbox": True, **more}))

    ask("it fails [[fault: failed]]")
    ask("it fails for money [[fault: failed]]", sandbox=False)
    ask("it is refused [[fault: moderation]]")
    ask("nobody knows [[fault: drop-after-accept]]")
    ask("nobody knows, for money [[fault: drop-after-accept]]", sandbox=False)
    ask("given up [[fault: drop-after-accept]]")
    book = api.ledger()
    unknown = loop.run(book.tasks(states=("unknown",)))
    loop.run(book.set_state(next(task.row for task in unknown if task.prompt.startswith("given up")), "dropped"))
    # accepted, and not collected: the sandbox's tasks are kept beside the ledger, so that they can be
    leave("submitted and left", 1, made=False)
    leave("submitted and left, two", 2, made=False)
    leave("made and left", 2, made=True)
    found: dict[str, list[int]] = {}
    for task in loop.run(book.tasks()):
        if task.state != "saved":
            found.setdefault(task.state, []).append(task.row)
    return found


def leave(prompt: str, n: int, *, made: bool) -> None:
    """Submit a request and stop there, as a killed kernel does; with `made`, where the addresses are known."""
    from imagegen_magic import ImageRequest
    from imagegen_magic.engine import api, loop
    from imagegen_magic.engine.context import context_of
    from imagegen_magic.engine.jobs.builder import fingerprint
    from imagegen_magic.engine.ledger.ledger import NewJob, NewTask
    from imagegen_magic.result import Cost

    told = settings(sandbox=True)
    wish = api.prepare(ImageRequest(prompt, size="1:1", quality="low", n=n), told, "gccai")
    plan, gateway = wish.plan, wish.gateway
    call = plan.calls[0]
    book = api.ledger()
    sent = {"method": call.method, "path": call.path, "json": dict(call.json)}
    new = NewJob(
        plan.provider, plan.provider, gateway.base_url, True, plan.model.name, *plan.tier, wish.request.asked(), plan.request.asked(),
        {"pixels": [list(pair) for pair in plan.pixels], "mime_type": plan.mime_type, "alpha": plan.alpha, "pictures": n},
        plan.price, str(told.save_dir), None, [NewTask(sent, n, f"left-{prompt}-0", fingerprint(wish, call))],
    )  # fmt: skip

    async def go() -> None:
        context = context_of(told)
        [(_, [row])] = await book.add([new])
        await book.set_state(row, "submitting")
        answer = await context.submit(gateway, call, new.tasks[0].idempotency_key, at_once=8, timeout=60.0)
        task = gateway.provider.read_submission(answer.content)
        await book.set_state(row, "submitted", task_id=task.task_id, answer=answer.content, cost=gateway.label_cost(task.cost))
        if made:
            urls = [
                f"http://sandbox.invalid/files/gccai/{task.task_id}/{place}.png?expires=1.000&serial=0&signature=old" for place in range(n)
            ]
            await book.record_result(row, urls, expires_at=1.0, cost=Cost(), seconds=1.0, answer={})
        await book.release([row], "the kernel ended")

    loop.run(go())


def make_notes(made: dict[str, Any]) -> None:
    """Give stars, tags, notes, votes, a budget."""
    from decimal import Decimal

    from imagegen_magic.engine import api, loop
    from imagegen_magic.engine.ledger import annotations as marks
    from imagegen_magic.engine.ledger import budget
    from imagegen_magic.engine.ledger.votes import Vote, add_vote

    book = api.ledger()
    loop.run(marks.set_stars(book, 1, 5))
    loop.run(marks.set_stars(book, 2, 3))
    loop.run(marks.add_tags(book, 1, "fox", "雪"))
    loop.run(marks.set_note(book, 2, "the better one; größer"))
    voted = next(one for one in made["sweeps"] if one["prompt"] == "A fox to vote on")
    one, two, three = voted["pictures"]
    loop.run(add_vote(book, Vote(one, two, two), voted["study"]))
    loop.run(add_vote(book, Vote(two, three, three), voted["study"]))
    loop.run(add_vote(book, Vote(one, three, None), voted["study"]))
    loop.run(budget.set_budget(book, Decimal("1000"), unit="USD", per="month"))
    loop.run(budget.set_budget(book, Decimal("500"), unit="credits"))


def export_some() -> None:
    """Write copies that say of themselves how they were made."""
    from imagegen_magic import export
    from imagegen_magic.engine import api, loop
    from imagegen_magic.engine.jobs.reuse import generated

    rows = loop.run(api.ledger().pictures(ids=[1, 2], limit=None))
    export([generated(row) for row in rows], WORK / "exported")


def make_notebook() -> None:
    """Run a notebook with the release, in a kernel of its own, and keep its outputs."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell("%load_ext imagegen_magic"),
        nbformat.v4.new_code_cell("%%imagegen --sandbox -p evolink -q low --size 1:1 --preview 64 -o foxes\nA fox in a notebook"),
        nbformat.v4.new_code_cell("%imagegen history notebook"),
        nbformat.v4.new_code_cell("%imagegen show"),
    ]
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(WORK)}}).execute()
    nbformat.write(notebook, WORK / "notebook.ipynb")


def pack(target: Path) -> None:
    """Write the folder as one archive, the ledger in one file."""
    import sqlite3

    connection = sqlite3.connect(HOME / "ledger.sqlite")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.rmtree(HOME / "owners", ignore_errors=True)
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target / "ledger.tar.xz", "w:xz", preset=9) as archive:
        for path in sorted(PLACE.rglob("*"), key=lambda path: (path.suffix, path)):  # alike things beside one another
            if path.is_file() and not path.name.endswith(("-wal", "-shm")):
                archive.add(path, str(path.relative_to(PLACE)))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
