"""Which service makes the pictures of a user who has keys and has chosen none: asked once, kept, never assumed."""

from __future__ import annotations

import pytest
from servers import sandbox_thread
from shells import a_shell
from test_synchronous import Direct, pictures
from webserver import web

from imagegen_magic.engine import endpoints
from imagegen_magic.engine.settings import load, own_file
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.arguments import provider_choice
from imagegen_magic.providers import registry
from imagegen_magic.request import ImageRequest


class Chosen(Direct):
    """A service whose key alone does not make it the default."""

    chosen_by_key = False
    other_key_variables = ("OTHER_API_KEY",)


@pytest.fixture(autouse=True)
def service(own_world, monkeypatch):
    """A service with a key, at a server that answers with a picture; no gateway has a key."""
    known = registry._built_in()
    monkeypatch.setattr(registry, "_built_in", lambda: {**known, "direct": Chosen()})
    monkeypatch.setenv("DIRECT_API_KEY", "a-key-of-direct")
    with web(lambda seen: (200, {}, pictures(1))) as server:
        monkeypatch.setenv("DIRECT_BASE_URL", server.origin)
        yield server


@pytest.fixture
def shell():
    """A shell with the extension."""
    with a_shell() as found:
        yield found


@pytest.fixture
def asked(monkeypatch):
    """The questions that were asked; `asked.answers` are typed one after the other."""

    class Asked(list):
        def __init__(self):
            self.answers = ["direct"]

    questions = Asked()

    def answer(question):
        questions.append(question)
        return questions.answers[len(questions) - 1]

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr(provider_choice, "can_answer", lambda shell: True)
    return questions


def test_a_bare_cell_asks_once_and_keeps_the_answer(shell, asked, service, capsys):
    """The services with their price, and the sandbox; the next cell is not asked."""
    shell.run("%%imagegen\na fox")
    assert "1  direct: direct-1, price unknown" in (out := capsys.readouterr().out)
    assert "2  sandbox: drawn here, free" in out
    shell.run("%%imagegen\nanother fox")
    assert (len(asked), len(service.seen)) == (1, 2)
    assert own_file(load()).read_text() == 'provider = "direct"\n'


@pytest.mark.parametrize("answers", [["2"], ["Sandbox"], ["7", "", "2"]])
def test_the_sandbox_can_be_chosen(shell, asked, service, answers):
    """By name or number; what is neither is asked again."""
    asked.answers = answers
    shell.run("%%imagegen\na fox")
    shell.run("%%imagegen\na fox")
    assert (len(asked), service.seen, load().get("provider")) == (len(answers), [], "sandbox")
    assert endpoints.select_endpoint(load()).label == "gccai (sandbox)"
    shell.run("%%imagegen -p direct\na fox")  # a cell that names a service goes there
    assert len(service.seen) == 1


def test_a_sweep_asks_too(shell, asked, service):
    """Before its plan."""
    shell.run("%%imagegen --sweep style=ink,oil --yes\na fox in {{style}}")
    assert (len(asked), len(service.seen)) == (1, 2)


def test_if_the_question_cannot_be_asked_the_sandbox_draws(shell, service, monkeypatch):
    """And one line names the way to choose."""
    monkeypatch.setattr("builtins.input", lambda question: pytest.fail("asked"))
    shell.run("%%imagegen\na fox")
    note = " ".join(shell.shown())
    assert "nothing is charged" in note
    assert "A key is set for Direct: add -p direct, or choose it for all cells with %imagegen config provider=direct." in note
    assert service.seen == []


@pytest.mark.parametrize("line", ["-p direct", "--sandbox", "--dry-run"])
def test_who_names_a_service_is_not_asked(shell, monkeypatch, line):
    """Neither is a dry run, which sends nothing."""
    monkeypatch.setattr("builtins.input", lambda question: pytest.fail("asked"))
    monkeypatch.setattr(provider_choice, "can_answer", lambda shell: True)
    shell.run(f"%%imagegen {line}\na fox")


def test_a_gateway_with_a_key_stays_the_default(shell, asked, monkeypatch):
    """As in every version before."""
    monkeypatch.setenv("EVOLINK_API_KEY", "a-key-of-evolink")
    assert endpoints.select_endpoint(load()).provider.name == "evolink"
    shell.run("%%imagegen --dry-run\na fox")
    assert asked == []


def test_a_key_for_other_purposes_makes_nothing_available(monkeypatch):
    """It counts for a request that names the service."""
    monkeypatch.delenv("DIRECT_API_KEY")
    monkeypatch.setenv("OTHER_API_KEY", "a-key-for-others")
    assert endpoints.available(load()) == []
    assert endpoints.select_endpoint(load(), provider="direct").key.reveal() == "a-key-for-others"


class TestOwnSettings:
    """The user's own settings: nearer than what is built in, farther than everything else."""

    def test_config_writes_and_removes_one(self, shell, capsys):
        """They hold in every notebook."""
        shell.run("%imagegen config quality=high")
        assert (load().get("quality"), load().origin("quality")) == ("high", "your settings")
        shell.run("%imagegen config quality=")
        assert load().get("quality") is None
        assert "quality is high in all your notebooks." in capsys.readouterr().out

    def test_what_is_nearer_wins(self, shell, own_world, monkeypatch):
        """The environment and the project's file."""
        shell.run("%imagegen config quality=high")
        monkeypatch.setenv("IMAGEGEN_QUALITY", "medium")
        assert load().get("quality") == "medium"
        (own_world / "pyproject.toml").write_text('[tool.imagegen]\nquality = "low"\n')
        assert load().get("quality") == "low"

    def test_a_bad_one_is_refused(self, shell):
        """Before it is written."""
        for line in ("n=many", "colour=red"):
            with pytest.raises(UnsupportedOption):
                shell.run(f"%imagegen config {line}")
        assert not own_file(load()).exists()

    def test_a_broken_file_is_named(self, shell):
        """And refuses what needs a setting."""
        own_file(load()).parent.mkdir(parents=True, exist_ok=True)
        own_file(load()).write_text("provider = ")
        with pytest.raises(UnsupportedOption, match=r"settings\.toml cannot be read"):
            shell.run("%%imagegen\na fox")


OTHERS = [provider for provider in registry.built_in() if not provider.chosen_by_key and not provider.template]


@pytest.fixture(scope="module")
def services():
    """A sandbox that speaks as every service."""
    with sandbox_thread(duration=0.1, plain=True) as running:
        yield running


@pytest.mark.parametrize("provider", OTHERS, ids=lambda provider: provider.name)
def test_a_new_user_with_any_one_key_gets_a_picture(shell, asked, services, monkeypatch, capsys, provider):
    """A prompt in a bare cell, one question with the price of this request, and the picture comes from there."""
    monkeypatch.delenv("DIRECT_API_KEY")
    monkeypatch.setenv(provider.key_variable, "a-key-of-this-service")
    monkeypatch.setenv(endpoints.base_variable(provider), services.base_url(provider.name))
    asked.answers = ["1"]
    shell.run("%%imagegen -o made\na fox")
    (image,) = shell.variables["made"]
    assert (image.provider, image.sandbox, len(asked)) == (provider.name, False, 1)
    plan = provider.plan(ImageRequest("a fox"))
    price = "price unknown" if plan.price.amount is None else str(plan.price)
    out = capsys.readouterr().out
    assert f"  1  {provider.name}: {plan.model.name}, {price}\n" in out
    assert "sandbox: drawn here, free" in out
