"""Scorers: what they may be and return, what is stored, what is measured again, and what paid ones cost."""

import asyncio
import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from IPython.core.error import UsageError
from ledgers import a_png, saved, swept
from PIL import Image, ImageDraw, ImageFilter
from shells import a_shell

import imagegen_magic
import imagegen_magic.errors
from imagegen_magic import Score, run, score, scorer, sweep
from imagegen_magic.engine import api
from imagegen_magic.engine.ledger import budget
from imagegen_magic.errors import BudgetExceeded, UnsupportedOption
from imagegen_magic.imaging import measures
from imagegen_magic.imaging.text import reading
from imagegen_magic.notebook.progress import sweep_view
from imagegen_magic.result import Cost
from imagegen_magic.sandbox import drawing as drawing_module
from imagegen_magic.studies.effects.available import FROM_LEDGER
from imagegen_magic.studies.export.archive import export
from imagegen_magic.studies.history.spending import spent
from imagegen_magic.studies.scores.builtin import NAMES, builtin, simple

PAINT = drawing_module.paint  # before a test makes the sandbox quick
CENT = Cost(Decimal("0.01"), "USD", "estimated")


@pytest.fixture
def foxes():
    """Six pictures of a sweep of three styles, twice each."""
    return swept("a fox, {{style}}", {"style": ["oil", "ink", "wax"]}, repeat=2)


class TestReturnedValues:
    """What a scorer may return, and what that is as a value."""

    @pytest.mark.parametrize(
        ("returned", "value"),
        [(3, 3.0), (0.25, 0.25), (True, 1.0), (False, 0.0), (Decimal("1.5"), 1.5), (-0.0, 0.0), (Score(4), 4.0), (Score(True), 1.0)],
    )
    def test_numbers_and_booleans_are_measured(self, returned, value):
        """Numbers and booleans are measured."""
        (image,) = saved()
        found = run(score([image], scorer(name="given", version="1")(lambda _: returned)))["given"].values[image.id]
        assert (found.state, found.value) == ("measured", value)
        assert math.copysign(1, found.value) == 1

    def test_numpy_scalars_are_numbers(self):
        """Numpy scalars are numbers."""
        numpy = pytest.importorskip("numpy")
        (image,) = saved()
        for number, value in enumerate([numpy.float32(0.5), numpy.int64(3), numpy.bool_(True)]):
            found = run(score([image], scorer(name=f"n{number}", version="1")(lambda _, value=value: value)))
            assert found[f"n{number}"].numbers == {image.id: float(value)}

    def test_none_does_not_apply(self):
        """None does not apply."""
        (image,) = saved()
        found = run(score([image], scorer(name="given", version="1")(lambda _: Score(None, reason="no text"))))["given"].values[image.id]
        assert (found.state, found.value, found.reason) == ("not applicable", None, "no text")

    @pytest.mark.parametrize("returned", [math.nan, math.inf, Decimal("NaN"), 10**400, "high", "0.5", [1], {}, Score("good")])
    def test_what_is_no_number_failed_and_is_no_zero(self, returned):
        """What is no number failed and is no zero."""
        (image,) = saved()
        column = run(score([image], scorer(name="given", version="1")(lambda _: returned)))["given"]
        assert column.values[image.id].state == "failed"
        assert column.values[image.id].error
        assert column.numbers == {}

    def test_the_measures_of_a_dict_have_columns_of_their_own(self):
        """The measures of a dict have columns of their own."""
        (image,) = saved()

        def warm(image):
            return {"red": 0.5, "blue": None, "odd": math.nan}

        found = run(score([image], warm))
        assert list(found) == ["warm blue", "warm odd", "warm red"]
        assert found["warm red"].numbers == {image.id: 0.5}
        assert [(column, why) for _, column, why in found.failed] == [("warm odd", "it returned nan, which is not a number to compare")]

    def test_a_key_in_an_error_or_a_reason_is_not_stored(self):
        """A key in an error or a reason is not stored."""
        (image,) = saved()
        key = "sk-" + "a1b2c3d4" * 4

        def leaks(image):
            raise ValueError(f"401 for {key} at https://x.test/?sig=abc")

        found = run(score([image], leaks, scorer(name="reasons", version="1")(lambda _: Score(1, reason=f"used {key}"))))
        ledger = api.ledger()
        ledger.close()
        assert found.failed[0][2] == "ValueError: 401 for [key] at https://x.test/?…"
        assert key.encode() not in b"".join(path.read_bytes() for path in ledger.path.parent.glob("ledger.sqlite*"))


class TestWhatIsAScorer:
    """Functions, names, batches, coroutines, and their inputs."""

    def test_a_plain_function_gets_the_image(self, foxes):
        """A plain function gets the image."""

        def wide(image):
            return image.width > image.height

        assert set(run(score(foxes, wide))["wide"].numbers.values()) == {1.0}

    def test_inputs_are_given_by_the_names_of_parameters(self, foxes):
        """Inputs are given by the names of parameters."""
        seen = []

        def looks(image, prompt, combination, reference, place, extra=3):
            seen.append((prompt, dict(combination), reference, dict(place), extra))

        run(score(foxes[:1], looks))
        assert seen == [("a fox, oil", {"style": "oil"}, None, {"style": "oil"}, 3)]

    def test_a_reference_is_given_as_an_image(self, tmp_path):
        """A reference is given as an image."""
        path = tmp_path / "red.png"
        path.write_bytes(a_png((250, 0, 0), (64, 64)))
        made = run(imagegen_magic.generate("a fox", references=[str(path)], sandbox=True, provider="evolink"))

        def red(image, reference):
            return reference.convert("RGB").getpixel((3, 3))[0]

        assert run(score(made, red))["red"].numbers == {made[0].id: 250.0}

    def test_an_async_one_runs_on_the_callers_loop(self, foxes):
        """An async one runs on the callers loop."""
        loops = set()

        async def judge(image):
            loops.add(asyncio.get_running_loop())
            await asyncio.sleep(0)
            return 1

        async def main():
            await score(foxes, judge)
            return {asyncio.get_running_loop()}

        assert asyncio.run(main()) == loops

    def test_a_batch_gets_lists(self, foxes):
        """A batch gets lists."""
        sizes = []

        @scorer(batch=4)
        def clip(images, prompt):
            sizes.append((len(images), len(prompt)))
            return [index for index, _ in enumerate(images)]

        found = run(score(foxes, clip))
        assert sizes == [(4, 4), (2, 2)]
        assert sorted(found["clip"].numbers.values()) == [0, 0, 1, 1, 2, 3]

    def test_one_failure_in_a_batch_is_that_images(self, foxes):
        """One failure in a batch is that images."""

        @scorer(batch=6)
        def clip(images):
            return [ValueError("too dark"), *range(1, len(images))]

        found = run(score(foxes, clip))
        assert [why for _, _, why in found.failed] == ["ValueError: too dark"]
        assert len(found["clip"].numbers) == 5

    def test_a_batch_of_the_wrong_length_failed(self, foxes):
        """A batch of the wrong length failed."""
        found = run(score(foxes[:2], scorer(name="clip", batch=2, version="1")(lambda images: [1])))
        assert {why for _, _, why in found.failed} == {"it returned a list of 1 values for 2 pictures"}

    def test_the_repeats_of_a_combination_have_one_value(self, foxes):
        """The repeats of a combination have one value."""
        calls = []

        @scorer(of="combination")
        def together(images):
            calls.append([image.id for image in images])
            return len(images)

        found = run(score(foxes, together))
        assert len(calls) == 3
        assert found["together"].numbers == {image.id: 2.0 for image in foxes}
        run(score(foxes, together))
        assert len(calls) == 3

    def test_a_wrong_one_is_refused_before_anything_runs(self, foxes):
        """A wrong one is refused before anything runs."""
        ran = []

        def fine(image):
            ran.append(image)

        def wants(image, mask):
            return 1

        for wrong, why in [
            (wants, "The scorer wants takes the parameter mask"),
            (lambda image: 1, "A scorer without a name"),
            ("sharpnes", "There is no scorer sharpnes"),
            (3, "A value of type int is no scorer"),
        ]:
            with pytest.raises(UnsupportedOption, match=why):
                run(score(foxes, fine, wrong))
        for facts in (
            {"better": "up"},
            {"batch": -1},
            {"at_once": 0},
            {"of": "study"},
            {"price": 3},
            {"name": "x" * 61},
            {"range": (1, 0)},
        ):
            with pytest.raises(UnsupportedOption, match="cannot have"):
                scorer(**facts)(fine)
        with pytest.raises(UnsupportedOption, match="has the score seconds already"):
            scorer(name="seconds")(fine)
        assert ran == []

    def test_it_can_still_be_called(self):
        """It can still be called."""

        @scorer(better="higher")
        def twice(image):
            return image * 2

        assert twice(4) == 8


class TestMeasuredOnce:
    """What is known is not measured again; what changed is."""

    def test_nothing_is_measured_twice(self, foxes):
        """Nothing is measured twice."""
        calls = []

        def counted(image):
            calls.append(image.id)
            return 1

        run(score(foxes[:4], counted))
        run(score(foxes, counted))
        assert sorted(calls) == sorted(image.id for image in foxes)
        run(score(foxes, counted, fresh=True))
        assert len(calls) == 12

    def test_failures_are_measured_again_on_request_alone(self, foxes):
        """Failures are measured again on request alone."""
        calls, broken = [], {foxes[0].id}

        @scorer(version="1")
        def flaky(image):
            calls.append(image.id)
            if image.id in broken:
                raise OSError("busy")
            return None if image.id == foxes[1].id else 1

        assert len(run(score(foxes, flaky)).failed) == 1
        run(score(foxes, flaky))
        assert len(calls) == 6
        broken.clear()
        found = run(score(foxes, flaky, retry=True))
        assert calls[6:] == [foxes[0].id]  # what does not apply did not fail
        assert found.failed == []
        assert len(found["flaky"].numbers) == 5

    def test_a_comment_changes_nothing_a_constant_everything(self, foxes, tmp_path, monkeypatch):
        """A comment changes nothing a constant everything."""
        monkeypatch.syspath_prepend(tmp_path)
        calls = []

        def define(text, **names):
            path = tmp_path / f"code{len(list(tmp_path.iterdir()))}.py"
            path.write_text(text)
            space = {"calls": calls, **names}
            exec(compile(text, path, "exec"), space)
            return space["bright"]

        body = "def bright(image):\n    calls.append(image.id)\n    return image.width * 0.5{}\n"
        run(score(foxes, define(body.format(""))))
        run(score(foxes, define(body.format("  # half\n\n"))))
        run(score(foxes, define("import os\n\n\n" + body.format(""))))
        assert len(calls) == 6
        run(score(foxes, define(body.format(" + 1"))))
        assert len(calls) == 12
        found = run(score(foxes, define(body.format(""))))  # the first one again: its values are there, and shown
        assert len(calls) == 12
        assert set(found["bright"].numbers.values()) == {foxes[0].width * 0.5}

    def test_values_that_the_code_uses_are_part_of_it(self, foxes):
        """Values that the code uses are part of it."""
        calls = []

        def make(limit, default=1):
            def above(image, floor=default):
                calls.append(limit)
                return image.width > limit + floor

            return above

        for limit, default in [(100, 1), (100, 1), (200, 1), (200, 2)]:
            run(score(foxes[:1], make(limit, default)))
        assert calls == [100, 200, 200]

    def test_a_version_replaces_the_code(self, foxes):
        """A version replaces the code."""
        calls = []
        first = scorer(name="text", version="2")(lambda image: calls.append(1) or 1)
        second = scorer(name="text", version="2")(lambda image: calls.append(2) or 2)
        run(score(foxes[:1], first))
        assert run(score(foxes[:1], second))["text"].numbers == {foxes[0].id: 1.0}
        assert calls == [1]

    def test_the_versions_of_packages_are_part_of_it(self, foxes, monkeypatch):
        """The versions of packages are part of it."""
        made = scorer(name="ocr", version="1", packages=["pillow"])(lambda image: 1)
        before = made.fingerprint
        monkeypatch.setattr("importlib.metadata.version", lambda name: "999")
        assert made.fingerprint != before

    def test_code_that_cannot_be_read_needs_a_version(self, foxes):
        """Code that cannot be read needs a version."""
        space = {}
        exec("def hidden(image):\n    return 1", space)
        with pytest.raises(UnsupportedOption, match="so a change of it would not be noticed"):
            run(score(foxes, space["hidden"]))
        assert run(score(foxes[:1], scorer(version="1")(space["hidden"])))["hidden"].numbers == {foxes[0].id: 1.0}

    def test_values_of_another_combination_are_not_shown(self):
        """Values of another combination are not shown."""
        first = run(sweep("a fox {{s}}", {"s": ["x", "y"]}, sandbox=True))
        again = run(sweep("a {{w}} {{s}}", {"w": ["fox"], "s": ["x", "y"]}, sandbox=True, reuse=True))
        assert {image.id for image in first} == {image.id for image in again}

        def axes(image, combination):
            return len(combination)

        assert set(run(score(first, axes))["axes"].numbers.values()) == {1.0}
        assert set(run(score(again, axes))["axes"].numbers.values()) == {2.0}

    def test_values_outlive_their_scorer(self, foxes):
        """Values outlive their scorer."""
        run(score(foxes, scorer(name="gone", version="1", better="higher", range=(0, 9))(lambda image: 4)))
        column = run(score(foxes, "brightness"))["gone"]
        assert set(column.numbers.values()) == {4.0}
        assert (column.better, column.range, column.version) == ("higher", (0.0, 9.0), "1")


class TestFailures:
    """A failure is one image's, unless all fail alike."""

    def test_one_failure_ends_nothing(self, foxes):
        """One failure ends nothing."""

        def picky(image):
            if image.id == foxes[2].id:
                raise RuntimeError("no")
            return 1

        assert len(run(score(foxes, picky))["picky"].numbers) == 5

    def test_the_same_failure_everywhere_ends_the_run(self):
        """The same failure everywhere ends the run."""
        images = saved(count=40)
        calls = []

        def broken(image):
            calls.append(image)
            return image.no_such_thing

        with pytest.raises(UnsupportedOption, match="broken failed for the first 5 pictures for the same reason: AttributeError"):
            run(score(images, scorer(batch=1)(lambda images: [broken(images[0])]) if False else broken))
        assert len(calls) < 40

    def test_different_failures_end_nothing(self):
        """Different failures end nothing."""
        images = saved(count=8)

        def broken(image):
            raise ValueError(image.id)

        assert len(run(score(images, broken)).failed) == 8

    def test_a_cancelled_run_keeps_what_is_done(self, foxes):
        """A cancelled run keeps what is done."""
        started = asyncio.Event()

        @scorer(at_once=1, version="1")
        async def slow(image):
            if image.id == foxes[3].id:
                started.set()
                await asyncio.Event().wait()
            return 1

        async def main():
            task = asyncio.create_task(score(foxes, slow))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert len(run(score(foxes[:3], "brightness"))["slow"].numbers) == 3


class TestPaid:
    """Paid scorers count in the budget, and no call is repeated by itself."""

    def test_a_budget_refuses_what_would_exceed_it_before_a_call(self, foxes):
        """A budget refuses what would exceed it before a call."""
        calls = []
        judge = scorer(name="judge", version="1", price=CENT)(lambda image: calls.append(image.id) or 1)
        run(budget.set_budget(api.ledger(), Decimal("0.04")))
        with pytest.raises(BudgetExceeded, match="exceed the budget"):
            run(score(foxes, judge))
        assert calls == []
        run(score(foxes[:4], judge))
        with pytest.raises(BudgetExceeded):
            run(score(foxes[4:5], judge))
        assert len(calls) == 4
        (status,) = run(budget.budget_statuses(api.ledger()))
        assert (status.spent, status.left) == (Decimal("0.04"), 0)

    def test_the_cost_that_it_reports_counts_instead_of_its_price(self, foxes):
        """The cost that it reports counts instead of its price."""
        reported = Cost(Decimal("0.003"), "USD", "measured")
        judge = scorer(name="judge", version="1", price=CENT, at_once=3)(lambda image: Score(1, cost=reported))
        found = run(score(foxes, judge))
        assert found["judge"].values[foxes[0].id].cost == reported
        (row,) = [row for row in run(spent(api.ledger())) if not row.sandbox]
        assert (row.key, row.measured, row.pictures) == ("judge (scorer)", Decimal("0.018"), 0)
        assert {row.key for row in run(spent(api.ledger(), by="provider")) if not row.sandbox} == {"scorers"}

    def test_a_free_one_counts_nowhere(self, foxes):
        """A free one counts nowhere."""
        run(budget.set_budget(api.ledger(), Decimal("0.01")))
        run(score(foxes, "brightness"))
        assert [row for row in run(spent(api.ledger())) if not row.sandbox] == []

    def test_an_unknown_price_is_refused_under_a_budget(self, foxes):
        """An unknown price is refused under a budget."""
        run(budget.set_budget(api.ledger(), Decimal(5)))
        with pytest.raises(BudgetExceeded, match="unknown"):
            run(score(foxes, scorer(name="judge", version="1", price=Cost())(lambda image: 1)))

    def test_a_cancelled_call_may_have_been_charged(self, foxes):
        """A cancelled call may have been charged."""
        started = asyncio.Event()

        @scorer(version="1", price=CENT)
        async def judge(image):
            started.set()
            await asyncio.Event().wait()

        async def main():
            task = asyncio.create_task(score(foxes, judge))
            await started.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(main())
        found = run(score(foxes[:0] or foxes, "brightness"))
        assert [why[:48] for _, _, why in found.failed] == ["The call ended without an answer, so it may have"]

    def test_a_kernel_killed_in_a_call_keeps_the_answered_and_calls_no_picture_twice(self, foxes, tmp_path):
        """The call in flight may have been charged: it counts in the budget, and only a retry repeats it."""
        code = f"""
            import asyncio, sys
            sys.path.insert(0, {str(tmp_path)!r})
            from judging import judge
            from imagegen_magic import run, score
            from imagegen_magic.studies.sweeps.plan import load
            run(score(load(), judge))
        """
        (tmp_path / "judging.py").write_text(
            "import os, time\nfrom decimal import Decimal\nfrom imagegen_magic import scorer\nfrom imagegen_magic.result import Cost\n"
            "calls = []\n"
            "@scorer(version='1', price=Cost(Decimal('0.01'), 'USD', 'estimated'))\n"
            "def judge(image):\n"
            f"    with open({str(tmp_path / 'calls')!r}, 'a') as file:\n        print(image.id, file=file, flush=True)\n"
            "    calls.append(image)\n"
            "    if len(calls) == 3 and os.environ.get('JUDGE_HANGS'):\n        print('third', flush=True)\n        time.sleep(600)\n"
            "    return 1\n"
        )
        environment = {**os.environ, "JUDGE_HANGS": "1", "PYTHONPATH": str(Path(imagegen_magic.__file__).parents[1])}
        command = [sys.executable, "-c", "\n".join(line.strip() for line in code.splitlines())]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout.readline().strip() == b"third"
            process.send_signal(signal.SIGKILL)
        sys.path.insert(0, str(tmp_path))
        try:
            from judging import judge
        finally:
            sys.path.remove(str(tmp_path))
        found = run(score(foxes, judge))
        called = (tmp_path / "calls").read_text().split()
        assert sorted(called) == sorted(str(image.id) for image in foxes)  # each once, the one in flight too
        assert len(found["judge"].numbers) == 5
        assert [why for _, _, why in found.failed] == [
            "The call ended without an answer, so it may have been charged; --retry calls again."
        ]
        (row,) = [row for row in run(spent(api.ledger())) if not row.sandbox and not row.unit]
        assert row.unknown == 1
        run(budget.set_budget(api.ledger(), Decimal(1), per="day"))
        (status,) = run(budget.budget_statuses(api.ledger()))
        assert status.spent == Decimal("0.06")


class TestTable:
    """What a program sees of the scores."""

    def test_rows_have_the_axes_and_each_score(self, foxes):
        """Rows have the axes and each score."""
        found = run(score(foxes, "brightness", "bytes_per_pixel"))
        first = found.rows()[0]
        assert (first["id"], first["style"]) == (foxes[0].id, "oil")
        assert first["score brightness"] > 0
        assert list(found.to_frame().columns) == ["id", "style", "score brightness", "score bytes_per_pixel"]

    def test_progress_is_reported(self, foxes):
        """Progress is reported."""
        seen = []
        run(score(foxes, "brightness", on_progress=lambda *facts: seen.append(facts)))
        assert seen[0] == ("brightness", 0, 6)
        assert seen[-1] == ("brightness", 6, 6)


def drawing(edge):
    """Return the same drawing at any size: areas, lines, a circle, with soft edges."""
    big = Image.new("RGB", (edge * 2, edge * 3 // 2), (226, 210, 180))
    pen, unit = ImageDraw.Draw(big), edge / 100
    pen.rectangle((20 * unit, 20 * unit, 90 * unit, 110 * unit), fill=(30, 60, 120))
    pen.ellipse((100 * unit, 30 * unit, 180 * unit, 110 * unit), fill=(230, 90, 30))
    for line in range(12):
        pen.line((0, (115 + 3 * line) * unit, edge * 2, (112 + 3 * line) * unit), fill=(20, 20, 20), width=max(1, round(unit)))
    return big.filter(ImageFilter.GaussianBlur(unit * 0.6))


@pytest.fixture(scope="module", params=["a red fox in the snow", pytest.param("a lighthouse at sea", marks=pytest.mark.long)])
def sizes(request):
    """The sandbox's drawing of a prompt in 1k, 2k and 4k."""
    return [PAINT(request.param, seed=3, width=width, height=height) for width, height in ((1024, 688), (2064, 1376), (3840, 2560))]


class TestMeasures:
    """The built-in scorers."""

    @pytest.mark.parametrize("name", ["brightness", "contrast", "sharpness", "colourfulness", "noise", "clipped", "blockiness"])
    def test_the_same_drawing_has_the_same_value_in_1k_2k_and_4k(self, name, sizes):
        """The same drawing has the same value in 1k 2k and 4k."""
        values = [getattr(measures, name)(picture) for picture in sizes]
        assert max(values) - min(values) <= 0.05 * max(values) + 1e-3, values

    def test_each_measures_what_it_says(self):
        """Each measures what it says."""
        picture = drawing(512)
        soft, dark = picture.filter(ImageFilter.GaussianBlur(6)), picture.point(lambda value: value // 2)
        grainy = Image.blend(picture, Image.effect_noise(picture.size, 120).convert("RGB"), 0.2)
        grey = picture.convert("L").convert("RGB")
        assert measures.sharpness(soft) < 0.5 * measures.sharpness(picture)
        assert measures.brightness(dark) == pytest.approx(measures.brightness(picture) / 2, rel=0.02)
        assert measures.contrast(dark) == pytest.approx(measures.contrast(picture) / 2, rel=0.02)
        assert measures.noise(grainy) > 2 * measures.noise(picture)
        assert measures.colourfulness(grey) == pytest.approx(0, abs=1e-9)
        assert measures.colourfulness(picture) > 30
        assert measures.clipped(Image.new("RGB", (64, 64), (255, 255, 255))) == 1
        assert measures.colour_share(picture, (230, 90, 30), 32) == pytest.approx(0.1675, abs=0.02)

    def test_noise_is_that_of_the_source(self):
        """Noise is that of the source."""
        grain = Image.effect_noise((256, 256), 20).convert("RGB")  # grey noise with a standard deviation of 20
        assert measures.noise(grain) == pytest.approx(20, rel=0.1)

    def test_blocks_grow_as_jpeg_gets_worse(self, tmp_path):
        """Blocks grow as jpeg gets worse."""
        picture = Image.blend(drawing(512), Image.effect_noise((1024, 768), 60).filter(ImageFilter.GaussianBlur(2)).convert("RGB"), 0.3)
        found = [measures.blockiness(picture)]
        for quality in (80, 30):
            picture.save(tmp_path / "x.jpg", quality=quality)
            found.append(measures.blockiness(Image.open(tmp_path / "x.jpg")))
        assert found[0] == pytest.approx(1, abs=0.05)
        assert found[0] < found[1] < found[2]

    def test_likeness_finds_the_same_motif(self):
        """Likeness finds the same motif."""
        one, other = drawing(512), drawing(512).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        hashes = [measures.difference_hash(each) for each in (one, one.resize((300, 225)).point(lambda value: value * 0.8), other)]
        assert measures.likeness(*hashes[:2]) > 0.95
        assert measures.likeness(hashes[0], hashes[2]) < 0.8

    def test_tiny_images_have_values(self):
        """Tiny images have values."""
        for name in ("brightness", "contrast", "sharpness", "colourfulness", "noise", "clipped", "blockiness"):
            assert math.isfinite(getattr(measures, name)(Image.new("RGB", (1, 1), (9, 9, 9))))

    def test_every_built_in_scorer_measures(self, foxes):
        """Every built in scorer measures."""
        found = run(score(foxes, *simple()))
        assert found.failed == []
        assert {state.state for state in found["alike"].values.values()} == {"not applicable"}
        assert set(found["variety"].numbers) == {image.id for image in foxes}
        assert all(0 <= value <= 1 for value in found["variety"].numbers.values())
        assert len(found["brightness"].numbers) == 6

    def test_a_colour_is_an_argument(self, foxes, monkeypatch):
        """A colour is an argument."""
        found = run(score(foxes, 'colour_share("#E2D2B4")', imagegen_magic.colour_share("orange")))
        assert list(found) == ["colour_share #E2D2B4", "colour_share orange"]
        with pytest.raises(UnsupportedOption, match="purplish is no colour"):
            builtin("colour_share(purplish)")
        monkeypatch.setattr(reading, "is_available", lambda: True)
        assert all(builtin(name.replace("…", "red")) for name in NAMES)


def test_scoring_imports_nothing_heavy():
    """Scoring imports nothing heavy."""
    code = (
        "import sys, imagegen_magic; imagegen_magic.score; imagegen_magic.scorer; imagegen_magic.Score;"
        "print([name for name in ('numpy', 'pandas', 'matplotlib', 'rapidocr', 'PIL') if name in sys.modules])"
    )
    assert json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)) == []


def last(capsys):
    """Return the last line that a terminal shows."""
    return capsys.readouterr().out.splitlines()[-1]


class TestCommands:
    """`%imagegen score`, `scores` and `scorers`, and `--score` in a cell."""

    @pytest.fixture
    def shell(self, foxes):
        """A shell with the sweep as `study`."""
        with a_shell() as made:
            made.shell.user_ns["study"] = foxes
            yield made

    def test_pictures_are_scored_with_functions_and_built_in_scorers(self, shell, capsys):
        """The summary counts; the table has a row for each picture, with its thumbnail and alternative text."""
        shell.run("def warm(image):\n    return image.id % 2")
        shell.run("%imagegen score study warm brightness")
        assert last(capsys) == "warm: 6 of 6 pictures measured. brightness: 6 of 6 pictures measured."
        shell.run("%imagegen score study warm")
        assert last(capsys) == "warm: 6 of 6 pictures measured, all known before."
        shell.run("%imagegen scores study")
        assert shell.shown()[-1].splitlines()[0].split() == ["id", "picture", "brightness", "warm"]
        assert shell.shown("text/html")[-1].count('alt="a fox, ') == 6
        shell.run("%imagegen scorers")
        assert "warm" in shell.shown()[-1]
        assert "colour_share" in shell.shown()[-1]

    def test_failures_are_counted_and_explained(self, shell, foxes, capsys):
        """`--failed` has the reason of each; `--retry` measures these alone."""
        shell.run(f"def picky(image):\n    assert image.id != {foxes[0].id}, 'too dark'\n    return 1")
        shell.run("%imagegen score study picky")
        assert last(capsys) == "picky: 5 of 6 pictures measured, 1 failed."
        shell.run("%imagegen scores study --failed")
        assert "AssertionError: too dark" in shell.shown()[-1]
        shell.run("%imagegen score study picky --retry --dry-run")
        assert shell.shown()[-1].splitlines()[-1].split() == ["picky", "1", "5", "1", "nothing", "spent"]

    def test_a_wrong_name_is_refused(self, shell):
        """The most similar scorer is named."""
        with pytest.raises(UsageError, match=r"There is no scorer sharpnes: did you mean sharpness\?"):
            shell.magics.imagegen("score study sharpnes")
        with pytest.raises(UsageError, match="There is no variable stdy"):
            shell.magics.imagegen("scores stdy")
        shell.shell.user_ns["warm"] = lambda image: 1
        with pytest.raises(UsageError, match="There is no variable stdy"):
            shell.magics.imagegen("score stdy warm")
        with pytest.raises(UsageError, match="purplish is no colour: give a name"):
            shell.magics.imagegen('score study "colour_share(purplish)"')

    def test_a_paid_scorer_is_confirmed_like_a_sweep(self, shell, capsys):
        """Above `ask_above_cost` a question comes first; where none can be asked, --yes is needed."""
        shell.shell.user_ns["judge"] = scorer(name="judge", version="1", price=Cost(Decimal(3), "USD", "estimated"))(lambda image: 1)
        with pytest.raises(imagegen_magic.errors.ImageGenError, match="Add --yes to confirm it"):
            shell.magics.imagegen("score study judge")
        capsys.readouterr()  # the question
        shell.run("%imagegen score study judge --yes")
        assert last(capsys) == "judge: 6 of 6 pictures measured."

    @pytest.mark.parametrize("words", ["score of a musical", "scores of birds over a lake", "scorers of a goal"])
    def test_a_prompt_that_begins_like_them_is_a_prompt(self, shell, words):
        """They are subcommands only with the name of a variable."""
        shell.run(f"%imagegen --sandbox {words}")
        assert shell.variables["_imagegen"].request.prompt == words

    def test_a_cell_scores_its_pictures(self, shell, capsys):
        """An unknown scorer is refused before anything is sent."""
        shell.run("%%imagegen --sandbox -n 2 -o fox --score brightness,colour_share('#ff8800')\na fox")
        assert last(capsys) == "brightness: 2 of 2 pictures measured. colour_share #ff8800: 2 of 2 pictures measured."
        with pytest.raises(UsageError, match="There is no scorer brigtness"):
            shell.magics.imagegen("--sandbox --score brigtness", "a fox")
        assert len(run(api.ledger().pictures(limit=None))) == 8

    def test_a_sweeps_rows_have_its_scores(self, foxes):
        """Only those of this ledger: another one has other pictures under the same ids."""
        run(score(foxes, "brightness"))
        assert foxes.scores["brightness"].numbers[foxes[0].id] == foxes.rows()[0]["score brightness"]
        other = replace(foxes, images=tuple(replace(image, task_id="another") for image in foxes))
        assert "score brightness" not in other.rows()[0]

    def test_tab_completes_scorers(self, shell):
        """Those of the notebook and the built-in ones."""
        shell.shell.user_ns["judge"] = scorer(name="judge", version="1")(lambda image: 1)
        assert {"judge", "sharpness"} <= set(shell.tab("%imagegen score study "))

    def test_tab_completes_scores_and_axes_for_effects(self, shell, foxes):
        """The scores that the sweep has and those of the ledger, then axes where an option wants one."""
        run(score(foxes, "brightness"))
        assert shell.tab("%imagegen effects study b") == ["brightness"]
        assert set(shell.tab("%imagegen effects study brightness ")) == {*FROM_LEDGER, "--against", "--over", "--by"}
        assert shell.tab("%imagegen effects study --over ") == shell.tab("%imagegen effects study --by s") == ["style"]
        assert shell.tab("%imagegen effects study --against ") == ["style=oil", "style=ink", "style=wax"]
        assert shell.tab("%imagegen effects unknown ") == []

    def test_the_table_of_a_sweep_has_its_scores(self, foxes):
        """Only where there are any: with the words of a missing value."""
        assert "brightness" not in sweep_view.table_bundle(foxes).data["text/html"]
        run(score(foxes[1:], "brightness", "alike"))
        page = sweep_view.table_bundle(foxes).data["text/html"]
        heads = re.findall(r"<th [^>]*>(.*?)</th>", page)
        assert heads[:3] == ["style", "brightness", "alike"]
        assert page.count("not scored") == 2
        assert f"{foxes.scores['brightness'].numbers[foxes[1].id]:.4g}" in page

    @pytest.mark.parametrize(("level", "reasons"), [("full", "no [key] seen"), ("minimal", None), ("none", None)])
    def test_an_export_has_scores_and_reasons_only_with_full_metadata(self, foxes, tmp_path, level, reasons):
        """A judge may have written anything into a reason."""

        @scorer(version="1")
        def judge(image):
            return Score(0.25, reason="no hush-hush seen")

        run(score(foxes[:1], judge))
        place = export(foxes, tmp_path / "out", metadata=level, secrets=["hush-hush"])
        with (place / "pictures.csv").open(encoding="utf-8-sig", newline="") as file:
            first, second, *_ = csv.DictReader(file)
        assert (first["score judge"], second["score judge"], first.get("score judge reason")) == ("0.25", "", reasons)
        assert ("no [key] seen" in (place / "pictures.csv").read_text(encoding="utf-8-sig")) == bool(reasons)
