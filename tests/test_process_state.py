"""What a process shares beside the engine's context is listed in one place, which resets it."""

import ast
from pathlib import Path

import imagegen_magic
from imagegen_magic.engine import clock, credentials, loop, process_state

ROOT = Path(imagegen_magic.__file__).parent
LISTED = {
    "credentials._remembered",
    "credentials._answers",
    "peers._zones",
    "context._ledgers",
    "context._contexts",
    "threads._pools",
    "learnt_models._known",
    "fetching._fetchers",
}


def _mutable(path):
    """Yield the module-level names of empty containers, which only make sense if something fills them."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Dict | ast.List | ast.Set | ast.Call):
            empty = isinstance(node.value, ast.Dict) and not node.value.keys
            called = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).split(".")[-1] in (
                "WeakKeyDictionary",
                "set",
                "dict",
            )
            if empty or (called and not node.value.args):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                yield f"{path.stem}.{target.id}"


def test_no_module_of_the_engine_has_a_container_that_is_not_listed():
    """A cache at module level would outlive its EngineContext; the listed ones are reset, or emptied when the loop ends."""
    found = {name for path in (ROOT / "engine").rglob("*.py") for name in _mutable(path)}
    assert found <= LISTED, found - LISTED


def test_reset_forgets_what_the_process_remembered():
    """Keys, speed and loop are as in a new process."""
    credentials.remember("evolink", "sk-very-secret-key-123456")
    clock.set_testing(1000)
    loop.run(clock.CLOCK.sleep(0))
    process_state.reset()
    assert credentials._remembered == {}
    assert clock.CLOCK._speed == 1
    assert loop._current is None
