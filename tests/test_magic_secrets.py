"""A key is never taken from a line, and never shown: not in a refusal, a trace, a table or a widget."""

import getpass
import json
import traceback

import keyring
import pytest
from keyring.errors import KeyringLocked
from rings import Memory
from shells import a_shell

from imagegen_magic import secret_patterns
from imagegen_magic.engine import credentials, endpoints
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import ImageGenError, MissingKey, UnsupportedOption
from imagegen_magic.notebook.magic import cell as cell_runner
from imagegen_magic.notebook_folder import NotebookFolder
from imagegen_magic.providers import registry, responses

SECRET = "sk-evo-Zq81mNf02LxT77yQ"
OPAQUE = "9f8e7d6c5b4a39281706f5e4d3c2b1a0ff"
LINES_WITH_A_KEY = [
    f"--set api_key={SECRET}",
    f"--set seed={SECRET}",
    f"-p evolink {SECRET}",
    f"--name {SECRET}",
    f"--api-key {SECRET}",
    "--key hunter2",
    "--token=hunter2",
    "--evolink-api-key hunter2",
    "--set Authorization=hunter2",
    "--set 'Authorization=Bearer hunter2hunter2'",
    f"--name {OPAQUE}",
    "--name eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
    "login evolink " + SECRET,
]


FORMS = {  # made up, in the form of each service
    "OpenAI": "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z",
    "OpenRouter": "sk-or-v1-" + "0a1b2c3d" * 8,
    "fal": "0a1b2c3d-4e5f-6a7b-8c9d-0e1f2a3b4c5d:" + "f0e1d2c3" * 4,
    "Replicate": "r8_Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zAb3dE",
    "Google": "AIzaSyAb3dEf6hIj9kLm2nOp5qRs8tUv1wX-y_4",
    "Google, newer": "AQ.Ab8RN6Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z",
    "Azure": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "Azure, newer": "Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z" * 2 + "JQQJ99BKACYeBjFXJ3w3",
}


@pytest.mark.parametrize("key", FORMS.values(), ids=FORMS)
def test_a_key_of_each_service_is_recognised_by_its_form(key):
    """In a line, and in a text that is shown."""
    assert secret_patterns.looks_like_key(f"-p openai {key}")
    assert secret_patterns.looks_like_key(f"--name {key}")
    shown = secret_patterns.redact(f"the key {key} is wrong")
    assert not [part for part in key.split(":") if part[-12:] in shown]


@pytest.mark.parametrize("key", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("header", ["x-goog-api-key: {}", "api-key: {}", "Authorization: Key {}", "Authorization: Bearer {}", "x-key: {}"])
def test_a_header_with_a_key_is_not_shown(header, key):
    """Each service has its own."""
    assert key[-12:] not in secret_patterns.redact_keys(header.format(key))


@pytest.mark.parametrize("name", ["OpenAI", "OpenRouter", "Replicate", "Google", "Google, newer"])
def test_a_services_message_does_not_repeat_a_key(name):
    """Some name the key that they do not accept."""
    assert FORMS[name] not in responses.one_line(f"Invalid API key: {FORMS[name]}")


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


@pytest.mark.parametrize("line", LINES_WITH_A_KEY)
def test_a_line_with_a_key_is_refused_without_repeating_it(shell, line, capsys):
    """Whatever looks like a key, or an option that takes one, stops the line, and is not repeated."""
    for code in (f"%imagegen {line}", f"%%imagegen {line}\na red fox"):
        with pytest.raises(UnsupportedOption, match="something like a key") as caught:
            shell.run(code)
        shown = str(caught.value) + capsys.readouterr().out + shell.context.last_error
        assert "%imagegen login NAME" in str(caught.value)
        assert not [word for word in (SECRET, OPAQUE, "hunter2", "eyJ") if word in shown]


@pytest.mark.parametrize(
    "line",
    [
        "-p evolink --size 16:9 --name castle-starry-sky-7f3a-1",
        "--ref https://cdn.example/a.png?X-Amz-Signature=9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0",
        "--save-dir /data/9f8e7d6c5b4a39281706f5e4d3c2b1a0ff/pictures",
        "a piano key and a low-key mood, the token of love",
        "a poster that says supercalifragilisticexpialidocious",
        "--callback-url https://hooks.example/9f8e7d6c5b4a39281706f5e4d3c2b1a0ff",
        "--set max_tokens=500",
        "--set seed=7 --set steps=30",
        "a basic composition, a token collection and an api key: forbidden",
    ],
)
def test_ordinary_lines_are_no_keys(line):
    """Names, folders, signed addresses and prompts about keys pass."""
    assert not secret_patterns.looks_like_key(line)


def test_a_known_key_in_a_prompt_is_refused(shell, monkeypatch):
    """A prompt that holds a key of this environment or session is not sent; any other prompt is sent."""
    monkeypatch.setenv("EVOLINK_API_KEY", "short-but-real-one")
    with pytest.raises(UnsupportedOption, match="This prompt holds something like a key"):
        shell.run("%%imagegen --dry-run\nwrite short-but-real-one on a wall")
    monkeypatch.setattr(getpass, "getpass", lambda prompt="": "remembered-one")
    shell.run("%imagegen login xingchao")
    with pytest.raises(UnsupportedOption, match="This prompt holds something like a key"):
        shell.run("%%imagegen --dry-run\nwrite remembered-one on a wall")
    shell.run(f"%%imagegen --dry-run\nwrite {SECRET} on a wall")


def test_login_asks_unseen_and_remembers(shell, monkeypatch, capsys):
    """`%imagegen login NAME` asks with getpass, keeps the key in memory and shows it nowhere."""
    asked = []
    monkeypatch.setattr(getpass, "getpass", lambda prompt="": asked.append(prompt) or SECRET)
    shell.run("%imagegen login evolink")
    assert asked == ["Key of EvoLink: "]
    printed = capsys.readouterr().out
    assert "kept until this kernel ends" in printed
    assert "the next cell uses it" in printed
    for command in ("providers", "config", "doctor", "error"):
        shell.run(f"%imagegen {command}")
        printed += capsys.readouterr().out + json.dumps(shell.shell.display_pub.outputs)
    assert SECRET not in printed
    assert "set (this session)" in printed


@pytest.mark.parametrize("name", registry.provider_names())
def test_login_takes_a_key_for_each_service(shell, monkeypatch, capsys, name):
    """And names the cells that use it: with -p, unless a key alone makes the service the default."""
    monkeypatch.setattr(getpass, "getpass", lambda prompt="": SECRET)
    shell.run(f"%imagegen login {name}")
    provider = registry.get_provider(name)
    user = "the next cell" if provider.chosen_by_key else f"a cell with -p {name}"
    assert f"The key of {provider.title} is kept until this kernel ends. Nothing was sent; {user} uses it." in capsys.readouterr().out
    assert endpoints.has_key(provider, shell.context.settings())


def test_login_can_save_to_the_keyring(shell, monkeypatch, capsys):
    """`--save` puts the key into the system keyring; without one that is an error and the key is still remembered."""
    from keyring.backends.fail import Keyring as NoKeyring

    class Memory(NoKeyring):
        """A keyring in memory."""

        kept: dict = {}  # noqa: RUF012 - one for the test
        priority = 1

        def set_password(self, service, username, password):
            self.kept[service, username] = password

        def get_password(self, service, username):
            return self.kept.get((service, username))

    before = keyring.get_keyring()
    monkeypatch.setattr(getpass, "getpass", lambda prompt="": SECRET)
    try:
        keyring.set_keyring(Memory())
        shell.run("%imagegen login evolink --save")
        assert Memory.kept == {("imagegen_magic", "evolink"): SECRET}
        assert "system keyring" in capsys.readouterr().out
        keyring.set_keyring(NoKeyring())
        with pytest.raises(ImageGenError, match="for this session it is remembered"):
            shell.run("%imagegen login gccai --save")
    finally:
        keyring.set_keyring(before)
    shell.run("%imagegen providers")
    assert "set (this session)" in shell.shown()[0]


def test_login_needs_a_name_and_a_key(shell, monkeypatch, capsys):
    """No name, an unknown name, nothing typed: one line each, and nothing remembered."""
    monkeypatch.setattr(getpass, "getpass", lambda prompt="": "  ")
    for code, words in (
        ("%imagegen login", "with one of apimart, .*xingchao"),
        ("%imagegen login nowhere", "nowhere"),
        ("%imagegen login evolink", "No key was typed"),
        ("%imagegen login evolink abc", "it asks for the key and does not show it"),
    ):
        with pytest.raises(Exception, match=words) as caught:
            shell.run(code)
        assert "abc" not in str(caught.value)
    shell.run("%imagegen providers")
    assert "set (this session)" not in shell.shown()[0]


def test_the_trace_is_redacted(shell, monkeypatch, capsys):
    """`%imagegen error` shows the trace, with anything like a key blotted out, and the shown line is clean too."""
    from imagegen_magic.notebook.commands import jobs

    monkeypatch.setenv("GCCAI_API_KEY", "plain-looking-one")

    def fail(*_):
        raise ImageGenError(f"the gateway said\n Bearer {SECRET} is bad, plain-looking-one too", hint=f"not {OPAQUE}")

    monkeypatch.setattr(jobs, "jobs", fail)
    with pytest.raises(ImageGenError) as caught:
        shell.run("%imagegen jobs")
    shown = caught.value._render_traceback_()
    assert len(shown) == 1
    assert "\n" not in shown[0]
    capsys.readouterr()
    shell.run("%imagegen error")
    trace = capsys.readouterr().out
    assert "Traceback" in trace
    assert "in fail" in trace
    for text in (trace, shown[0], str(caught.value)):
        assert not [secret for secret in (SECRET, OPAQUE, "plain-looking-one") if secret in text]
        assert "[key]" in text


def test_a_configured_gateway_key_is_known_too(shell, own_world, monkeypatch):
    """A configured gateway's key is watched for, whatever its variable is called, even if the configuration is invalid."""
    table = 'like = "apimart"\nbase_url = "https://zeta.example"\nkey_variable = "ZETA_SECRET_WORD"\n'
    (own_world / "pyproject.toml").write_text(f"[tool.imagegen.providers.zeta]\n{table}")
    monkeypatch.setenv("ZETA_SECRET_WORD", "zeta-word")
    monkeypatch.setenv("EVOLINK_API_KEY", "evolink-word")
    with pytest.raises(UnsupportedOption, match="This line holds something like a key"):
        shell.run("%imagegen --dry-run --name zeta-word a fox")
    (own_world / "pyproject.toml").write_text("[tool.imagegen]\nspeed = 3\n")
    with pytest.raises(UnsupportedOption, match="This line holds something like a key"):
        shell.run("%imagegen --dry-run --name evolink-word a fox")


@pytest.mark.parametrize("option", ["", " --dry-run"])
@pytest.mark.parametrize(
    ("line", "body", "where"),
    [
        ("--vars", "fox {{key}}", "prompt"),
        ("--vars", "fox short-but-{{rest}}", "prompt"),
        ("--sweep s=@keys", "fox {{s}}", "prompt"),
        ("--sweep s=@ends", "fox short-but-{{s}}", "prompt"),
        ("--sweep quality=low,high --vars", "fox {{key}}", "prompt"),
        ("--sweep extra=@fields", "fox", "line"),
        ("--ref address", "fox", "line"),
        ("--ref address --sweep quality=low,high", "fox", "line"),
        ("--sweep references=@addresses", "fox", "line"),
    ],
)
def test_a_known_key_in_a_variable_is_refused(shell, own_world, monkeypatch, line, body, where, option):
    """What variables put into a prompt or an option is checked before anything is sent, stored or written, and is not repeated."""
    monkeypatch.setenv("EVOLINK_API_KEY", "short-but-real-one")
    address = "https://example.org/short-but-real-one.png"
    shell.shell.user_ns.update(
        key="short-but-real-one", rest="real-one", keys=["plain", "short-but-real-one"], ends=["plain", "real-one"],
        fields=[{"seed": 1}, {"token": "short-but-real-one"}], address=address, addresses=["https://example.org/a.png", [address]],
    )  # fmt: skip
    with pytest.raises(UnsupportedOption, match=f"This {where} holds something like a key, so nothing was run") as caught:
        shell.run(f"%%imagegen -p evolink --sandbox -s 1:1{option} {line}\n{body}")
    assert "short-but-real-one" not in str(caught.value) + shell.context.last_error + json.dumps(shell.shell.display_pub.outputs)
    assert not (own_world / "imagegen").exists()
    shell.run("%%imagegen -p evolink --sandbox -s 1:1 --dry-run --vars --sweep s=oil,ink\nfox {{s}} {{rest}}")


SAVED = "evolinkSecretKey77"


@pytest.fixture
def ring(monkeypatch):
    """A system keyring that holds the key of one gateway."""
    memory = Memory()
    monkeypatch.setattr(keyring.core, "_keyring_backend", memory)
    credentials.save("evolink", SAVED, load().home)
    return memory


def test_a_saved_key_is_refused_and_blotted_out(shell, ring):
    """A key of the system keyring is watched for in prompt, line and variables, and kept out of errors, like any other."""
    shell.shell.user_ns["key"] = SAVED
    for code, where in (
        (f"%%imagegen -p evolink --dry-run\nmy key is {SAVED} please", "prompt"),
        (f"%imagegen -p evolink --dry-run --name {SAVED} fox", "line"),
        ("%%imagegen -p evolink --dry-run --vars\nwrite {{key}}", "prompt"),
    ):
        with pytest.raises(UnsupportedOption, match=f"This {where} holds something like a key") as caught:
            shell.run(code)
        assert SAVED not in str(caught.value) + shell.context.last_error
    assert ring.asked == 1
    with pytest.raises(ImageGenError) as caught, cell_runner.one_line_errors(shell.context):
        raise ImageGenError(f"The gateway said: {SAVED}")
    assert "The gateway said: [key]" in str(caught.value)
    assert SAVED not in shell.context.last_error


def test_a_locked_keyring_is_one_line(shell, ring, capsys):
    """A cell that would need its key is refused in one line; every other cell and command works, and doctor shows the fix."""
    ring.trouble = KeyringLocked("Failed to unlock the collection!")
    shell.run("%%imagegen --sandbox --dry-run\na fox")
    for code in ("%%imagegen\na fox", "%%imagegen -p evolink\na fox"):
        with pytest.raises(MissingKey, match=r"The key of EvoLink is in the system keyring, which could not be opened \(KeyringLocked\)"):
            shell.run(code)
    shell.run("%imagegen providers")
    assert "set (system keyring), but cannot be used: The key of EvoLink" in shell.shown()[0]
    shell.run("%imagegen doctor")
    (row,) = [line for line in shell.shown()[0].splitlines() if line.startswith("key of evolink")]
    assert "could not be opened (KeyringLocked)" in row
    assert "unlock the keyring, or set EVOLINK_API_KEY" in row
    assert "found, listed first." in shell.shown()[0]


def test_config_shows_no_key_put_there_by_mistake(shell, own_world):
    """Of a configured gateway only what belongs there is shown, and only where it looks as it should."""
    shell.context._folder = NotebookFolder(own_world)
    (own_world / "pyproject.toml").write_text(
        "[tool.imagegen]\nname = 'sk-evo-Zq81mNf02LxT77yQ'\nproviders.odd = 'secretvalue0'\n"
        "[tool.imagegen.providers.my]\nlike = 'apimart'\nbase_url = 'https://api.example.com'\nkey = 'secretvalue1'\n"
        "[tool.imagegen.providers.your]\nkey_variable = 'secretvalue2'\nbase_url = 'https://me:secretvalue3@api.example.com'\n"
        "docs_url = 'https://api.example.com/?key=secretvalue4'\n"
    )
    shell.run("%imagegen config")
    text = shell.shown()[0] + shell.shown("text/html")[0]
    assert "secretvalue" not in text
    assert "Zq81mNf02LxT77yQ" not in text
    assert "like = apimart, base_url = https://api.example.com, key = (not shown)" in text


def test_login_leaves_no_key_in_a_traceback(shell, monkeypatch):
    """What was typed is in no variable of a function of ours when it is refused."""
    monkeypatch.setattr(getpass, "getpass", lambda prompt="": "pl4tform Ab9xyz0123")
    with pytest.raises(MissingKey) as caught:
        shell.run("%imagegen login evolink")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if frame.f_globals["__name__"].startswith("imagegen_magic")]
    assert ours
    assert "Ab9xyz0123" not in repr([frame.f_locals for frame in ours])
