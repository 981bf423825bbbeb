"""Lineage: images found by id, bytes or URL, drawn as a bounded, escaped tree."""

import pytest
from IPython.core.error import UsageError
from ledgers import a_png, saved
from shells import a_shell

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.ledger import NewSource
from imagegen_magic.studies.history import lineage


def of(number, **options):
    """Return a picture's lineage."""
    return loop.run(lineage.lineage(api.ledger(), number, **options))


def names(nodes):
    """Return a tree as nested (name, role, children)."""
    return [(node.name, node.role, names(node.children)) for node in nodes]


def made_from(*pictures, prompt="made from others", role="reference", count=1):
    """Put a picture into the ledger that was made with these, and return it."""
    used = [each if isinstance(each, NewSource) else NewSource(role, f"@{each.id}", each.id) for each in pictures]
    found = saved(prompt, sources=used, count=count)
    return found[0] if count == 1 else found


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


def test_a_prompt_alone():
    """An image without references has no lineage."""
    (image,) = saved()
    found = of(image.id)
    assert (found.picture.id, found.origins, found.offspring, found.left_out) == (image.id, (), (), 0)


def test_parents_and_children_over_generations():
    """References and masks, files that are not in the ledger, children of children; each with its role."""
    (fox,), (castle,) = saved("a fox"), saved("a castle")
    both = made_from(fox, castle, NewSource("mask", "mask.png", None, "00"))
    one, other = made_from(both, count=2)
    assert names(of(both.id).origins) == [(f"@{fox.id}", "reference", []), (f"@{castle.id}", "reference", []), ("mask.png", "mask", [])]
    children = [(f"@{one.id}", "reference", []), (f"@{other.id}", "reference", [])]
    assert names(of(both.id).offspring) == children
    assert names(of(fox.id).offspring) == [(f"@{both.id}", "reference", children)]
    assert names(of(one.id).origins)[0][2][0] == (f"@{fox.id}", "reference", [])


def test_found_by_its_bytes():
    """A file with the bytes of an image is that image; of several, the latest from before."""
    first = saved(data=a_png())[0]
    again = saved(data=a_png())[0]
    child = made_from(NewSource("reference", "copy.png", None, loop.run(api.ledger().pictures(ids=[first.id]))[0].sha256))
    saved(data=a_png())
    assert names(of(child.id).origins) == [(f"@{again.id}", "reference", [])]
    assert [node.name for node in of(first.id).offspring] == [f"@{child.id}"]


@pytest.mark.parametrize(
    ("made", "named"),
    [("https://cdn.example/x.png", "https://cdn.example/x.png"), ("http://sandbox.invalid/x.png", "https://sandbox.invalid/x.png")],
)
def test_found_by_its_url(made, named):
    """A gateway's URL is the image that it made, the sandbox's by both of its names."""
    (parent,) = saved(url=made)
    child = made_from(NewSource("reference", named))
    assert names(of(child.id).origins) == [(f"@{parent.id}", "reference", [])]
    assert names(of(parent.id).offspring) == [(f"@{child.id}", "reference", [])]


def test_a_name_that_is_no_url():
    """A file with unknown bytes has its name."""
    child = made_from(NewSource("reference", "a variable"))
    assert names(of(child.id).origins) == [("a variable", "reference", [])]


def test_a_foreign_url_stays_one():
    """It is not an image of the ledger."""
    child = made_from(NewSource("reference", "https://elsewhere.example/y.png"))
    assert names(of(child.id).origins) == [("https://elsewhere.example/y.png", "reference", [])]


def test_an_image_reached_twice_is_drawn_once():
    """Its children are shown at its first position."""
    (root,) = saved("the root")
    trunk = made_from(root)
    left, right = made_from(trunk), made_from(trunk)
    leaf = made_from(left, right)
    first, second = of(leaf.id).origins
    assert names(first.children) == [(f"@{trunk.id}", "reference", [(f"@{root.id}", "reference", [])])]
    assert (names(second.children), second.children[0].again) == ([(f"@{trunk.id}", "reference", [])], True)


def test_the_number_of_edges_is_bounded():
    """Of a hundred children, those beyond the limit are counted."""
    (root,) = saved()
    made_from(root, count=30)
    found = of(root.id, max_edges=12)
    assert (len(found.offspring), found.left_out) == (12, 18)


def test_an_unknown_id():
    """It raises LookupError."""
    with pytest.raises(LookupError, match="no picture 5"):
        of(5)


class TestTheCommand:
    """`%imagegen tree`."""

    def test_drawn_in_boxes_and_thumbnails(self, shell):
        """As text with box-drawing characters, as a page with thumbnails and alternative texts; prompts are escaped."""
        (fox,) = saved("a <b>red</b> fox")
        night = made_from(fox, NewSource("mask", "<mask>.png", None, "00"), prompt="at night")
        leaf = made_from(night, prompt="in rain")
        shell.run(f"%imagegen tree {night.id}")
        text, html = shell.shown()[0], shell.shown("text/html")[0]
        assert text.splitlines() == [
            f"@{night.id} at night · evolink gpt-image-2 · 48×32",
            "├─ made from",
            f"│  ├─ @{fox.id} a <b>red</b> fox · evolink gpt-image-2 · 48×32 (reference)",
            "│  └─ <mask>.png (mask)",
            "└─ made into",
            f"   └─ @{leaf.id} in rain · evolink gpt-image-2 · 48×32 (reference)",
        ]
        assert html.count('<img src="data:image/') == 3
        assert 'alt="a &lt;b&gt;red&lt;/b&gt; fox"' in html
        assert "<b>red" not in html
        assert "<mask>" not in html

    def test_no_relatives(self, shell):
        """A line reports it; a missing file has no thumbnail."""
        (image,) = saved()
        image.path.unlink()
        shell.run(f"%imagegen tree @{image.id}")
        assert "Made without references, and nothing was made from it yet." in shell.shown()[0]
        assert "<img" not in shell.shown("text/html")[0]

    def test_a_large_lineage_stays_small(self, shell):
        """Thumbnails are bounded in number and size."""
        (root,) = saved()
        made_from(root, count=80)
        shell.run(f"%imagegen tree {root.id}")
        assert "… and 20 more" in shell.shown()[0]
        assert shell.shown("text/html")[0].count("<img") == 40
        assert len(shell.shown("text/html")[0]) < 400_000

    @pytest.mark.parametrize(
        ("what", "words"), [("", "tree ID"), ("fox.png", "neither a picture's number"), ("fox", "no variable fox"), ("99", "no picture 99")]
    )
    def test_misuse(self, shell, what, words):
        """The usage is one line."""
        with pytest.raises(UsageError, match=words):
            shell.run(f"%imagegen tree {what}")
