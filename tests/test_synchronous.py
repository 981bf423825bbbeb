"""A service whose response carries the pictures: spooled before it is read, never repeated, found again after a kill."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from full_disks import full_disk
from PIL import Image
from webserver import web

from imagegen_magic import generate, run, stream
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.context import EngineContext, context_of
from imagegen_magic.engine.jobs import runner
from imagegen_magic.engine.jobs import spooled as spooled_answers
from imagegen_magic.engine.jobs.unanswered import recover_spooled, unanswered
from imagegen_magic.engine.ledger.claims import Claims
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import spool
from imagegen_magic.errors import ContentRejected, ImageInvalid, SaveError, SubmissionUnknown
from imagegen_magic.notebook.output import captions
from imagegen_magic.notebook.progress import html
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Failed, Model, Partial, Provider, Submission, Succeeded, in_answer
from imagegen_magic.result import Cost, Progress

pytestmark = pytest.mark.slow


class Direct(Provider):
    """A made-up service: a POST answers with the pictures themselves."""

    name, title = "direct", "Direct"
    base_url, key_variable = "https://api.direct.example", "DIRECT_API_KEY"
    synchronous = True
    cost_headers: ClassVar[tuple[str, ...]] = ("x-direct-cost",)
    key_header = ("x-direct-key", "{}")
    models = (
        Model(
            name="direct-1",
            sizes={"1:1": {"1k": (64, 64)}},
            max_n=2,
            max_references=2,
            references_as="data_url",
            checked="2026-11-30",
            document="https://direct.example",
        ),
    )
    field_names: ClassVar[dict[str, str]] = {"model": "model", "prompt": "prompt", "n": "n", "references": "images"}

    def read_submission(self, answer: Any) -> Submission:
        """Read the pictures of a JSON answer."""
        if not isinstance(answer, dict) or "data" not in answer:
            raise self.read_error(0, answer)
        found = tuple(in_answer("data", number, "b64") for number in range(len(answer["data"])))
        return Submission("", finished=Succeeded(found, text=answer.get("words", "")))

    def cost_of_headers(self, headers: Any) -> Cost:
        """Read dollars."""
        return Cost(Decimal(headers["x-direct-cost"]), "USD", "measured") if "x-direct-cost" in headers else Cost()

    def read_event(self, name: str, data: Any) -> Partial | Succeeded | Failed | None:
        """Read an event of a stream."""
        match name:
            case "partial":
                return Partial(in_answer("b64"))
            case "completed":
                return Succeeded((in_answer("b64"),))
            case "failed":
                return Failed(ContentRejected("Direct refused the content"))
        return None


def picture(colour: str = "teal") -> str:
    """Return a PNG of 64x64 as base64."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def pictures(count: int) -> bytes:
    """Return the JSON answer with so many pictures."""
    return json.dumps({"data": [{"b64": picture(colour)} for colour in ("teal", "olive", "navy")[:count]]}).encode()


def event(name: str, **data: Any) -> bytes:
    """Return one server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


EVENTS = {"content-type": "text/event-stream; charset=utf-8"}


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """The service is known as `direct`, with a key."""
    monkeypatch.setenv("DIRECT_API_KEY", "a-key-of-direct")
    known = registry._built_in()
    monkeypatch.setattr(registry, "_built_in", lambda: {**known, "direct": Direct()})


@pytest.fixture
def service(monkeypatch):
    """A server that answers as a test says: `service.answer` is `(status, headers, body)`."""

    def respond(seen):
        return server.answer

    with web(respond) as server:
        server.answer = (200, {"content-type": "application/json"}, pictures(1))
        monkeypatch.setenv("DIRECT_BASE_URL", server.origin)
        yield server


def draw(prompt="a fox", **options):
    """Make pictures with the service."""
    return run(generate(prompt, provider="direct", **options))


def states():
    """Return the states in the ledger, oldest first."""
    return [task.state for task in run(api.ledger(load()).tasks())[::-1]]


def spooled():
    """Return the files in the spool."""
    folder = spool.spool_folder(load().home)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_pictures_of_an_answer_are_saved(service):
    """Both of one answer; the key is in the service's own header; nothing stays in the spool."""
    service.answer = (200, {}, pictures(2))
    made = draw(n=2)
    assert [(image.width, image.height, image.path.exists()) for image in made] == [(64, 64, True)] * 2
    (seen,) = service.seen
    assert (seen.headers["x-direct-key"], "authorization" in seen.headers) == ("a-key-of-direct", False)
    assert (states(), spooled()) == (["saved"], [])
    assert [image.url for image in made] == ["", ""]


def test_what_a_service_writes_is_in_the_caption_and_the_sidecar(service, monkeypatch):
    """In one line, and not without end."""
    text = "A fox, as you wished.\n" + "It is red. " * 100
    read = Direct.read_submission

    def with_text(self, answer):
        submission = read(self, answer)
        return replace(submission, finished=replace(submission.finished, text=text))

    monkeypatch.setattr(Direct, "read_submission", with_text)
    (image,) = draw()
    shown = captions.caption(image).text
    assert ("direct wrote: A fox, as you wished. It is red." in shown, len(shown) < 500) == (True, True)
    assert json.loads(image.path.with_suffix(".json").read_text())["text"] == text


def test_events_are_read_as_they_come(service):
    """The last event holds the picture; first views are not pictures."""
    service.answer = (200, dict(EVENTS), event("partial", b64=picture("red")) + event("completed", b64=picture("teal")))
    (image,) = draw()
    with Image.open(image.path) as saved:
        assert saved.convert("RGB").getpixel((1, 1)) == (0, 128, 128)


def test_a_stream_that_breaks_after_the_picture_counts(service):
    """Whole events of a broken stream are read."""
    body = event("completed", b64=picture()) + b"event: us"
    service.answer = (200, {**EVENTS, "Content-Length": str(len(body) + 500), "X-Cut": "1"}, body)
    assert len(draw()) == 1
    assert states() == ["saved"]


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["JSON", "events"])
def test_an_answer_that_is_cut_off_is_unknown_and_never_repeated(service, headers):
    """Sent, and no whole answer: what came is kept, and nothing is sent again."""
    body = pictures(1) if not headers else event("partial", b64=picture())
    service.answer = (200, {**headers, "Content-Length": str(len(body) + 500), "X-Cut": "1"}, body[:-4])
    with pytest.raises(SubmissionUnknown) as unknown:
        draw()
    assert (unknown.value.charge, len(service.seen), states()) == ("unknown", 1, ["unknown"])
    assert [name.endswith(".part") for name in spooled()] == [True]
    assert len(run(api.resume(load()).result())) == 0
    assert len(service.seen) == 1


def test_a_failure_that_a_stream_reports_is_the_services_own(service):
    """And its file is removed."""
    service.answer = (200, dict(EVENTS), event("failed"))
    with pytest.raises(ContentRejected):
        draw()
    assert (states(), spooled()) == (["failed"], [])


def test_references_travel_within_the_request(service, tmp_path):
    """As data: addresses on the wire; the ledger keeps their placeholders only."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (32, 32), "white").save(path)
    draw(references=[path])
    sent = json.loads(service.seen[0].body)
    assert sent["images"][0].startswith("data:image/png;base64,")
    (task,) = run(api.ledger(load()).tasks())
    assert task.sent["json"]["images"][0].startswith("upload:")


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
import test_synchronous as t
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.storage import spool
from imagegen_magic.notebook.output import captions
from imagegen_magic.notebook.progress import html
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.providers import registry
known = registry._built_in()
registry._built_in = lambda: {{**known, "direct": t.Direct()}}
def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)
if {moment!r} == "before the ledger":
    Ledger.record_result = die
elif {moment!r} == "before the last name":
    spool.SpoolFile.finish = die
else:
    from imagegen_magic.engine.jobs.fetch import Fetcher
    Fetcher.fetch = die
t.draw()
"""


@pytest.mark.parametrize("moment", ["before the last name", "before the ledger", "before the picture"])
@pytest.mark.parametrize("streamed", [False, True])
def test_after_the_last_byte_no_kill_loses_a_picture(service, moment, streamed):
    """`resume` reads it from the spool; nothing is sent again."""
    if streamed:
        service.answer = (200, dict(EVENTS), event("completed", b64=picture()))
    code = KILLED.format(path=sys.path, moment=moment)
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    made = run(api.resume(load()).result())
    assert ([(image.width, image.height) for image in made], len(service.seen)) == ([(64, 64)], 1)
    assert (states(), spooled()) == (["saved"], [])


@pytest.mark.parametrize("moment", ["before the ledger", "before the picture"])
def test_a_kill_loses_neither_the_words_nor_the_cost(service, moment):
    """What the service wrote is in the answer, the cost in a header: `resume` restores both, and a reused picture has the words."""
    service.answer = (200, {"x-direct-cost": "0.07"}, json.dumps({"data": [{"b64": picture()}], "words": "A fox."}).encode())
    code = KILLED.format(path=sys.path, moment=moment)
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (made,) = run(api.resume(load()).result())
    (again,) = draw(reuse=True)
    assert [(image.text, str(image.cost.amount), image.cost.kind) for image in (made, again)] == [("A fox.", "0.07", "measured")] * 2
    assert (again.reused, len(service.seen), spooled()) == (True, 1, [])
    assert json.loads(made.path.with_suffix(".json").read_text())["text"] == "A fox."


def test_the_spool_is_for_its_owner_only(service):
    """The answer may hold a private picture."""
    service.answer = (200, {"Content-Length": "9999", "X-Cut": "1"}, pictures(1))
    with pytest.raises(SubmissionUnknown):
        draw()
    folder = spool.spool_folder(load().home)
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())] == ["0o700", "0o600"]


def test_it_waits_with_the_bar_moving(service):
    """The task is `waiting` while the response is not there."""

    async def stages():
        return [each.stage async for each in stream("a fox", provider="direct") if isinstance(each, Progress)]

    assert [*dict.fromkeys(run(stages()))] == ["submitting", "waiting", "fetching", "saved"]


class TestSpool:
    """The file of an answer."""

    def test_pointers_are_those_of_rfc_6901(self, tmp_path):
        """With `~1` for a slash."""
        file = spool.SpoolFile(tmp_path, "a-0")
        file.write(json.dumps({"a/b": [{"c~d": base64.b64encode(b"picture").decode()}]}).encode())
        file.finish(spool.JSON)
        assert spool.picture(tmp_path, "spool:a-0#/a~1b/0/c~0d") == b"picture"

    @pytest.mark.parametrize("pointer", ["/data/9/b64", "/data", "/nothing", "/data/x"])
    def test_an_address_that_leads_nowhere_is_no_picture(self, tmp_path, pointer):
        """Whatever the answer is."""
        file = spool.SpoolFile(tmp_path, "a-0")
        file.write(b'{"data": [{"b64": "!"}]}')
        file.finish(spool.JSON)
        with pytest.raises(ImageInvalid):
            spool.picture(tmp_path, f"spool:a-0#{pointer}")

    def test_no_name_leads_out_of_the_folder(self, tmp_path):
        """The name comes from the ledger, which others may have written."""
        (tmp_path / "secret.json").write_text("{}")
        assert spool.find(tmp_path / "home", "../../secret") is None

    @pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
    @pytest.mark.parametrize("step", [1, 7, 1000])
    def test_events_are_whole_whatever_the_chunks(self, end, step):
        """Comments and `[DONE]` are no events."""
        line = end[: len(end) // 2]
        stream = (
            b": hello" + end + b"event: a" + line + b'data: {"x":' + line + b"data: 1}" + end + b"data: [DONE]" + end + b"data: text" + end
        )
        parser, found = spool.EventParser(), []
        for start in range(0, len(stream), step):
            found += parser.feed(stream[start : start + step])
        assert found == [spool.Event("a", {"x": 1}), spool.Event("", "text")]


class TestPartialPictures:
    """First views of a picture that is being made."""

    def test_they_are_reported_with_the_progress(self, service):
        """As small previews, while the task waits."""
        seen = threading.Event()

        def body():
            yield event("partial", b64="!") + event("partial", b64=picture("red"))
            seen.wait(20)
            yield event("completed", b64=picture())

        async def previews():
            found = []
            async for each in stream("a fox", provider="direct"):
                if isinstance(each, Progress) and each.preview:
                    found.append((each.stage, each.preview.width, each.preview.height))
                    seen.set()
            return found

        service.answer = (200, dict(EVENTS), body())
        assert run(previews()) == [("waiting", 64, 64)]

    def test_the_last_one_of_a_lost_picture_is_kept(self, service):
        """As what it is; the request is not repeated."""
        service.answer = (200, dict(EVENTS), iter([event("partial", b64=picture("red"))]))
        with pytest.raises(SubmissionUnknown, match="a first view was kept, which is not the finished picture") as unknown:
            draw()
        (path,) = load().save_dir.glob("*-first-view.png")
        with Image.open(path) as view:
            assert (str(path) in unknown.value.what, view.size) == (True, (64, 64))

    def test_the_row_shows_the_latest(self):
        """In its frame, until the picture is there."""
        from imagegen_magic.imaging.preview import preview

        view = preview(Image.new("RGB", (64, 64), "red"))
        progress = JobProgress(1, 0.0)
        progress.take(Progress("waiting", 0, 1, 1, 0.0, preview=view))
        progress.take(Progress("waiting", 0, 1, 1, 0.0))
        (row,) = html.rows_html(progress, 1.0, (72, 48), [1])
        assert view.data_url in row
        progress.take(Progress("saved", 0, 1, 1, 0.0))
        assert view.data_url not in html.rows_html(progress, 2.0, (72, 48), [1])[0]


class TestDisk:
    """The disk of the spool."""

    def test_a_full_disk_is_found_before_anything_is_paid_for(self, service, tmp_path, monkeypatch):
        """Nothing is sent."""
        with full_disk("small", tmp_path / "disk") as disk:
            monkeypatch.setenv("IMAGEGEN_HOME", str(disk.folder))
            with pytest.raises(SaveError, match="that disk cannot take it") as refused:
                draw()
        assert (refused.value.charge, service.seen) == ("no", [])

    def test_answers_of_long_ago_are_removed(self, service):
        """A month after they came; others stay."""
        folder = spool.spool_folder(load().home)
        folder.mkdir(parents=True)
        for name, age in (("old-0.part", 31), ("new-0.part", 29), ("old-1.json", 31), ("other.txt", 99)):
            (folder / name).write_bytes(b"{}")
            os.utime(folder / name, (time.time() - age * 86_400,) * 2)
        draw()
        assert spooled() == ["new-0.part", "other.txt"]


@pytest.mark.parametrize("count", [1, 2])
def test_memory_stays_within_three_times_the_answer(service, count):
    """Of the largest answer, however many pictures it has; one is decoded at a time."""
    noise = Image.effect_noise((2400, 2400), 90)
    buffer = io.BytesIO()
    noise.save(buffer, "PNG", compress_level=0)
    text = base64.b64encode(buffer.getvalue()).decode()
    answer = json.dumps({"data": [{"b64": text}] * count}).encode()
    file = spool.SpoolFile(load().home, "large-0")
    file.write(answer)
    file.finish(spool.JSON)
    del noise, buffer, text
    tracemalloc.start()
    for number in range(count):
        spool.picture(load().home, f"spool:large-0#/data/{number}/b64")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 3 * len(answer)


class TestBounds:
    """How long an answer is waited for, how large it may be, and how many are decoded at once."""

    @pytest.mark.parametrize(("setting", "seconds"), [("120", 600.0), ("900", 900.0)])
    def test_the_patience_is_ten_minutes(self, service, monkeypatch, setting, seconds):
        """For the whole answer, unless the setting is longer."""
        given, submit = [], EngineContext.submit

        def recorded(self, *args, **options):
            given.append(options["timeout"])
            return submit(self, *args, **options)

        monkeypatch.setattr(EngineContext, "submit", recorded)
        monkeypatch.setenv("IMAGEGEN_SUBMIT_TIMEOUT", setting)
        draw()
        assert given == [seconds]

    def test_an_answer_beyond_the_limit_is_unknown_and_not_repeated(self, service, monkeypatch):
        """The limit is 256 MiB; what came until then is kept."""
        assert spooled_answers.MAX_ANSWER == 256 * 2**20
        monkeypatch.setattr(spooled_answers, "MAX_ANSWER", 100)
        with pytest.raises(SubmissionUnknown, match="exceeds"):
            draw()
        assert (states(), len(service.seen), [name.rpartition(".")[2] for name in spooled()]) == (["unknown"], 1, ["part"])

    def test_one_answer_is_decoded_at_a_time(self, service, monkeypatch):
        """Of several requests at once: a second one that could begin would have the time to."""
        service.answer = (200, {}, pictures(2))
        second, busy, most = threading.Event(), [], []

        def alone(step):
            def guarded(*args):
                busy.append(step)
                most.append(len(busy))
                if len(busy) > 1:
                    second.set()
                second.wait(0.1)
                try:
                    return step(*args)
                finally:
                    busy.pop()

            return guarded

        monkeypatch.setattr(spooled_answers.SpooledAnswer, "_read", alone(spooled_answers.SpooledAnswer._read))
        monkeypatch.setattr(spool, "picture", alone(spool.picture))
        assert len(draw(n=4)) == 4
        assert (max(most), len(most)) == (1, 6)

    def test_memory_stays_within_three_times_an_answer_that_is_received(self, service):
        """From its first byte to the saved pictures: it goes to the disk in pieces, and is read from there."""
        buffer = io.BytesIO()
        Image.effect_noise((2400, 2400), 90).save(buffer, "PNG", compress_level=0)
        text = base64.b64encode(buffer.getvalue()).decode()
        body = json.dumps({"data": [{"b64": text}] * 2}).encode()

        def in_pieces():
            for start in range(0, len(body), 2**16):
                yield body[start : start + 2**16]

        service.answer = (200, {"content-type": "application/json"}, in_pieces())
        draw("a fox to warm up with")
        service.answer = (200, {"content-type": "application/json"}, in_pieces())
        tracemalloc.start()
        made = draw(n=2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (len(made), peak <= 3 * len(body)) == (2, True)


class TestBrokenStreams:
    """Streams of events that end in other ways than the standard's."""

    @pytest.mark.parametrize("whole", [True, False])
    def test_every_whole_event_counts_wherever_the_connection_ends(self, service, whole):
        """A JSON object is whole without the empty line that should follow; `resume` finds no less than the cell."""
        body = event("partial", b64="AAAA") + event("completed", b64=picture())[: -2 if whole else -3]
        service.answer = (200, {**EVENTS, "Content-Length": str(len(body) + 9), "X-Cut": "1"}, body)
        if whole:
            assert len(draw()) == 1
        else:
            with pytest.raises(SubmissionUnknown):
                draw()
        assert (states(), len(run(api.resume(load()).result()))) == (["saved" if whole else "unknown"], 0)

    def test_a_stream_without_its_last_empty_line_is_read(self, service):
        """Though it is not cut off."""
        service.answer = (200, dict(EVENTS), event("completed", b64=picture()).rstrip())
        assert (len(draw()), states()) == (1, ["saved"])

    def test_a_refusal_counts_though_the_stream_breaks_after_it(self, service):
        """It is the service's own answer, so that nothing is unknown."""
        body = event("failed")
        service.answer = (200, {**EVENTS, "Content-Length": str(len(body) + 9), "X-Cut": "1"}, body)
        with pytest.raises(ContentRejected):
            draw()
        assert states() == ["failed"]

    @pytest.mark.parametrize("mark", ["\u2028", "\x85"])
    def test_line_ends_of_text_are_content_of_an_event(self, mark):
        """Only CR and LF end a line; JSON may hold the others as they are."""
        found = spool.EventParser().feed(f'event: a\ndata: {{"x": "1{mark}2"}}\n\n'.encode())
        assert found == [spool.Event("a", {"x": f"1{mark}2"})]

    def test_mixed_line_ends_and_a_byte_order_mark(self):
        """Both are allowed."""
        found = spool.EventParser().feed(b"\xef\xbb\xbfevent: a\r\ndata: 1\n\r\nevent: b\rdata: 2\r\n\n")
        assert found == [spool.Event("a", 1), spool.Event("b", 2)]

    def test_a_service_that_never_ends_its_stream_does_not_lose_the_picture(self, service, monkeypatch):
        """The event counts once the time is over, and is on the disk from when it came."""
        monkeypatch.setattr(runner, "PATIENCE", 0.0)
        monkeypatch.setenv("IMAGEGEN_SUBMIT_TIMEOUT", "1")
        over = threading.Event()

        def body():
            yield event("completed", b64=picture())
            over.wait(30)

        service.answer = (200, dict(EVENTS), body())
        try:
            assert (len(draw()), states()) == (1, ["saved"])
        finally:
            over.set()

    def test_the_key_in_an_event_is_hidden(self, service, monkeypatch):
        """As in any other answer."""
        key = "a-key-of-direct"

        def read_event(self, name, data):
            return Failed(ContentRejected(f"no: {data['why']}"))

        monkeypatch.setattr(Direct, "read_event", read_event)
        service.answer = (200, dict(EVENTS), event("failed", why=f"wrong key {key}"))
        with pytest.raises(ContentRejected) as refused:
            draw()
        (task,) = run(api.ledger(load()).tasks())
        assert (key in str(refused.value), key in str(task.error), "wrong key" in str(task.error)) == (False, False, True)

    def test_memory_stays_within_three_times_an_event(self, tmp_path):
        """Read from the file in pieces."""
        text = base64.b64encode(os.urandom(12 * 2**20)).decode()
        body = event("completed", b64=text)
        file = spool.SpoolFile(tmp_path, "large-0")
        file.write(body)
        file.finish(spool.EVENTS)
        size = len(body)
        del body, text
        tracemalloc.start()
        spool.picture(tmp_path, "spool:large-0#/0/b64")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 3 * size


class TestUnusualAnswers:
    """Whole answers that are not as expected."""

    def test_one_without_a_picture_does_not_block_the_others(self, service, monkeypatch):
        """`resume` leaves it unknown, and collects what can be collected."""

        def read_submission(self, answer):
            raise SubmissionUnknown("Direct answered without a picture")

        with monkeypatch.context() as context:
            context.setattr(Direct, "read_submission", read_submission)
            with pytest.raises(SubmissionUnknown):
                draw()
            assert len(run(api.resume(load()).result())) == 0
        assert (states(), len(service.seen)) == (["unknown"], 1)

    @pytest.mark.parametrize(
        "body", [b'{"data": [{"b64": "%s"}], "x": "\xff"}', b'\xef\xbb\xbf{"data": [{"b64": "%s"}]}'], ids=["UTF-8", "mark"]
    )
    def test_text_that_is_not_quite_utf8_loses_no_picture(self, service, body):
        """A wrong byte elsewhere, or a byte order mark."""
        service.answer = (200, {}, body % picture().encode())
        assert (len(draw()), states()) == (1, ["saved"])

    @pytest.mark.parametrize("form", ["lines", "addresses", "no padding", "data"])
    def test_other_forms_of_base64_are_read(self, form):
        """In lines, in the alphabet for addresses, without padding, as an address."""
        content = bytes(range(251, 256)) * 11
        text = base64.b64encode(content).decode()
        forms = {
            "lines": base64.encodebytes(content).decode(),
            "addresses": base64.urlsafe_b64encode(content).decode(),
            "no padding": text.rstrip("="),
            "data": f"data:image/png;charset=x;base64,{text}",
        }
        assert spool.decoded(forms[form]) == content

    def test_a_page_in_place_of_a_picture_is_kept_and_not_read_again_and_again(self, service):
        """The response stays what it is, so that `resume` has nothing to wait for."""
        text = base64.b64encode(b"<html>an error</html>").decode()
        service.answer = (200, {}, json.dumps({"data": [{"b64": text}]}).encode())
        with pytest.raises(ImageInvalid, match="came and cannot be read here: kept as"):
            draw()
        assert (states(), len(run(api.resume(load()).result())), len(service.seen)) == (["saved"], 0, 1)

    def test_text_that_is_no_base64_names_where_it_is_kept(self, service):
        """To fetch it again is of no use, and is not offered."""
        service.answer = (200, {}, b'{"data": [{"b64": "!"}]}')
        with pytest.raises(ImageInvalid) as invalid:
            draw()
        assert (str(spool.spool_folder(load().home)) in invalid.value.hint, "forget" in invalid.value.hint) == (True, True)

    def test_a_disk_that_fills_up_meanwhile_leaves_it_unknown(self, service, tmp_path, monkeypatch):
        """The request was sent: it has not failed, and is not repeated."""
        with full_disk("limited", tmp_path / "disk") as disk:
            real = spool.SpoolFile.write

            def write(self, content):
                disk.fill()
                try:
                    real(self, content)
                finally:
                    disk.make_room()

            monkeypatch.setattr(spool.SpoolFile, "write", write)
            with pytest.raises(SubmissionUnknown, match="the response could not be kept") as unknown:
                draw()
        assert (unknown.value.charge, states()) == ("unknown", ["unknown"])

    def test_an_old_answer_whose_picture_is_not_saved_is_kept(self, service):
        """However long ago it came; `resume` saves it."""
        code = KILLED.format(path=sys.path, moment="before the picture")
        subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True, timeout=60, check=False)
        (name,) = spooled()
        os.utime(spool.spool_folder(load().home) / name, (time.time() - 99 * 86_400,) * 2)
        draw("another")
        assert spooled() == [name]
        assert (len(run(api.resume(load()).result())), spooled()) == (1, [])

    def test_two_processes_that_recover_the_same_answer_save_it_once(self, service):
        """What another process has recovered, or was given up meanwhile, is not recorded a second time."""
        code = KILLED.format(path=sys.path, moment="before the ledger")
        subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True, timeout=60, check=False)
        settings = load()

        async def late():
            ledger = api.ledger(settings)
            await ledger.recover_orphans()
            seen = await unanswered(ledger, settings)
            await ledger.forget(seen[0].task.row, "given up")
            return await recover_spooled(context_of(settings), settings, seen, Claims())

        assert (loop.run(late()), states()) == ([], ["failed"])
