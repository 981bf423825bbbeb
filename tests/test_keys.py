"""Where a key comes from, and that it shows itself nowhere."""

import copy
import os
import pickle
import subprocess
import sys
import traceback

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as Nothing

from imagegen_magic.engine import keys
from imagegen_magic.engine.gateways import choose
from imagegen_magic.engine.keys import Key
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import ImageGenError, MissingKey
from imagegen_magic.providers.registry import get_provider

SECRET = "sk-very-secret-key-123456"
EVOLINK = get_provider("evolink")


class Memory(KeyringBackend):
    """A system keyring that forgets."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.kept = {}

    def get_password(self, service, name):
        """Return what was kept."""
        return self.kept.get((service, name))

    def set_password(self, service, name, secret):
        """Keep it."""
        self.kept[service, name] = secret


def test_a_key_comes_from_the_environment(monkeypatch):
    """`<NAME>_API_KEY`, white space around it ignored."""
    assert keys.find(EVOLINK) is None
    assert keys.where(EVOLINK) == "not set"
    monkeypatch.setenv("EVOLINK_API_KEY", f" {SECRET}\n")
    assert keys.find(EVOLINK).reveal() == SECRET
    assert keys.where(EVOLINK) == "EVOLINK_API_KEY"


def test_a_login_is_nearer_than_the_environment(monkeypatch):
    """What was typed in this session holds for this session, in memory alone."""
    monkeypatch.setenv("EVOLINK_API_KEY", "other")
    keys.remember("evolink", SECRET)
    assert keys.find(EVOLINK).reveal() == SECRET
    assert keys.where(EVOLINK) == "this session"
    assert SECRET not in os.environ.values()


def test_a_saved_key_comes_from_the_system_keyring(tmp_path, monkeypatch):
    """`login --save` puts the key into the keyring; on disk beside the ledger is only the gateway's name."""
    monkeypatch.setattr(keyring.core, "_keyring_backend", Memory())
    keys.save("evolink", SECRET, tmp_path / "home")
    assert keys.find(EVOLINK, tmp_path / "home").reveal() == SECRET
    assert keys.where(EVOLINK, tmp_path / "home") == "system keyring"
    assert keys.find(get_provider("apimart"), tmp_path / "home") is None
    assert [file.read_text() for file in (tmp_path / "home").rglob("*") if file.is_file()] == ["evolink\n"]


def test_saving_without_a_keyring_says_what_to_do(tmp_path, monkeypatch):
    """No keyring package, or none that works: told, and the key stays out of every file."""
    monkeypatch.setattr(keys, "_keyring", lambda: None)
    with pytest.raises(ImageGenError, match=r"imagegen_magic\[keyring\]"):
        keys.save("evolink", SECRET, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(keyring.core, "_keyring_backend", Nothing())
    with pytest.raises(ImageGenError, match="keyring took no key") as error:
        keys.save("evolink", SECRET, tmp_path)
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_the_keyring_is_not_even_imported_for_gateways_without_a_key_in_it(tmp_path):
    """Choosing a gateway must not open a password dialogue."""
    code = (
        "import sys; from imagegen_magic.engine.settings import load; from imagegen_magic.engine.gateways import choose;"
        "assert choose(load()).sandbox; assert 'keyring' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_key_names_the_variable_and_the_sandbox():
    """A chosen gateway without a key is an error, never a silent sandbox."""
    with pytest.raises(MissingKey) as error:
        choose(load(), provider="evolink")
    assert all(word in str(error.value) for word in ("EVOLINK_API_KEY", "%imagegen login evolink", "--sandbox", "nothing was charged"))


def test_a_key_shows_itself_nowhere():
    """Not in repr, str, format, a traceback, a pickle or a copy."""
    key = Key(SECRET)
    assert SECRET not in f"{key!r} {key} {[key]} {vars(type(key))}"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.deepcopy(key)
    assert (key, hash(key)) == (Key(SECRET), hash(Key(SECRET)))
    assert key != Key("another")


def test_a_key_blots_itself_out_of_a_text():
    """Whatever repeats it."""
    assert Key(SECRET).redact(f"a {SECRET} b {SECRET}") == "a [key] b [key]"
    assert Key("abcdefg").redact("abcdefgh") == "abcdefgh"
