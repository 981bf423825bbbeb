"""Nothing that was paid for is lost, and nothing is paid for twice: against a real server process."""

import asyncio
import json
import warnings
from pathlib import Path

import pytest
from gateway_table import GATEWAYS, IDEMPOTENT
from PIL import Image
from servers import sandbox_thread

from imagegen_magic import ImageRequest, generate, stream
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    ContentRejected,
    DownloadError,
    GatewayUnreachable,
    ImageGenError,
    ImageInvalid,
    InsufficientBalance,
    LedgerError,
    PictureMissing,
    RateLimited,
    SaveError,
    SubmissionUnknown,
    TaskFailed,
    TaskTimeout,
    UnsupportedOption,
    WaitingStopped,
)
from imagegen_magic.result import GeneratedImage, Progress

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    """One gateway process for all tests of this file."""
    with sandbox_thread(duration=0.15) as running:
        yield running


@pytest.fixture(autouse=True)
def gateway(server, monkeypatch):
    """Point every gateway at the server, and start each test with a clean slate."""
    server.be_every_gateway(monkeypatch)
    return server


def _make(prompt, provider="evolink", **options):
    options = {"size": "1024x1024", **options}
    return asyncio.run(generate(prompt, provider=provider, **options))


def _states():
    return [task.state for task in loop.run(api.ledger(load()).tasks())]


def _resume(**options):
    return api.resume(load(), **options).wait()


def _whole(image):
    with Image.open(image.path) as picture:
        picture.load()
        return picture.size == (image.width, image.height)


@pytest.mark.parametrize("provider", GATEWAYS)
def test_an_image_is_saved_from_every_gateway(provider, server, own_world):
    """Submitted once, complete on disk, as asked; the ledger and the sidecar have all facts."""
    prompt = f"a red fox in the snow for {provider}"
    made = _make(prompt, provider, size="16:9", resolution="1k")
    (image,) = made
    assert _whole(image)
    assert image.differences == ()
    assert image.path.parent == own_world / "imagegen"
    assert image.path.name.startswith("red-fox-snow")
    assert (made.provider, made.tasks, made.errors) == (provider, (image.task_id,), ())
    assert len(server.accepted(prompt)) == 1
    assert _states() == ["saved"]
    sidecar = json.loads(image.path.with_suffix(".json").read_text())
    assert (sidecar["prompt"], sidecar["gateway"], sidecar["task_id"]) == (prompt, provider, image.task_id)
    assert sidecar["asked"] == {"prompt": prompt, "size": "16:9", "resolution": "1k"}
    assert sidecar["sent"] == server.accepted(prompt)[0]["json"]
    assert str(own_world) not in image.path.with_suffix(".json").read_text()


def test_more_pictures_than_a_gateway_allows_become_several_tasks(server):
    """n = 6 at a limit of 4 is two tasks and six pictures, numbered through."""
    made = _make("many foxes", "apimart", size="1:1", n=6)
    assert sorted(entry["json"]["n"] for entry in server.accepted("many foxes")) == [2, 4]  # both are submitted at once
    assert sorted(int(image.path.stem.rsplit("-", 1)[1]) for image in made) == [1, 2, 3, 4, 5, 6]
    assert len({image.path for image in made}) == 6
    assert len(made.tasks) == 2


def test_every_submit_carries_an_idempotency_key(server):
    """Each task its own, so that a gateway that honours it is one more net."""
    _make("keyed foxes", "xingchao", n=3)
    sent = [entry["idempotency_key"] for entry in server.submissions("keyed foxes")]
    assert len(set(sent)) == 3
    assert all(sent)


@pytest.mark.parametrize(
    "fault",
    [
        "drop-after-accept",
        "hang-after-accept",
        "500-after-accept",
        "502-after-accept",
        "504-after-accept",
        "truncated-json",
        "html-answer",
        "no-task-id",
    ],
)
@pytest.mark.parametrize("provider", sorted(set(GATEWAYS) - set(IDEMPOTENT)))
def test_a_submission_with_an_unknown_outcome_is_never_repeated(fault, provider, server, monkeypatch):
    """Without documented idempotency, SubmissionUnknown is recorded; it is posted exactly once, also by a later resume."""
    monkeypatch.setenv("IMAGEGEN_SUBMIT_TIMEOUT", "0.7")
    server.arm(fault)
    prompt = f"{fault} at {provider}"
    with pytest.raises(SubmissionUnknown) as error:
        _make(prompt, provider)
    assert error.value.charge == "unknown"
    assert len(server.submissions(prompt)) == 1
    assert _states() == ["unknown"]
    assert _resume_nothing()
    assert len(server.submissions(prompt)) == 1


def _resume_nothing():
    return len(_resume()) == 0


@pytest.mark.parametrize(("fault", "word"), [("rate-limited", "429"), ("unavailable", "503")])
def test_a_submission_that_was_certainly_not_accepted_is_repeated(fault, word, server):
    """429 and 503: repeated, Retry-After obeyed, shown in the progress, paid once."""
    server.arm(fault, times=2)

    async def watch():
        return [event async for event in stream(f"patience {fault}", provider="evolink", size="1024x1024")]

    events = asyncio.run(watch())
    notes = [event.note for event in events if isinstance(event, Progress) and event.note]
    assert sum(word in note and "again in" in note for note in notes) == 2
    assert len(server.submissions(f"patience {fault}")) == 3
    assert len(server.accepted(f"patience {fault}")) == 1
    assert sum(isinstance(event, GeneratedImage) for event in events) == 1


def test_a_retry_after_beyond_the_timeout_is_an_error(server):
    """Nothing was charged."""
    server.arm("rate-limited", times=None)
    with pytest.raises(RateLimited) as error:
        _make("no patience", timeout=0.5)
    assert error.value.charge == "no"
    assert _states() == ["failed"]


def test_no_connection_is_not_charged(monkeypatch):
    """Some attempts, then an error; nothing arrived."""
    monkeypatch.setenv("EVOLINK_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("imagegen_magic.engine.net.retry.backoff", lambda attempt: 0.01)
    with pytest.raises(GatewayUnreachable) as error:
        _make("nobody there")
    assert error.value.charge == "no"
    assert _states() == ["failed"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("unauthorized", AuthenticationError),
        ("no-balance", InsufficientBalance),
        ("moderation", ContentRejected),
        ("html-error-page", APIError),
    ],
)
@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_refusal_is_raised_once_and_not_charged(fault, kind, provider, server):
    """Key, balance, moderation, a page of a proxy: each with its own class, submitted once."""
    server.arm(fault)
    with pytest.raises(kind) as error:
        _make(f"{fault} {provider}", provider)
    assert error.value.charge == "no"
    assert len(server.submissions(f"{fault} {provider}")) == 1
    assert _states() == ["failed"]


def test_after_a_refused_key_the_rest_is_not_even_sent(server):
    """A hundred tasks with a bad key are a handful of refusals, not a hundred."""
    server.arm("unauthorized", times=None)
    with pytest.raises(AuthenticationError):
        _make("no key, many tasks", "xingchao", n=60)
    assert len(server.submissions("no key, many tasks")) <= 16
    assert set(_states()) == {"failed", "dropped"}


@pytest.mark.parametrize("provider", GATEWAYS)
def test_completed_without_an_address_stays_resumable(provider, server):
    """Polled some more times, then an error with the gateway's raw answer; the image may still appear."""
    server.arm("no-address")
    with pytest.raises(PictureMissing, match=r"names no picture: .*completed") as error:
        _make(f"no-address {provider}", provider)
    assert error.value.charge in ("yes", "unknown")
    assert _states() == ["submitted"]
    assert api.ledger(load()).count_resumable() == 1


@pytest.mark.parametrize("fault", ["failed", "failed-by-moderation"])
@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_task_that_fails_at_the_gateway_is_an_error(fault, provider, server):
    """With the gateway's message."""
    server.arm(fault)
    with pytest.raises((TaskFailed, ContentRejected)):
        _make(f"{fault} {provider}", provider)
    assert _states() == ["failed"]


@pytest.mark.parametrize(
    "fault", ["unknown-word", "url-string", "url-list", "several-entries", "data-object", "look-500", "look-rate-limited", "look-garbage"]
)
@pytest.mark.parametrize("provider", ["apimart", "gccai"])
def test_the_forms_of_answers(fault, provider, server):
    """One url or many, a list or an object, an unknown status, an outage during a poll: the images are saved."""
    server.arm(fault)
    made = _make(f"{fault} {provider}", provider, size="1:1", n=2)
    assert len(made) == 2
    assert len(server.accepted(f"{fault} {provider}")) == 1


@pytest.mark.parametrize("fault", ["batch-400", "batch-garbage"])
def test_a_broken_batch_query_loses_no_image(fault, server):
    """Single polls replace it."""
    server.arm(fault, times=None)
    assert len(_make(f"{fault}", "evolink", n=2)) == 2


@pytest.mark.parametrize("fault", ["expired", "expired-403"])
@pytest.mark.parametrize("provider", GATEWAYS)
def test_an_expired_address_is_requested_again(fault, provider, server):
    """The task is polled again, and the new address fetched; nothing is submitted again."""
    server.arm(fault)
    (image,) = _make(f"{fault} {provider}", provider)
    assert _whole(image)
    assert len(server.submissions(f"{fault} {provider}")) == 1


@pytest.mark.parametrize("fault", ["download-500", "truncated", "dropped-download", "corrupt", "truncated-jpeg"])
def test_a_download_that_breaks_once_is_repeated(fault, server):
    """Fetching is free."""
    server.arm(fault, times=1)
    (image,) = _make(f"{fault} once", "gccai", size="1:1", output_format="jpeg" if fault == "truncated-jpeg" else "png")
    assert _whole(image)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("truncated", DownloadError),
        ("non-image", ImageInvalid),
        ("redirect-link-local", DownloadError),
    ],
)
def test_a_download_that_stays_bad_leaves_the_task_resumable(fault, kind, server, monkeypatch):
    """No partial file on disk; once the gateway works again, resume collects without submitting."""
    monkeypatch.setattr("imagegen_magic.engine.net.retry.backoff", lambda attempt: 0.01)
    server.arm(fault, times=None)
    prompt = f"{fault} for ever"
    with pytest.raises(kind) as error:
        _make(prompt, "gccai", size="1:1")
    assert error.value.charge == "yes"
    assert "%imagegen resume" in str(error.value)
    assert list(Path("imagegen").glob("*.*")) == []
    assert api.ledger(load()).count_resumable() == 1
    server.disarm()
    (image,) = _resume()
    assert _whole(image)
    assert len(server.submissions(prompt)) == 1
    assert _states() == ["saved"]
    assert list(Path("imagegen/unreadable").glob("*")) == []


@pytest.mark.parametrize("fault", ["truncated-jpeg", "corrupt", "oversized", "oversized-undeclared", "bomb"])
def test_a_file_that_stays_bad_is_kept_and_settled(fault, server, monkeypatch):
    """It arrived complete, twice the same: it is on the disk, reported, and fetched again only if its task is named."""
    monkeypatch.setattr("imagegen_magic.engine.jobs.download._PAUSE", 0.01)
    server.arm(fault, times=None)
    prompt = f"{fault} for ever"
    with pytest.raises(ImageInvalid, match="it was charged") as error:
        _make(prompt, "gccai", size="1:1", output_format="jpeg" if fault == "truncated-jpeg" else "png")
    (path,) = (each for each in Path("imagegen/unreadable").absolute().iterdir() if each.suffix != ".json")
    assert (str(path) in str(error.value), path.stat().st_size > 100) == (True, True)
    assert api.ledger(load()).count_resumable() == 0
    server.disarm()
    (image,) = api.resume_task(1, load()).wait()
    assert _whole(image)
    assert len(server.submissions(prompt)) == 1
    assert _states() == ["saved"]


@pytest.mark.parametrize(
    ("fault", "options", "words"),
    [
        ("wrong-size", {"size": "3:1"}, "asked 3:1, got "),
        ("wrong-format", {"size": "1:1", "output_format": "png"}, "asked png, got "),
        ("fewer-pictures", {"size": "1:1", "n": 3}, "asked 3 pictures, got 2"),
    ],
)
def test_images_are_checked_from_their_bytes(fault, options, words, server):
    """Another shape, another format, fewer images: kept, and reported."""
    server.arm(fault, times=None)
    made = _make(f"{fault}", "gccai", **options)
    assert all(any(words in text for text in image.differences) for image in made)


def test_one_failed_task_does_not_affect_the_others(server):
    """The images are returned with the error."""
    server.arm("failed", times=1)
    with pytest.warns(UserWarning, match="3 of 4 pictures were made"):
        made = _make("three of four", "xingchao", n=4)
    assert len(made) == 3
    assert [type(error) for error in made.errors] == [TaskFailed]


def test_a_task_goes_on_after_a_timeout(server):
    """The timeout is an error; a later resume collects the task."""
    server.arm("never-finishes")
    with pytest.raises(TaskTimeout, match="resume"):
        _make("slow one", timeout=0.4)
    assert _states() == ["submitted"]
    assert api.ledger(load()).count_resumable() == 1


def test_cancelling_stops_the_waiting_not_the_gateway(server):
    """WaitingStopped is raised, and resume collects the image without submitting."""

    async def main():
        job = api.start(ImageRequest("cancel me", size="1024x1024"), provider="evolink")
        async for event in stream_of(job):
            if isinstance(event, Progress) and event.stage == "waiting":
                job.cancel()
                job.cancel()
                break
        with pytest.raises(WaitingStopped, match="1 task goes on"):
            await job.result()

    async def stream_of(job):
        events = job.events()
        while (event := await loop.await_on_engine(anext(events, None))) is not None:
            yield event

    asyncio.run(main())
    assert _states() == ["submitted"]
    (image,) = _resume()
    assert _whole(image)
    assert len(server.submissions("cancel me")) == 1


def test_cancelling_during_a_submission_waits_for_its_answer(server, monkeypatch):
    """Its task id is then in the ledger."""
    job = api.start(ImageRequest("cancel early", size="1024x1024"), provider="evolink")
    while not server.submissions("cancel early"):
        pass
    job.cancel()
    with pytest.raises(WaitingStopped):
        job.wait()
    assert _states() == ["submitted"]
    assert len(_resume()) == 1
    assert len(server.submissions("cancel early")) == 1


def test_cancelling_before_anything_was_sent(server):
    """The task is dropped, and nothing was charged."""
    server.arm("rate-limited", times=None)
    job = api.start(ImageRequest("cancel during a wait", size="1024x1024"), provider="evolink")
    while not server.submissions("cancel during a wait"):
        pass
    job.cancel()
    with pytest.raises(WaitingStopped, match="Nothing was charged"):
        job.wait()
    assert _states() == ["dropped"]
    assert api.ledger(load()).count_resumable() == 0


def test_leaving_a_stream_early_stops_the_waiting(server):
    """`break` in an `async for` leaves a collectable task behind."""

    async def first():
        events = stream("left early", provider="evolink", size="1024x1024")
        async for event in events:
            if isinstance(event, Progress) and event.stage == "waiting":
                break
        await events.aclose()

    asyncio.run(first())
    while api.ledger(load()).count_resumable() != 1:
        pass
    assert len(_resume()) == 1


def test_an_unwritable_ledger_stops_before_anything_is_sent(server, monkeypatch, tmp_path):
    """No ledger, no submission."""
    (tmp_path / "a-file").write_text("in the way")
    monkeypatch.setenv("IMAGEGEN_HOME", str(tmp_path / "a-file"))
    with pytest.raises(LedgerError, match="Nothing was charged"):
        _make("no ledger")
    assert server.submissions("no ledger") == []


def test_a_full_disk_leaves_the_task_resumable(server, monkeypatch):
    """The image was fetched and could not be saved: with free space, resume saves it without paying again."""
    import errno

    from imagegen_magic.engine.storage import images

    real = images.os.write

    def full(descriptor, data):
        if len(data) > 1:  # the byte that is tried before anything is sent still fits
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(images.os, "write", full)
        with pytest.raises(SaveError, match="resume"):
            _make("no room")
    assert api.ledger(load()).count_resumable() == 1
    assert len(_resume()) == 1
    assert len(server.submissions("no room")) == 1


def test_an_impossible_save_folder_is_refused(server, own_world):
    """A file has its name: refused before anything is sent."""
    (own_world / "pics").write_text("in the way")
    with pytest.raises(SaveError, match="Nothing was charged"):
        _make("no folder", save_dir="pics")
    assert server.submissions("no folder") == []


def test_what_a_model_cannot_do_is_refused_before_anything_is_sent(server):
    """The error names the gateways that can."""
    with pytest.raises(UnsupportedOption) as error:
        _make("too large", "apimart", size="1:1", resolution="4k")
    assert {"gccai", "evolink"} <= {name.split()[0] for name in error.value.providers}
    assert server.submissions("too large") == []


def test_a_sandbox_that_hangs_is_left_after_a_while(monkeypatch):
    """The sandbox in this process keeps no time of its own, so we do."""
    monkeypatch.setenv("IMAGEGEN_SUBMIT_TIMEOUT", "0.3")
    with pytest.raises(SubmissionUnknown):
        _make("[[fault: hang-after-accept]] a fox", "gccai", sandbox=True)


def test_no_two_tasks_of_the_sandbox_draw_the_same(server):
    """As with a real gateway, asking again gives another picture."""
    made = _make("the same words", "xingchao", n=3)
    assert len({image.data for image in made}) == 3


def test_costs_are_the_gateways_own_and_never_zero_for_unknown(server):
    """Dollars or credits from the answer, unknown without either."""
    measured, credits, unknown = (_make("money", name, size="1:1").cost for name in ("gccai", "evolink", "xingchao"))
    assert (measured.kind, measured.unit) == ("measured", "USD")
    assert (credits.kind, credits.unit) == ("measured", "credits")
    assert (unknown.amount, str(unknown)) == (None, "cost unknown")


def test_several_at_once_on_any_loop(server):
    """`asyncio.gather` of many requests is ordinary."""

    async def main():
        return await asyncio.gather(*(generate(f"together {i}", provider="evolink", size="1024x1024") for i in range(12)))

    made = asyncio.run(main())
    assert sorted(one.request.prompt for one in made) == sorted(f"together {i}" for i in range(12))


def test_two_jobs_do_not_mix_their_events(server):
    """Each stream has only its own tasks."""

    async def collect(prompt):
        return [event async for event in stream(prompt, provider="evolink", size="1024x1024")]

    async def main():
        return await asyncio.gather(collect("first of two"), collect("second of two"))

    for events in asyncio.run(main()):
        assert sum(isinstance(event, GeneratedImage) for event in events) == 1
        assert {event.row for event in events if isinstance(event, Progress)} == {events[0].row}


def test_no_warning_without_an_error(server):
    """A whole result is quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(_make("quiet")) == 1


def test_every_error_is_an_image_gen_error():
    """One class catches all of ours."""
    assert all(issubclass(kind, ImageGenError) for kind in (SaveError, TaskTimeout, UnsupportedOption, LedgerError, WaitingStopped))
