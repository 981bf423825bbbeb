"""A prompt arrives as it was typed; variables go in only where `--vars` asks for it, and nothing is ever evaluated."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError
from shells import a_shell

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.arguments.request_builder import with_variables
from imagegen_magic.request import is_blank

HARD = [
    "a {red} fox for $5, {{x}} and $x, {1/0}",
    """it's "quoted" with \\n and \\\\ and 'both'""",
    "what is this?",
    "?what",
    "!ls and %who and %%time",
    "水墨画：一只红狐狸 🦊👩‍🎨",
    "  indented\n\n\tand blank lines\n  ",
    "-n 2 --size 16:9",
    "trailing spaces   ",
    "<b>&amp;</b> $\\alpha$ `code`",
    "a\u2028b\x0bc",
    "# not a comment",
    "ends with a backslash \\",
    ">>> looks like a prompt\n... and goes on",
]


@pytest.fixture(scope="module")
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


def sent(shell, code):
    """Return the prompt of the plan's first call."""
    shell.run(code)
    plan = shell.shown()[0]
    return json.loads(plan[plan.index("{") :])["prompt"]


@pytest.mark.parametrize("prompt", HARD)
def test_a_cell_takes_its_body_verbatim(shell, prompt):
    """Braces, quotes, ?, backslashes, emoji, Chinese, blank lines: all of it goes out as typed."""
    shell.shell.user_ns["x"] = "NO"
    assert sent(shell, f"%%imagegen --dry-run\n{prompt}\n") == prompt


def test_a_tab_after_the_name_is_a_blank(shell):
    """`%%imagegen` and `%imagegen` take a tab before what follows as they take a space."""
    assert sent(shell, "%%imagegen\t--dry-run\n  is this a fox?\n") == "  is this a fox?"
    assert sent(shell, "%imagegen\t--dry-run a fox") == "a fox"
    assert sent(shell, "%imagegen\t--dry-run is this a fox?") == "is this a fox?"


def test_an_indented_body_and_blank_lines_stay(shell):
    """Blank lines with spaces in them, and blank lines above the magic, change nothing."""
    assert sent(shell, "\n\n%%imagegen --dry-run\n  a\n   \n  b  \n \n") == "  a\n   \n  b  \n "


def test_a_terminal_still_knows_when_a_cell_is_complete(shell):
    """The first line alone is not yet a cell; a blank line ends it."""
    check = shell.shell.input_transformer_manager.check_complete
    assert check("%%imagegen -n 2\n")[0] == "incomplete"
    assert check("%%imagegen -n 2\na fox\n\n")[0] == "complete"
    assert check("%imagegen is this a fox?\n")[0] == "complete"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=80).filter(lambda text: not is_blank(text)))
def test_any_body_is_verbatim(shell, prompt):
    """Whatever is typed below the line arrives unchanged."""
    assert sent(shell, f"%%imagegen --dry-run\n{prompt}\n") == prompt


@pytest.mark.parametrize(
    "prompt",
    ["a {red} fox for $5, {{x}}", """it's "red" \\ here""", "is this a fox?", "is it, really??", "水墨画 🦊", "100% sure", "it's a fox?"],
)
def test_a_line_takes_its_prompt_verbatim(shell, prompt):
    """The line magic neither expands nor unquotes its prompt, and a question stays a prompt."""
    shell.shell.user_ns.update(x="NO", red="NO")
    assert sent(shell, f"%imagegen --dry-run {prompt}") == prompt
    assert sent(shell, f"if True:\n    %imagegen --dry-run {prompt}") == prompt


def test_the_option_line_expands_nothing(shell):
    """`{x}` and `$x` in the option line are text."""
    shell.shell.user_ns["x"] = "high"
    with pytest.raises(UnsupportedOption, match=r"\{x\}"):
        shell.run("%%imagegen --dry-run -p gccai -q {x}\na fox")
    with pytest.raises(UnsupportedOption, match=r"\$x"):
        shell.run("%%imagegen --dry-run -p gccai -q $x\na fox")


def test_a_question_about_the_magic_stays_one(shell):
    """`%imagegen?` is help, a string that holds such a line is a string, and other magics are untouched."""
    transform = shell.shell.transform_cell
    assert "pinfo" in transform("%imagegen?")
    assert "pinfo" in transform("%%imagegen?")
    assert "pinfo" in transform("%who?")
    assert transform('text = """\n%imagegen is this a fox?\n"""\n') == 'text = """\n%imagegen is this a fox?\n"""\n'
    assert "run_line_magic('imagegen', 'is this a fox?')" in transform("x = 1\n%imagegen is this a fox?\ny = 2\n")


def test_vars_replaces_names_of_variables(shell):
    """With --vars `{{name}}` becomes the variable; anything else in braces stays."""
    shell.shell.user_ns.update(animal="fox", n=3, tricky="{{animal}}")
    code = "%%imagegen --dry-run --vars\n{{n}} {{animal}}s, {animal}, {{ animal }}, {{animal.upper()}}, {{1}}, {{tricky}}"
    assert sent(shell, code) == "3 foxs, {animal}, {{ animal }}, {{animal.upper()}}, {{1}}, {{animal}}"
    assert sent(shell, "%imagegen --dry-run --vars a {{animal}}") == "a fox"


def test_vars_is_never_the_default(shell):
    """Without --vars the braces go out as they are."""
    shell.shell.user_ns["animal"] = "fox"
    assert sent(shell, "%%imagegen --dry-run\na {{animal}}") == "a {{animal}}"


def test_an_unknown_variable_is_an_error(shell):
    """A name that the notebook does not have is refused before anything is sent, with the nearest one that it has."""
    shell.shell.user_ns["animal"] = "fox"
    with pytest.raises(UnsupportedOption, match=r"'animel'.*Nothing was charged.*Did you mean animal"):
        shell.run("%%imagegen --dry-run --vars\na {{animel}}")
    with pytest.raises(UnsupportedOption):
        with_variables("{{open}}", {})


@pytest.mark.parametrize("body", ["\n", "   \n\t\n"])
def test_an_empty_body_is_one_line(shell, body):
    """A cell or line without a prompt is refused with that reason."""
    with pytest.raises(UnsupportedOption, match="There is no prompt"):
        shell.run(f"%%imagegen --dry-run\n{body}")
    with pytest.raises(UnsupportedOption, match="There is no prompt"):
        shell.run("%imagegen --dry-run")


def test_words_on_the_option_line_of_a_cell_are_refused(shell):
    """A prompt or subcommand among the options of %%imagegen is not silently dropped."""
    for line, words in (
        ("a red fox", r"`a red fox` is not an option, .* in one line with one percent sign: `%imagegen a red fox`"),
        ("providers", r"`providers` is a subcommand, which takes one percent sign: `%imagegen providers`"),
        ("--dry-run high", r"`high` is not an option, .*: `%imagegen --dry-run high`"),
        ("-- show a fox", r"`-- show a fox` is not an option, .*: `%imagegen -- show a fox`"),
    ):
        with pytest.raises(UsageError, match=words):
            shell.run(f"%%imagegen {line}\nin the snow")


def test_a_nearly_subcommand_is_not_a_paid_prompt(shell):
    """One misspelt word asks back; with -- or more words it is a prompt."""
    for word in ("resum", "histroy", "Providers", "cancle", "pannel", "logni"):
        with pytest.raises(UsageError, match="Nothing was sent"):
            shell.run(f"%imagegen {word}")
    assert sent(shell, "%imagegen --dry-run -- resum") == "resum"
    assert sent(shell, "%imagegen --dry-run fox") == "fox"
    assert sent(shell, "%imagegen --dry-run resum of a long life") == "resum of a long life"
    assert sent(shell, "%imagegen --dry-run -- show me a castle") == "show me a castle"


def test_a_subcommand_with_a_prompts_words_is_refused(shell, capsys):
    """`%imagegen show me a castle` is refused with the line that draws it; `history` searches for its words, and shows that line too."""
    with pytest.raises(UsageError, match="%imagegen -- show me a castle"):
        shell.run("%imagegen show me a castle")
    capsys.readouterr()
    shell.run("%imagegen history of Rome")
    assert "For a picture of these words: %imagegen -- history of Rome" in capsys.readouterr().out


def test_references_and_further_fields_reach_the_wire(shell):
    """Addresses and --set fields are in the plan's JSON."""
    shell.run(
        "%%imagegen --dry-run -p gccai --ref https://a.example/1.png --ref https://a.example/2.png --mask https://a.example/m.png "
        """--set seed=7 --set 'style={"a": [1]}'\na fox"""
    )
    plan = shell.shown()[0]
    body = json.loads(plan[plan.index("{") :])
    assert body["image_urls"] == ["https://a.example/1.png", "https://a.example/2.png"]
    assert body["mask_url"] == "https://a.example/m.png"
    assert (body["seed"], body["style"]) == (7, {"a": [1]})


def test_dry_run_shows_the_plan_and_sends_nothing(shell, own_world):
    """JSON, pixels, megapixels, count, tasks, price with its source or unknown, warnings; no key, no ledger, no folder."""
    shell.run("%%imagegen --dry-run -p evolink -s 21:9 -r 2k -q high -n 12\na castle")
    (plan,) = shell.shown()
    for words in ("nothing was sent", "evolink", "gpt-image-2", "12 in 2 tasks", "2048×880 (1.80 MP)", "POST /v1/images/generations"):
        assert words in plan
    assert '"n": 10' in plan
    assert '"n": 2' in plan
    assert re.search(r"price +unknown", plan)
    assert "smaller than 1k" in plan
    assert "&quot;prompt&quot;: &quot;a castle&quot;" in shell.shown("text/html")[0]
    assert not (own_world / "imagegen").exists()
    assert not (own_world.parent / "home").exists()


def test_dry_run_tells_the_price_with_its_source(shell):
    """A known price has its source and its date."""
    shell.run("%%imagegen --dry-run -p gccai -q low\na castle")
    assert re.search(r"price +(about \$[\d.]+ \(.+, \d{4}-\d\d-\d\d\)|unknown)", shell.shown()[0])
    shell.run("%%imagegen --dry-run -p apimart -q low\na castle")
    assert re.search(r"price +about \$[\d.]+ \(.+, \d{4}-\d\d-\d\d\)", shell.shown()[0])


def test_dry_run_escapes_the_prompt(shell):
    """Markup in a prompt is text on the page."""
    shell.run("%%imagegen --dry-run\n<script>alert(1)</script>")
    assert "<script>" not in shell.shown("text/html")[0]
