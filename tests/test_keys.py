"""Where a key comes from, and that it shows itself nowhere."""

import copy
import os
import pickle
import subprocess
import sys
import traceback

import keyring
import pytest
from keyring.backends.fail import Keyring as Nothing
from keyring.errors import KeyringLocked
from rings import Memory

from imagegen_magic.engine import credentials
from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.endpoints import select_endpoint
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import ImageGenError, MissingKey, UnsupportedOption
from imagegen_magic.providers import registry
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest

SECRET = "sk-very-secret-key-123456"
EVOLINK = get_provider("evolink")


def test_a_key_comes_from_the_environment(monkeypatch):
    """`<NAME>_API_KEY`, white space around it ignored."""
    assert credentials.find(EVOLINK) is None
    assert credentials.where(EVOLINK) == "not set"
    monkeypatch.setenv("EVOLINK_API_KEY", f" {SECRET}\n")
    assert credentials.find(EVOLINK).reveal() == SECRET
    assert credentials.where(EVOLINK) == "EVOLINK_API_KEY"


def test_a_login_is_nearer_than_the_environment(monkeypatch):
    """What was typed in this session holds for this session, in memory alone."""
    monkeypatch.setenv("EVOLINK_API_KEY", "other")
    credentials.remember("evolink", SECRET)
    assert credentials.find(EVOLINK).reveal() == SECRET
    assert credentials.where(EVOLINK) == "this session"
    assert SECRET not in os.environ.values()


def test_a_saved_key_comes_from_the_system_keyring(tmp_path, monkeypatch):
    """`login --save` puts the key into the keyring; on disk beside the ledger is only the gateway's name."""
    monkeypatch.setattr(keyring.core, "_keyring_backend", Memory())
    credentials.save("evolink", SECRET, tmp_path / "home")
    assert credentials.find(EVOLINK, tmp_path / "home").reveal() == SECRET
    assert credentials.where(EVOLINK, tmp_path / "home") == "system keyring"
    assert credentials.find(get_provider("apimart"), tmp_path / "home") is None
    assert [file.read_text() for file in (tmp_path / "home").rglob("*") if file.is_file()] == ["evolink\n"]


def test_saving_without_a_keyring_names_the_next_step(tmp_path, monkeypatch):
    """No keyring package, or none that works: reported, and the key stays out of every file."""
    monkeypatch.setattr(credentials, "_keyring", lambda: None)
    with pytest.raises(ImageGenError, match=r"imagegen-magic\[keyring\]"):
        credentials.save("evolink", SECRET, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(keyring.core, "_keyring_backend", Nothing())
    with pytest.raises(ImageGenError, match="keyring took no key") as error:
        credentials.save("evolink", SECRET, tmp_path)
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_the_keyring_is_not_even_imported_for_gateways_without_a_key_in_it(tmp_path):
    """Choosing a gateway must not open a password dialogue."""
    code = (
        "import sys; from imagegen_magic.engine.settings import load; from imagegen_magic.engine.endpoints import select_endpoint;"
        "assert select_endpoint(load()).sandbox; assert 'keyring' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_key_names_the_variable_and_the_sandbox():
    """A chosen gateway without a key is an error, never a silent sandbox."""
    with pytest.raises(MissingKey) as error:
        select_endpoint(load(), provider="evolink")
    assert all(word in str(error.value) for word in ("EVOLINK_API_KEY", "%imagegen login evolink", "--sandbox", "Nothing was charged"))


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


@pytest.fixture
def ring(monkeypatch):
    """The system keyring of the test."""
    memory = Memory()
    monkeypatch.setattr(keyring.core, "_keyring_backend", memory)
    return memory


def test_the_known_keys_are_one_list(ring, own_world, monkeypatch):
    """Session, environment, a configured gateway's variable and the keyring, the longest first so that none leaves a part of another."""
    (own_world / "pyproject.toml").write_text('[tool.imagegen.providers.zeta]\nlike = "apimart"\nkey_variable = "ZETA_WORD"\n')
    monkeypatch.setenv("apimart_api_key", "of-the-environment")
    monkeypatch.setenv("ZETA_WORD", "of-a-look-alike")
    monkeypatch.setenv("SHORT_API_KEY", "a-word")
    credentials.remember("gccai", "of-this-session")
    credentials.save("evolink", SECRET, load().home)
    assert credentials.known(load()) == (SECRET, "of-the-environment", "of-a-look-alike", "of-this-session")
    assert credentials.known() == credentials.known(load())


def test_a_wrong_configuration_hides_no_key(ring, own_world, monkeypatch):
    """Where the project's settings cannot be read, the keys are known all the same."""
    credentials.save("evolink", SECRET, load().home)
    monkeypatch.setenv("APIMART_API_KEY", "of-the-environment")
    (own_world / "pyproject.toml").write_text("[tool.imagegen]\nspeed = 3\n")
    assert set(credentials.known()) == {SECRET, "of-the-environment"}


def test_the_keyring_is_asked_once(ring, tmp_path):
    """Each question may open a dialogue: what was answered is remembered, until another key is saved."""
    credentials.save("evolink", SECRET, load().home)
    for _ in range(3):
        assert credentials.known(load()) == (SECRET,)
        assert credentials.require(EVOLINK, load().home).reveal() == SECRET
        assert credentials.where(EVOLINK, load().home) == "system keyring"
    assert ring.asked == 1
    credentials.save("evolink", "another-secret-key", load().home)
    assert credentials.known(load()) == ("another-secret-key",)
    assert ring.asked == 2


def test_the_known_keys_import_no_keyring_where_none_was_used(tmp_path):
    """Only a user who has saved a key there pays for it."""
    code = (
        "import sys; from imagegen_magic.engine import credentials as keys; from imagegen_magic.engine.settings import load;"
        "assert keys.known(load()) == keys.known() == (); assert 'keyring' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("trouble", [KeyringLocked("Failed to unlock the collection!"), RuntimeError("a broken backend")])
def test_a_keyring_that_cannot_be_opened_is_reported(ring, trouble, monkeypatch):
    """Locked or broken: an error with the next step if its key is needed, none if it is not, and few attempts."""
    credentials.save("evolink", SECRET, load().home)
    ring.trouble = trouble
    assert credentials.known(load()) == ()
    for provider in ("evolink", None):
        with pytest.raises(MissingKey) as error:
            select_endpoint(load(), provider=provider)
        words = ("EvoLink", "system keyring", type(trouble).__name__, "Unlock", "EVOLINK_API_KEY", "Nothing was charged")
        assert [word for word in words if word not in str(error.value)] == []
    assert credentials.where(EVOLINK, load().home) == "system keyring"
    assert select_endpoint(load(), sandbox=True).sandbox
    assert ring.asked == 1
    ring.trouble = None
    monkeypatch.setattr(credentials, "_RETRY_AFTER", 0.0)
    assert credentials.require(EVOLINK, load().home).reveal() == SECRET
    assert credentials.known(load()) == (SECRET,)


def test_a_keyring_that_lost_its_key_has_none(ring, monkeypatch):
    """A key that was deleted by other means, or an uninstalled keyring, is a missing key like any other."""
    credentials.save("evolink", SECRET, load().home)
    ring.kept.clear()
    assert credentials.where(EVOLINK, load().home) == "not set"
    with pytest.raises(MissingKey, match="No key is set"):
        credentials.require(EVOLINK, load().home)
    credentials.save("evolink", SECRET, load().home)
    monkeypatch.setattr(credentials, "_keyring", lambda: None)
    assert credentials.find(EVOLINK, load().home) is None


BLANK = "pl4tform Ab9xyz0123"


def _by_environment(monkeypatch, ring):
    monkeypatch.setenv("EVOLINK_API_KEY", BLANK)
    select_endpoint(load(), provider="evolink")


def _by_keyring(monkeypatch, ring):
    credentials.save("evolink", BLANK, load().home)
    select_endpoint(load(), provider="evolink")


def _by_login(monkeypatch, ring):
    credentials.remember("evolink", BLANK)


def _unsaved(monkeypatch, ring):
    monkeypatch.setattr(ring, "set_password", None)
    credentials.save("evolink", BLANK, load().home)


@pytest.mark.parametrize("way", [_by_environment, _by_keyring, _by_login, _unsaved])
def test_no_variable_of_a_traceback_holds_a_key(way, monkeypatch, ring):
    """A traceback that shows variables, as after `%xmode Verbose`, shows no key of a function of ours."""
    with pytest.raises(ImageGenError) as caught:
        way(monkeypatch, ring)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert any(frame.f_globals["__name__"] == credentials.__name__ for frame in frames)
    ours = [frame for frame in frames if frame.f_globals["__name__"].startswith("imagegen_magic")]
    assert "Ab9xyz0123" not in repr([frame.f_locals for frame in ours])


def test_a_key_in_a_request_is_refused(monkeypatch):
    """In the prompt, in an option, in the name of the file, or in what else is kept of it; any other request passes."""
    monkeypatch.setenv("EVOLINK_API_KEY", SECRET)
    for request, others, settings, place in (
        (ImageRequest(f"write {SECRET}"), (), load(), "prompt"),
        (ImageRequest("fox", extra={"user": [SECRET]}), (), load(), "line"),
        (ImageRequest("fox", references=(f"https://x.example/{SECRET}.png",)), (), load(), "line"),
        (ImageRequest("fox"), ({"style": SECRET},), load(), "line"),
        (ImageRequest("fox"), (), load().replace("this call", name=SECRET), "line"),
        (ImageRequest("fox"), (), load().replace("this call", save_dir=f"pictures/{SECRET}"), "line"),
    ):
        with pytest.raises(UnsupportedOption, match=f"This {place} holds something like a key") as caught:
            credentials.reject_embedded_keys([request], others, settings)
        assert SECRET not in str(caught.value)
    credentials.reject_embedded_keys([ImageRequest("a very secret fox")])


def test_the_key_of_every_service_is_known_by_its_variable(monkeypatch):
    """Without importing the services: the names of the variables follow a few patterns."""
    for provider in registry.built_in():
        for variable in (provider.key_variable, *provider.other_key_variables):
            with monkeypatch.context() as one:
                one.setenv(variable, "a-key-of-some-length")
                assert "a-key-of-some-length" in credentials.known(load()), variable


def test_a_named_service_is_all_that_is_imported():
    """A request that names one does not wait for the files of the others."""
    code = "from imagegen_magic.providers import registry; registry.get_provider('evolink'); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if ".gateways." in name] == ["imagegen_magic.providers.gateways.evolink"]
