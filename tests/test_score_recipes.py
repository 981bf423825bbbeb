"""The recipes of the page on scores: each as it stands there, with stand-ins for the models, which would be downloaded."""

import contextlib
import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from webserver import web

from imagegen_magic import generate, run, score, sweep
from imagegen_magic.engine import api
from imagegen_magic.engine.ledger import budget
from imagegen_magic.studies.scores.scorer import Scorer

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "scores.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.*?)\n.*?```python\n(.*?)```", PAGE.partition("## Recipes")[2], re.MULTILINE | re.DOTALL))
PROMPTS = {"a fox, oil": 0.5, "a fox, ink": 0.25}


class Values(list):
    """What the recipes do with a tensor."""

    def __rmul__(self, factor):
        """Scale."""
        return Values(factor * value for value in self)

    def clamp(self, min):
        """Cut off below."""
        return Values(max(min, value) for value in self)

    def tolist(self):
        """Plain numbers."""
        return list(self)


def torch():
    """Vectors are their similarity already: that of the text counts."""
    return SimpleNamespace(no_grad=contextlib.nullcontext, stack=list, cosine_similarity=lambda seen, read: Values(read))


def open_clip():
    """Prepares pictures as sizes, reads texts as the numbers of `PROMPTS`; the last one points away."""
    clip = SimpleNamespace(encode_image=list, encode_text=lambda texts: [PROMPTS[text] - 0.3 for text in texts])
    clip.eval = lambda: clip
    return SimpleNamespace(
        create_model_and_transforms=lambda name, pretrained: (clip, None, lambda picture: picture.size), get_tokenizer=lambda name: list
    )


def t2v_metrics():
    """Returns a matrix of pictures by texts."""
    return SimpleNamespace(
        VQAScore=lambda model: lambda images, texts: [[PROMPTS[text] * Path(image).exists() for text in texts] for image in images]
    )


def hpsv3():
    """Returns mean and deviation of each pair."""

    def reward(prompts, image_paths):
        return [(10 * PROMPTS[prompt] * Path(path).exists(), 0.1) for prompt, path in zip(prompts, image_paths, strict=True)]

    return SimpleNamespace(HPSv3RewardInferencer=lambda device: SimpleNamespace(reward=reward))


def lpips():
    """The mean absolute difference."""
    return SimpleNamespace(im2tensor=lambda array: array / 127.5 - 1, LPIPS=lambda net: lambda one, other: abs(one - other).mean())


def recipe(name):
    """Return the scorer that a recipe defines."""
    names = {"__name__": "recipes"}
    exec(RECIPES[name], names)
    (found,) = [each for each in names.values() if isinstance(each, Scorer)]
    return found


@pytest.fixture
def foxes():
    """Two pictures of a sweep."""
    return run(sweep("a fox, {{style}}", {"style": ["oil", "ink"]}, sandbox=True))


def values(images, scorer):
    """Return the values of the pictures in their order."""
    found = run(score(images, scorer))[scorer.name]
    return [found.values[image.id].value for image in images]


def test_every_recipe_is_run_here():
    """A new one needs a test."""
    assert list(RECIPES) == ["CLIPScore", "VQAScore", "HPSv3", "LPIPS", "A model as a judge"]


@pytest.mark.parametrize(
    ("name", "modules", "expected"),
    [("CLIPScore", [torch, open_clip], [0.5, 0]), ("VQAScore", [t2v_metrics], [0.5, 0.25]), ("HPSv3", [hpsv3], [5, 2.5])],
)
def test_models_read_pictures_and_prompts(foxes, monkeypatch, name, modules, expected):
    """Each picture with its own prompt, not with the sweep's placeholder."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module.__name__, module())
    assert values(foxes, recipe(name)) == pytest.approx(expected)


def test_lpips_needs_a_reference(foxes, monkeypatch):
    """Without one it does not apply."""
    monkeypatch.setitem(sys.modules, "lpips", lpips())
    edited = run(generate("the same fox", references=[foxes[0].path], sandbox=True))
    scorer = recipe("LPIPS")
    assert values(foxes, scorer) == [None, None]
    assert 0 < values(edited, scorer)[0] < 2


def test_a_judge_answers_yes_or_no_and_counts_in_the_budget(foxes, monkeypatch):
    """OpenAI's own client sends the picture and the prompt; another answer is a failure, and every call counts."""

    def answer(request):
        content = json.loads(request.body)["messages"][0]["content"]
        assert content[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
        reply = "Yes, a fox." if content[0]["text"].endswith("a fox, oil") else "It may be."
        message = {"role": "assistant", "content": reply}
        body = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4.1-mini",
            "choices": [{"index": 0, "message": message}],
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()

    with web(answer) as judge:
        monkeypatch.setenv("OPENAI_BASE_URL", judge.origin + "/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "stand-in")
        found = run(score(foxes, recipe("A model as a judge")))["shows_prompt"]
    assert [(found.values[image.id].state, found.values[image.id].value) for image in foxes] == [("measured", 1), ("failed", None)]
    assert found.values[foxes[0].id].reason == "Yes, a fox."
    run(budget.set_budget(api.ledger(), Decimal(1), per="day"))
    (status,) = run(budget.budget_statuses(api.ledger()))
    assert (len(judge.seen), status.spent) == (2, Decimal("0.004"))
