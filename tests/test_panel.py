"""The panel in a real kernel: the choices are sent, runs continue while cells run, and no widget is left."""

import json
import re

import nbclient
import nbformat
import pytest
from frontend import environment
from panels import LOAD, PanelDriver
from servers import sandbox_thread

KEY = "sk-very-secret-4f9a8b7c6d5e"


@pytest.fixture(scope="module")
def gateway():
    """Gateways on a socket, whose tasks take 0.6 seconds: APIMart and GCCAI report whole seconds, and 0 is no duration."""
    with sandbox_thread(duration=0.6) as server:
        yield server


@pytest.fixture(scope="module")
def kernel(kernels, tmp_path_factory, gateway):
    """One kernel with the extension loaded; xingchao has no key."""
    keys = {name: value for name, value in gateway.environ().items() if name != "XINGCHAO_API_KEY"}
    with kernels.kernel(tmp_path_factory.mktemp("panel"), IMAGEGEN_POLL_SECONDS="0.1", **keys) as running:
        running.run(LOAD)
        running.subshell = running.open_subshell()
        yield running


@pytest.fixture
def opened(kernel):
    """Open a panel with presets; it is closed after the test."""

    def open_panel(presets=""):
        cell = kernel.run(f"panel = Panel({presets})\npanel")
        assert cell.status == "ok", cell.text
        return PanelDriver(kernel, kernel.subshell)

    yield open_panel
    kernel.run("panel.close()")
    kernel.until(lambda: not kernel.models, "the widgets to be closed")


def value(kernel, expression):
    """Return an expression's value in the kernel, by way of JSON."""
    cell = kernel.run(f"import json; print(json.dumps({expression}))")
    assert cell.status == "ok", cell.text
    return json.loads(cell.text)


def test_a_picture_from_the_controls(kernel, opened, gateway):
    """The chosen values are sent exactly; the picture is in the gallery, and in the ledger like every other."""
    panel = opened("provider='evolink'")
    panel.set(panel.widget("RatioPicker"), value="16:9")
    panel.choose("Resolution", "2k")
    panel.choose("Quality", "low")
    panel.generate("A fox by hand")
    kernel.until(lambda: len(panel.tiles) == 1, "the picture")
    (sent,) = gateway.accepted("A fox by hand")
    assert sent["json"] == {
        "model": "gpt-image-2",
        "prompt": "A fox by hand",
        "size": "16:9",
        "resolution": "2K",
        "quality": "low",
        "n": 1,
    }
    kernel.until(lambda: value(kernel, "panel.value is not None"), "the Generation")
    assert value(kernel, "[[image.width, image.height, image.path.exists()] for image in panel.images]") == [[2048, 1152, True]]
    assert value(kernel, "panel.value[0].id == panel.images[0].id")
    assert "A fox by hand" in kernel.run("%imagegen history").text
    assert len(panel.tiles[0]["thumbnail"]) <= 20_000
    assert panel.tiles[0]["caption"].startswith("A fox by hand\n2048×1152 · evolink")


def test_presets_are_any_option_and_only_options(kernel, opened):
    """Every field of a request can be preset, an unknown one is refused in one line, and `request` reads and sets the choice."""
    opened("provider='gccai', prompt='Preset', size='3:1', n=3, output_format='jpeg', output_compression=40, background='opaque'")
    assert value(kernel, "panel.request.asked()") == {
        "prompt": "Preset",
        "size": "3:1",
        "n": 3,
        "background": "opaque",
        "output_format": "jpeg",
        "output_compression": 40,
    }
    kernel.run("from dataclasses import replace\npanel.request = replace(panel.request, size='1:1', n=2)")
    panel = PanelDriver(kernel, kernel.subshell)
    kernel.until(lambda: panel.state(panel.widget("RatioPicker"))["value"] == "1:1", "the picker to follow")
    assert kernel.run("Panel(sizes='1:1')").reply["ename"] == "UnsupportedOption"


def test_the_magic_opens_the_same_panel(kernel):
    """`%imagegen panel` shows a panel with the configured values."""
    kernel.run('%config ImageGenMagics.provider = "apimart"\n%config ImageGenMagics.quality = "high"')
    cell = kernel.run("%imagegen panel")
    assert [sorted(output["data"]) for output in cell.outputs] == [
        ["application/vnd.jupyter.widget-view+json", "text/plain"],
        ["text/html", "text/plain"],
    ]
    panel = PanelDriver(kernel, kernel.subshell)
    assert panel.state(panel.widget("Choice", label="Quality"))["value"] == "high"
    kernel.run("%config ImageGenMagics.provider = None\n%config ImageGenMagics.quality = None")
    kernel.run("import gc, ipywidgets\nfor w in list(ipywidgets.widgets.widget._instances.values()): w.close()")
    kernel.until(lambda: not kernel.models, "the widgets to be closed")


def test_summary_shows_what_will_happen(kernel, opened):
    """Pixels, megapixels, tasks, price and warnings are shown before anything is sent, and follow every change."""
    panel = opened("provider='apimart', size='16:9'")
    kernel.until(lambda: panel.shows("1536×864") and panel.shows("1.33 MP") and panel.shows("price unknown"), "the line")
    panel.choose("Quality", "high")
    panel.set(panel.field("Number"), value=6)
    kernel.until(lambda: panel.shows("6 pictures in 2 tasks"), "the tasks")
    kernel.until(lambda: panel.shows("about $"), "the price")
    panel.set(panel.field("Service"), index=[name for name, _ in _options(panel)].index("evolink"))
    panel.set(panel.widget("RatioPicker"), value="1:3")
    panel.choose("Resolution", "2k")
    kernel.until(lambda: panel.shows("2k at 1:3 is smaller than 1k here: 688x2048 against 1024x3072"), "evolink's smaller 2K")


def test_the_line_shows_the_balance_on_request(kernel, opened, gateway):
    """It is asked by the button alone, in the gateway's unit; a new request removes it, as it is then out of date."""
    before = gateway.log()["balances"]
    panel = opened("provider='evolink', size='1:1', quality='low'")
    kernel.until(lambda: panel.shows("usual"), "the line")
    assert not panel.shows("balance: ")
    assert gateway.log()["balances"] == before
    panel.click("Balance")
    kernel.until(lambda: panel.shows("balance: ") and panel.shows(" credits used"), "the balance")
    assert gateway.log()["balances"] == before + 1
    panel.generate("A fox that is paid for")
    kernel.until(lambda: len(panel.tiles) == 1 and not panel.shows("balance: "), "the picture")
    assert gateway.log()["balances"] == before + 1


def test_services_are_compared_on_request(kernel, opened):
    """Those with a key that can make exactly this, with price and time; another request removes them."""
    panel = opened("provider='evolink', size='1:1', quality='low'")
    kernel.until(lambda: panel.shows("usual"), "the line")
    assert not panel.shows("Services that can make this")
    panel.click("Compare services")
    kernel.until(lambda: panel.shows("Services that can make this") and panel.shows("1024×1024"), "the services")
    panel.set(panel.widget("RatioPicker"), value="16:9")
    kernel.until(lambda: not panel.shows("Services that can make this"), "the table to go")


def test_no_balance_where_the_gateway_reports_none(kernel, opened):
    """The button is hidden at GCCAI, without a key, and in the sandbox."""
    panel = opened("provider='evolink'")
    button = panel.field("Balance")

    def shown():
        return panel.state(panel.state(button)["layout"].removeprefix("IPY_MODEL_")).get("display") != "none"

    kernel.until(shown, "the button")
    for name in ("gccai", "xingchao"):
        panel.set(panel.field("Service"), index=[label for label, _ in _options(panel)].index(name))
        kernel.until(lambda: not shown(), "no button")
    panel.set(panel.field("Service"), index=[label for label, _ in _options(panel)].index("apimart"))
    kernel.until(shown, "the button")
    panel.set(panel.field("Sandbox"), value=True)
    kernel.until(lambda: not shown(), "no button")


def test_what_the_page_refuses_is_sent_on_request(kernel, opened, gateway):
    """The button beside the reason lifts the check, and the line names the page; a second click restores the check."""
    panel = opened("provider='apimart', size='1:1', quality='low', background='transparent'")
    kernel.until(lambda: panel.shows("imagegen-problem"), "the reason")
    panel.generate("A fox that is refused")
    panel.click("Send anyway")
    kernel.until(lambda: panel.shows("not checked: "), "the warning")
    assert value(kernel, "panel.request.unchecked") is True
    panel.generate("A fox that is not checked")
    kernel.until(lambda: len(panel.tiles) == 1, "the picture")
    assert [entry["json"]["background"] for entry in gateway.accepted("A fox that is not checked")] == ["transparent"]
    assert gateway.submissions("A fox that is refused") == []
    assert "not checked: apimart gpt-image-2-official has no background" in panel.tiles[0]["caption"]
    assert panel.tiles[0]["different"]
    panel.click("Check against the page again")
    kernel.until(lambda: not panel.shows("not checked: "), "the reason again")
    assert value(kernel, "panel.request.unchecked") is False


def _options(panel):
    labels = panel.state(panel.field("Service"))["_options_labels"]
    return [(label.lower(), label) for label in labels]


def test_usual_time_comes_from_history(kernel, opened):
    """After three similar pictures, the summary has the usual time."""
    panel = opened("provider='gccai', size='3:2', quality='medium'")
    kernel.until(lambda: panel.shows("usual time not known yet"), "no history")
    for number in range(3):
        panel.generate(f"History {number}")
    kernel.until(lambda: panel.shows("usually "), "the usual time")


def test_an_impossible_value_is_kept_and_a_fix_is_offered(kernel, opened, gateway):
    """A model that lacks the chosen value changes nothing: the reason is shown, nothing is sent, and a button applies the nearest value."""
    panel = opened("provider='gccai', size='16:9', output_format='webp'")
    panel.set(panel.field("Model"), index=2)
    kernel.until(lambda: panel.shows("gpt-image-1.5-official has no ratio 16:9"), "the problem")
    assert value(kernel, "[panel.request.size, panel.request.output_format]") == ["16:9", "webp"]
    assert not panel.state(panel.widget("Prompt"))["ready"]
    panel.generate("Not to be sent")
    kernel.until(lambda: value(kernel, "panel.request.prompt") == "Not to be sent", "the click to be handled")
    assert gateway.submissions("Not to be sent") == []
    panel.click("Use 3:2, use png")
    kernel.until(lambda: panel.state(panel.widget("Prompt"))["ready"], "the fixed request")
    assert value(kernel, "[panel.request.size, panel.request.output_format]") == ["3:2", "png"]


def test_two_runs_while_a_cell_sleeps(kernel, opened, gateway):
    """Two runs start and finish while a cell keeps the kernel busy."""
    panel = opened("provider='evolink', quality='low'")
    cell = kernel.send("import time\nwhile True: time.sleep(0.1)")
    kernel.until(lambda: cell.started, "the cell to start")
    panel.generate("While it sleeps 1")
    panel.generate("While it sleeps 2")
    kernel.until(lambda: len(panel.tiles) == 2, "both pictures")
    assert not cell.done
    kernel.interrupt()
    kernel.wait(cell)


def test_cancel_while_a_cell_sleeps(kernel, opened, gateway):
    """Cancel works while a cell runs; the row shows that the gateway continues, and can be dismissed."""
    gateway.arm("never-finishes", match="Cancelled by hand")
    panel = opened("provider='evolink', quality='low'")
    cell = kernel.send("import time\nwhile True: time.sleep(0.1)")
    panel.generate("Cancelled by hand")
    kernel.until(lambda: panel.shows("waiting "), "the task's id to be known")
    panel.click("Cancel")
    kernel.until(lambda: panel.shows("goes on at the service"), "the row to say so")
    assert not cell.done
    panel.click("Dismiss")
    kernel.until(lambda: not panel.shows("goes on at the service"), "the row to go")
    kernel.interrupt()
    kernel.wait(cell)
    gateway.disarm()


def test_errors_are_in_the_row_of_their_run(kernel, opened, gateway):
    """A run that fails shows what happened, who has to act and whether it was charged."""
    gateway.arm("no-balance", match="Too dear")
    panel = opened("provider='apimart'")
    panel.generate("Too dear <b>")
    kernel.until(lambda: panel.shows("Nothing was charged"), "the error")
    assert panel.shows("Too dear &lt;b&gt;")
    gateway.disarm()


def test_fault_in_a_handler_is_shown(kernel, opened):
    """An error of this package is shown, although no cell would show it."""
    panel = opened("provider='evolink'")
    kernel.run("panel._state.apply_fixes = lambda: 1 / 0\npanel._submit(panel._apply_fixes())")
    kernel.until(lambda: panel.shows("The panel itself failed: ZeroDivisionError"), "the fault")


def test_key_is_kept_in_memory_and_in_no_state(kernel, opened, gateway):
    """A typed key works at once, and is in no message of the kernel, no model and no output."""
    panel = opened("provider='xingchao', quality='low'")
    field = panel.widget("KeyField")
    assert "XINGCHAO_API_KEY" in panel.state(field)["about"]
    received, take = [], kernel._take
    kernel._take = lambda message: (received.append(repr(message)), take(message))
    try:
        panel.send(field, event="key", key=f" {KEY} ")
        kernel.until(lambda: panel.shows("is kept until this kernel ends"), "the answer")
        panel.generate("With a typed key")
        kernel.until(lambda: len(panel.tiles) == 1, "the picture")
    finally:
        kernel._take = take
    assert KEY not in repr(received) + repr(kernel.models)
    assert value(kernel, "panel._state.missing_key") == ""
    assert len(gateway.accepted("With a typed key")) == 1


def test_sandbox_is_one_click_away(kernel, opened, gateway):
    """A gateway without a key offers the sandbox: after one click a picture is drawn, and nothing is sent."""
    kernel.run("from imagegen_magic.engine import credentials as keys; keys._remembered.clear()")
    panel = opened("provider='xingchao', quality='low'")
    assert not panel.state(panel.widget("Prompt"))["ready"]
    panel.click("Use the sandbox")
    panel.generate("Drawn here")
    kernel.until(lambda: len(panel.tiles) == 1, "the picture")
    assert panel.shows("free: drawn by the sandbox")
    assert gateway.submissions("Drawn here") == []


def test_actions_on_a_picture(kernel, opened):
    """Use its settings, star it, show the differences, enlarge it, open its file, hide it."""
    panel = opened("provider='evolink', quality='low', size='3:2', sandbox=True")
    panel.generate("Looked at")
    kernel.until(lambda: len(panel.tiles) == 1, "the picture")
    number = panel.tiles[0]["id"]
    panel.set(panel.widget("RatioPicker"), value="1:1")
    panel.act("use-settings", number)
    kernel.until(lambda: value(kernel, "panel.request == panel.images[0].request"), "the settings")
    assert value(kernel, "panel.request.size") == "3:2"
    panel.act("star", number)
    kernel.until(lambda: panel.tiles[0]["starred"], "the star")
    panel.act("differences", number)
    kernel.until(lambda: panel.shows("is exactly as requested: 1536×1024"), "what differs")
    panel.act("enlarge", number)
    kernel.until(lambda: panel.state(panel.widget("Gallery"))["enlarged"].get("id") == number, "the enlarged picture")
    panel.act("open-file", number)
    kernel.until(lambda: 'href="imagegen/' in json.dumps(kernel.states("OutputModel")).replace('\\"', '"'), "the link")
    panel.act("remove", number)
    kernel.until(lambda: panel.tiles == [], "the picture to go")
    assert value(kernel, "len(panel.images)") == 0
    panel.act("ledger", "all")
    kernel.until(lambda: len(panel.tiles) > 0, "the ledger")
    assert number not in {tile["id"] for tile in panel.tiles}


def test_fields_of_a_newer_version_are_reported(kernel, opened):
    """Use settings names the stored options that this version does not have."""
    panel = opened("provider='evolink', quality='low', size='3:2', sandbox=True")
    panel.generate("Stored later")
    kernel.until(lambda: len(panel.tiles) == 1, "the picture")
    kernel.run(
        "from imagegen_magic.engine import loop; from imagegen_magic.engine import api as generation\n"
        "def newer(connection):\n"
        "    connection.execute(\"UPDATE jobs SET asked = json_set(asked, '$.mood', 'blue') WHERE prompt = 'Stored later'\")\n"
        "loop.run(generation.ledger().run(newer))"
    )
    panel.act("use-settings", panel.tiles[0]["id"])
    kernel.until(lambda: panel.shows("A newer imagegen_magic stored mood, which this version keeps and does not use"), "the line")


FIVE_HUNDRED = """
from imagegen_magic import ImageRequest
from imagegen_magic.engine import loop; from imagegen_magic.engine import api as generation
from imagegen_magic.engine.ledger.ledger import NewJob, NewTask
from imagegen_magic.engine.settings import load
from imagegen_magic.result import Cost
image = panel.images[0]
asked = {"prompt": "One of five hundred", "size": "1:1"}
tasks = [NewTask(sent={"method": "POST", "path": "/", "json": {}}, pictures=1, idempotency_key=f"many-{i}") for i in range(500)]
many = NewJob(provider="evolink", dialect="evolink", base_url="", sandbox=True, model="gpt-image-2", quality="low", tier="1k", asked=asked,
              resolved=asked, expected={}, price=Cost(), save_dir=".", name=None, tasks=tasks)
async def fill():
    book = generation.ledger(load())
    ((_, rows),) = await book.add([many])
    for row in rows:
        (picture,) = await book.record_result(row, ["https://x.example/a.png"], expires_at=None, cost=Cost(), seconds=1.0, answer=None)
        await book.record_saved(picture, path=image.path, sha256="0", size=1, width=1024, height=1024, mime_type="image/png")
loop.run(fill())
"""


def test_a_gallery_of_five_hundred_sends_a_page_at_a_time(kernel, opened):
    """The front end gets the small thumbnails of one page; the next page replaces them."""
    panel = opened("provider='evolink', quality='low', size='1:1', sandbox=True")
    panel.generate("The first of many")
    kernel.until(lambda: len(panel.tiles) == 1, "the picture")
    cell = kernel.run(FIVE_HUNDRED)
    assert cell.status == "ok", cell.text
    gallery = panel.widget("Gallery")
    panel.act("ledger", "all")
    kernel.until(lambda: panel.state(gallery)["total"] >= 500, "all of the ledger")
    size = panel.state(gallery)["page_size"]
    kernel.until(lambda: len(panel.tiles) == size, "a page of pictures")
    first = {tile["id"] for tile in panel.tiles}
    assert all(len(tile["thumbnail"]) <= 20_000 for tile in panel.tiles)
    panel.set(gallery, page=5)
    kernel.until(lambda: panel.tiles and not first & {tile["id"] for tile in panel.tiles}, "another page")
    assert len(panel.tiles) <= size


def test_stars_outlive_the_panel(kernel, opened):
    """Another panel shows the star."""
    panel = opened("sandbox=True, provider='gccai'")
    panel.generate("Starred")
    kernel.until(lambda: len(panel.tiles) == 1, "the picture")
    number = panel.tiles[0]["id"]
    panel.act("star", number)
    kernel.until(lambda: panel.tiles[0]["starred"], "the star")
    kernel.run("panel.close()\npanel = Panel(sandbox=True)\npanel")
    panel.act("ledger", "all")
    kernel.until(lambda: any(tile["id"] == number and tile["starred"] for tile in panel.tiles), "the star in another panel")


def test_picture_becomes_a_reference(kernel, opened, gateway):
    """Use as reference is `--ref @1`: the picture's address is sent while it is valid, and is in no cell."""
    panel = opened("provider='evolink', quality='low'")
    panel.generate("The first")
    kernel.until(lambda: len(panel.tiles) == 1, "the picture")
    panel.act("use-reference", panel.tiles[0]["id"])
    kernel.until(lambda: value(kernel, "len(panel.request.references)") == 1, "the reference")
    panel.generate("From the first")
    kernel.until(lambda: len(panel.tiles) == 2, "the second picture")
    (sent,) = gateway.accepted("From the first")
    address = value(kernel, "panel.images[1].url")
    assert sent["json"]["image_urls"] == [address]
    number = value(kernel, "panel.images[1].id")
    assert value(kernel, "[one.name for one in panel.request.references]") == [f"@{number}"]
    text = value(kernel, "panel.cell()")
    assert f"--ref @{number}" in text
    assert address not in text
    assert kernel.run(text).status == "ok"
    first, again = gateway.accepted("From the first")
    assert first["json"] == again["json"]
    panel.click("Remove")
    kernel.until(lambda: value(kernel, "len(panel.request.references)") == 0, "the reference to go")


def test_settings_and_cell_of_a_picture_name_its_references(kernel, opened, gateway):
    """The file is the reference again, not the address of its upload, which expires; its stored copy if the file was changed."""
    kernel.run("from PIL import Image; Image.new('RGB', (640, 480), 'navy').save('lake.png')")
    kernel.run("%imagegen -p evolink -q low --ref lake.png -o lake From a lake")
    panel = opened("provider='evolink'")
    panel.act("ledger", "all")
    kernel.until(lambda: any(tile["id"] == value(kernel, "lake[0].id") for tile in panel.tiles), "the picture")
    number = value(kernel, "lake[0].id")
    panel.act("use-settings", number)
    kernel.until(lambda: value(kernel, "getattr(next(iter(panel.request.references), ''), 'name', '')") == "lake.png", "the file")
    text = value(kernel, "panel.cell(lake[0])")
    assert "--ref lake.png" in text
    assert "http" not in text
    kernel.run("Image.new('RGB', (640, 480), 'red').save('lake.png')")
    panel.act("use-settings", number)
    kernel.until(lambda: "sources" in value(kernel, "str(getattr(panel.request.references[0], 'name', ''))"), "the copy that was kept")
    assert "sources" in value(kernel, "panel.cell(lake[0])")


def test_sandbox_picture_becomes_a_reference_in_the_sandbox(kernel, opened):
    """Without a key, a picture of the sandbox can be the reference of the next."""
    panel = opened("provider='gccai', sandbox=True")
    panel.generate("Drawn first")
    kernel.until(lambda: len(panel.tiles) == 1, "the picture")
    panel.act("use-reference", panel.tiles[0]["id"])
    kernel.until(lambda: value(kernel, "len(panel.request.references)") == 1, "the reference")
    panel.generate("Drawn after it")
    kernel.until(lambda: len(panel.tiles) == 2, "the second picture")


def test_two_selected_pictures_are_compared(kernel, opened):
    """Two selected pictures are compared: both previews, and the differences of their settings and prompts."""
    panel = opened("provider='evolink', sandbox=True, size='1:1'")
    panel.generate("A red fox in the snow")
    kernel.until(lambda: len(panel.tiles) == 1, "the first")
    panel.choose("Quality", "high")
    panel.generate("A blue fox in the snow")
    kernel.until(lambda: len(panel.tiles) == 2, "the second")
    panel.set(panel.widget("Gallery"), selected=[tile["id"] for tile in panel.tiles][::-1])
    compare = panel.widget("Compare")
    kernel.until(lambda: panel.state(compare)["differences"], "the comparison")
    state = panel.state(compare)
    assert {"name": "quality", "left": "medium", "right": "high"} in state["differences"]
    assert [words for words, changed in state["prompt_left"] if changed] == ["red"]
    assert [words for words, changed in state["prompt_right"] if changed] == ["blue"]
    assert value(kernel, "[image.request.quality for image in panel.selected]") == ["medium", "high"]


def test_cell_of_a_picture_runs_to_the_same_request(kernel, opened, gateway):
    """The cell of a picture makes exactly the same request, whatever characters the prompt has."""
    prompt = "Quotes ' \" and {braces} $HOME\n  -n 9 on a line of its own, 中文 🦊"
    opened(f"provider='gccai', prompt={prompt!r}, size='1:3', quality='low', output_format='jpeg', output_compression=7, n=2")
    kernel.run("job = panel.generate(); _ = job.wait()")
    kernel.until(lambda: value(kernel, "len(panel.images)") == 2, "the pictures")
    text = value(kernel, "panel.cell()")
    assert text.startswith("%%imagegen --provider gccai --model gpt-image-2-official --size 1:3")
    assert kernel.run(text).status == "ok"
    first, again = gateway.accepted(prompt)
    assert first["json"] == again["json"]


@pytest.mark.timeout(400)  # a hundred openings; it waits up to 240 s for them
@pytest.mark.parametrize("openings", [5, pytest.param(100, marks=pytest.mark.long)])
def test_closing_frees_every_widget_and_many_openings_leak_none(kernel, openings):
    """A closed panel leaves no model on either side; a hundred leave none in the kernel (they are too many for the socket at once)."""
    kernel.run("panel = Panel(provider='gccai', sandbox=True)\npanel")
    assert len(kernel.models) > 30
    kernel.run("panel.close()")
    kernel.until(lambda: not kernel.models, "the widgets to be closed")
    code = """
import gc, ipywidgets
for number in range(OPENINGS):
    one = Panel(provider='gccai', sandbox=True)
    one._open()
    if number == 0:
        most = len(ipywidgets.widgets.widget._instances)
    one.close()
print(most, len(ipywidgets.widgets.widget._instances))
""".replace("OPENINGS", str(openings))
    most, left = map(int, kernel.wait(kernel.send(code), patience=240).text.split())
    assert most > 30
    assert left == 0
    kernel.pump()
    kernel.models.clear()


def test_closed_panel_still_collects_its_runs(kernel, gateway):
    """Closing the panel closes the widgets and stops no run."""
    kernel.run("panel = Panel(provider='evolink', prompt='Closed meanwhile', quality='low')\npanel")
    kernel.run("job = panel.generate()\npanel.close()\n_ = job.wait()")
    kernel.until(lambda: value(kernel, "len(panel.images)") == 1 and value(kernel, "panel.value is not None"), "the picture")
    assert not kernel.models


def test_static_sheet_follows_the_panel(kernel, opened):
    """The static output below the panel has the pictures as they arrive, with text and alternative text, and no script."""
    cell = kernel.run("panel = Panel(provider='evolink', sandbox=True)\npanel")
    panel = PanelDriver(kernel, kernel.subshell)
    sheet = cell.outputs[1]["data"]
    assert "no picture yet" in sheet["text/plain"]
    panel.generate("On the <sheet>")
    kernel.until(lambda: "1 picture" in cell.outputs[1]["data"]["text/plain"], "the sheet")
    html = cell.outputs[1]["data"]["text/html"]
    assert re.search(r'<img src="data:image/jpeg;base64,[^"]{500,20000}" alt="On the &lt;sheet&gt;"', html)
    assert "<script" not in html


@pytest.mark.kernel
def test_runner_without_a_front_end_gets_the_sheet_alone(tmp_path, monkeypatch):
    """Under nbclient no widget is created: the panel is its static sheet, and generating in code works."""
    for name, each in environment(tmp_path).items():
        monkeypatch.setenv(name, each)
    cells = ["from imagegen_magic import Panel\npanel = Panel(prompt='By a runner', sandbox=True)\npanel", "len(panel.generate().wait())"]
    cells.append("import time\nwhile panel.value is None: time.sleep(0.05)\npanel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "widgets" not in notebook.metadata
    assert [sorted(output["data"]) for cell in notebook.cells[::2] for output in cell.outputs] == [["text/html", "text/plain"]] * 2
    assert "By a runner" in notebook.cells[2].outputs[0]["data"]["text/plain"]
