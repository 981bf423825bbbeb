"""Words of a private language stay out of code, messages and documents; the field's own terms take their place."""

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
OUT = {  # the word: what to write instead
    "told": "reported, given, or the thing's own name",
    "tells": "reports, shows, returns",
    "heard": "the event's or listener's name",
    "anew": "again",
    "whoever": "name who it is",
    "nobody": "no user, no process, or the passive",
    "somebody": "the user, another process",
    "stranger": "untrusted",
    "under way": "running",
    "any more": "no longer",
    "whose move": "blame",
    "your move": "nothing, the hint says it",
    "lookout": "poller",
    "in its hands": "claimed",
}
WORDS = re.compile(rf"(?<![A-Za-z])({'|'.join(OUT)})(?![A-Za-z])", re.IGNORECASE)
PLACES = ("imagegen_magic", "benchmarks", "scripts", "docs", "notebooks", "README.md")
KINDS = (".py", ".js", ".css", ".md", ".ipynb", ".sh", "")
MIGRATION = "imagegen_magic/engine/ledger/old_errors.py"  # reads the sentences of version 0.1.0


def _files():
    for place in PLACES:
        path = PROJECT / place
        yield from (
            [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts)
        )


FILES = [path for path in _files() if path.suffix in KINDS and path.relative_to(PROJECT).as_posix() != MIGRATION]


def test_no_file_has_a_word_that_is_out():
    """Names, comments, docstrings, messages and text alike."""
    lines = [(path, *numbered) for path in FILES for numbered in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)]
    assert [f"{path.relative_to(PROJECT)}:{number}: {line.strip()}" for path, number, line in lines if WORDS.search(line)] == []


def test_the_walk_finds_a_word():
    """It is found as a word of its own and within a name, not within another word."""
    assert [bool(WORDS.search(text)) for text in ("was told so", "_told = 1", "Nobody", "untold", "anewed")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert len(FILES) > 200


OF_GATEWAYS = {  # messages that are about the four gateways, and about no other service
    "notebook/commands/jobs.py": "%imagegen resume searches the gateway's list of tasks until ",
    "options.py": "the first gateway with a key, else your answer to a question, else the sandbox",
    "providers/gateways/openai_models.py": "-p azure-openai and the gateways have GPT Image models, each with a key of its own",
}


def _messages(path):
    """Yield the texts of a module without its docstrings and without names of one word, which code compares."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in alone)
    yield from (text for text in texts if isinstance(text, str) and (" " in text.strip() or text.istitle()))


def test_a_message_names_a_gateway_only_where_no_other_service_is_meant():
    """Every picture service is a service; four of them are gateways."""
    package = PROJECT / "imagegen_magic"
    found = ((path.relative_to(package).as_posix(), text) for path in sorted(package.rglob("*.py")) for text in _messages(path))
    named = [(name, text) for name, text in found if re.search("gateway", text, re.IGNORECASE) and "old_errors" not in name]
    assert [(name, text) for name, text in named if OF_GATEWAYS.get(name, "-") not in text] == []
    assert {name for name, _ in named} == set(OF_GATEWAYS)
