"""Colab's and Kaggle's secrets: read for the chosen service only, when its key is needed, in the main thread, and shown nowhere.

The modules of both services are imitated; everything after them is real.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import types

import pytest
from shells import a_shell

from imagegen_magic import Panel, generate
from imagegen_magic.engine import credentials, endpoints
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import MissingKey, UnsupportedOption
from imagegen_magic.providers import registry

SECRET = "sk-evo-Zq81mNf02LxT77yQ"


class SecretNotFoundError(Exception):
    """Colab's own error; its other one, NotebookAccessError, derives from Exception too."""


class Vault(dict):
    """The user's secrets, and the names that were asked for with the thread that asked."""

    def __init__(self):
        self.asked = []

    def get(self, name):
        """Return a secret as both services do."""
        self.asked.append((name, threading.current_thread() is threading.main_thread()))
        if name not in self:
            raise SecretNotFoundError(name)
        return self[name]

    get_secret = get


@pytest.fixture(params=["Colab", "Kaggle"])
def host(request):
    """The name of the hosted notebook."""
    return request.param


@pytest.fixture
def vault(host, monkeypatch, gateway):
    """The secrets of a hosted notebook; the services are those of the sandbox's process, without a key in the environment."""
    kept = Vault()
    if host == "Colab":
        userdata = types.ModuleType("google.colab.userdata")
        userdata.get = kept.get
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        monkeypatch.setitem(sys.modules, "google.colab.userdata", userdata)
    else:
        module = types.ModuleType("kaggle_secrets")
        module.UserSecretsClient = lambda: kept
        monkeypatch.setitem(sys.modules, "kaggle_secrets", module)
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setenv("EVOLINK_BASE_URL", gateway.base_url("evolink"))
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")
    return kept


@pytest.fixture
def shell():
    """A shell with the extension."""
    with a_shell() as found:
        yield found


def test_the_key_of_the_named_service_is_read_once(vault, shell):
    """The first cell reads it in the main thread, the second has it from the session; no other service's is read."""
    vault["EVOLINK_API_KEY"] = SECRET
    shell.run("%%imagegen -p evolink\na fox")
    shell.run("%%imagegen -p evolink\na hen")
    assert vault.asked == [("EVOLINK_API_KEY", True)]
    assert credentials.where(registry.get_provider("evolink")) == "this session"


def test_the_key_is_in_no_output(vault, shell):
    """Redaction knows it: a cell and a message that hold it are refused and blotted out."""
    vault["EVOLINK_API_KEY"] = "not-in-the-form-of-any-key"
    shell.run("%%imagegen -p evolink\na fox")
    assert credentials.known() == ("not-in-the-form-of-any-key",)
    with pytest.raises(UnsupportedOption, match="holds something like a key"):
        shell.run("%%imagegen -p evolink\na fox with not-in-the-form-of-any-key")
    shell.run("%imagegen providers")
    assert "not-in-the-form" not in "".join([*shell.shown(), *shell.shown("text/html")])


def test_no_secret_is_read_to_find_a_service(vault, shell, host):
    """Without -p the sandbox draws, and the note says to name a service."""
    vault["EVOLINK_API_KEY"] = SECRET
    endpoint = endpoints.select_endpoint(load())
    assert endpoint.sandbox
    assert f"The secrets of {host} are read only for a service that you name: add -p NAME" in endpoint.note
    for code in (
        "%%imagegen\na fox",
        "%imagegen providers",
        "%imagegen models",
        "%imagegen doctor",
        "%%imagegen -p evolink --dry-run\na fox",
    ):
        shell.run(code)
        if code == "%imagegen providers":
            assert f"not read: a cell with -p evolink reads EVOLINK_API_KEY from the secrets of {host}" in shell.shown()[0]
    assert vault.asked == []


def test_no_secret_is_read_for_what_needs_no_key(vault, shell, monkeypatch):
    """A key of the session or the environment is nearer, the sandbox needs none, and a refused request sends nothing."""
    with pytest.raises(UnsupportedOption):
        shell.run("%%imagegen -p evolink -s 1:77\na fox")
    shell.run("%%imagegen -p evolink --sandbox\na fox")
    monkeypatch.setenv("EVOLINK_API_KEY", "of-the-environment")
    shell.run("%%imagegen -p evolink\na fox")
    assert vault.asked == []


@pytest.mark.parametrize("secret", [None, "", "  "])
def test_a_secret_that_is_not_there_is_a_missing_key(vault, host, secret):
    """Whatever the service raises or returns; the message names the secret to add."""
    if secret is not None:
        vault["EVOLINK_API_KEY"] = secret
    with pytest.raises(MissingKey, match=f"No key is set for EvoLink.*Add EVOLINK_API_KEY to the secrets of {host}"):
        endpoints.select_endpoint(load(), provider="evolink")


def test_a_sweep_asks_for_a_missing_secret_once(vault, shell):
    """Its first combination ends it: a dialogue for each would be many."""
    with pytest.raises(MissingKey):
        shell.run("%%imagegen -p evolink --sweep quality=low,high --yes\na fox")
    assert vault.asked == [("EVOLINK_API_KEY", True)]


def test_a_secret_that_is_no_key_is_refused_without_showing_it(vault, host):
    """With the name of the secret."""
    vault["EVOLINK_API_KEY"] = "a secret of two lines\nand more"
    with pytest.raises(MissingKey, match=f"The key in the secret EVOLINK_API_KEY of {host} has a character that no key has") as caught:
        endpoints.select_endpoint(load(), provider="evolink")
    assert "two lines" not in str(caught.value)


def test_only_the_main_thread_reads_secrets(vault):
    """In another thread the key is missing, and login is named, which reads it."""
    vault["EVOLINK_API_KEY"] = SECRET
    raised = []

    def choose():
        try:
            endpoints.select_endpoint(load(), provider="evolink")
        except MissingKey as error:
            raised.append(str(error))

    thread = threading.Thread(target=choose)
    thread.start()
    thread.join()
    assert vault.asked == []
    assert "run %imagegen login evolink, which reads or asks for it" in raised[0]


def test_login_reads_the_secret(vault, shell, host, capsys):
    """For what runs in another thread, such as the panel and resume; nothing is typed."""
    vault["EVOLINK_API_KEY"] = SECRET
    shell.run("%imagegen login evolink")
    assert f"Read from the secrets of {host}." in (out := capsys.readouterr().out)
    assert SECRET not in out
    assert credentials.find(registry.get_provider("evolink")).reveal() == SECRET


def test_the_panel_reads_no_secret(vault, host):
    """It starts its requests in other threads: its field for the key names the secret and login."""
    vault["EVOLINK_API_KEY"] = SECRET
    missing = Panel(provider="evolink")._state.missing_key
    assert f"Add EVOLINK_API_KEY to the secrets of {host} for this notebook, and run %imagegen login evolink" in missing
    assert missing.endswith(", or type the key here:")
    assert vault.asked == []


@pytest.mark.parametrize("references", [(), ("reference.png",)])
def test_a_script_gets_the_key(vault, own_world, references):
    """`await generate(...)` in a notebook's main thread, also if references are loaded in another."""
    from PIL import Image

    vault["EVOLINK_API_KEY"] = SECRET
    Image.new("RGB", (64, 64), "red").save(own_world / "reference.png")
    made = asyncio.run(generate("a fox", provider="evolink", references=tuple(own_world / each for each in references)))
    assert len(made) == 1
    assert vault.asked == [("EVOLINK_API_KEY", True)]


def test_elsewhere_no_module_is_imported(monkeypatch):
    """On an ordinary machine a module of that name is some other package's."""
    monkeypatch.setitem(sys.modules, "kaggle_secrets", None)
    with pytest.raises(MissingKey, match=r"Set EVOLINK_API_KEY in the environment, or %imagegen login evolink, or add --sandbox"):
        endpoints.select_endpoint(load(), provider="evolink")
