"""A signed address is shown nowhere: who has one can fetch what it names. `.url` has it, for who asks."""

import asyncio
import dataclasses
import json
import logging
import pickle
import re
import traceback

import pandas
import pytest
from ledgers import a_png, saved
from servers import sandbox_thread
from shells import a_shell

from imagegen_magic import generate, run, stream, sweep
from imagegen_magic.engine import api
from imagegen_magic.engine.ledger.ledger import NewSource
from imagegen_magic.engine.net.transport import build_request
from imagegen_magic.errors import ImageGenError, TaskFailed, UnsupportedOption
from imagegen_magic.notebook.output.tables import Code, Note, Page, Table
from imagegen_magic.providers.base import Call, Succeeded
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Progress
from imagegen_magic.secret_patterns import Address, without_queries, without_queries_in

REFERENCE = "https://pictures.example/a.png?expires=9&signature=5eac0ffee"
FAULTS = ("truncated", "dropped-download", "download-500", "non-image", "redirect-link-local", "oversized", "no-address", "failed")
SIGNED = re.compile(r"signature=|5eac0ffee|hunter2")


@pytest.fixture(scope="module")
def server():
    """One gateway process."""
    with sandbox_thread(duration=0.1) as running:
        yield running


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://x.example/a.png?sig=1&b=2", "https://x.example/a.png?…"),
        ("https://me:secret@x.example/a.png", "https://x.example/a.png"),
        ("https://me:se@cret@x.example", "https://x.example"),
        ("HTTPS://x.example?sig=1", "HTTPS://x.example?…"),
        ("(https://x.example/a?b#c) and http://y.example/?d=1.", "(https://x.example/a?… and http://y.example/?…"),
        ('{"url": "https://x.example/a?s=1", "n": 1}', '{"url": "https://x.example/a?…", "n": 1}'),
        (r'{"url": "https:\/\/x.example\/a?s=1\u0026t=2"}', r'{"url": "https:\/\/x.example\/a?…"}'),
        ("下载 https://x.example/图.png?签=1，失败", "下载 https://x.example/图.png?…，失败"),
        ("socks5://me:secret@proxy.example:1080", "socks5://proxy.example:1080"),
        ("https://x.example/docs/page#part", "https://x.example/docs/page#part"),
        ("is this right? yes: a:b@c", "is this right? yes: a:b@c"),
        ("https://x.example/a?", "https://x.example/a?"),
    ],
)
def test_what_is_left_of_an_address(text, shown):
    """Its scheme, host and path."""
    assert without_queries(text) == shown
    assert without_queries(shown) == shown


def test_an_address_is_its_text():
    """Only its repr is shorter: in lists, in tracebacks, in rich's as well."""
    address = Address(REFERENCE)
    assert address == REFERENCE
    assert json.dumps([address, address.upper()]) == json.dumps([REFERENCE, REFERENCE.upper()])
    assert f"{address}" == REFERENCE
    assert repr({"a": [address]}) == "{'a': ['https://pictures.example/a.png?…']}"
    assert list(address.__rich_repr__()) == ["https://pictures.example/a.png?…"]
    back = pickle.loads(pickle.dumps(address))
    assert (type(back), back) == (Address, REFERENCE)
    assert without_queries_in({"a": [REFERENCE, f"draw {REFERENCE}"], "n": 1}) == {
        "a": ["https://pictures.example/a.png?…", f"draw {REFERENCE}"],
        "n": 1,
    }


def _made():
    return run(generate("a fox", n=2, provider="apimart", quality="low", sandbox=True, references=[REFERENCE]))


def _shown(shell, value):
    """Return everything that a front end gets of a cell's last line."""
    data, metadata = shell.shell.display_formatter.format(value)
    return "\n".join([*map(str, data.values()), str(metadata)])


class TestResults:
    """Pictures and what holds them."""

    def test_as_the_last_line_of_a_cell(self):
        """Lists and slices of pictures, too, which are tuples as ever."""
        fox = _made()
        assert all("signature=" in image.url for image in fox)
        assert isinstance(fox[:2], tuple)
        assert fox[:1] == (fox[0],)
        frame = pandas.DataFrame({"image": list(fox), "request": [image.request for image in fox]})
        with a_shell() as shell, pandas.option_context("display.max_colwidth", None):
            for value in (fox, fox[0], fox[:2], list(fox), {"a": fox[0]}, {fox[0]}, fox.request, frame, frame["image"], [fox], [[fox[0]]]):
                shown = _shown(shell, value)
                assert not SIGNED.search(shown), shown
                assert not SIGNED.search(f"{value!s} {value!r} {value}")

    def test_a_picture_says_in_one_line_what_it_is(self):
        """Short enough for a list of them."""
        fox = run(generate("a fox", sandbox=True, provider="evolink", size="1:1"))
        pattern = rf"<GeneratedImage @{fox[0].id} \S*imagegen/fox\S*\.png, 1024×1024, by evolink gpt-image-2 \(sandbox\)>"
        assert re.fullmatch(pattern, repr(fox[0])), repr(fox[0])
        assert repr(dataclasses.replace(fox[0], id=0, sandbox=False)).startswith("<GeneratedImage /")

    def test_events_plans_and_requests(self):
        """Those of a request with references at signed addresses."""

        async def events():
            return [event async for event in stream("a fox", sandbox=True, provider="apimart", references=[REFERENCE])]

        plan = api.plan(ImageRequest("a fox", references=[REFERENCE], mask=REFERENCE), provider="apimart", sandbox=True)
        assert plan.calls[0].json["image_urls"] == [REFERENCE]
        picture = LocalImage(b"x", "image/png", 1, 1, REFERENCE, url=REFERENCE)
        done = get_provider("apimart").read_task({"data": {"status": "completed", "result": {"images": [{"url": [REFERENCE]}]}}})
        values = [*asyncio.run(events()), plan, *plan.calls, plan.request, picture, done, Progress("waiting", 0, 1, 1, 0.0, note=REFERENCE)]
        values += [Call("GET", REFERENCE), Succeeded((REFERENCE,)), build_request("GET", REFERENCE, {})]
        assert not SIGNED.search(f"{values!r} {values}")
        assert done.image_urls == (REFERENCE,)

    def test_records_are_short(self):
        """A part that the address does not have is not shown."""
        assert repr(ImageRequest("a fox", size="1:1")) == "ImageRequest(prompt='a fox', size='1:1')"

    def test_a_frame_of_a_sweep(self):
        """Its references and the values of its axes are columns."""
        other = REFERENCE.replace("a.png", "b.png")
        study = run(sweep("a fox", {"references": [REFERENCE, other]}, sandbox=True, provider="apimart"))
        frame = study.to_frame()
        assert not SIGNED.search(frame.to_string() + frame.to_html() + repr(study.rows()) + repr(study))
        assert list(frame["references"]) == ["https://pictures.example/a.png?…", "https://pictures.example/b.png?…"]
        assert study.at(references=other) == (study[1],)
        assert not SIGNED.search(str(study.sheet().contents))

    def test_the_file_beside_a_picture(self):
        """It lies where the pictures are, and those are passed on: what was sent is stored without queries."""
        fox = _made()
        beside = json.loads(fox[0].path.with_suffix(".json").read_text())
        assert beside["sent"]["image_urls"] == ["https://pictures.example/a.png?…"]
        assert beside["asked"]["references"] == [REFERENCE]  # `recall` asks for the same with it


class TestErrors:
    """A gateway's words may hold an address."""

    def test_in_text_arguments_and_logs(self, caplog):
        """Whichever way an error is written."""
        error = TaskFailed(f"could not read {REFERENCE}", hint=f"look at {REFERENCE}")
        try:
            raise error
        except TaskFailed:
            logging.getLogger("mine").exception("it failed: %r", error)
        shown = f"{error} {error!r} {error.args} {error.what} {error.hint} {caplog.text} {''.join(traceback.format_exception(error))}"
        assert "https://pictures.example/a.png?…" in shown
        assert not SIGNED.search(shown), shown

    def test_of_a_failed_task(self):
        """As the gateway tells it."""
        answer = {"data": {"status": "failed", "error": {"message": f"failed to fetch {REFERENCE}"}}}
        state = get_provider("apimart").read_task(answer)
        assert "https://pictures.example/a.png?…" in str(state.error)
        assert not SIGNED.search(f"{state} {state.error!r}")

    def test_in_a_cell_and_its_trace(self, server, monkeypatch):
        """`%imagegen error` shows the trace, and the plan the calls."""
        server.be_every_gateway(monkeypatch)
        server.arm("reference-gone", times=None)
        with a_shell() as shell:
            with pytest.raises(ImageGenError) as error:
                shell.run(f"%%imagegen --provider apimart --ref {REFERENCE}\na fox")
            assert not SIGNED.search("\n".join(error.value._render_traceback_()))
            assert not SIGNED.search(shell.context.last_error)
            shell.run(f"%%imagegen --provider apimart --ref {REFERENCE} --dry-run\na fox")
            shown = "".join(shell.shown() + shell.shown("text/html"))
            assert "https://pictures.example/a.png?…" in shown
            assert not SIGNED.search(shown)

    @pytest.mark.parametrize(
        "fault", ["truncated", "dropped-download", "download-500", "non-image", "redirect-link-local", "oversized", "no-address"]
    )
    def test_no_frame_shows_one(self, fault, server, monkeypatch):
        """Not even a traceback that prints all local values, as IPython's verbose one and rich's do."""
        server.be_every_gateway(monkeypatch)
        monkeypatch.setattr("imagegen_magic.engine.net.retry.backoff", lambda attempt: 0.01)
        server.arm(fault, times=None)
        with pytest.raises(ImageGenError) as error:
            asyncio.run(generate("a fox", provider="evolink", size="1:1"))
        assert not re.search("signature=", "\n".join(_frames(error.value)))


def _frames(error):
    while error is not None:
        step = error.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename != __file__:
                yield from (repr(value) for value in step.tb_frame.f_locals.values())
            step = step.tb_next
        error = error.__cause__ or error.__context__


class TestNotebook:
    """What subcommands show of what was asked and made."""

    def test_each_subcommand(self):
        """Of a picture that was made from an address."""
        source = NewSource("reference", REFERENCE)
        (one,) = saved("a fox", references=[REFERENCE], sources=[source])
        (other,) = saved("a cat", data=a_png((1, 2, 3)), callback_url=REFERENCE)
        with a_shell() as shell:
            shell.shell.user_ns["fox"] = one
            for line in ("history", f"tree {one.id}", f"compare {one.id} {other.id}", "jobs", "cost", "config", "doctor"):
                shell.run(f"%imagegen {line}")
                shown = "".join(str(output) for output in shell.shell.display_pub.outputs)
                assert not SIGNED.search(shown), line

    def test_every_page(self):
        """Whatever its pieces are: a message that an earlier version kept in the ledger, for example."""
        page = Page(Note(REFERENCE), Table(("a",), [[REFERENCE]], REFERENCE), Code(REFERENCE))
        shown = f"{page} {page._repr_mimebundle_()}"
        assert shown.count("https://pictures.example/a.png?…") == 12
        assert not SIGNED.search(shown)

    def test_an_export(self, own_world):
        """The page and the table have no query."""
        (one,) = saved("a fox", references=[REFERENCE])
        from imagegen_magic import export

        place = export([one], "foxes")
        for file in (place / "index.html", place / "pictures.csv"):
            assert not SIGNED.search(file.read_text(encoding="utf-8")), file


def test_a_refusal_keeps_its_value():
    """Its text is shown; its value is what was given."""
    error = UnsupportedOption(f"there is no {REFERENCE}", option="references", value=REFERENCE)
    assert error.value == REFERENCE
    assert not SIGNED.search(f"{error} {error!r}")
