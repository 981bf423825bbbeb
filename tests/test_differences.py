"""What came back against what was asked, in words a person understands at a glance."""

import pytest

from imagegen_magic.engine.conformance import mismatches, shape
from imagegen_magic.imaging.verify import ImageInfo


def _facts(width=1024, height=1024, mime_type="image/png", transparent=False):
    return ImageInfo(width, height, mime_type, ".png", transparent, transparent)


def _expected(*pixels, mime_type=None, alpha=None):
    return {"pixels": [list(pair) for pair in pixels], "mime_type": mime_type, "alpha": alpha}


def test_nothing_is_said_where_nothing_differs():
    """The pixels of the plan, its format, its alpha."""
    assert mismatches(_expected((1024, 1024), mime_type="image/png", alpha=False), "1:1", _facts()) == ()


def test_any_of_the_pixels_a_gateway_may_answer_with_is_as_asked():
    """gccai's page lists two pairs for 3:1 at 1k: both are as asked."""
    both = _expected((1536, 512), (1881, 836))
    assert mismatches(both, "3:1", _facts(1536, 512)) == mismatches(both, "3:1", _facts(1881, 836)) == ()


def test_another_shape_is_said_as_a_shape():
    """asked 3:1, got 2.25:1."""
    (given,) = mismatches(_expected((1536, 512)), "3:1", _facts(1800, 800))
    assert given == "asked 3:1, got 2.25:1 (1800×800)"


def test_another_shape_is_seen_where_no_pixels_were_promised():
    """xingchao's page gives no pixels for a ratio, but a ratio is a ratio."""
    assert mismatches(_expected(), "16:9", _facts()) == ("asked 16:9, got 1:1 (1024×1024)",)
    assert mismatches(_expected(), "16:9", _facts(1824, 1024)) == ()


def test_the_right_shape_in_other_pixels_is_said_in_pixels():
    """Smaller than paid for is a difference too."""
    assert mismatches(_expected((2048, 1152)), "16:9", _facts(1536, 864)) == ("asked 2048×1152, got 1536×864",)
    assert mismatches(_expected((1536, 1024)), "1536x1024", _facts(1024, 1024)) == ("asked 1536×1024, got 1024×1024",)


def test_auto_promises_nothing():
    """Where the gateway picks, nothing can differ."""
    assert mismatches(_expected(), "auto", _facts(999, 111)) == mismatches(_expected(), "", _facts(7, 7)) == ()


def test_format_and_background():
    """webp asked and png got; transparent asked and opaque got; and the other way round."""
    assert mismatches(_expected(mime_type="image/webp"), "auto", _facts()) == ("asked webp, got png",)
    for came, name in (
        ("image/gif", "gif"),
        ("image/avif", "avif"),
        ("image/tiff", "tiff"),
        ("image/jp2", "jpeg 2000"),
        ("image/heic", "heic"),
    ):
        assert mismatches(_expected(mime_type="image/png"), "auto", _facts(mime_type=came)) == (f"asked png, got {name}",)
    assert mismatches(_expected(alpha=True), "auto", _facts()) == ("asked a transparent background, got an opaque one",)
    assert mismatches(_expected(alpha=False), "auto", _facts(transparent=True)) == ("asked an opaque background, got transparent places",)


@pytest.mark.parametrize(("pixels", "given"), [((2250, 1000), "2.25:1"), ((1000, 2250), "1:2.25"), ((5, 5), "1:1")])
def test_shapes_in_words(pixels, given):
    """The smaller term is 1."""
    assert shape(*pixels) == given
