"""A machine without the fonts of a prompt's script: one line says which and how to get them, in the cell, on the sheet and in Python."""

from __future__ import annotations

import io
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typefaces
from PIL import Image
from servers import sandbox_server
from shells import a_shell
from test_grid import texts

from imagegen_magic import generate, run, sweep
from imagegen_magic.imaging.sheet.grid import Axis, contact_sheet, grid
from imagegen_magic.imaging.text import missing_fonts
from imagegen_magic.imaging.text.missing_fonts import MissingFontWarning
from imagegen_magic.notebook.commands import compare

pytestmark = pytest.mark.slow

CHINESE = "古老的城堡，星空之下"
NO_CHINESE = "No font on this machine draws Chinese: escapes such as \\u4e2d stand for the characters."


def picture() -> bytes:
    """Return a small picture's PNG."""
    memory = io.BytesIO()
    Image.new("RGB", (64, 48), "#c84").save(memory, "PNG")
    return memory.getvalue()


@pytest.fixture
def bare() -> Iterator[None]:
    """A machine with no font at all."""
    with typefaces.only():
        yield


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that installs with apt-get."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == "apt-get" else None)


class TestScripts:
    """What is missing, by name."""

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            (CHINESE, ("Chinese",)),
            ("浮世絵風の城", ("Japanese",)),
            ("별이 빛나는 고성", ("Korean",)),
            ("a fox 🦊👨\u200d👩\u200d👧 ✨", ("emoji",)),
            ("قلعة قديمة", ("Arabic",)),
            ("पुराना महल 城", ("Devanagari", "Chinese")),
            ("∮ a fox", ("symbols",)),
            ("château – 2 × 3", ("accented Latin", "symbols")),
            ("red fox, “x” …", ()),
            ("a\x07b\ud800\U000e1234", ()),
        ],
    )
    def test_each_script_is_named_once(self, bare: None, text: str, names: tuple[str, ...]) -> None:
        """However many characters there are; what no font could have is none."""
        assert missing_fonts.scripts([text, text]) == names

    def test_with_the_fonts_nothing_is_missing(self) -> None:
        """All that the tests' own fonts have."""
        with typefaces.only(typefaces.LATIN, typefaces.CJK, typefaces.emoji()):
            assert missing_fonts.scripts([CHINESE, "🦊 浮世絵風の 별"]) == ()
            assert missing_fonts.unsupported() == ()
            assert missing_fonts.words(()) == missing_fonts.note(()) == ""

    def test_what_cannot_be_drawn_at_all(self, bare: None) -> None:
        """For doctor."""
        assert missing_fonts.unsupported() == ("accented Latin", "Chinese", "Japanese", "Korean", "emoji")


class TestRemedy:
    """How to get a font."""

    def test_one_command_for_all_of_them(self, debian: None) -> None:
        """Chinese, Japanese and Korean are one package; without root there is another way."""
        assert missing_fonts.words(("Chinese", "Japanese", "emoji")) == (
            "No font on this machine draws Chinese, Japanese or emoji: escapes such as \\u4e2d stand for the characters. "
            "Run `apt-get install fonts-noto-cjk fonts-noto-color-emoji` as root, "
            "or put a Noto font of that script (fonts.google.com/noto) into ~/.local/share/fonts, then restart the kernel."
        )

    @pytest.mark.parametrize(
        ("platform", "tool", "words"),
        [
            ("linux", "apt-get", "`apt-get install fonts-noto-core`"),
            ("linux", "pacman", "`pacman -S noto-fonts`"),
            ("linux", "apk", "`apk add font-noto-all`"),
            ("linux", "none of them", "Put a Noto font of that script (fonts.google.com/noto) into ~/.local/share/fonts"),
            ("darwin", "apt-get", "into ~/Library/Fonts"),
            ("win32", "none", "Settings, System, Optional features"),
        ],
    )
    def test_each_platform_has_its_own(self, monkeypatch: pytest.MonkeyPatch, platform: str, tool: str, words: str) -> None:
        """The command of the system's own tool, else the folder for a font file."""
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(shutil, "which", lambda name: name if name == tool else None)
        assert words in missing_fonts.remedy(("Arabic",))


class TestSheet:
    """What stands on the sheet itself."""

    def test_a_sheet_says_once_what_is_missing(self, monkeypatch: pytest.MonkeyPatch, bare: None) -> None:
        """In its note, which every machine can draw, after a note that it had; the same in each of its forms."""
        sheet = contact_sheet([picture()] * 3, [CHINESE] * 3, title=CHINESE, note="all of them")
        for form in ("preview", "png", "pdf"):
            drawn = " ".join(texts(monkeypatch, sheet, form))
            monkeypatch.undo()
            assert drawn.count("no font here draws Chinese") == 1
            assert "all of them" in drawn

    def test_a_sheet_that_misses_nothing_stays_as_it_is(self, bare: None) -> None:
        """Not a pixel of it changes."""
        sheet = grid({}, Axis("style", ("oil",)), note="n")
        assert sheet.missing_scripts() == ()
        assert sheet._drawn_contents() is sheet.contents


class TestPython:
    """What a script gets."""

    def test_contact_sheets_and_grids_warn_when_they_are_drawn(self, bare: None, debian: None, tmp_path: Path) -> None:
        """One warning each, at the line of one's own code; the sheet is made all the same."""
        made = run(sweep(f"{CHINESE} {{{{style}}}}", {"style": ["oil", "ink"]}, sandbox=True, size="1:1"))
        with pytest.warns(MissingFontWarning, match="draws Chinese") as warned:  # noqa: PT031 - three calls, one warning each
            assert made.grid(edge=64).width > 64
            assert made.contact_sheet(edge=64).width > 64
            assert made.contact_sheet(tmp_path / "sheet.pdf", edge=64).exists()
        assert [Path(one.filename).name for one in warned] == [Path(__file__).name] * 3
        assert str(warned[0].message).startswith(NO_CHINESE)
        assert "fonts-noto-cjk" in str(warned[0].message)

    def test_what_can_be_drawn_warns_of_nothing(self, bare: None) -> None:
        """English needs no font of the system."""
        made = run(generate("a red fox", sandbox=True, size="1:1"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert made.contact_sheet(edge=64).width > 64


@pytest.fixture(scope="module")
def gateway() -> Iterator[Any]:
    """A gateway whose tasks take no time, and that has one picture for all."""
    with sandbox_server(duration=0.05, plain=True) as server:
        yield server


@pytest.fixture
def shell(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A shell in this process with the extension loaded, in front of the gateway."""
    settings = {"IMAGEGEN_POLL_SECONDS": "0.05", "IMAGEGEN_SIZE": "1:1", "IMAGEGEN_UNKNOWN_PRICE": "0.01", **gateway.environ()}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with a_shell() as running:
        yield running


class TestCell:
    """What a notebook shows."""

    def test_a_sweep_ends_with_one_line(self, shell: Any, bare: None, debian: None) -> None:
        """Under the grid and the table, once for the whole sheet."""
        shell.run(f"%%imagegen -p evolink --sweep style=油画,水墨 -o made\n{CHINESE} {{{{style}}}}")
        (line,) = [line for line in shell.shown() if "No font" in line]
        assert line.startswith(NO_CHINESE)
        assert "`apt-get install fonts-noto-cjk`" in line
        assert shell.shown().index(line) == 3

    def test_a_sweep_that_misses_nothing_says_nothing(self, shell: Any, bare: None) -> None:
        """No further output."""
        shell.run("%%imagegen -p evolink --sweep style=oil,ink -o made\na fox in {{style}}")
        assert len(shell.shown()) == 3

    def test_two_pictures_beside_one_another(self, shell: Any, bare: None, debian: None) -> None:
        """`%imagegen compare` writes their names under them."""
        Path("城.png").write_bytes(picture())
        Path("fox.png").write_bytes(picture())
        sides = [compare._side(shell.context, name) for name in ("城.png", "fox.png")]
        shown = [bundle.data["text/plain"] for bundle in compare.bundles(*sides)]
        assert sum(words.startswith(NO_CHINESE) for words in shown) == 1

    def test_doctor_tells_it_and_finds_nothing_wrong(self, shell: Any, bare: None, debian: None) -> None:
        """For English prompts it is no problem."""
        shell.run("%imagegen doctor")
        shown = shell.shown()[0]
        assert "none for accented Latin, Chinese, Japanese, Korean, emoji" in shown
        assert "apt-get install fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji" in shown.replace("\n", " ")
        assert "fonts of grids" not in shown.split("Python")[0]

    def test_doctor_tells_what_there_is(self, shell: Any) -> None:
        """If nothing is missing."""
        with typefaces.only(typefaces.LATIN, typefaces.CJK, typefaces.emoji()):
            shell.run("%imagegen doctor")
        assert "accented Latin, Chinese, Japanese, Korean, emoji" in shell.shown()[0]
