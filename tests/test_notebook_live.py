"""A cell's live progress and its final outputs, on a real kernel, with a job that follows a script."""

import re
from types import SimpleNamespace

import pytest
from shells import a_shell

from imagegen_magic.notebook.output.display import Bundle
from imagegen_magic.notebook.progress.renderers import TextRenderer, answer_while_busy
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.notebook.progress.view import View

_OPEN_MODELS = "import ipywidgets.widgets.widget as w; print(len(w._instances))"


@pytest.fixture(scope="module")
def kernel(kernels, tmp_path_factory):
    """One kernel for all tests here; each test must leave it without a model."""
    with kernels.kernel(tmp_path_factory.mktemp("live")) as front:
        assert front.run("from scripted import *").status == "ok"
        yield front


@pytest.fixture
def front(kernel):
    """The kernel, and a check that a test leaves no widget model behind, neither in the page nor in the kernel."""
    yield kernel
    if not all(cell.done for cell in kernel.cells.values()):  # a test has failed in the middle of a cell
        kernel.interrupt()
    kernel.obeys_updates = True
    assert kernel.run(_OPEN_MODELS).text.strip() == "0"
    assert kernel.models == {}


def rows(front):
    """Return the rows of progress as HTML."""
    return [state["value"] for state in front.states("HTMLModel") if "imagegen-row" in state["value"] and "<style>" not in state["value"]]


def waiting(front, code):
    """Start a cell and return it when its rows and its Cancel button are there."""
    cell = front.send(code)
    front.until(lambda: front.states("ButtonModel") and rows(front), "the progress")
    return cell


def kinds(cell):
    """Return the MIME types of each output."""
    return [sorted(output.get("data", {output["output_type"]: 0})) for output in cell.outputs]


PICTURE = ["image/jpeg", "text/html", "text/plain"]
LINE = ["text/html", "text/plain"]


def test_progress_is_live_while_the_cell_runs(front):
    """The row with the stage in words and one Cancel button are there while the kernel is busy with the cell."""
    cell = waiting(front, "follow(usual(1, usual=(40, 60)))")
    assert not cell.done
    (row,) = rows(front)
    assert re.search(r"waiting \d+ s, usually 40–60 s", row)
    assert [state["description"] for state in front.states("ButtonModel")] == ["Cancel"]
    front.wait(cell)


def test_text_is_shown_before_any_widget(front):
    """The first text is an ordinary output, shown before the widgets are created."""
    front.obeys_updates = False
    cell = front.run("follow(usual(0.4))")
    assert "submitting" in cell.outputs[0]["data"]["text/html"]
    assert cell.outputs[0]["data"]["text/plain"].endswith("submitting")


def test_elapsed_time_is_updated_without_events(front):
    """The seconds are updated although the job has no event."""
    cell = waiting(front, "follow(usual(30))")
    front.until(lambda: any("waiting 1 s" in row for row in rows(front)), "a second to pass")
    front.click(front.model("ButtonModel"))
    front.wait(cell)


def test_progress_needs_no_custom_widget(front):
    """Its widgets are those of ipywidgets, which every front end with widgets has: none must load a script of this package."""
    cell = waiting(front, "follow(usual(0.6))")
    modules = {state["_model_module"] for state in front.models.values()}
    assert modules == {"@jupyter-widgets/base", "@jupyter-widgets/controls"}
    front.wait(cell)


def test_pictures_replace_the_progress(front):
    """At the end one output has the picture and its caption, and the progress is an output that a page hides."""
    cell = front.run("follow(usual(0.3))")
    assert kinds(cell) == [LINE, PICTURE]
    assert cell.of("text/plain")[0].strip() == ""
    assert "imagegen-ended" in cell.of("text/html")[0]
    assert cell.outputs[1]["metadata"] == {"image/jpeg": {"width": 640, "height": 427, "alt": "a red fox"}}
    assert cell.of("text/plain")[1].startswith("a red fox\n")
    assert cell.of("text/plain")[1].endswith("imagegen/a-red-fox-1-1.png")


def test_a_front_end_that_ignores_updates_ends_with_the_pictures(front):
    """The pictures are a new output, because some front ends never replace one."""
    front.obeys_updates = False
    cell = front.run("follow(usual(0.3, pictures=(2, 1)))")
    assert kinds(cell)[-1] == PICTURE
    assert cell.of("text/html")[-1].count("<img ") == 3


def test_all_pictures_are_one_output(front):
    """Two tasks of two and one pictures make one output with three pictures in their order, numbered as Python does."""
    cell = front.run("follow(usual(0.3, pictures=(2, 1)))")
    assert kinds(cell) == [LINE, PICTURE]
    assert [line.rsplit("/", 1) for line in cell.of("text/plain")[1].splitlines()[2:]] == [
        [f"[{number}] imagegen", f"a-red-fox-{name}.png"] for number, name in enumerate(("1-1", "1-2", "2-1"))
    ]
    assert cell.of("text/html")[1].count("<img ") == 3


def test_every_task_has_a_row(front):
    """Three tasks are three rows, each with a frame in the picture's own shape."""
    cell = waiting(front, "follow(usual(0.6, pictures=(1, 1, 1)))")
    front.until(lambda: len(rows(front)) == 3, "three rows")
    assert all("width:72px;height:48px" in row for row in rows(front))
    front.wait(cell)


def test_many_tasks_share_one_bar_with_counts(front):
    """Forty tasks are one row that counts them."""
    cell = waiting(front, "follow(usual(0.6, pictures=(1,) * 40, size=(96, 64)))")
    front.until(lambda: any("40 waiting" in row for row in rows(front)), "the count")
    assert len(rows(front)) == 1
    front.wait(cell)


def test_forty_pictures_are_a_sheet_alone(front):
    """Above 24 pictures the output is one sheet, with a link to each file."""
    cell = front.run("follow(usual(0.1, pictures=(1,) * 40, size=(96, 64)))")
    assert kinds(cell) == [LINE, PICTURE]
    assert cell.of("text/html")[1].count("<img ") == 1
    assert cell.of("text/html")[1].count("<a href=") == 40
    assert cell.of("text/plain")[1].endswith("a-red-fox-40-1.png")


def test_bar_shows_only_known_progress(front):
    """A bar is filled to the gateway's fraction, and is animated if there is none."""
    script = "[(0, progress('waiting', 0, 2, fraction=0.35)), (0, progress('waiting', 1, 2)), (0.6, progress('fetching', 0, 2))]"
    cell = waiting(front, f"follow(ScriptedJob({script}, plan(pictures=(1, 1))))")
    front.until(lambda: len(rows(front)) == 2, "two rows")
    known, unknown = rows(front)
    assert 'class="imagegen-fill" style="width:35.0%"' in known
    assert "imagegen-sweep" not in known
    assert "imagegen-fill" not in unknown
    assert "imagegen-sweep" in unknown
    front.wait(cell)


def test_thumbnail_is_shown_before_the_end(front):
    """A picture is in its row while other tasks are waiting, with the prompt as its alternative text."""
    script = "[(0, lambda: picture(0, prompt='fox & \"<b>hen</b>\"')), (0, progress('saved', 0, 2)), (1, progress('fetching', 1, 2))]"
    cell = waiting(front, f"follow(ScriptedJob({script}, plan(pictures=(1, 1))))")
    front.until(lambda: any("data:image/jpeg;base64," in row for row in rows(front)), "the thumbnail")
    assert any('alt="fox &amp; &quot;&lt;b&gt;hen&lt;/b&gt;&quot;"' in row for row in rows(front))
    front.wait(cell)


def test_at_most_ten_updates_a_second(front):
    """A hundred events a second make at most ten updates."""
    before = front.model_updates
    script = "[(0.01, progress('waiting', fraction=n / 200)) for n in range(200)]"
    cell = front.run(f"import time; t = time.time(); follow(ScriptedJob({script})); print(time.time() - t)")
    seconds = float(cell.text.splitlines()[-1])
    assert 0 < front.model_updates - before <= 10 * seconds + 4


def test_row_is_sent_when_its_text_changes(front):
    """An animated row is sent only if its text has changed."""
    before = front.model_updates
    cell = front.run("import time; t = time.time(); follow(usual(1.5)); print(time.time() - t)")
    assert front.model_updates - before <= 2 * float(cell.text.splitlines()[-1]) + 4


@pytest.mark.parametrize("over_subshell", [False, True])
def test_cancel_works_while_the_cell_runs(front, over_subshell):
    """A click ends the waiting, sent to a subshell as by JupyterLab, or to the kernel as by other front ends."""
    cell = waiting(front, "job = usual(600)\nfollow(job)")
    following = front.send("print('next', job.cancels)")
    front.click(front.model("ButtonModel"), subshell=front.open_subshell() if over_subshell else None)
    front.wait(cell)
    assert cell.outputs[-1]["ename"] == "WaitingStopped"
    front.wait(following)
    assert following.status == "aborted"


def test_button_confirms_the_click(front):
    """After the click the button is disabled and labelled Stopping while the job stops."""
    script = "[(0, progress('waiting')), (600, None)]"
    stubborn = f"job = ScriptedJob({script}); job.cancel = lambda: None\nfollow(job)"
    cell = waiting(front, stubborn)
    button = front.model("ButtonModel")
    front.click(button)
    answered = {"description": "Stopping", "disabled": True}
    front.until(lambda: answered.items() <= front.models[button].items(), "the answer to the click")
    front.interrupt()
    front.wait(cell)


def test_cancel_keeps_the_pictures(front):
    """Pictures that arrived before the click are shown, and one line for all tasks has the reason."""
    script = "[(0, lambda: picture(0)), (0, progress('saved', 0, 3)), (0, progress('waiting', 1, 3)), (600, None)]"
    cell = waiting(front, f"follow(ScriptedJob({script}, plan(pictures=(1, 1, 1))))")
    front.until(lambda: len(rows(front)) == 3, "three rows")
    front.click(front.model("ButtonModel"))
    front.wait(cell)
    assert kinds(cell)[:3] == [LINE, PICTURE, LINE]
    assert cell.text.count("The waiting was stopped") <= 2  # the output's line, and the error of the cell


def test_interrupt_cleans_up(front):
    """The stop button ends the cell with an error and leaves neither progress nor models."""
    cell = waiting(front, "follow(usual(600))")
    front.interrupt()
    front.wait(cell)
    assert cell.status == "error"
    assert kinds(cell) == [LINE, ["error"]]
    assert cell.outputs[0]["data"]["text/plain"].startswith("no picture")


def test_run_all_keeps_every_output_in_its_own_cell(front):
    """Queued cells all run, in order, each with its own picture."""
    cells = front.run_all(*[f"follow(ScriptedJob([(0.2, lambda: picture({n}))]))\nprint('cell {n}')" for n in range(4)])
    for n, cell in enumerate(cells):
        assert cell.status == "ok"
        assert len(cell.images) == 1
        assert f"a-red-fox-{n + 1}-1.png" in cell.text
        assert f"cell {n}" in cell.text


def test_background_output_is_updated_after_the_cell(front):
    """After the cell has ended, its output becomes the pictures; the outputs of later cells are unchanged."""
    cell, other = front.run_all("handle = follow(usual(0.8, pictures=(1, 1)), background=True)\nNone", "print('meanwhile')")
    assert cell.images == []
    assert other.text.strip() == "meanwhile"
    front.until(lambda: cell.images, "the pictures of a cell that has ended")
    assert kinds(cell) == [PICTURE]
    assert cell.of("text/html")[0].count("<img ") == 2
    assert kinds(other) == [["stream"]]
    assert front.run("handle.result()").status == "ok"


def test_background_failure_is_in_its_own_output(front):
    """No cell waits for a background job, so its output has the error, escaped."""
    broken = "ScriptedJob([(0.1, TaskFailed('the <gateway> broke'))])"
    cell = front.run(f"from imagegen_magic.errors import TaskFailed\nhandle = follow({broken}, background=True)\nNone")
    front.until(lambda: "broke" in cell.text, "the failure")
    assert "the &lt;gateway&gt; broke" in cell.of("text/html")[-1]
    assert front.run("handle.result()").status == "ok"


def test_background_shows_more_than_was_expected(front):
    """If a gateway makes more pictures than requested, the output of a background cell has them all."""
    generous = "ScriptedJob([(0.1, lambda: picture(0, 0)), (0, lambda: picture(0, 1)), (0, progress('saved'))])"
    cell = front.run(f"handle = follow({generous}, background=True)\nNone")
    front.until(lambda: len(cell.images) == 2, "the pictures")
    assert front.run("handle.result()").status == "ok"
    assert "a-red-fox-1-2.png" in cell.text


def test_each_failed_task_is_one_line(front):
    """The error of a failed task is a line below the pictures of the others."""
    script = "[(0, lambda: picture(0)), (0, progress('saved', 0, 2)), (0.3, progress('failed', 1, 2, error=TaskFailed('out of <ink>')))]"
    cell = front.run(f"from imagegen_magic.errors import TaskFailed\nfollow(ScriptedJob({script}, plan(pictures=(1, 1))))")
    assert kinds(cell) == [LINE, PICTURE, LINE]
    assert cell.of("text/plain")[-1].startswith("task 2 of 2: out of <ink>.")
    assert "out of &lt;ink&gt;" in cell.of("text/html")[-1]


def test_capture_holds_pictures_and_no_progress(front):
    """`%%capture` records the pictures only, not each step on the way."""
    front.run("%%capture captured\nfollow(usual(0.4))")
    cell = front.run("print([sorted(output.data) for output in captured.outputs])")
    assert cell.text.strip() == str([PICTURE])


def test_front_end_without_input_gets_words_and_no_widget(front):
    """If input is forbidden, as in nbclient and papermill, progress is plain text on the same output."""
    front.most_models = 0
    cell = front.send("follow(usual(1.2))", stdin=False)
    front.until(lambda: any("waiting" in words for words in cell.of("text/plain")), "the words")
    assert kinds(cell) == [["text/plain"]]
    front.wait(cell)
    assert front.most_models == 0
    assert kinds(cell) == [PICTURE]


def test_progress_as_text_opens_no_widget(front):
    """With --progress text, a front end that could show widgets gets plain text on the same output."""
    front.most_models = 0
    front.run("job = usual(1.2); job.settings = job.settings.replace('this cell', progress='text')")
    cell = front.send("follow(job)")
    front.until(lambda: any("waiting" in words for words in cell.of("text/plain")), "the words")
    front.wait(cell)
    assert front.most_models == 0
    assert kinds(cell) == [LINE, PICTURE]


def test_progress_as_widgets_needs_no_input(front):
    """With progress = widgets, a front end that forbids input gets the widget: one that this package does not know may show it."""
    front.most_models = 0
    front.run("job = usual(0.6); job.settings = job.settings.replace('this cell', progress='widgets')")
    cell = front.send("follow(job)", stdin=False)
    front.until(lambda: rows(front), "the rows")
    front.wait(cell)
    assert front.most_models > 0


def test_deepnote_gets_text_and_widgets_on_request(front):
    """Deepnote accepts input and shows a widget's text: there the progress is text, unless the setting asks for widgets."""
    front.most_models = 0
    front.run("import os; os.environ['DEEPNOTE_PROJECT_ID'] = 'a-project'")
    cell = front.send("follow(usual(1.2))")
    front.until(lambda: any("waiting" in words for words in cell.of("text/plain")), "the words")
    front.wait(cell)
    assert front.most_models == 0
    front.run("job = usual(0.6); job.settings = job.settings.replace('this cell', progress='widgets')")
    cell = front.send("follow(job)")
    front.until(lambda: rows(front), "the rows")
    front.wait(cell)
    front.run("del os.environ['DEEPNOTE_PROJECT_ID']")


def test_text_of_a_widget_names_what_runs(front):
    """A front end that shows the text of a widget shows the request and that it runs, nothing about a saved notebook."""
    cell = waiting(front, "follow(usual(0.6))")
    front.until(lambda: any("running" in words for words in cell.of("text/plain")), "the text of the widget")
    (text,) = cell.of("text/plain")
    assert text.startswith("evolink gpt-image-2 · 1536×1024 ·")
    assert text.endswith(": running; %imagegen history has the pictures when they are finished")
    front.wait(cell)


def test_closed_views_forget_their_job(front):
    """A kernel that made many pictures has no model of them."""
    for _ in range(3):
        front.run("follow(usual(0.3))")
    assert front.run(_OPEN_MODELS).text.strip() == "0"


@pytest.mark.parametrize("message", [None, "click", {}, {"content": None}, {"content": {"event": "focus"}}])
def test_only_a_click_cancels(message):
    """In the hook of ipykernel 7.4 for every message, only a click is handled."""
    clicks = []
    button = SimpleNamespace(comm=SimpleNamespace(_reply_subshell_for=None))
    answer_while_busy(button, lambda: clicks.append(1))
    assert button.comm._reply_subshell_for(message, "default") == "default"
    assert clicks == []
    assert button.comm._reply_subshell_for({"content": {"event": "click"}}, None) is None
    assert clicks == [1]


def test_kernels_without_the_hook_are_unchanged():
    """The comms of other kernels are not changed."""
    button = SimpleNamespace(comm=SimpleNamespace())
    answer_while_busy(button, lambda: None)
    assert vars(button.comm) == {}


def test_outputs_that_a_runner_missed_are_repeated():
    """nbclient drops an update between two cells: the next cell that ends repeats the outputs, once."""
    outputs, listening = {}, [True]

    class Page:
        def show(self, bundle):
            outputs[str(len(outputs))] = bundle
            return str(len(outputs) - 1)

        def update(self, display_id, bundle):
            if listening[0]:
                outputs[display_id] = bundle

    plain = TextRenderer(Page(), "evolink")
    plain.begin(JobProgress(1, 0.0), 2, lambda: None)
    ends = [Bundle({"text/plain": words}, {}) for words in ("fox.png", "the caption")]
    listening[0] = False
    plain.finish(ends)
    assert list(outputs.values()) != ends
    listening[0] = True
    plain.confirm()
    assert list(outputs.values()) == ends
    outputs.clear()
    plain.confirm()
    assert outputs == {}


def test_the_request_is_sent_before_the_progress_is_drawn(monkeypatch):
    """Drawing the progress earlier would delay the request."""
    monkeypatch.setattr("imagegen_magic.notebook.progress.run._HEAD_START", 60.0)
    create, sent = View.__init__, []

    def watched(view, job, *args, **options):
        sent.append(job.submitted)
        create(view, job, *args, **options)

    monkeypatch.setattr(View, "__init__", watched)
    with a_shell() as shell:
        shell.run("%imagegen --sandbox a red fox")
    assert sent == [True]


def test_a_first_view_grows_in_the_row_and_none_is_left(front):
    """While the service paints, the row shows it; the saved cell has the picture alone."""
    view = "__import__('imagegen_magic.imaging.preview', fromlist=['preview']).preview(draw('first', (48, 32)))"
    cell = waiting(front, f"follow(usual(3, preview={view}))")
    front.until(lambda: any("a first view of the picture" in row for row in rows(front)), "the first view")
    front.wait(cell)
    assert [kind for kind in kinds(cell) if kind != LINE] == [PICTURE]
    assert "first view" not in str(cell.outputs)
