"""Text on pictures: every script that a prompt is written in, emoji in colour, wrapped and never cut silently."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typefaces
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from imagegen_magic.imaging.text import fonts
from imagegen_magic.imaging.text.fonts import ELLIPSIS
from imagegen_magic.imaging.text.graphemes import escaped, graphemes

INK = (0, 0, 0)
PAPER = (255, 255, 255)


@pytest.fixture(autouse=True, scope="module")
def brought() -> Iterator[None]:
    """Have the same fonts on every machine: those that these tests bring."""
    with typefaces.only(typefaces.LATIN, typefaces.BOLD, typefaces.CJK, typefaces.emoji()):
        yield


def drawn(text: str, size: int = 40, *, bold: bool = False) -> Image.Image:
    """Return one line on white."""
    image = Image.new("RGB", (1200, 80), PAPER)
    fonts.draw(image, (10, 10), text, size, INK, bold=bold)
    return image


def inked(image: Image.Image) -> tuple[int, int, int, int]:
    """Return the box of what is not paper."""
    box = ImageChops.difference(image, Image.new("RGB", image.size, PAPER)).getbbox()
    assert box is not None
    return box


def colours(image: Image.Image) -> bool:
    """Return whether anything is neither black, white nor grey."""
    return any(max(colour) - min(colour) > 40 for _, colour in image.getcolors(1 << 20) or [])


class TestDrawing:
    """What is seen."""

    @pytest.mark.parametrize("text", ["An ancient castle", "Œuvre, façade, Ærø, łódź", "Замок под звёздами", "Κάστρο", "“low” – 5 € × 2 …"])
    def test_european_scripts_have_glyphs(self, text: str) -> None:
        """Letters with accents, Greek, Cyrillic and typographic marks."""
        assert fonts.missing_glyphs(text) == ()
        assert inked(drawn(text))[2] > 100

    @pytest.mark.parametrize("text", ["古老的城堡，星空之下", "浮世絵風の城、満天の星", "별이 빛나는 고성"])
    def test_chinese_japanese_and_korean_have_glyphs(self, text: str) -> None:
        """Each character is drawn, and no two of the same look alike."""
        assert fonts.missing_glyphs(text) == ()
        first, second = (drawn(each) for each in (text[0], text[1]))
        assert first.tobytes() != second.tobytes()

    def test_han_characters_look_as_their_language_writes_them(self) -> None:
        """直 in a Japanese line is not 直 in a Chinese one."""
        chinese = fonts.runs("直", "zh", False)[0].face
        japanese = fonts.runs("直", "ja", False)[0].face
        assert chinese != japanese
        assert drawn("直の").crop((10, 10, 50, 70)).tobytes() != drawn("直的").crop((10, 10, 50, 70)).tobytes()

    @pytest.mark.parametrize("text", ["🦊", "👍🏽", "👨‍👩‍👧", "🇯🇵", "☀️", "1️⃣", "✨"])
    def test_emoji_are_in_colour_or_at_least_there_and_one_character_wide(self, text: str) -> None:
        """A family, a flag, a skin tone and a keycap are one picture each, as large as the text."""
        assert fonts.missing_glyphs(text) == ()
        image = drawn(text)
        left, top, right, bottom = inked(image)
        assert right - left <= 50
        assert 25 <= bottom - top <= 52
        assert fonts.width(text, 40) == fonts.width("🦊", 40)
        if text != "👨‍👩‍👧":
            assert colours(image)

    def test_a_sign_that_is_also_a_letter_stays_text_unless_asked(self) -> None:
        """☀ alone is drawn in ink, ☀️ in colour; digits are never emoji."""
        assert not colours(drawn("☀ 12"))
        assert colours(drawn("☀️"))

    def test_bold_is_heavier(self) -> None:
        """If the system has a bold face, it is used."""
        light, heavy = (sum(drawn("castle", bold=bold).convert("L").histogram()[:128]) for bold in (False, True))
        assert heavy > light * 1.15

    def test_the_line_is_as_wide_as_was_measured(self) -> None:
        """Nothing is drawn beyond the measured width, of mixed scripts too."""
        for text in ("An ancient castle", "castle 城堡 🏰 x"):
            assert inked(drawn(text))[2] <= 10 + fonts.width(text, 40) + 3

    def test_the_line_box_holds_the_glyphs(self) -> None:
        """Accents above and tails below stay within the line height, so that lines do not touch."""
        _, top, _, bottom = inked(drawn("ÅÉgjpqy城"))
        assert top >= 10
        assert bottom <= 10 + fonts.height(40)


class TestMissing:
    """What no font can draw."""

    def test_each_is_listed_once_in_order(self) -> None:
        """Characters that no font has a glyph for, and control characters."""
        assert fonts.missing_glyphs("a\U000e1234b\x07\U000e1234\ud800") == ("\U000e1234", "\x07", "\ud800")

    def test_it_is_shown_as_its_escape(self) -> None:
        """As if it were in the text."""
        assert drawn("a\x07b").tobytes() == drawn("a\\x07b").tobytes()
        assert escaped("中\x00é😀") == "\\u4e2d\\x00\\xe9\\U0001f600"

    def test_a_machine_without_fonts(self) -> None:
        """Pillow's own font draws Latin; the rest is escaped and reported."""
        with typefaces.only():
            assert fonts.missing_glyphs("red fox 123 ?") == ()
            assert fonts.missing_glyphs("城 fox 🦊") == ("城", "🦊")
            assert drawn("城").tobytes() == drawn("\\u57ce").tobytes()
            assert inked(drawn("red fox"))[2] > 60
            assert fonts.wrap("a red fox", 20, 1000, 1) == ("a red fox",)

    def test_a_file_that_is_no_font_is_passed_over(self, tmp_path: Path) -> None:
        """A broken file with the name of a known font hides nothing."""
        broken = tmp_path / "segoeui.ttf"
        broken.write_bytes(b"no font")
        with typefaces.only(broken):
            assert fonts.missing_glyphs("fox") == ()
            assert inked(drawn("fox"))

    @pytest.mark.parametrize("text", ["\ufe0f", "\u200d", "\ufe0fa", "🦊\u200d"])
    def test_a_character_that_is_invisible_is_no_fault(self, text: str) -> None:
        """A selector or a joiner alone, of which shaping leaves nothing: no error, no escape."""
        assert fonts.missing_glyphs(text) == ()
        assert fonts.wrap(text, 20, 200, 1) == (text,)
        drawn(text)


class TestWrapping:
    """Where lines break."""

    def test_words_stay_whole_and_nothing_is_lost(self) -> None:
        """Lines joined again are the text."""
        text = "An ancient castle beneath a starry sky, with towers and banners"
        lines = fonts.wrap(text, 20, 160, 99)
        assert len(lines) > 3
        assert " ".join(lines) == text
        assert all(fonts.width(line, 20) <= 160 for line in lines)

    def test_an_ellipsis_shows_what_is_left_off(self) -> None:
        """Never cut without one, and the ellipsis fits too."""
        for text in (
            "An ancient castle beneath a starry sky",
            "古老的城堡，星空之下，水彩画，细节丰富",
            "Donaudampfschifffahrtsgesellschaftskapitän",
        ):
            lines = fonts.wrap(text, 20, 100, 2)
            assert len(lines) == 2
            assert lines[-1].endswith(ELLIPSIS)
            assert all(fonts.width(line, 20) <= 100 for line in lines)

    def test_what_fits_has_no_ellipsis(self) -> None:
        """Even if it fills the last line."""
        assert fonts.wrap("fox", 20, fonts.width("fox", 20), 1) == ("fox",)
        assert fonts.wrap("", 20, 100, 3) == ()

    def test_chinese_breaks_anywhere_but_before_closing_marks(self) -> None:
        """No line begins with ， or ends with 「."""
        lines = fonts.wrap("古老的城堡，星空之下：水彩画「细节丰富」，光影柔和，远处有一条河。" * 3, 20, 90, 99)
        assert "".join(lines) == "古老的城堡，星空之下：水彩画「细节丰富」，光影柔和，远处有一条河。" * 3
        assert not [line for line in lines if line[0] in "，：」。" or line[-1] == "「"]

    def test_a_word_longer_than_a_line_is_broken(self) -> None:
        """And nothing of it is lost."""
        lines = fonts.wrap("a Donaudampfschifffahrtsgesellschaftskapitän sails", 20, 120, 99)
        assert "".join(lines).replace(" ", "") == "aDonaudampfschifffahrtsgesellschaftskapitänsails"
        assert all(fonts.width(line, 20) <= 120 for line in lines)

    def test_an_emoji_of_many_parts_is_never_torn(self) -> None:
        """A family stays a family at a line's end."""
        lines = fonts.wrap("👨‍👩‍👧" * 9, 20, 60, 99)
        assert "".join(lines) == "👨‍👩‍👧" * 9
        assert all(re.fullmatch("(👨‍👩‍👧)+", line) for line in lines)

    def test_a_character_wider_than_the_line_is_alone_on_it(self) -> None:
        """What follows such a character goes on the next line."""
        lines = fonts.wrap("\u0301\u200d」aa", 16, 30, 2)
        assert lines == ("\u0301\u200d」", "aa")

    @given(st.text(alphabet="ab de,.- 城の，「」🦊\u0301\u200d\ufe0f\n", max_size=60), st.integers(30, 200), st.integers(1, 4))
    def test_any_text_keeps_to_its_room_or_to_one_character(self, text: str, width: int, lines: int) -> None:
        """At most so many lines, none wider than asked; either everything is there, or an ellipsis."""
        wrapped = fonts.wrap(text, 16, width, lines)
        assert len(wrapped) <= lines
        assert all(fonts.width(line, 16) <= width + 0.01 or len(list(graphemes(line))) <= 2 for line in wrapped)
        whole = "".join(wrapped).replace(" ", "") == "".join(text.split())
        assert whole or (wrapped and wrapped[-1].endswith(ELLIPSIS))
