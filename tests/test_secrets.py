"""A key is in no output, ledger, file, traceback, repr or log, and leaves for its own gateway alone."""

import asyncio
import logging
import sqlite3
import traceback

import pytest
from gateway_table import GATEWAYS
from servers import sandbox_thread

from imagegen_magic import generate, run, stream, sweep
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import ImageGenError, UnsupportedOption

SECRET = "sk-live-4f9a1c77e2b84d0e"


@pytest.fixture(scope="module")
def server():
    """One gateway process."""
    with sandbox_thread(duration=0.1) as running:
        yield running


@pytest.fixture(autouse=True)
def gateway(server, monkeypatch):
    """The real thing's key, and everything logged."""
    server.be_every_gateway(monkeypatch, key=SECRET)
    return server


def _everything_on_disk(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_whole_request_leaves_no_key_behind(provider, tmp_path, caplog, capfd, server):
    """Not in the ledger, the pictures, the sidecars, the lock files, the log at its most talkative, or on the console."""
    with caplog.at_level(logging.DEBUG):
        made = asyncio.run(generate("a fox", provider=provider, size="1:1"))
    loop.stop()
    for path, content in _everything_on_disk(tmp_path):
        assert SECRET.encode() not in content, path
    assert SECRET not in caplog.text
    assert SECRET not in "".join(capfd.readouterr())
    assert SECRET not in repr(made)
    assert SECRET not in repr(made[0])
    assert server.log()["downloads_with_key"] == 0
    assert all(entry["had_key"] for entry in server.submissions("a fox"))


def _with_locals(error):
    """Render a traceback as IPython's verbose mode does: with every frame's local values."""
    lines, step = traceback.format_exception(error), error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename != __file__:
            lines += [repr(value) for value in step.tb_frame.f_locals.values()]
        step = step.tb_next
    return "".join(lines)


@pytest.mark.parametrize(
    ("provider", "faults"),
    [
        *(("evolink", [fault]) for fault in ("unauthorized", "moderation", "failed", "non-image")),
        ("evolink", ["drop-after-accept", "repeat-indeterminate"]),  # asked about, and not known to the gateway itself
        *(("gccai", [fault]) for fault in ("drop-after-accept", "500-after-accept")),
    ],
)
def test_no_traceback_shows_a_key(provider, faults, server, monkeypatch):
    """Not even one that prints all local values."""
    monkeypatch.setattr("imagegen_magic.engine.net.retry.backoff", lambda attempt: 0.01)
    for fault in faults:
        server.arm(fault, times=None)
    with pytest.raises(ImageGenError) as error:
        asyncio.run(generate("a fox", provider=provider, size="1:1"))
    chain, shown = error.value, ""
    while chain is not None:
        shown, chain = shown + _with_locals(chain), chain.__cause__ or chain.__context__
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (f"my key is {SECRET}", {}),
        ("a fox", {"name": SECRET}),
        ("a fox", {"extra": {"user": SECRET}}),
        ("a fox", {"references": [f"https://pictures.example/{SECRET}.png"]}),
    ],
)
def test_a_key_in_a_call_is_refused(words, options, server, tmp_path):
    """generate, stream, sweep and run look for keys as cells do: nothing is sent, and nothing is kept of it."""

    async def streamed():
        return [event async for event in stream(words, provider="evolink", size="1:1", **options)]

    calls = (
        lambda: run(generate(words, provider="evolink", size="1:1", **options)),
        lambda: asyncio.run(streamed()),
        lambda: run(sweep(words, {"quality": ["low", "high"]}, provider="evolink", size="1:1", **options)),
    )
    before = len(server.submissions())
    for call in calls:
        with pytest.raises(UnsupportedOption, match="holds something like a key, so nothing was run") as error:
            call()
        assert SECRET not in str(error.value)
    assert len(server.submissions()) == before
    loop.stop()
    assert [path for path, content in _everything_on_disk(tmp_path) if SECRET.encode() in content] == []


def test_a_key_among_the_values_of_a_sweep_is_refused(server):
    """A prompt that only an axis makes one with a key is not sent either."""
    with pytest.raises(UnsupportedOption, match="holds something like a key"):
        run(sweep("a painted fox in {{style}}", {"style": ["oil", SECRET]}, provider="evolink", size="1:1"))
    assert [one for one in server.submissions() if "a painted fox" in one["prompt"]] == []


def test_the_ledger_holds_no_headers(server):
    """What was sent is kept as its JSON: there is no column a key could be in."""
    asyncio.run(generate("a fox", provider="evolink", size="1:1"))
    api.ledger().close()
    with sqlite3.connect(load().home / "ledger.sqlite") as connection:
        columns = [row[1].lower() for table in ("jobs", "tasks", "pictures") for row in connection.execute(f"PRAGMA table_info({table})")]
    connection.close()
    assert not any(word in column for column in columns for word in ("authorization", "header", "secret", "api_key"))


def test_prompts_and_errors_never_become_paths(server, own_world):
    """A prompt that tries stays inside the folder."""
    made = asyncio.run(generate("../../etc/passwd\x00 <b>&amp;", provider="evolink", size="1:1"))
    assert made[0].path.parent == own_world / "imagegen"
