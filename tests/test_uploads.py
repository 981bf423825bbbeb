"""Local images are uploaded to a gateway once, safely, and to no other host: against a real server process."""

from __future__ import annotations

import asyncio
import io
import os
import random
import socket
import stat
import sys
import threading
import time
from dataclasses import replace

import pytest
from gateway_table import UPLOADING
from PIL import Image, ImageChops
from rawhosts import fetched
from servers import sandbox_thread
from webserver import web

from imagegen_magic import generate
from imagegen_magic.engine import endpoints, loop
from imagegen_magic.engine.clock import Clock
from imagegen_magic.engine.context import context_of, ledger_of
from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.ledger.records import seconds_of
from imagegen_magic.engine.net.client import GatewayClients, authorization
from imagegen_magic.engine.net.transport import NotSent
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import source_copies
from imagegen_magic.engine.uploads import routes
from imagegen_magic.engine.uploads import uploader as uploads
from imagegen_magic.errors import (
    AuthenticationError,
    ContentRejected,
    InsufficientBalance,
    ReferenceUnreachable,
    SaveError,
    UnsupportedOption,
    UploadFailed,
)
from imagegen_magic.providers.base import Call, PollingPolicy, Succeeded, UploadCall
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest, LocalImage

pytestmark = pytest.mark.slow

SECRET = "sk-live-4f9a1c77e2b84d0e"


@pytest.fixture(scope="module")
def server():
    """One gateway process for all tests of this file."""
    with sandbox_thread(duration=0.1) as running:
        yield running


@pytest.fixture(autouse=True)
def gateway(server, monkeypatch):
    """Point every gateway at the server, with a clean slate and no waiting between tries."""
    server.be_every_gateway(monkeypatch, key=SECRET)
    monkeypatch.setattr("imagegen_magic.engine.net.retry.backoff", lambda attempt: 0.01)
    return server


def _png(seed=None, size=(64, 48)):
    """Return a PNG that no other test has."""
    noise = random.Random(seed) if seed is not None else random.SystemRandom()
    out = io.BytesIO()
    Image.frombytes("RGBA", size, noise.randbytes(size[0] * size[1] * 4)).save(out, "PNG")
    return out.getvalue()


def _picture(name="fox.png", size=(64, 48), **more):
    return LocalImage(_png(size=size), "image/png", *size, name, **more)


def _at(name, **changes):
    return replace(endpoints.endpoint_for(get_provider(name), load()), **changes)


def _real(name, base_url=None, tables=None):
    """Return a gateway at its real address; these tests send nothing to it."""
    provider = get_provider(name, tables or {})
    return Endpoint(provider, base_url or provider.base_url, False, Key(SECRET), PollingPolicy())


def _sandbox(name):
    return endpoints.endpoint_for(get_provider(name), load(), sandbox=True)


def _run(work):
    """Run `work(session)` on the engine's loop."""

    async def main():
        return await work(context_of(load()))

    return loop.run(main())


def _upload_all(gateway, *pictures, settings=None, report=None):
    return _run(lambda session: uploads.upload_all(session, gateway, pictures, settings or load(), report=report))


def _uploaded(server):
    return server.log()["uploads"]


def _rows():
    query = "SELECT sha256, host, url, expires_at, size FROM uploads"
    return [tuple(row) for row in loop.run(ledger_of(load()).run(lambda connection: connection.execute(query).fetchall(), writes=False))]


def _fetched(url):
    async def fetch(session):
        return await fetched(session.clients, url, url)

    return _run(fetch)


# uploaded once


@pytest.mark.parametrize("name", UPLOADING)
def test_an_image_is_uploaded_to_every_gateway_that_takes_files(name, server):
    """Its address serves the same bytes; the ledger has content, host, expiry and size."""
    fox, before = _picture(), _uploaded(server)
    found = _upload_all(_at(name), fox)
    (url,) = found.values()
    assert list(found) == [fox.placeholder]
    assert _fetched(url) == fox.data
    ((sha256, host, known, end, size),) = _rows()
    assert (sha256, host, known, size) == (fox.sha256, server.origin.removeprefix("http://"), url, len(fox.data))
    assert seconds_of(end) == pytest.approx(time.time() + 72 * 3600, abs=60)
    assert _uploaded(server) == before + 1


def test_two_files_of_one_picture_are_one_upload(server):
    """Different metadata makes two requests; the bytes that are sent are the same, and are sent once."""
    first = _picture()
    second, before = replace(first, identity="f" * 64), _uploaded(server)
    found = _upload_all(_at("apimart"), first, second)
    assert set(found) == {first.placeholder, second.placeholder}
    assert len(set(found.values())) == 1
    assert _uploaded(server) == before + 1
    assert [row[0] for row in _rows()] == [first.sha256]


def test_a_large_image_arrives_complete(server):
    """Megabytes are sent in chunks."""
    large = LocalImage(_png(size=(1200, 1000)), "image/png", 1200, 1000, "large.png")
    assert len(large.data) > 4_000_000
    assert _fetched(_upload_all(_at("evolink"), large)[large.placeholder]) == large.data


def test_the_same_bytes_are_not_uploaded_twice(server):
    """Neither in this session nor in the next one, under any file name."""
    fox, before = _picture(), _uploaded(server)
    first = _upload_all(_at("gccai"), fox)
    again = _upload_all(_at("gccai"), replace(fox, name="copy.png"))
    loop.stop()
    assert _upload_all(_at("gccai"), fox) == again == first
    assert _uploaded(server) == before + 1


def test_concurrent_requests_with_the_same_bytes_upload_once(server):
    """Eight requests at once, one upload."""
    fox, before = _picture(), _uploaded(server)

    async def crowd(session):
        return await asyncio.gather(*(uploads.upload_all(session, _at("apimart"), [fox], load()) for _ in range(8)))

    assert len({str(found) for found in _run(crowd)}) == 1
    assert _uploaded(server) == before + 1


def test_several_images_are_uploaded_at_once(server):
    """Each gets its own address, by its placeholder."""
    some = [_picture(f"{number}.png") for number in range(6)]
    found = _upload_all(_at("evolink"), *some)
    assert [_fetched(found[each.placeholder]) == each.data for each in some] == [True] * 6


def test_an_address_that_expires_soon_is_not_used(monkeypatch):
    """A task may wait in a queue, so an address must be valid for some more minutes."""
    with sandbox_thread(duration=0.1, lifetime=200) as brief:
        monkeypatch.setenv("EVOLINK_BASE_URL", brief.base_url("evolink"))
        fox = _picture()
        first, second = (_upload_all(_at("evolink"), fox) for _ in range(2))
        assert (brief.log()["uploads"], first != second) == (2, True)
        assert len(_rows()) == 1


def test_the_address_of_an_earlier_result_is_used(server):
    """Nothing is uploaded while it is valid; afterwards the image is."""
    before, at = _uploaded(server), _at("gccai")
    lives = _picture(url=f"{server.origin}/files/a.png", expires_at=time.time() + 3600)
    endless = _picture(url="https://cdn.example.com/a.png")
    over = _picture(url=f"{server.origin}/files/b.png", expires_at=time.time() + 60)
    assert _upload_all(at, lives, endless) == {lives.placeholder: lives.url, endless.placeholder: endless.url}
    assert _uploaded(server) == before
    assert _upload_all(at, over)[over.placeholder] != over.url
    assert _uploaded(server) == before + 1


@pytest.mark.parametrize(
    "url", ["http://sandbox.invalid/files/gccai/x/0.png", "http://127.0.0.1:9/a.png", "ftp://x.example/a.png", "a.png"]
)
def test_an_address_that_this_gateway_cannot_fetch_is_not_used(url, server):
    """Another sandbox's, another port's, or none: the bytes are uploaded instead."""
    fox = _picture(url=url)
    assert _upload_all(_at("gccai"), fox)[fox.placeholder].startswith(server.origin)


def test_the_sandbox_in_this_process_takes_files_too():
    """It keeps them in the ledger's folder, and fetches nothing from elsewhere."""
    fox = _picture(url="https://cdn.example.com/a.png")
    (url,) = _upload_all(_sandbox("gccai"), fox).values()
    assert url.startswith("http://sandbox.invalid/files/gccai/uploads/")
    assert (load().home / "sandbox" / "uploads" / f"{fox.sha256}.png").read_bytes() == fox.data
    loop.stop()
    assert _fetched(url) == fox.data


def test_only_the_fields_of_images_are_filled(server):
    """A prompt that looks like a placeholder stays a prompt."""
    fox = _picture()
    plan = get_provider("gccai").plan(ImageRequest(fox.placeholder, references=("https://a.example/1.png", fox), mask=fox))
    filled = uploads.insert_addresses(get_provider("gccai"), plan.calls[0].json or {}, {fox.placeholder: "https://b.example/f.png"})
    assert (filled["image_urls"], filled["mask_url"]) == (["https://a.example/1.png", "https://b.example/f.png"], "https://b.example/f.png")
    assert filled["prompt"] == fox.placeholder
    assert (plan.calls[0].json or {})["mask_url"] == fox.placeholder  # the plan itself is left as it was


# an edit, all the way


async def _submit(session, at, sent):
    answer = await session.submit(at, Call("POST", at.provider.submit_path, sent), os.urandom(8).hex(), at_once=8, timeout=20)
    if answer.status >= 300:
        raise at.provider.read_error(answer.status, answer.content)
    return at.provider.read_submission(answer.content).task_id


async def _picture_of(session, at, task_id):
    while not isinstance(state := at.provider.read_task((await _poll(session, at, task_id)).content), Succeeded):
        await asyncio.sleep(0.05)
    return await fetched(session.clients, state.image_urls[0], at.base_url)


async def _poll(session, at, task_id):
    return await session.clients.call(session.clients.polls(at.base_url), at.base_url, at.key, at.provider.task_call(task_id))


def _mask(size=(64, 48)):
    image = Image.new("RGBA", size, "black")
    image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    out = io.BytesIO()
    image.save(out, "PNG")
    return LocalImage(out.getvalue(), "image/png", *size, "mask.png")


def test_an_edit_changes_only_what_its_mask_allows(server):
    """Plan, upload, submit, fetch: over HTTP, with an image and a mask of this machine."""
    size = (1024, 1024)
    fox, mask, at = _picture(size=size), _mask(size), _at("apimart")
    plan = at.provider.plan(ImageRequest("a hat", size="1024x1024", references=(fox,), mask=mask))
    routes.check(plan, at, load())

    async def edit(session):
        found = await uploads.upload_all(session, at, plan.uploads, load())
        return await _picture_of(
            session, at, await _submit(session, at, uploads.insert_addresses(at.provider, plan.calls[0].json or {}, found))
        )

    after = Image.open(io.BytesIO(_run(edit))).convert("RGB")
    change = ImageChops.difference(Image.open(io.BytesIO(fox.data)).convert("RGB"), after)
    assert change.crop((512, 0, 1024, 1024)).getbbox() is None
    assert change.crop((0, 0, 512, 1024)).getbbox() is not None


def _generate(prompt, provider="gccai", **options):
    return asyncio.run(generate(prompt, provider=provider, size="1024x1024", **options))


@pytest.fixture
def quick(monkeypatch):
    """Look often, as the tasks here are short."""
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")


@pytest.mark.parametrize("name", UPLOADING)
def test_a_request_with_a_local_image_uploads_it_and_then_submits(name, server, quick):
    """The submission has its address; the same image is not uploaded again."""
    prompt, fox, before = f"a hat for {name}", _picture(), _uploaded(server)
    for _ in range(2):
        assert len(_generate(prompt, name, references=(fox,))) == 1
    sent = [entry["json"]["image_urls"] for entry in server.accepted(prompt)]
    assert (sent[0], _fetched(sent[0][0])) == (sent[1], fox.data)
    assert _uploaded(server) == before + 1


def test_a_request_whose_upload_has_expired_is_submitted_again(server, quick):
    """Once: with another address and another idempotency key, as one task."""
    prompt, fox, before = "a scarf [[fault: reference-gone]]", _picture(), _uploaded(server)
    assert len(_generate(prompt, references=(fox,))) == 1
    first, second = server.submissions(prompt)
    assert (first["accepted"], second["accepted"]) == (False, True)
    assert first["json"]["image_urls"] != second["json"]["image_urls"]
    assert _uploaded(server) == before + 2


def test_a_request_whose_upload_expires_again_is_refused(server, quick):
    """The second refusal is final, and nothing was charged."""
    prompt = "a glove [[fault: reference-gone:5]]"
    with pytest.raises(ReferenceUnreachable) as caught:
        _generate(prompt, references=(_picture(),))
    assert (len(server.submissions(prompt)), server.accepted(prompt), caught.value.charge) == (2, [], "no")


def test_a_request_whose_upload_fails_is_not_submitted(server, quick):
    """Nothing is charged."""
    server.arm("upload-refused", times=None)
    with pytest.raises(UploadFailed, match="the file was rejected"):
        _generate("a shoe", references=(_picture(),))
    assert server.submissions("a shoe") == []


# gone by the time of the submit


def _submission(at, *pictures):
    """Bring pictures and return (session's JSON to send, what was found)."""
    plan = at.provider.plan(ImageRequest("a red fox", references=("https://a.example/1.png", *pictures)))
    return uploads.insert_addresses(at.provider, plan.calls[0].json or {}, _upload_all(at, *pictures))


@pytest.mark.parametrize("name", UPLOADING)
def test_an_expired_upload_is_uploaded_again(name, monkeypatch):
    """A server without its files refuses, and accepts the same submission with the new address."""
    with sandbox_thread(duration=0.1, port=0) as forgetful:
        port = int(forgetful.origin.rpartition(":")[2])
        monkeypatch.setenv(f"{name.upper()}_BASE_URL", forgetful.base_url(name))
        at, fox = _at(name), _picture()
        sent = _submission(at, fox)
    with sandbox_thread(duration=0.1, port=port) as forgetful:
        with pytest.raises(ReferenceUnreachable):
            _run(lambda session: _submit(session, at, sent))
        renewed = _run(lambda session: uploads.reupload(session, at, sent, [fox], load()))
        assert _run(lambda session: _submit(session, at, renewed))
        assert {**renewed, "image_urls": 0} == {**sent, "image_urls": 0}
        assert renewed["image_urls"][0] == "https://a.example/1.png"
        assert renewed["image_urls"][1] not in sent["image_urls"]
        assert forgetful.log()["uploads"] == 1
        assert [row[2] for row in _rows()] == renewed["image_urls"][1:]


def test_several_submissions_that_miss_the_same_image_upload_it_once(server):
    """The second one uses the new address of the first."""
    at, fox = _at("gccai"), _picture()
    sent, before = _submission(at, fox), _uploaded(server)

    async def both(session):
        return await asyncio.gather(*(uploads.reupload(session, at, sent, [fox], load()) for _ in range(3)))

    first, *others = _run(both)
    assert [first] * 2 == others
    assert first != sent
    assert _uploaded(server) == before + 1


def test_an_expired_address_of_an_earlier_result_is_not_used_again(server):
    """Its bytes are uploaded, also for the next request."""
    at, fox = _at("gccai"), _picture(url="https://cdn.example.com/a.png")
    sent = _submission(at, fox)
    assert fox.url in sent["image_urls"]
    renewed = _run(lambda session: uploads.reupload(session, at, sent, [fox], load()))
    assert (fox.url in renewed["image_urls"], renewed["image_urls"][1].startswith(server.origin)) == (False, True)
    assert _upload_all(at, fox)[fox.placeholder] == renewed["image_urls"][1]


def test_an_address_from_the_user_is_not_renewed(server):
    """There is nothing to upload."""
    before, at, sent = _uploaded(server), _at("gccai"), {"prompt": "x", "image_urls": ["https://a.example/1.png"], "n": 1}
    assert _run(lambda session: uploads.reupload(session, at, sent, [_picture()], load())) == sent
    assert _uploaded(server) == before


# what fails on the way


@pytest.fixture
def pauses(monkeypatch):
    """The seconds of each pause, which takes no time."""
    seconds = []

    async def pause(clock, duration):
        seconds.append(duration)

    monkeypatch.setattr(Clock, "sleep", pause)
    return seconds


@pytest.mark.parametrize(("fault", "times"), [("upload-500", 3), ("upload-500", 1)])
def test_an_upload_is_retried_after_an_outage(fault, times, server, pauses):
    """Uploads are free."""
    server.arm(fault, times=times)
    reports, before = [], _uploaded(server)
    assert _upload_all(_at("evolink"), _picture(), report=reports.append)
    assert (_uploaded(server), reports[0], len(reports)) == (before + times + 1, "uploading fox.png", times + 1)
    assert "fox.png is not uploaded yet, again in 1 s" in reports


def test_retry_after_of_an_upload_is_obeyed(server, pauses):
    """Also if the usual pause would be shorter."""
    server.arm("upload-429")
    reports = []
    assert _upload_all(_at("evolink"), _picture(), report=reports.append)
    assert (reports[1:], pauses) == (["fox.png is not uploaded yet, again in 1 s"], [1.0])


def test_a_retry_after_beyond_the_timeout_ends_the_upload(server):
    """The option `timeout` holds for uploads too."""
    server.arm("upload-429", times=None)
    with pytest.raises(UploadFailed, match="answered 429") as caught:
        _upload_all(_at("evolink"), _picture(), settings=load().replace("a test", timeout=0.5))
    assert "wait a little" in caught.value.hint


@pytest.mark.parametrize("name", UPLOADING)
def test_a_refused_upload_quotes_the_gateway_and_is_not_retried(name, server):
    """Nothing was submitted, nothing charged."""
    server.arm("upload-refused", times=None)
    before = server.log()
    with pytest.raises(UploadFailed, match=r"answered 400: the file was rejected; fox\.png \(\d+ kB\) is not uploaded") as caught:
        _upload_all(_at(name), _picture())
    assert (caught.value.blame, caught.value.charge) == ("you", "no")
    after = server.log()
    assert (after["uploads"], after["accepted"]) == (before["uploads"] + 1, before["accepted"])
    assert _rows() == []


def test_a_lasting_outage_is_reported_after_five_attempts(server):
    """The error names the gateway."""
    server.arm("upload-500", times=None)
    before = _uploaded(server)
    with pytest.raises(UploadFailed, match="answered 500") as caught:
        _upload_all(_at("apimart"), _picture())
    assert (_uploaded(server), caught.value.blame, caught.value.charge) == (before + 5, "gateway", "no")


def test_an_upload_to_a_gateway_that_cannot_be_reached(monkeypatch):
    """The network is to blame, and nothing was charged."""
    monkeypatch.setenv("APIMART_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(UploadFailed, match=r"could not be uploaded to 127\.0\.0\.1:9") as caught:
        _upload_all(_at("apimart"), _picture())
    assert (caught.value.blame, caught.value.charge) == ("network", "no")


def test_a_failed_upload_does_not_cancel_the_others(server):
    """Their addresses are in the ledger for the next request."""
    good, bad = _picture("good.png"), LocalImage(b"no picture", "image/png", 1, 1, "bad.png")
    with pytest.raises(UploadFailed, match=r"bad\.png"):
        _upload_all(_at("gccai"), bad, good)
    assert [row[0] for row in _rows()] == [good.sha256]


_ANSWERS = {
    "too large": (413, b'{"error":{"message":"too large"}}', UploadFailed, "--fit"),
    "wrong kind": (415, b"{}", UploadFailed, "PNG or JPEG"),
    "redirect": (302, b"", UploadFailed, "key does not follow"),
    "bad key": (401, b'{"error":{"message":"bad key"}}', AuthenticationError, "%imagegen login"),
    "no balance": (402, b"{}", InsufficientBalance, "Top up"),
    "no balance at 429": (429, b'{"error":{"message":"insufficient_user_quota"}}', InsufficientBalance, "Top up"),
    "moderated": (400, b'{"error":{"code":"content_policy_violation","message":"x"}}', ContentRejected, "references"),
    "html": (403, b"<html><title>Attention required</title></html>", UploadFailed, "Run the cell again"),
    "nonsense": (200, b"<html>", UploadFailed, "named no address"),
    "no key in a 200": (200, b'{"error":{"code":"invalid_api_key","message":"x"}}', AuthenticationError, "%imagegen login"),
    "link-local address": (200, b'{"url":"http://169.254.1.1/a.png"}', UploadFailed, "cannot be fetched"),
    "plain http": (200, b'{"url":"http://cdn.example.com/a.png"}', UploadFailed, "cannot be fetched"),
}


@pytest.mark.parametrize("case", _ANSWERS)
def test_each_answer_to_an_upload_has_its_message(case, monkeypatch):
    """It names the charge, which is none."""
    status, body, kind, words = _ANSWERS[case]
    with web(lambda seen: (status, {"Location": "https://elsewhere.example/"} if status == 302 else {}, body)) as odd:
        monkeypatch.setenv("APIMART_BASE_URL", odd.origin)
        with pytest.raises(kind) as caught:
            _upload_all(_at("apimart"), _picture())
    assert (words in str(caught.value), caught.value.charge, len(odd.seen)) == (True, "no", 1), str(caught.value)


def test_a_gateway_on_this_machine_may_name_a_public_address(monkeypatch):
    """As a local proxy of a real gateway does."""
    with web(lambda seen: (200, {}, b'{"url":"https://cdn.example.com/a.png"}')) as relay:
        monkeypatch.setenv("APIMART_BASE_URL", relay.origin)
        first, second = (_upload_all(_at("apimart"), picture) for picture in [_picture()] * 2)
    assert [*first.values(), *second.values()] == ["https://cdn.example.com/a.png"] * 2


# the hosts that get the key


def _form_of(seen):
    return f"{seen.method} {seen.path}", seen.headers.get("authorization"), seen.headers["content-type"].partition(";")[0]


def test_the_key_goes_to_the_gateways_own_origin(monkeypatch):
    """With the file, as a form with a length."""
    with web(lambda seen: (200, {}, b'{"url":"https://cdn.example.com/a.png"}')) as server:
        monkeypatch.setenv("APIMART_BASE_URL", server.origin)
        fox = _picture("/home/me/secret/anna.png")
        _upload_all(_at("apimart"), fox)
    (seen,) = server.seen
    assert _form_of(seen) == ("POST /v1/uploads/images", f"Bearer {SECRET}", "multipart/form-data")
    assert (int(seen.headers["content-length"]), "transfer-encoding" in seen.headers) == (len(seen.body), False)
    assert (fox.data in seen.body, b"anna" in seen.body, b"secret" in seen.body) == (True, False, False)


def test_evolinks_uploads_go_to_a_base_url_on_this_machine(monkeypatch):
    """The sandbox on a socket gets them; evolink's own file host is not contacted."""
    with web(lambda seen: (200, {}, b'{"success":true,"data":{"file_url":"https://cdn.example.com/a.png"}}')) as server:
        monkeypatch.setenv("EVOLINK_BASE_URL", server.origin + "/evolink")
        _upload_all(_at("evolink"), _picture())
    assert [_form_of(seen)[0] for seen in server.seen] == ["POST /evolink/api/v1/files/upload/stream"]


def test_evolinks_own_file_host_gets_the_key_of_evolinks_own_base_url():
    """The provider names that host; the base URL may end in a slash."""
    for base in ("https://api.evolink.ai", "https://API.evolink.ai:443/"):
        way = routes.find_route(_real("evolink", base), _picture(), load())
        assert (way.url, way.key_hosts) == ("https://files-api.evolink.ai/api/v1/files/upload/stream", ("files-api.evolink.ai",))
        assert way.host == "files-api.evolink.ai"


@pytest.mark.parametrize(
    "base",
    [
        "https://api.evolink.ai.evil.example",
        "http://api.evolink.ai",
        "https://api.evolink.ai:8443",
        "https://proxy.example",
    ],
)
def test_the_key_of_a_changed_base_url_does_not_go_to_evolinks_file_host(base):
    """The refusal names the alternatives."""
    with pytest.raises(UnsupportedOption, match=r"takes files at files-api\.evolink\.ai, and your key does not go there") as caught:
        routes.find_route(_real("evolink", base), _picture(), load())
    assert (base in caught.value.what, "uploader" in caught.value.hint) == (True, True)


def test_a_configured_gateway_has_no_upload_unless_it_names_one():
    """Evolink's dialect at another address takes no files, or takes them at `upload_url`."""
    table = {"like": "evolink", "base_url": "https://api.mine.example"}
    with pytest.raises(UnsupportedOption, match="takes no files"):
        routes.find_route(_real("mine", tables={"mine": table}), _picture(), load())
    way = routes.find_route(_real("mine", tables={"mine": {**table, "upload_url": "https://up.mine.example/x"}}), _picture(), load())
    assert (way.url, way.key_hosts) == ("https://up.mine.example/x", ("up.mine.example",))
    alike = routes.find_route(_real("mine", tables={"mine": {**table, "like": "apimart"}}), _picture(), load())
    assert (alike.url, alike.key_hosts) == ("https://api.mine.example/v1/uploads/images", ())


def test_a_host_that_the_gateway_does_not_name_gets_nothing(monkeypatch):
    """A provider whose upload leads to a host that is not among its `key_hosts`."""
    monkeypatch.setattr(type(get_provider("evolink")), "key_hosts", ())
    with pytest.raises(UnsupportedOption, match="your key does not go there"):
        routes.find_route(_real("evolink"), _picture(), load())


def test_only_the_gateways_own_hosts_get_the_key():
    """Over https, on the usual port, with the exact name."""
    own = "https://files-api.evolink.ai"
    for url, goes in {
        f"{own}/x": True,
        "https://FILES-api.evolink.ai:443/x": True,
        "http://files-api.evolink.ai/x": False,
        f"{own}:8443/x": False,
        "https://files-api.evolink.ai.evil.example/x": False,
        "https://evolink.ai/x": False,
    }.items():
        assert bool(authorization(Key(SECRET), "https://api.evolink.ai", url, ("files-api.evolink.ai",))) is goes, url
        assert not authorization(Key(SECRET), "https://api.evolink.ai", url)


def _upload(url, base_url, key_hosts=()):
    async def main():
        clients = GatewayClients()
        try:
            return await clients.upload(
                url, base_url, Key(SECRET), UploadCall("POST", url, "file", "x.png", "image/png"), b"x", key_hosts=key_hosts
            )
        finally:
            await clients.close()

    return asyncio.run(main())


def test_nothing_at_all_is_sent_to_another_host():
    """Neither the key nor the picture."""
    with web(lambda seen: (200, {}, b"{}")) as other, pytest.raises(NotSent, match="not one of the service's own hosts"):
        _upload(other.origin + "/up", "https://api.evolink.ai", ("files-api.evolink.ai",))
    assert other.seen == []


def test_a_file_host_that_leads_into_a_private_network_gets_nothing(monkeypatch):
    """The address is checked, not only the name."""
    asked = []

    def resolve(host, port, *more, **options):
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1" if host == "files-api.evolink.ai" else "93.184.215.14", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(NotSent, match="private network"):
        _upload("https://files-api.evolink.ai/up", "https://api.evolink.ai", ("files-api.evolink.ai",))
    assert asked == ["files-api.evolink.ai", "api.evolink.ai"]


def test_a_redirect_gets_neither_the_key_nor_the_image():
    """The other origin is not contacted."""
    with web(lambda seen: (200, {}, b"{}")) as other, web(lambda seen: (307, {"Location": other.origin + "/steal"}, b"")) as gateway:
        assert _upload(gateway.origin + "/up", gateway.origin).status == 307
    assert (other.seen, len(gateway.seen)) == ([], 1)


def test_an_upload_without_an_answer_times_out(monkeypatch):
    """A gateway that never answers costs a bounded time."""
    monkeypatch.setattr("imagegen_magic.engine.net.client._UPLOAD_SECONDS", 0.2)
    released = threading.Event()
    with web(lambda seen: (200 + 0 * released.wait(20), {}, b"{}")) as silent:
        with pytest.raises(Exception, match="took too long"):
            _upload(silent.origin + "/up", silent.origin)
        released.set()


def test_an_upload_writes_no_key_to_disk(tmp_path, server):
    """Not in the ledger, the copies or any other file."""
    _upload_all(_at("apimart"), _picture())
    loop.stop()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


# the user's uploader


@pytest.fixture
def uploader(tmp_path, monkeypatch):
    """Return a function that writes the module `myhost` and the settings that name its `put`."""

    def make(body, name="myhost:put"):
        (tmp_path / "lib").mkdir(exist_ok=True)
        (tmp_path / "lib" / "myhost.py").write_text(body)
        monkeypatch.syspath_prepend(tmp_path / "lib")
        sys.modules.pop("myhost", None)
        return load().replace("a test", uploader=name)

    yield make
    sys.modules.pop("myhost", None)


_PUT = "seen = []\ndef put(path):\n    seen.append((path, path.read_bytes()))\n    return f'https://pictures.example.com/{path.name}'\n"


def test_xingchao_uses_the_users_uploader(uploader):
    """Imported on demand, called with a path in a thread, once for the same bytes."""
    settings, fox = uploader(_PUT + "import threading\nwho = threading.current_thread().name\n"), _picture()
    expected = {fox.placeholder: f"https://pictures.example.com/{fox.sha256}.png"}
    assert "myhost" not in sys.modules
    assert [_upload_all(_at("xingchao"), fox, settings=settings) for _ in range(2)] == [expected] * 2
    import myhost

    ((path, content),) = myhost.seen
    assert (content, path.parent, path.name) == (fox.data, load().home / "sources", f"{fox.sha256}.png")
    assert myhost.who != "imagegen-engine"
    ((_, host, _, end, _),) = _rows()
    assert (host, seconds_of(end) < time.time() + 2 * 3600) == ("uploader myhost:put", True)


def test_evolink_at_another_base_url_uses_the_users_uploader(uploader):
    """The gateway's own upload must not get the key there."""
    way = routes.find_route(_real("evolink", "https://proxy.example"), _picture(), uploader(_PUT))
    assert (way.call, way.uploader) == (None, "myhost:put")


def test_a_gateway_that_takes_files_does_not_use_the_uploader(uploader, server):
    """The uploader is for gateways without an upload."""
    fox = _picture()
    assert _upload_all(_at("gccai"), fox, settings=uploader(_PUT))[fox.placeholder].startswith(server.origin)


def test_the_sandbox_never_calls_the_users_uploader(uploader):
    """Nothing leaves this machine."""
    with pytest.raises(UnsupportedOption, match="takes no files") as caught:
        _upload_all(_sandbox("xingchao"), _picture(), settings=uploader(_PUT))
    assert "nothing leaves this machine" in caught.value.hint
    assert "myhost" not in sys.modules


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("'http://pictures.example.com/a.png'", "http://pictures.example.com/a.png', which no service can fetch"),
        ("'https://10.0.0.1/a.png'", "which no service can fetch"),
        ("'https://localhost/a.png'", "which no service can fetch"),
        ("None", "answered None"),
        ("b'https://x.example/a.png'", "answered 23 bytes"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
    ],
)
def test_the_uploaders_result_is_checked(uploader, answer, words):
    """It must be a public https address; the error shows what it is."""
    with pytest.raises(UploadFailed) as caught:
        _upload_all(_at("xingchao"), _picture(), settings=uploader(f"def put(path): return {answer}"))
    assert (words in caught.value.what, caught.value.blame, caught.value.charge) == (True, "you", "no"), caught.value.what


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("myhost:missing", "AttributeError"),
        ("nowhere_at_all:put", "ModuleNotFoundError"),
        ("myhost", "cannot be used"),
        (":put", "ValueError"),
        ("myhost:seen", "is no function"),
    ],
)
def test_an_uploader_that_cannot_be_found_is_a_clear_error(uploader, name, words):
    """The hint shows the form of the setting."""
    with pytest.raises(UnsupportedOption) as caught:
        _upload_all(_at("xingchao"), _picture(), settings=uploader(_PUT, name))
    assert (words in caught.value.what, caught.value.option, "package:function" in caught.value.hint) == (True, "uploader", True)


# no way there


def test_xingchao_without_an_uploader_names_the_alternatives():
    """An own function, an address, an earlier result, or a gateway that takes files."""
    with pytest.raises(UnsupportedOption, match=r"Xingchao takes no files.*fox\.png is on this machine") as caught:
        _upload_all(_at("xingchao"), _picture())
    step = caught.value.hint
    assert all(words in step for words in ("%config ImageGenMagics.uploader", "https address", "earlier result", "apimart, evolink, gccai"))


def test_xingchao_takes_an_earlier_result_whose_address_is_valid(server):
    """Without any upload; once it has expired there is no route."""
    at, fox = _at("xingchao"), _picture(url=f"{server.origin}/files/xingchao/x/0.png")
    sent = _submission(at, fox)
    assert sent["image_urls"][1] == fox.url
    with pytest.raises(UnsupportedOption, match="takes no files"):
        _run(lambda session: uploads.reupload(session, at, sent, [fox], load()))


# what can be known before


def _plan(at, **options):
    return at.provider.plan(ImageRequest("a red fox", **options))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:8001/a.png", "127.0.0.1 is this machine"),
        ("https://localhost/a.png", "localhost is this machine"),
        ("http://sandbox.invalid/files/gccai/x/0.png", "that picture is in the sandbox"),
        ("https://x.example/a.png?Expires=1700000000&Signature=x", "it expired at 2023-11-1"),
        ("https://x.example/a.png?X-Amz-Date=20240101T000000Z&X-Amz-Expires=3600", "it expired at 2024-01-01"),
        ("https://x.example/a.png?X-Tos-Date=20240101T000000Z&X-Tos-Expires=3600", "it expired at 2024-01-01"),
    ],
)
@pytest.mark.parametrize("option", ["references", "mask"])
def test_an_address_that_this_gateway_cannot_fetch_is_refused_before_anything_is_sent(address, words, option):
    """One of this machine, of the sandbox, and an expired one; each with a hint."""
    at = _real("gccai")
    options = {"references": (address,)} if option == "references" else {"references": ("https://a.example/1.png",), "mask": address}
    with pytest.raises(UnsupportedOption) as caught:
        routes.check(_plan(at, **options), at, load())
    assert (words in caught.value.what, caught.value.option, "uploaded" in caught.value.hint) == (True, option, True), caught.value.what


@pytest.mark.parametrize(
    "address",
    [
        "https://x.example/a.png",
        "https://x.example/a.png?Expires=99",
        "https://x.example/a.png?expires=1999999999",
        "https://x.example/a.png?X-Amz-Date=20240199T000000Z&X-Amz-Expires=3600",
        "https://x.example/a.png?X-Goog-Date=20240101T000000Z&X-Goog-Expires=999999999",
    ],
)
def test_other_addresses_pass(address):
    """Odd parameters are no expiry."""
    routes.check(_plan(_real("gccai"), references=(address,)), _real("gccai"), load())


def test_a_gateway_on_this_machine_may_be_given_its_own_addresses(server):
    """The sandbox on a socket, and the one in this process."""
    for at, address in ((_at("gccai"), f"{server.origin}/files/x.png"), (_sandbox("gccai"), "http://sandbox.invalid/files/x.png")):
        routes.check(_plan(at, references=(address,)), at, load())


def test_an_address_that_has_expired_in_the_ledger_is_refused(server):
    """One that expires later is allowed."""
    at = _real("gccai")
    for end, words in (("2024-01-01T00:00:00+00:00", "expired at 202"), ("2099-01-01T00:00:00+00:00", None)):
        values = ("a" * 64, end, "https://o'neill.example/a.png", end, 1, end)
        query = "INSERT INTO uploads (sha256, host, url, expires_at, size, created) VALUES (?, ?, ?, ?, ?, ?)"
        loop.run(ledger_of(load()).run(lambda connection, query=query, values=values: connection.execute(query, values) and None))
        plan = _plan(at, references=("https://o'neill.example/a.png",))
        if words:
            with pytest.raises(UnsupportedOption, match=words):
                routes.check(plan, at, load())
        else:
            routes.check(plan, at, load())


def test_an_image_without_a_route_is_refused_before_anything_is_sent():
    """Without any request."""
    at = _real("xingchao")
    with pytest.raises(UnsupportedOption, match="takes no files"):
        routes.check(_plan(at, references=(_picture(),)), at, load())
    routes.check(_plan(at, references=(_picture(url="https://x.example/a.png"),)), at, load())


@pytest.mark.parametrize("first", ["picture", "address"])
def test_a_mask_without_transparency_is_refused_before_anything_is_sent(first):
    """With a local image, and with an address."""
    opaque = io.BytesIO()
    Image.new("RGB", (64, 48), "black").save(opaque, "PNG")
    mask = LocalImage(opaque.getvalue(), "image/png", 64, 48, "mask.png")
    reference = _picture() if first == "picture" else "https://a.example/1.png"
    with pytest.raises(UnsupportedOption):
        routes.check(_plan(_real("gccai"), references=(reference,), mask=mask), _real("gccai"), load())
    routes.check(_plan(_real("gccai"), references=(reference,), mask=_mask()), _real("gccai"), load())


def test_the_preview_of_uploads_names_host_and_lifetime():
    """Format, pixels, bytes, what was changed, and the host."""
    fox = LocalImage(b"x" * 2_340_000, "image/jpeg", 3024, 4032, "photo.jpg", ("turned as its EXIF says", "location removed"))
    facts = "photo.jpg (JPEG, 3024×4032, 2.3 MB, turned as its EXIF says, location removed)"
    for name, host in (("apimart", "api.apimart.ai"), ("evolink", "files-api.evolink.ai")):
        plan = _plan(_real(name), references=(fox,))
        expected = f"{facts}: will be uploaded to {host}, where it is kept for 72 hours"
        assert routes.preview(plan, _real(name), load()) == [expected]


def test_the_preview_of_uploads_names_what_is_not_uploaded(server, uploader):
    """Uploaded before, with an address of its own, by the user's function, in the sandbox."""
    at, fox = _at("gccai"), _picture()
    _upload_all(at, fox)
    (line,) = routes.preview(_plan(at, references=(fox,)), at, load())
    assert line.startswith("fox.png (PNG, 64×48, 12 kB): at 127.0.0.1:")
    assert line.endswith("not uploaded again")
    result = replace(fox, url="https://cdn.example.com/a.png", expires_at=1_999_999_999)
    clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(1_999_999_999))
    (line,) = routes.preview(_plan(_real("gccai"), references=(result,)), _real("gccai"), load())
    assert line.endswith(f": at cdn.example.com already until {clock}, not uploaded")
    plan = _plan(_real("xingchao"), references=(fox,))
    assert routes.preview(plan, _real("xingchao"), uploader(_PUT))[0].endswith("your uploader myhost:put will put it at an address")
    assert "to the sandbox in this process" in routes.preview(_plan(at, references=(fox,)), _sandbox("gccai"), load())[0]


def test_the_preview_of_uploads_refuses_like_the_check():
    """A plan that cannot be carried out is not described."""
    with pytest.raises(UnsupportedOption, match="takes no files"):
        routes.preview(_plan(_real("xingchao"), references=(_picture(),)), _real("xingchao"), load())


def test_the_preview_of_uploads_needs_neither_a_ledger_nor_the_network():
    """It creates no file."""
    routes.preview(_plan(_real("gccai"), references=(_picture(),)), _real("gccai"), load())
    assert not (load().home / "ledger.sqlite").exists()


# copies


def test_a_copy_of_each_upload_is_kept(server):
    """In the ledger's folder, readable by its owner alone, named by its content; also of what was not sent again."""
    fox, known = _picture(), _picture(url="https://cdn.example.com/a.png")
    _upload_all(_at("gccai"), fox, known)
    home = load().home
    for each in (fox, known):
        path = source_copies.find_copy(home, each.sha256)
        assert path == home / "sources" / f"{each.sha256}.png"
        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (each.data, 0o600)
    assert sorted(path.name for path in (home / "sources").iterdir()) == sorted(f"{each.sha256}.png" for each in (fox, known))


def test_copies_are_removed_after_a_month_without_use(tmp_path):
    """Each use keeps one for another month."""
    old, used, fresh = _picture(), _picture(), _picture()
    for each in (old, used):
        os.utime(source_copies.save_copy(tmp_path, each), (time.time() - 31 * 86_400,) * 2)
    source_copies.save_copy(tmp_path, used)
    source_copies.save_copy(tmp_path, fresh)
    assert [source_copies.find_copy(tmp_path, each.sha256) is not None for each in (old, used, fresh)] == [False, True, True]


def test_a_truncated_copy_is_written_again(tmp_path):
    """As after a full disk."""
    fox = _picture()
    path = source_copies.save_copy(tmp_path, fox)
    path.write_bytes(fox.data[:100])
    assert source_copies.save_copy(tmp_path, fox).read_bytes() == fox.data


@pytest.mark.parametrize("name", ["", "*", "../ledger", "a" * 63, "A" * 64, "g" * 64, f"../sources/{'a' * 64}"])
def test_only_a_hash_names_a_copy(name, tmp_path):
    """No pattern and no path."""
    source_copies.save_copy(tmp_path, _picture())
    assert source_copies.find_copy(tmp_path, name) is None


def test_a_copy_that_cannot_be_written_is_an_error(tmp_path):
    """Nothing was sent, nothing charged."""
    (tmp_path / "sources").write_text("in the way")
    with pytest.raises(SaveError, match=r"A copy of fox\.png could not be kept") as caught:
        source_copies.save_copy(tmp_path, _picture())
    assert caught.value.charge == "no"


def test_a_partial_copy_is_never_visible(tmp_path, monkeypatch):
    """A disk that fills up leaves no file."""
    monkeypatch.setattr(source_copies.os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(SaveError, match="No space left"):
        source_copies.save_copy(tmp_path, _picture())
    assert list((tmp_path / "sources").iterdir()) == []


def test_other_files_are_never_removed(tmp_path):
    """The folder of copies may hold other files."""
    own = tmp_path / "sources" / "my-only-photo.raw"
    own.parent.mkdir()
    own.write_bytes(b"irreplaceable")
    copy = source_copies.save_copy(tmp_path, LocalImage(b"an old copy", "image/png", 1, 1, "old.png"))
    for path in (own, copy):
        os.utime(path, (1, 1))
    source_copies.save_copy(tmp_path, LocalImage(b"a new copy", "image/png", 1, 1, "new.png"))
    assert own.exists()
    assert not copy.exists()
