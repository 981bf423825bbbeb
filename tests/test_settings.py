"""Where an option's value comes from: nearest to the cell wins, and a wrong one is reported, not dropped."""

from pathlib import Path

import pytest

from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.options import SETTINGS


def test_built_in_values_and_origin(own_world):
    """Without any configuration the documented defaults hold."""
    settings = load()
    assert (settings.get("timeout"), settings.get("save_dir"), settings.get("preview"), settings.get("submits_at_once")) == (
        600,
        "imagegen",
        1024,
        8,
    )
    assert settings.origin("timeout") == "built in"
    assert settings.save_dir == own_world / "imagegen"


def test_the_notebook_beats_the_project_beats_the_environment(own_world, monkeypatch):
    """Nearest to the cell wins."""
    monkeypatch.setenv("IMAGEGEN_QUALITY", "low")
    assert (load().get("quality"), load().origin("quality")) == ("low", "environment IMAGEGEN_QUALITY")
    (own_world / "pyproject.toml").write_text('[tool.imagegen]\nquality = "medium"\nsave-dir = "pics"\n')
    assert (load().get("quality"), load().origin("quality")) == ("medium", "pyproject.toml")
    assert load().save_dir == own_world / "pics"
    assert load().replace("%config", quality="high").get("quality") == "high"
    assert load().replace("%config", quality=None).get("quality") == "medium"


def test_pyproject_is_found_upward(own_world):
    """A notebook in a subfolder belongs to its project."""
    (own_world / "pyproject.toml").write_text('[tool.imagegen]\nprovider = "evolink"\n')
    below = own_world / "a" / "b"
    below.mkdir(parents=True)
    assert load(below).get("provider") == "evolink"


def test_a_changed_project_file_is_read_again(own_world):
    """What was edited holds for the next cell."""
    file = own_world / "pyproject.toml"
    file.write_text('[tool.imagegen]\nquality = "low"\n')
    assert load().get("quality") == "low"
    file.write_text('[tool.imagegen]\nquality = "medium"\n')
    assert load().get("quality") == "medium"


def test_configured_gateway_are_read(own_world):
    """[tool.imagegen.providers.NAME] is a gateway, not an option."""
    (own_world / "pyproject.toml").write_text('[tool.imagegen.providers.mine]\nlike = "apimart"\nbase_url = "https://x.example"\n')
    assert load().provider_tables == {"mine": {"like": "apimart", "base_url": "https://x.example"}}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('[tool.imagegen]\nqualty = "low"\n', "qualty"),
        ('[tool.imagegen]\ntimeout = "soon"\n', "timeout"),
        ("[tool.imagegen\n", "pyproject"),
    ],
)
def test_a_wrong_configuration_is_said(own_world, text, word):
    """A misspelt option, an unreadable value or a broken file is an error of what needs it, never dropped."""
    (own_world / "pyproject.toml").write_text(text)
    with pytest.raises(UnsupportedOption, match=word):
        load().check("timeout")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'tool = "imagegen"\n', "tool is no table"),
        (b"[tool]\nimagegen = 3\n", "imagegen is no table"),
        (b'[tool.imagegen]\nproviders = "x"\n', "providers is no table"),
        (b"[project]\n# caf\xe9\n[tool.imagegen]\n", "line 2 is not in UTF-8"),
        (b"imagegen = " + b"[" * 5000, "cannot be read"),
    ],
)
def test_a_project_file_of_an_odd_shape_is_said(own_world, content, why):
    """Whatever is wrong with a file that is found upward, one line names it."""
    file = own_world / "pyproject.toml"
    file.write_bytes(content)
    (own_world / "notebooks").mkdir()
    with pytest.raises(UnsupportedOption, match=why) as caught:
        load(own_world / "notebooks").check()
    assert str(file) in str(caught.value)
    assert "Correct the file" in str(caught.value)


def test_a_folder_in_the_project_files_place_is_said(own_world):
    """It cannot be read, and the error names it."""
    (own_world / "pyproject.toml").mkdir()
    with pytest.raises(UnsupportedOption, match=r"pyproject\.toml cannot be read: Is a directory"):
        load().check()


def test_a_project_file_that_is_not_about_us_may_be_anything(own_world):
    """A file without a word for us is nobody's business here, in whatever encoding."""
    (own_world / "pyproject.toml").write_bytes(b"# caf\xe9\n[project\n")
    assert load().get("quality") is None


@pytest.mark.parametrize(("given", "meant"), [("1", True), ("true", True), ("0", False), ("no", False)])
def test_flags_in_the_environment(monkeypatch, given, meant):
    """IMAGEGEN_SANDBOX=1 is a yes."""
    monkeypatch.setenv("IMAGEGEN_SANDBOX", given)
    assert load().get("sandbox") is meant


NO_NUMBERS = [("UNKNOWN_PRICE", word) for word in ("nan", "snan", "-nan", "inf", "-1", "much")] + [("PREVIEW", "inf"), ("PREVIEW", "nan")]


@pytest.mark.parametrize(
    ("name", "value"), [("SANDBOX", "maybe"), ("POLL_SECONDS", "0"), ("POLL_SECONDS", "-3"), ("PREVIEW", "big"), *NO_NUMBERS]
)
def test_a_wrong_environment_is_said(monkeypatch, name, value):
    """A value that cannot be read names its variable."""
    monkeypatch.setenv(f"IMAGEGEN_{name}", value)
    with pytest.raises(UnsupportedOption, match=f"IMAGEGEN_{name}"):
        load().get(name.lower())


def test_home(monkeypatch, tmp_path):
    """IMAGEGEN_HOME names the ledger's folder; without it, the user's data folder."""
    assert load().home == tmp_path / "home"
    monkeypatch.delenv("IMAGEGEN_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert load().home == tmp_path / "data" / "imagegen_magic"


def test_absolute_and_home_save_dirs(own_world, monkeypatch, tmp_path):
    """A save folder may be absolute or in the user's home."""
    assert load().replace("x", save_dir="/pictures").save_dir == Path("/pictures")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load().replace("x", save_dir="~/pictures").save_dir == tmp_path / "pictures"


def test_unknown_names():
    """Asking for what does not exist is a KeyError; setting it is refused with a message."""
    with pytest.raises(KeyError):
        load().get("colour")
    with pytest.raises(UnsupportedOption, match="colour"):
        load().replace("%config", colour="red")
    assert "provider" in SETTINGS
