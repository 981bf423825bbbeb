"""A gateway as its own package, written for imagegen_magic 0.1.0 and never changed since: it uses what 0.1.0 offered to gateways."""

from decimal import Decimal

from imagegen_magic.providers.evolink import EvoLink

from imagegen_magic.errors import APIError, ImageGenError
from imagegen_magic.providers import answers
from imagegen_magic.providers.base import (
    Cadence,
    Call,
    Done,
    Failed,
    Model,
    PixelRule,
    Provider,
    Submission,
    UploadRule,
    Waiting,
    wire_fields,
)
from imagegen_magic.providers.model import table
from imagegen_magic.result import Cost

BUSY = {"kindled", "burning"}


class OutOfOil(ImageGenError):
    """The lantern went out."""

    whose = "you"
    charged = "no"

    def __init__(self, what):
        super().__init__(what, next_step="refill the lantern, then run the cell again")


class Lantern(Provider):
    """A service with a wire of its own."""

    name, title = "lantern", "Lantern"
    base_url, key_variable = "https://api.lantern.example", "LANTERN_API_KEY"
    cadence = Cadence(least=0.05, first=0.05, batch=2)
    submit_path, task_path, batch_path = "/paint", "/tickets/{}", "/tickets"
    wire = {**wire_fields("model", "size", "quality", "references"), "prompt": "text", "n": "count"}
    wire_also = {"aspect": "size"}
    refusals = ("no_oil_today",)
    upload = UploadRule(
        address="/upload",
        where="api.lantern.example",
        types=("image/png",),
        most_bytes=1_000_000,
        lifetime=3600,
        checked="2026-11-20",
        document="https://lantern.example/docs",
    )
    models = (
        Model(
            name="lantern-1",
            sizes=table(("1k",), {"1:1": "64x64", "3:2": "96x64"}),
            also={("3:2", "1k"): ((97, 64),)},
            pixels_promised=True,
            odd_pixels=((100, 50),),
            pixel_rule=PixelRule(step=16, longest=128, ratio=2.0, least_area=1024, most_area=16384),
            qualities=("low", "high"),
            default_quality="low",
            max_n=2,
            max_references=1,
            checked="2026-11-20",
            document="https://lantern.example/docs",
        ),
    )

    def payload(self, request, n):
        """Return the usual fields, and the aspect beside the size."""
        body = super().payload(request, n)
        return {**body, "aspect": body["size"]} if "size" in self.wire else body

    def price(self, request, pixels):
        """Return the price of one picture."""
        return Cost(Decimal("0.01"), "USD", "estimated", "Lantern's page", "2026-11-20")

    def warnings(self, model, request):
        """Return what the page warns of."""
        return [f"{width}x{height} flickers" for width, height in model.odd_pixels if request.size == f"{width}x{height}"]

    def cost(self, task):
        """Return what a ticket says that it costs."""
        amount = answers.amount(task.get("price"))
        return Cost() if amount is None else Cost(amount, "USD", "measured", f"{self.title}'s answer")

    def estimated_seconds(self, task):
        """Return the gateway's estimate."""
        return answers.seconds(task.get("minutes", 0)) * 60

    def read_submission(self, answer):
        """Read the tickets of a submission."""
        if "oil" in answer:
            raise OutOfOil(f"Lantern has no oil: {answers.words_of(answer['oil'])}")
        first, *rest = answer["tickets"]
        return Submission(first["ticket"], self.cost(first), self.estimated_seconds(first), others=tuple(each["ticket"] for each in rest))

    def task_call(self, task_id):
        """Return the look at one ticket."""
        return Call("GET", self.task_path.format(task_id))

    def read_task(self, answer):
        """Read a ticket."""
        word = answers.word_of(answer.get("state"))
        if word == "out":
            return Failed(OutOfOil(f"Lantern went out: {answers.text(answer['why'])}"))
        if word in BUSY:
            return Waiting(word=word, fraction=answers.fraction(answer.get("percent")))
        if word != "lit":
            raise APIError(f"Lantern does not say its state: {answers.excerpt(answer)}", refused=False, charged="unknown", whose="gateway")
        return Done(pictures=tuple(answers.pictures(answer.get("images"))), cost=self.cost(answer))

    def batch_call(self, task_ids):
        """Return one look at as many tickets as the cadence allows."""
        assert 0 < len(task_ids) <= self.cadence.batch
        return Call("POST", self.batch_path, {"tickets": list(task_ids)})

    def read_batch(self, answer):
        """Read the tickets of a batch."""
        return {each["ticket"]: self.read_task(each) for each in answer["tickets"]}

    def read_error(self, status, answer):
        """Return the gateway's own error where it is known, else the usual one."""
        complaint = answers.complaint(answer)
        if complaint.code == "no_oil" or complaint.words == "no oil":
            return OutOfOil(f"Lantern refused: {complaint.words or complaint.kind}")
        return super().read_error(status, answer)


class Lamp(EvoLink):
    """A gateway that speaks a built-in one's dialect, changed in what it inherits."""

    name, title = "lamp", "Lamp"
    base_url, key_variable = "https://api.lamp.example", "LAMP_API_KEY"
    cadence = Cadence(EvoLink.cadence.least, EvoLink.cadence.first)
    wire = {field: name for field, name in EvoLink.wire.items() if field != "callback_url"}
    models = tuple(model for model in EvoLink.models if not model.retired)
