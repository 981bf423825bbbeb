"""Our client at aimock, a mock of OpenAI's interface that other people wrote: `scripts/test` installs it from npm."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp_servers import CLIENTS, NODE
from PIL import Image

from imagegen_magic import generate, run
from imagegen_magic.engine import api
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import ContentRejected, NotFound

pytestmark = pytest.mark.slow

AIMOCK = CLIENTS / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
REFUSAL = {"message": "Your request was rejected by the safety system", "type": "image_generation_user_error", "code": "moderation_blocked"}


def fixtures() -> dict[str, Any]:
    """Return what aimock answers: a teal picture for a fox, a refusal for what is forbidden."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
    picture = {"b64Json": base64.b64encode(buffer.getvalue()).decode()}
    answers = {
        "a fox": {"image": {**picture, "revisedPrompt": "a red fox in the snow"}},
        "forbidden": {"error": REFUSAL, "status": 400},
    }
    matched = [{"match": {"userMessage": words, "endpoint": "image"}, "response": answer} for words, answer in answers.items()]
    return {"fixtures": matched}


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of a running aimock."""
    file = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    file.write_text(json.dumps(fixtures()), encoding="utf-8")
    command = [NODE, AIMOCK, "--port", "0", "--fixtures", file, "--log-level", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            line = next((line for line in process.stdout if "listening on" in line), "")
            assert line, "aimock did not start; is it installed? scripts/test does that"
            yield line.rpartition(" ")[2].strip()
        finally:
            process.terminate()


@pytest.fixture
def mock(aimock: str, own_world: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Aimock as a server of one's own, called `mock`, with a key."""
    text = f'[tool.imagegen.providers.mock]\nlike = "openai-compatible"\nbase_url = "{aimock}"\nkey_variable = "MOCK_KEY"\n'
    (own_world / "pyproject.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MOCK_KEY", "a-key")
    return aimock


def test_a_picture_is_made(mock: str) -> None:
    """It comes within the answer; nothing is known of its price."""
    (image,) = run(generate("a fox", provider="mock", size="64x64"))
    assert (image.width, image.height, image.differences, image.cost.amount) == (64, 64, (), None)
    with Image.open(image.path) as saved:
        assert saved.convert("RGB").getpixel((1, 1)) == (0, 128, 128)


def test_a_picture_is_edited(mock: str, tmp_path: Path) -> None:
    """Its form is read."""
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "white").save(photo)
    (image,) = run(generate("a fox at night", provider="mock", size="64x64", references=[photo]))
    assert (image.width, image.height) == (64, 64)


def test_a_refusal_is_read(mock: str) -> None:
    """And what the mock does not know."""
    with pytest.raises(ContentRejected, match="rejected by the safety system"):
        run(generate("forbidden", provider="mock"))
    with pytest.raises(NotFound, match="No fixture matched"):
        run(generate("a dog", provider="mock"))
    assert [task.state for task in run(api.ledger(load()).tasks())] == ["failed", "failed"]


def test_openai_itself_is_spoken_to_it(mock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation as OpenAI takes it, at the variable of its address; what came is compared with the plan."""
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{mock}/v1")
    (image,) = run(generate("a fox", provider="openai", size="1024x1024"))
    assert image.differences == ("asked 1024×1024, got 64×64",)
