"""What is written otherwise than the magic reads it: read as what it is, with a note, or refused by name; never silently a prompt."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError
from PIL import Image
from shells import a_shell

from imagegen_magic import __version__
from imagegen_magic.engine import api
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.arguments import cell_text, dashes, mistakes, parser
from imagegen_magic.notebook.panel.state import PanelState, request_of
from imagegen_magic.notebook.subcommands import command_for
from imagegen_magic.request import ImageRequest, is_blank
from imagegen_magic.studies.sweeps import plan as sweep

EM, EN, MINUS, BAR, FIGURE, HYPHEN, HARD = "\u2014", "\u2013", "\u2212", "\u2015", "\u2012", "\u2010", "\u2011"
FULL_WIDTH, SMALL, SMALL_EM = "\uff0d", "\ufe63", "\ufe58"


@pytest.fixture
def shell(own_world):
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


@pytest.fixture
def pictures(own_world):
    """Pictures beside the notebook, one with a space in its name."""
    for name in ("photo.png", "my photo.png"):
        Image.new("RGB", (64, 64)).save(name)


def planned(shell, code):
    """Return what a dry run would send, and the lines under its plan."""
    shell.run(code)
    plan, *notes = shell.shown()
    return json.loads(plan[plan.index("{") :]), notes


def refused(shell, code):
    """Return why a cell is refused."""
    with pytest.raises((UsageError, UnsupportedOption)) as caught:
        shell.run(code)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestDashes:
    """A dash before an option's name is that option, whatever a web page made of it."""

    @pytest.mark.parametrize("dash", [EM, EN, MINUS, BAR, FIGURE, HYPHEN, HARD, FULL_WIDTH, SMALL, SMALL_EM, EM * 2, EN + "-", "-" + EN])
    def test_any_dash_is_an_option(self, shell, dash):
        """In full, in the short form, and with the value behind an equals sign; one line says so."""
        body, notes = planned(shell, f"%imagegen --dry-run -p gccai A fox {dash}quality high")
        assert (body["prompt"], body["quality"], notes) == ("A fox", "high", [f"Read {dash}quality as --quality."])
        body, notes = planned(shell, f"%imagegen --dry-run -p gccai A fox {dash}quality=high")
        assert (body["prompt"], body["quality"]) == ("A fox", "high")
        body, notes = planned(shell, f"%imagegen --dry-run -p gccai {dash}n 2 A fox")
        assert (body["prompt"], body["n"], notes) == ("A fox", 2, [f"Read {dash}n as -n."])

    @pytest.mark.parametrize(
        "line", [f"{EM}dry-run A fox", f"{EN}dry{EN}run A fox", f"--dry{HARD}run A fox", f"A fox {EM}dry-run", "\u200b--dry-run A fox"]
    )
    def test_a_dry_run_stays_one(self, shell, line):
        """Nothing is sent, and the option is not a word of the prompt."""
        body, (note,) = planned(shell, f"%imagegen -p gccai {line}")
        assert body["prompt"] == "A fox"
        assert note.endswith("as --dry-run.")

    @pytest.mark.parametrize(
        ("word", "given"), [("n2", {"n": 2}), ("s16:9", {"size": "16:9"}), ("r2k", {"resolution": "2k"}), ("qlow", {"quality": "low"})]
    )
    def test_a_value_may_be_attached(self, word, given):
        """As in -n2."""
        assert parser.read(f"a fox {MINUS}{word}").given == parser.read(f"a fox -{word}").given == given

    def test_one_dash_before_a_long_name(self, shell):
        """`-quality high` was the option -q with the value `uality`."""
        body, (note,) = planned(shell, "%imagegen --dry-run -p gccai a fox -quality high -out made")
        assert (body["quality"], body["prompt"], note) == ("high", "a fox", "Read -quality as --quality, -out as --out.")

    def test_the_line_of_a_cell_too(self, shell):
        """And the body stays as it is."""
        body, notes = planned(shell, f"%%imagegen {EM}dry-run -p gccai {EM}size 16:9 {MINUS}n 2\nA fox {EM}quality high")
        assert (body["size"], body["n"], body["prompt"]) == ("16:9", 2, f"A fox {EM}quality high")
        assert notes[0] == f"Read {EM}dry-run as --dry-run, {EM}size as --size, {MINUS}n as -n."

    @pytest.mark.parametrize(
        "prompt",
        [
            f"a fox {EM} red, at night",
            f"a fox{EM}red{EM}at night",
            f"un zorro {EM}sombra{EM} en  la noche",
            f"winter, {MINUS}5 degrees",
            f"{EM} Guten Tag, sagte der Fuchs",
            f"a well{HYPHEN}known fox, {EN}  10 of them",
        ],
    )
    def test_a_dash_in_prose_is_prose(self, shell, prompt):
        """To the last blank."""
        assert planned(shell, f"%imagegen --dry-run -p gccai {prompt}")[0]["prompt"] == prompt

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            (f"A fox {EM}qualty high", f"There is no option {EM}qualty: did you mean --quality?"),
            (f"A fox {EM}Quality high", "did you mean --quality?"),
            (f"A fox {MINUS}N 2", f"There is no option {MINUS}N: did you mean -n?"),
            (f"A fox {EM}ar 16:9", "use --size 16:9."),
            (f"A fox {EM}v 6", "use --model NAME"),
            ("A fox --ar 16:9", "There is no option --ar: use --size 16:9. A prompt that contains it goes after --."),
            ("A fox --style raw", "There is no option --style: describe it in the prompt"),
            ("A fox --no cats", "for example: without cats."),
            ("A fox --steps 30", "use --set steps=30 if"),
            ("A fox --negative cats", "take --negative-prompt."),
            (f"A fox {EM}quality high in the snow", f"{EM}quality can be the option --quality or a part of the prompt"),
            (f"A fox {EM}fresh from the den", "Nothing was sent"),
            ("--name \u201cmy fox\u201d a fox", "typographic quote"),
            ("--size = 16:9 a fox", "--size takes its value without spaces around the =: --size 16:9."),
            (f"--name {EM}quality high a fox", "--name needs a value"),
        ],
    )
    def test_what_may_be_meant_otherwise_is_refused(self, shell, line, words):
        """Drawing the words would cost money."""
        assert words in refused(shell, f"%imagegen --dry-run {line}")

    def test_the_advice_works(self, shell):
        """The corrected line is the option; behind -- the words are drawn."""
        advice = refused(shell, f"%imagegen --dry-run -p gccai A fox {EM}quality high in the snow")
        body, _ = planned(shell, re.search("write `(.*?)`", advice)[1])
        assert (body["quality"], body["prompt"]) == ("high", "A fox in the snow")
        words = f"A fox {EM}quality high in the snow"
        assert planned(shell, f"%imagegen --dry-run -p gccai -- {words}")[0]["prompt"] == words

    def test_a_cell_is_not_told_of_the_double_dash(self, shell):
        """Its line takes no prompt."""
        assert refused(shell, "%%imagegen --zzz\na fox") == "There is no option --zzz: %imagegen --help shows them all."

    def test_a_recalled_cell_is_read_as_it_was(self):
        """Values that begin with a dash are quoted, so they are no options."""
        request = ImageRequest("a fox", references=(f"{EM}quality.png", f"{MINUS}n"), extra={"note": f"{EM}size 16:9 “wide”"})
        line, body = cell_text.cell(request, "gccai").removeprefix("%%imagegen ").split("\n", 1)
        found = parser.read(line)
        assert (found.respelt, found.text, body) == ((), "", "a fox")
        assert (found.given["references"], found.given["extra"]) == (request.references, dict(request.extra))

    def test_subcommands_too(self, shell, capsys):
        """`history —stars 4` does not search for the words."""
        shell.run(f"%imagegen budget 5 {EM}per day")
        shell.run("%imagegen budget off")
        capsys.readouterr()
        assert parser.command_words(f"fox {EM}stars 4", command_for("history")) == (["fox"], {"--stars": "4"})
        assert parser.command_words(f"17 {EM}old", command_for("tag"))[0] == ["17", f"{EM}old"]

    @given(st.text(alphabet=f"abn qs=-{EM}{EN}{MINUS}\u200b ", max_size=30))
    def test_ascii_has_the_same_meaning(self, text):
        """A line that is read with other dashes is read alike once it is written with plain ones."""
        try:
            found = parser.read(text, posix=True)
        except UsageError:
            return
        again = parser.read(found.plain, posix=True)
        assert (again.given, again.respelt) == (found.given, ())

    def test_every_dash_is_one_to_the_eye(self):
        """The table has no ASCII and no letter."""
        assert "-" not in dashes.DASHES
        assert not any(dash.isalnum() for dash in dashes.DASHES)


class TestTheBody:
    """The body of a cell is sent as it stands, and a warning says what looks like options in it."""

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (
                "a fox\n-n 2 --size 16:9",
                "The prompt contains `-n 2 --size 16:9`, which is sent as words. Options belong on the line of %%imagegen: `%%imagegen -n",
            ),
            (
                f"a fox\n{EM}size 16:9",
                f"`{EM}size 16:9`, which is sent as words. Options belong on the line of %%imagegen: `%%imagegen --size 16:9`.",
            ),
            ("a fox --quality high", "`--quality high`, which is sent as words."),
            (
                "a fox --ar 16:9 --v 6",
                "The prompt contains `--ar 16:9`, which is sent as words: use --size 16:9. The prompt contains `--v 6`, which",
            ),
            ("a fox --style raw", "`--style raw`, which is sent as words: describe it in the prompt"),
            (f"a fox {EM}ar 3:2", "use --size 3:2."),
            ("a fox\n%%imagegen -n 2\na bear", "The prompt contains the line `%%imagegen -n 2`"),
        ],
    )
    def test_options_in_it_are_named(self, shell, body, words):
        """And nothing of it is changed."""
        sent, notes = planned(shell, f"%%imagegen --dry-run -p gccai\n{body}")
        assert sent["prompt"] == body
        assert len(notes) == 1
        assert words in notes[0]

    @pytest.mark.parametrize(
        "body", ["a fox", f"a fox {EM}fresh snow", "- a fox\n- a bear", "a well-lit fox -- at night", "a --", "5 -n 2 of them"]
    )
    def test_prose_is_not(self, shell, body):
        """A list, a dash, a word with a hyphen."""
        assert mistakes.in_prompt(body) == ""

    def test_the_warning_comes_before_the_picture(self, shell):
        """So that the cell can be stopped."""
        shell.run("%%imagegen --sandbox -p gccai\na fox --ar 16:9")
        assert "--size 16:9" in shell.shown()[0]
        assert shell.variables["_imagegen"].request.prompt == "a fox --ar 16:9"


BLANK = ['""', "''", "?", "...", "\u2026", "\u200b", " \u00a0\u3000", "\u201c\u201d", "-", "\u3164", "\u0301", "#", "$ * `"]


class TestNoPrompt:
    """What has nothing to draw is refused everywhere."""

    @pytest.mark.parametrize("prompt", BLANK)
    def test_in_a_cell_and_in_a_line(self, shell, prompt):
        """With where the help is."""
        for code in (f"%%imagegen --dry-run\n{prompt}", f"%imagegen --dry-run {prompt}", f"%imagegen --dry-run -- {prompt}"):
            words = refused(shell, code)
            assert words.startswith("There is no prompt")
            assert "%imagegen --help shows how" in words

    @pytest.mark.parametrize("prompt", [*BLANK, "", " \n"])
    def test_in_python_and_on_the_panel(self, prompt):
        """The plan refuses it, and the panel waits for one."""
        with pytest.raises(UnsupportedOption, match="needs a prompt"):
            api.plan(ImageRequest(prompt), provider="gccai")
        desk = PanelState(api.load(), ImageRequest(prompt, size="1:1"), "gccai", True)
        assert desk.not_ready_reason == "Describe the picture"
        assert desk.validation.problems == ()
        with pytest.raises(UnsupportedOption, match="There is no prompt"):
            desk.start(Path.cwd())

    @pytest.mark.parametrize("prompt", ["a", "7", "狐", "🦊", "♥", "∞", "?!x", "\U0001fae8", "é"])
    def test_a_single_sign_can_be_a_prompt(self, prompt):
        """A letter, a number, a sign that shows something."""
        assert not is_blank(prompt)

    @pytest.mark.parametrize("prompt", [3, None, b"a fox", ["a fox"]])
    def test_what_is_no_text_is_named(self, prompt):
        """A list of prompts, for one."""
        with pytest.raises(UnsupportedOption, match="needs a prompt in words, not "):
            api.plan(ImageRequest(prompt), provider="gccai")


class TestTwice:
    """An option that holds one value is written once."""

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("-n 2 -n 3", "--n is given twice, as 2 and as 3: write it once."),
            ("-n2 --n=3", "--n is given twice, as 2 and as 3: write it once."),
            ("--size 1:1 —size 16:9", "--size is given twice, as 1:1 and as 16:9: write it once."),
            ("--mask photo.png --mask @3", "--mask is given twice, as photo.png and as @3: write it once."),
            ("--save-dir one --save-dir two", "--save-dir is given twice, as one and as two: write it once."),
        ],
    )
    def test_in_a_cell_and_in_a_line(self, shell, options, words):
        """None of the two is taken silently."""
        assert refused(shell, f"%%imagegen --dry-run {options}\na fox") == words
        assert refused(shell, f"%imagegen --dry-run a fox {options}") == words

    def test_the_same_value_is_no_mistake(self, shell):
        """Nor are options that may be repeated, and switches."""
        assert planned(shell, "%%imagegen --dry-run -p gccai -n 2 -n 2 --dry-run\na fox")[0]["n"] == 2

    def test_of_a_subcommand(self, shell):
        """Its flags too."""
        assert "--since is given twice, as 7d and as 3d" in refused(shell, "%imagegen history --since 7d --since 3d")


class TestAComment:
    """`# …` behind the prompt of a line, where Python has comments and this magic has none."""

    @pytest.mark.parametrize(
        ("line", "prompt", "quoted"),
        [
            ("a fox  # the third try", "a fox  # the third try", "# the third try"),
            ("a fox # --quality high", "a fox #", "#"),
            ("--quality high # a fox", "# a fox", "# a fox"),
        ],
    )
    def test_it_is_sent_and_said(self, shell, line, prompt, quoted):
        """The prompt stays verbatim."""
        body, notes = planned(shell, f"%imagegen --dry-run -p gccai {line}")
        assert body["prompt"] == prompt
        assert notes == [f"The prompt contains `{quoted}`, which is sent as words. A comment goes in a line above."]

    @pytest.mark.parametrize("line", ["a fox in #ff8800", "player #7", "C# code", "-- a fox # as words"])
    def test_other_number_signs_are_not(self, shell, line):
        """Colours, numbers, names, and what stands behind --."""
        assert planned(shell, f"%imagegen --dry-run -p gccai {line}")[1] == []


class TestASpaceOfAWebPage:
    """A no-break space, which looks like a space."""

    @pytest.mark.parametrize("space", ["\u00a0", "\u202f", "\u3000", " \u00a0"])
    def test_behind_the_name(self, shell, capsys, space):
        """In a line, a subcommand and a cell, whose body stays as it is."""
        assert planned(shell, f"%imagegen{space}--dry-run -p gccai a fox")[0]["prompt"] == "a fox"
        body, _ = planned(shell, f"# a comment\n%%imagegen{space}-p{space}gccai --dry-run\na{space}fox?")
        assert body["prompt"] == f"a{space}fox?"
        shell.run(f"%imagegen{space}version")
        assert capsys.readouterr().out == f"imagegen_magic {__version__}\n"


class TestVersion:
    """`%imagegen version` and `--version`."""

    @pytest.mark.parametrize(
        "code", ["%imagegen version", "%imagegen --version", "%%imagegen --version\nwhatever", "%imagegen -p evolink --version"]
    )
    def test_it_is_printed(self, shell, capsys, code):
        """And nothing is sent."""
        shell.run(code)
        assert capsys.readouterr().out == f"imagegen_magic {__version__}\n"

    def test_words_that_begin_with_it_are_a_prompt(self, shell):
        """A new name takes no prompt away, and a word that is like it is drawn."""
        body, _ = planned(shell, "%imagegen version of a cathedral in fog --dry-run")
        assert body["prompt"] == "version of a cathedral in fog"
        assert planned(shell, "%imagegen --dry-run vision")[0]["prompt"] == "vision"
        assert "Did you mean `%imagegen version`?" in refused(shell, "%imagegen --dry-run Version")


class TestTheLineOfACell:
    """Whatever is no option there is quoted, with what it looks like and the line to write."""

    @pytest.mark.parametrize(
        ("line", "words", "corrected"),
        [
            ("-n 3 4", "`4` is not an option, and --n takes one value", "-n 3"),
            ("--size 1024 x 1024", "`x 1024` is not an option. A size has no spaces", "--size 1024x1024"),
            ("--size 1024x 1024 -n 2", "A size has no spaces", "--size 1024x1024 -n 2"),
            ("--size 16 : 9", "A size has no spaces", "--size 16:9"),
            ("-n 2 # two of them", "`# two of them` is not an option. Write the comment in a line above", "-n 2"),
            ("--ref my photo.png -n 2", "`photo.png` is not an option. A value with spaces takes quotes", '--ref "my photo.png" -n 2'),
            ("--ref photo.png my photo.png", "Each picture takes its own --ref", '--ref photo.png --ref "my photo.png"'),
            (
                "--ref photo.png https://a.example/2.png",
                "Each picture takes its own --ref",
                "--ref photo.png --ref https://a.example/2.png",
            ),
            ("--mask my photo.png", "A value with spaces takes quotes", '--mask "my photo.png"'),
            ("--ref no such.png", "there is no file 'no such.png'", '--ref "no such.png"'),
            ("--name my castle -n 2", "A value with spaces takes quotes", '--name "my castle" -n 2'),
            ("--save-dir new folder", "A value with spaces takes quotes", '--save-dir "new folder"'),
            ("--sweep style=oil, ink", "A value with spaces takes quotes", '--sweep "style=oil, ink"'),
            ("-n 2 \\", "The backslash at the end does not continue the line", "-n 2"),
            ("--ref photo.png\\", "The backslash at the end does not continue the line", "--ref photo.png"),
            ("size 16:9 -n 2", "`size 16:9` lacks the dashes of an option", "--size 16:9 -n 2"),
            ("quality=high", "lacks the dashes", "--quality high"),
            ("- n 2", "lacks the dashes", "-n 2"),
            ("photo.png", "A reference picture takes --ref", "--ref photo.png"),
            ("--size 1024 X 1536 -n 2 # was -n 3", "A size has no spaces", "--size 1024X1536 -n 2"),
            ("--resolution 2 k -n 2", "A resolution has no spaces", "--resolution 2k -n 2"),
            ('--ref "my photo.png" photo.png', "Each picture takes its own --ref", '--ref "my photo.png" --ref photo.png'),
            ("--timeout 5 min -n 2", "`min` is not an option, and --timeout takes one word", "--timeout 5 -n 2"),
            ("-m gpt image 2", "`image 2` is not an option, and --model takes one word", "-m gpt"),
            ("--sandbox true", "--sandbox is a switch without a value", "--sandbox"),
            ("--sandbox false -n 2", "--sandbox is a switch without a value", "-n 2"),
        ],
    )
    def test_the_word_is_quoted_and_the_line_corrected(self, shell, pictures, line, words, corrected):
        """The corrected line can be read."""
        refusal_text = refused(shell, f"%%imagegen {line}\na fox")
        assert words in refusal_text
        assert f"`%%imagegen {corrected}`" in refusal_text
        assert parser.read(corrected).text == ""

    def test_several_values_offer_a_sweep(self, shell):
        """As that may be what is meant."""
        assert "For pictures of each: --sweep quality=low,high." in refused(shell, "%%imagegen --quality low high\na fox")

    def test_options_behind_a_backslash_are_joined(self, shell):
        """They stand in the prompt now."""
        assert "`%%imagegen -n 2 --size 16:9`" in refused(shell, "%%imagegen -n 2 \\\n    --size 16:9\na fox")

    def test_a_prompt_on_the_line(self, shell):
        """In the lines below, or in one line."""
        refusal_text = refused(shell, "%%imagegen -n 2 a fox in the snow --size 1:1\nfox")
        assert refusal_text.startswith("`a fox in the snow` is not an option, and the line of %%imagegen takes options only.")
        assert refusal_text.endswith("`%imagegen -n 2 --size 1:1 a fox in the snow`.")


class TestAbove:
    """Comments and blank lines above `%%imagegen`."""

    @pytest.mark.parametrize("above", ["# a fox\n", "\n\n# one\n  # two\n\n", "#%%\n", "# %%imagegen -n 9\n"])
    def test_the_cell_works(self, shell, above):
        """As it does without them, its body verbatim."""
        body, _ = planned(shell, f"{above}%%imagegen --dry-run -p gccai\n# a fox?\n  two ")
        assert body["prompt"] == "# a fox?\n  two "

    def test_everything_else_is_left_alone(self, shell):
        """Strings, other magics, code above, questions."""
        transform = shell.shell.transform_cell
        text = 'x = """\n# c\n%%imagegen -n 2\n"""\n'
        assert transform(text) == text
        assert "run_cell_magic('time'" in transform("%%time\n# c\n%%imagegen\n")
        assert "run_cell_magic('imagegen'" not in transform("# c\n%%imagegenerator\nx\n")
        assert "run_cell_magic" not in transform("# c\nx = 1\n")
        assert "pinfo" in transform("# c\n%%imagegen?")

    def test_tab_still_answers(self, shell):
        """On the line itself, not in the comment."""
        assert "--size" in shell.tab("# a fox\n%%imagegen --si")
        assert shell.tab("# a fox --si\n%%imagegen ", line=0) == []

    def test_a_terminal_waits_for_the_body(self, shell):
        """A comment and the magic are not a whole cell."""
        check = shell.shell.input_transformer_manager.check_complete
        assert check("# a fox\n%%imagegen -n 2\na fox\n\n")[0] != "incomplete"


class TestRefusals:
    """Each names what was written, and what it says to do works."""

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            ("%%imagegen --provider= -n 2\nfox", "--provider needs a value, and it is empty"),
            ('%imagegen --name "" a fox', "--name needs a value, and it is empty"),
            ("%%imagegen --sweep style=oil,\na {{style}} fox", "Leave it out; there is a comma or | at the end, or twice"),
            ("%%imagegen --sweep qualty=low,high\na fox", "qualty cannot be an axis: .*Try quality"),
            ("%%imagegen --sweep preview=16,32\na fox", "preview cannot be an axis: it is not an option that can vary"),
            ("%%imagegen --sweep styel=oil,ink\na {{style}} fox", r"--sweep style=… \(the axis is styel\)"),
            ("%%imagegen --sweep quality=styles\na fox", "has no quality 'styles'.*Allowed: auto, low, medium, high"),
            ("%%imagegen --ref styles[5]\na fox", r"There is no styles\[5\]: styles has 2 elements.*. The last is styles\[1\]"),
            ("%%imagegen --ref number[0]\na fox", "number is of type int, without elements"),
            ("%%imagegen --ref 99\na fox", "For the picture of that number in %imagegen history write @99"),
            ("%%imagegen --ref folder\na fox", "'folder' is a folder.*. Give a picture in it, or all of them: folder/"),
            (
                "%imagegen doctor network",
                "'network' is one word too many for %imagegen doctor .*; did you mean --network.* Nothing was sent",
            ),
            ("%imagegen doctor --netwerk", "has no --netwerk; did you mean --network"),
            ("%imagegen cost 7d", "'7d' is one word too many for %imagegen cost"),
            ("%imagegen vote 17", "17 is not a variable: %imagegen vote NAME takes"),
            ("%imagegen show @99", "There is no picture 99"),
        ],
    )
    def test_what_was_written_is_named(self, shell, code, words):
        """With the nearest that works, where there is one."""
        Path("folder").mkdir()
        shell.shell.user_ns.update(styles=["oil", "ink"], number=3)
        assert re.search(words, refused(shell, code))

    @pytest.mark.parametrize(
        ("references", "words"), [(3, "3 is of type int"), ([None], "None is of type NoneType"), ([[1, 2]], r"\[1, 2\] is of type list")]
    )
    def test_a_reference_that_is_none_is_named(self, references, words):
        """And not called the int."""
        with pytest.raises(UnsupportedOption, match=f"^{words}, which holds no picture"):
            api.plan(ImageRequest("a fox", references=references), provider="gccai")

    @pytest.mark.parametrize("axes", [["quality"], None, 3, "quality"])
    def test_axes_that_are_none_are_named(self, axes):
        """A list of names, for one."""
        with pytest.raises(UnsupportedOption, match=r'^The axes cannot be read from .*as in \{"quality": \["low", "high"\]\}'):
            sweep.plan(ImageRequest("a fox"), axes, settings=api.load(), keys=False)

    def test_a_panels_prompt_is_text(self):
        """Also as a preset."""
        with pytest.raises(UnsupportedOption, match="takes a prompt in words, not 3"):
            request_of({"prompt": 3})

    @pytest.mark.parametrize("extra", [3, "seed=1", None, ["seed"]])
    def test_further_fields_without_names_are_named(self, extra):
        """Not "'int' object is not iterable"."""
        with pytest.raises(UnsupportedOption, match=r'^Further fields cannot be read from .*as in extra=\{"seed": 7\}'):
            ImageRequest("a fox", extra=extra)
