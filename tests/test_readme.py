"""README and docs/ are true: their tables are the package's data, their examples run, their pictures and links are there."""

import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image
from shells import a_shell

import imagegen_magic
from imagegen_magic import _version, generate, run
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook import subcommands
from imagegen_magic.options import OPTIONS, SETTINGS
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.gateways.openai_compatible_models import FLAVOURS
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Kind

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
CHINESE = (PROJECT / "README.zh-CN.md").read_text(encoding="utf-8")
DOCS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((PROJECT / "docs").glob("*.md"))}
PAGES = "\n".join((README, *DOCS.values()))
DIRECTIVES = re.compile(r"^```{.*?^```\n", re.MULTILINE | re.DOTALL)
FENCES = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
BLOCKS = dict.fromkeys(FENCES.findall(DIRECTIVES.sub("", PAGES)))  # the start page repeats the README's


def blocks(language, containing=""):
    """Return the code blocks of a language, the README's first, without the list's indentation."""
    found = [re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, kind, code in BLOCKS if kind == language]
    return [code for code in found if containing in code]


def block(language, containing):
    """Return the one block of a language that contains something."""
    (found,) = blocks(language, containing)
    return found


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


@pytest.fixture(scope="module")
def tables():
    """The script that writes the README's tables."""
    spec = importlib.util.spec_from_file_location("readme_tables", PROJECT / "scripts" / "readme_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_made_from_the_data(tables):
    """Written again from the package's data, each page stays as it is (else run scripts/readme_tables.py)."""
    for page, names in tables.PLACES.items():
        text = (PROJECT / page).read_text(encoding="utf-8")
        assert tables.renewed(text, names) == text
    assert {name for names in tables.PLACES.values() for name in names} == set(tables.TABLES)


def test_every_table_is_renewed(tables):
    """No page has a table between comments that the script does not know there."""
    for path in (*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")):
        marked = re.findall(r"<!-- end of (\w+) -->", path.read_text(encoding="utf-8"))
        assert tuple(marked) == tables.PLACES.get(path.relative_to(PROJECT).as_posix(), ())


def test_a_lost_table_is_noticed(tables):
    """Without its two comments a table would silently stay away."""
    with pytest.raises(ValueError, match="services"):
        tables.renewed(DOCS["services"].replace("<!-- services -->", ""), ["services"])


def test_the_readme_is_short():
    """A newcomer reads it in a few minutes."""
    assert len(README.splitlines()) <= 160


def test_what_a_first_picture_costs(tables):
    """The table's price is that of the request which the text below it describes; without a listed price none is shown."""
    rows = {row[1]: row[3] for row in rows_of(tables.keys())}
    assert rows["OpenAI"] == "$0.0059"
    assert rows["EvoLink"] == "not listed"
    plan = registry.get_provider("openai").plan(ImageRequest("a fox", size="1:1", quality="low"))
    assert f"{plan.price.amount:.4f}" == rows["OpenAI"][1:]


def test_the_chinese_page():
    """It is dated, is linked at the top of the README and back, and its first cell is a cell."""
    assert re.search(r"\d{4}-\d\d-\d\d", CHINESE.split("##")[0])
    assert "(README.zh-CN.md)" in README.split("##")[0]
    assert "(README.md)" in CHINESE.split("##")[0]
    assert [link for link in re.findall(r"\]\(((?!https)[^)]+)\)", CHINESE) if not (PROJECT / link).exists()] == []
    with a_shell() as shell:
        shell.run("%%imagegen" + CHINESE.partition("%%imagegen")[2].partition("```")[0].rstrip("\n"))
        (picture,) = shell.variables["_imagegen"]
    assert picture.request.prompt == "星空下的古老城堡"


def rows_of(table):
    """Return the cells of a table's rows."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_every_service_is_there(tables):
    """With the variables of its key and address, the number of its models, whether it takes others, and how its pictures come."""
    rows = {row[0]: row for row in rows_of(tables.services())}
    assert list(rows) == [f"[`{one.name}`]({one.docs_url})" for one in registry.built_in()]
    assert rows["[`fal`](https://fal.ai/docs)"][1:] == ["fal", "`FAL_KEY`", "`FAL_BASE_URL`", "10, and any other by its name", "as a task"]
    gemini = rows["[`gemini`](https://ai.google.dev/gemini-api/docs/image-generation)"]
    assert gemini[2:] == ["`GEMINI_API_KEY`, with `-p gemini` also `GOOGLE_API_KEY`", "`GEMINI_BASE_URL`", "2", "in the answer"]
    azure = next(row for name, row in rows.items() if "azure-openai" in name)
    assert azure[2:4] == ["`AZURE_OPENAI_API_KEY`", "`AZURE_OPENAI_ENDPOINT`"]
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    assert f"One magic, {words[len(rows)]} image services and servers of your own" in README


def test_what_a_broken_connection_costs_is_there_for_each_service(tables):
    """Each is task-based or synchronous, also what `like` names."""
    tasks, synchronous = (row[1] for row in rows_of(tables.answers()))
    for provider in (*registry.built_in(), *registry.templates()):
        name = f'`like = "{provider.name}"`' if provider.template else f"`{provider.name}`"
        assert (name in tasks, name in synchronous) == (not provider.synchronous, provider.synchronous)


def test_the_variables_of_headers_and_versions_are_there():
    """Those that a service reads beside its key and its address."""
    named = [name for one in registry.built_in() for name in (*one.extra_headers.values(), *one.variables)]
    assert named
    assert [name for name in named if f"`{name}`" not in DOCS["services"]] == []


def test_which_models_take_the_options_of_some_models():
    """The example of parameters is planned as the text below it says, and OpenAI has first views."""
    with a_shell() as shell:
        shell.run(block("python", "--seed 7").replace("--seed", "--dry-run --seed").rstrip("\n"))
        (plan,) = shell.shown()
    assert re.findall(r'"seed": (\d+)', plan) == ["7", "8", "9"]
    assert re.findall(r'"num_inference_steps": (\d+)', plan) == ["30"] * 3
    assert [one.name for one in registry.built_in() if any("partials" in model.parameters for model in one.models)] == PARTIAL


PARTIAL = ["azure-openai", "openai"]


def test_parameters_go_by_keyword():
    """As the README's Python part says."""
    options = {"provider": "fal", "model": "fal-ai/flux/dev", "sandbox": True}
    made = run(generate("a fox", **options, seed=7, parameters={"steps": 30}))
    assert (made[0].seed, dict(made[0].request.parameters)) == (7, {"seed": 7, "steps": 30})


def test_every_kind_of_cost_is_there():
    """With what it means."""
    assert re.findall(r"^\| (\w+) \| ", DOCS["keys"].partition("| cost | is |")[2].partition("\n\n")[0], re.MULTILINE) == list(
        get_args(Kind)
    )


def test_a_server_of_ones_own(own_world):
    """The three lines of the README are a service at that address, which needs no key, with each flavour that the text names."""
    lines = block("toml", 'like = "openai-compatible"')
    (own_world / "pyproject.toml").write_text(lines)
    lab = registry.get_provider("lab", load(own_world).provider_tables)
    assert (lab.base_url, lab.needs_key, lab.dialect) == ("http://192.168.1.20:8080/v1", False, "openai-compatible")
    assert set(FLAVOURS) - {"plain"} == set(
        re.findall(r"`([\w-]+)`", DOCS["another-provider"].partition("and `flavour` (")[2].partition(")")[0])
    )


def test_every_gateway_and_model_is_there(tables):
    """The table names each service and model, with its ratios, tiers, largest n and references."""
    rows = rows_of(tables.models())
    models = [model for provider in registry.all_providers() for model in provider.models]
    assert [row[1].split()[0] for row in rows] == [f"`{model.name}`" for model in models]
    assert [(row[2], row[6], row[7].split(",")[0]) for row in rows] == [
        (str(len(model.sizes)), str(model.max_n), str(model.max_references)) for model in models
    ]
    assert [row[0] for row in rows if row[0]] == [f"`{one.name}`" for one in registry.all_providers()]
    by_model = {row[1]: row for row in rows}
    assert by_model["`gpt-image-2-r`"][3] == "1k"
    assert "transparent" in by_model["`gpt-image-1.5-official` (upstream until 2026-12-01)"][8]


def test_the_limits_of_4k_are_told(tables):
    """Where a tier exists at some ratios only, the table says at which."""
    (row,) = [line for line in tables.models().splitlines() if "`apimart`" in line]
    assert "1k, 2k, 4k at 16:9 9:16 2:1 1:2 21:9 9:21" in row


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.flags], ids=lambda option: option.name)
def test_every_option_is_in_pages_and_help(option):
    """Each lists every flag."""
    assert [flag for flag in option.flags if f"`{flag}`" not in DOCS["cells"]] == []
    assert [flag for flag in option.flags if not re.search(rf"(^|[ ,]){flag}\b", subcommands.help_text(), re.MULTILINE)] == []


@pytest.mark.parametrize("command", subcommands.COMMANDS, ids=lambda command: command.name)
def test_every_subcommand_is_in_pages_and_help(command):
    """Each lists every subcommand."""
    assert f"`%imagegen {command.name}" in DOCS["cells"]
    assert f"%imagegen {command.name}" in subcommands.help_text()


def test_every_setting_is_in_the_pages():
    """What can be configured is an option in the table or in the list of the other settings."""
    named = {name: option.flags or (name,) for name, option in SETTINGS.items()}
    assert [name for name, words in named.items() if not all(f"`{word}`" in DOCS["cells"] + DOCS["configuration"] for word in words)] == []


def test_every_key_variable_is_in_the_readme():
    """The variables of the built-in gateways' keys are named."""
    assert [one.key_variable for one in registry.all_providers() if f"`{one.key_variable}`" not in README + DOCS["services"]] == []


def test_first_picture_in_five_lines(shell):
    """The README's first five lines, two of them in the shell, lead to a picture without a key, and a line says where it is from."""
    lines, (load, first, *_) = block("", "jupyter lab"), blocks("python")
    assert len((lines + load + first).splitlines()) == 5
    shell.run(load)
    shell.run(first.rstrip("\n"))
    assert "sandbox" in shell.shown()[0]
    (picture,) = shell.variables["_imagegen"]
    assert picture.sandbox
    assert picture.request.prompt == "An ancient castle beneath a starry sky"
    assert picture.path.is_file()


def test_the_cell_with_options(shell, monkeypatch):
    """The second example does what the text below it says, and the preview is as small as promised."""
    monkeypatch.setenv("IMAGEGEN_SANDBOX", "1")
    shell.run(block("python", "-o castles").rstrip("\n"))
    castles = shell.variables["castles"]
    assert [(picture.width, picture.height) for picture in castles] == [(2048, 1152)] * 2
    with castles[0].open() as picture:
        assert picture.size == (2048, 1152)
    assert castles[0].path.parent.name == "imagegen"
    assert castles[0].path.with_suffix(".json").is_file()
    assert max(castles[0].preview.width, castles[0].preview.height) <= 1024
    assert len(castles[0].preview.data) <= 150_000


def test_the_error_that_is_quoted(shell):
    """The refusal in the README is the refusal that the package gives, word for word."""
    with pytest.raises(ValueError, match="has no resolution") as caught:
        shell.run("%%imagegen -p apimart --sandbox --size 1:1 -r 4k\nA fox")
    assert f"UnsupportedOption: {caught.value}" in block("", "UnsupportedOption").strip()


def test_the_python_example(monkeypatch, capsys):
    """The script runs as it stands."""
    monkeypatch.setenv("IMAGEGEN_SANDBOX", "1")
    Path("example.py").write_text(block("python", "asyncio.gather"))
    runpy.run_path("example.py")
    words = capsys.readouterr().out
    assert "red-fox-snow" in words
    assert "ancient-castle" in words or "castle" in words


def test_what_generate_takes_by_keyword():
    """Every field of a request, and the five words of the README, go by keyword."""
    made = run(
        generate("a fox", provider="evolink", sandbox=True, timeout=60, save_dir="elsewhere", name="red", quality="low", size="3:2", n=1)
    )
    assert made[0].path.parent.name == "elsewhere"
    assert made[0].path.name.startswith("red-")
    assert (made[0].width, made[0].height) == (1536, 1024)
    with pytest.raises(UnsupportedOption, match="no option colour"):
        run(generate("a fox", sandbox=True, colour="red"))
    assert "size" in ImageRequest.__dataclass_fields__


def test_the_project_settings(own_world):
    """The example of pyproject.toml is read as the README says."""
    (own_world / "pyproject.toml").write_text(block("toml", "quality"))
    settings = load(own_world)
    assert (settings.get("provider"), settings.get("quality")) == ("evolink", "high")


def test_a_gateway_in_four_lines(own_world):
    """The configured gateway of the README is a gateway with the parent's models, at its own address, with its own key."""
    lines = block("toml", 'like = "apimart"')
    assert len(lines.splitlines()) == 4
    (own_world / "pyproject.toml").write_text(lines)
    settings = load(own_world)
    provider = registry.get_provider("myreseller", settings.provider_tables)
    assert (provider.base_url, provider.key_variable) == ("https://api.example.com", "MYRESELLER_API_KEY")
    assert provider.models == registry.get_provider("apimart").models


def test_a_corrected_gateway(own_world):
    """The two corrections of the README hold: a model's fields, and that a repeated key is answered with its task."""
    (own_world / "pyproject.toml").write_text(block("toml", "max_n =") + block("toml", "idempotency ="))
    provider = registry.get_provider("apimart", load(own_world).provider_tables)
    plan = provider.plan(ImageRequest("a fox", quality="low", n=8))
    assert (plan.images_per_call, plan.price.amount) == ((8,), Decimal("0.08"))
    assert provider.idempotency


def test_a_gateway_in_one_file():
    """The class of the README is a whole gateway: it plans a request."""
    namespace = {}
    exec(block("python", "class Hello"), namespace)
    hello = namespace["Hello"]()
    assert isinstance(hello, Provider)
    assert hello.plan(ImageRequest("a fox")).calls[0].json["model"] == "hello-1"


def test_the_entry_point_group():
    """The group named in the README is the one that is read."""
    assert list(tomllib.loads(block("toml", "entry-points"))["project"]["entry-points"]) == [registry.GROUP]


def test_pictures_are_there_and_light():
    """Each picture of README and pages has a dark twin and words for who cannot see it: a PNG of at most 250 kB, an animation of 400 kB."""
    text = README + "".join(DOCS.values()).replace('="', '="docs/')
    names = set(re.findall(r' src(?:set)?="(docs/[^"]+)"', text))
    light, dark = ({name.replace(f"-{theme}.", ".") for name in names if f"-{theme}." in name} for theme in ("light", "dark"))
    assert light == dark
    assert len(light) == len(names) / 2
    assert len(re.findall(r'<img [^>]*alt="[^"]{20,}"', text)) == text.count("<picture>") >= 6
    assert {f"docs/{path.name}" for kind in ("png", "webp") for path in (PROJECT / "docs").glob(f"*.{kind}")} == names
    for name in names:
        is_still = name.endswith(".png")
        assert (PROJECT / name).stat().st_size <= (250_000 if is_still else 400_000)
        with Image.open(PROJECT / name) as picture:
            picture.load()
            assert (picture.format, getattr(picture, "is_animated", False)) == (("PNG", False) if is_still else ("WEBP", True))


def test_the_readme_moves_only_for_readers_who_did_not_decline():
    """The animation lasts 6 to 8 s and ends; where reduced motion is set, the first source that fits is the still picture."""
    (shown,) = re.findall("<picture>.*?</picture>", README, re.DOTALL)
    sources = re.findall(r'<source media="(.+)" srcset="docs/(.+)">', shown)
    reduced, dark = "(prefers-reduced-motion: reduce)", "(prefers-color-scheme: dark)"
    assert sources == [(f"{reduced} and {dark}", "finished-dark.png"), (reduced, "finished-light.png"), (dark, "moving-dark.webp")]
    for theme in ("light", "dark"):
        with Image.open(PROJECT / "docs" / f"moving-{theme}.webp") as picture:
            durations = []
            for frame in range(picture.n_frames):
                picture.seek(frame)
                picture.load()
                durations.append(picture.info["duration"])
            assert 6_000 <= sum(durations) <= 8_000
            assert picture.info["loop"] > 0


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{name}.md" for name in DOCS)])
def test_links_lead_somewhere(page):
    """Every file and every heading that a page links to exists."""
    path = PROJECT / page
    links = [link.partition("#") for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", path.read_text(encoding="utf-8"))]
    for file, _, heading in links:
        target = path.parent / file if file else path
        assert target.exists(), file
        assert not heading or heading in headings(target.read_text(encoding="utf-8")), heading


def headings(text):
    """Return the anchors of a page's headings, as GitHub makes them."""
    return {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_every_page_is_in_the_contents():
    """The start page leads to every page and notebook."""
    contents = "\n".join(re.findall(r"```{toctree}\n(.*?)```", DOCS["index"], re.DOTALL)).splitlines()
    notebooks = [f"notebooks/{path.stem}" for path in (PROJECT / "notebooks").glob("*.ipynb")]
    pages = [line.rpartition("<")[2].removesuffix(">") for line in contents if line and not line.startswith(":")]
    assert sorted(pages) == sorted([*(set(DOCS) - {"index"}), *notebooks])


def test_the_interface_is_described():
    """The page of the Python interface has every public name."""
    described = re.findall(r"auto(?:function|class):: imagegen_magic\.(\w+)$", DOCS["api"], re.MULTILINE)
    assert sorted(described) == sorted(imagegen_magic.__all__)


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<link href="https://example.org/a.css">', "loads https://example.org/a.css"),
        ('<script src="//example.org/a.js"></script>', "loads //example.org/a.js"),
        ('<img alt="a fox" src="http://example.org/a.png">', "loads http://example.org/a.png"),
        ('<img src="a.png">', "has a picture without alternative text: a.png"),
        ('<a href="https://example.org"><img src="a.png" alt="a fox"></a>', None),
    ],
)
def test_a_page_that_needs_another_host_is_a_fault(tmp_path, page, fault):
    """scripts/docs ends with this check of the built site; links to other hosts are none."""
    (tmp_path / "index.html").write_text(page)
    check = [sys.executable, PROJECT / "scripts" / "site_check.py", tmp_path]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == ((1, f"index.html {fault}\n") if fault else (0, ""))


def test_a_large_site_is_a_fault(tmp_path):
    """Above 12 MB."""
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(12_000_001)
    check = [sys.executable, PROJECT / "scripts" / "site_check.py", tmp_path]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 1


def test_the_commands_can_be_run():
    """The two commands stand alone in a block each, and every script that is named can be executed."""
    assert [code for code in blocks("") if code.startswith("scripts/")] == ["scripts/quickstart\n", "scripts/test\n"]
    assert [name for name in ("scripts/quickstart", "scripts/test") if f"```\n{name}\n```" not in README] == []
    named = set(re.findall(r"`((?:scripts/|\.ci/)[\w./]+)", PAGES)) | {"scripts/quickstart", "scripts/test"}
    assert {name for name in named if not os.access(PROJECT / name, os.X_OK)} == set()


def test_ci_runs_what_a_newcomer_can():
    """Besides lint, types and coverage, .ci/run calls only what README and pages give as well."""
    text = (PROJECT / ".ci" / "run").read_text()
    called = set(re.findall(r"^\s*(?:exec )?([\w./-]+/[\w./-]+)", text, re.MULTILINE))
    assert called == {"scripts/test", "scripts/docs", ".venv-test/bin/ruff", ".venv-test/bin/mypy"}
    assert "`scripts/docs`" in README
    assert "`scripts/test --other-pythons`" in DOCS["development"]


@pytest.mark.parametrize(
    "script", [".ci/run", "scripts/common.sh", "scripts/docs", "scripts/quickstart", "scripts/test", "scripts/screenshots"]
)
def test_scripts_are_bash(script):
    """Bash can read each script."""
    assert subprocess.run(["bash", "-n", PROJECT / script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("version", "line"),
    [("3.99", "This machine has no Python 3.99: put python3.99 on the PATH, or install it with pyenv.")]
    + [(version, f"--python takes a version such as 3.13, not '{version}'.") for version in ("", "three")],
)
def test_a_python_that_is_missing_is_named_in_one_line(version, line):
    """`scripts/test --python` then runs no test and makes nothing."""
    done = subprocess.run([PROJECT / "scripts" / "test", "--python", version], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{line}\n")


def test_the_classifiers_are_the_pythons_that_the_tests_passed_on():
    """Each with the tests and the date, in docs/pythons.md."""
    page = (PROJECT / "docs" / "pythons.md").read_text()
    passed = re.findall(r"^\| (3\.\d+) \| .+ \| passed \| \d{4}-\d\d-\d\d \|$", page, re.MULTILINE)
    assert passed == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (PROJECT / "pyproject.toml").read_text())


def _script(path, code, **environment):
    """Run a line of bash after sourcing the scripts' common part, with nothing but `path` on the PATH."""
    line = f'source "{PROJECT}/scripts/common.sh"; {code}'
    return subprocess.run(
        ["/bin/bash", "-c", line], env={"PATH": str(path), "HOME": str(path)} | environment, capture_output=True, text=True, check=False
    )


def _tools(folder, *more):
    """Make a folder with the few tools that the scripts need, and the programs that are given as text."""
    for name in {"dirname", "rm", "id"} - {name for name, _ in more}:
        folder.joinpath(name).symlink_to(shutil.which(name))
    for name, text in more:
        folder.joinpath(name).write_text(text)
        folder.joinpath(name).chmod(0o755)
    return folder


def test_no_python_is_told_in_one_line(tmp_path):
    """Without a Python that is new enough, the scripts say in one line what to install."""
    done = _script(_tools(tmp_path, ("python3", "#!/bin/sh\nexit 1\n")), "find_python")
    assert done.returncode == 1
    assert done.stderr.startswith("This needs Python 3.11 or newer")
    assert done.stderr.count("\n") == 1


def test_the_newest_python_that_works_is_taken(tmp_path):
    """A name on the PATH that does not run, as pyenv leaves them, is passed over."""
    works = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
    folder = _tools(tmp_path, ("python3.13", "#!/bin/sh\nexit 127\n"), ("python3", works))
    assert _script(folder, "find_python").stdout.strip() == str(folder / "python3")
    assert _script(folder, "find_python", PYTHON=sys.executable).stdout.strip() == sys.executable


LACKING = "libatomic1 libatomic.so.1, which Playwright's Node loads\nchromium Chromium or Chrome\n"


def _venv(folder, found):
    """Make an environment whose Python says what is lacking: `found` until there is a file `installed`, then nothing."""
    (folder / "found").write_text(found)
    python = f'#!/bin/sh\ncase "$*" in *playwright*) exit 1;; esac\n[ -e "{folder}/installed" ] || exec /bin/cat "{folder}/found"\n'
    venv = folder / "venv" / "bin"
    venv.mkdir(parents=True)
    _tools(venv, ("python", python))
    return folder / "venv"


def _apt(folder):
    """Return an apt-get that notes what it is asked, and installs it."""
    return "apt-get", f'#!/bin/sh\necho "$@" >> "{folder}/asked"\ncase "$*" in *install*) : > "{folder}/installed";; esac\n'


@pytest.mark.parametrize("who", ["a user on Debian", "root elsewhere"])
def test_what_the_tools_lack_is_told_in_one_line(tmp_path, who):
    """Where nothing can be installed, the tests do not begin: one line says what is lacking and what to install, all of it."""
    tools = [_apt(tmp_path), ("id", "#!/bin/sh\necho 1000\n")] if who == "a user on Debian" else [("id", "#!/bin/sh\necho 0\n")]
    done = _script(
        _tools(tmp_path, ("timeout", '#!/bin/sh\nshift\nexec "$@"\n'), *tools), f'need_tools "{_venv(tmp_path, LACKING)}"; echo on'
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "The tests need what this machine lacks: libatomic.so.1, which Playwright's Node loads; Chromium or Chrome. "
        "As root on Debian: apt-get install libatomic1 chromium\n"
    )
    assert not (tmp_path / "asked").exists()


def test_what_no_package_is_known_for_is_told_as_well(tmp_path):
    """A library of another name is named, and nothing is installed for it."""
    tools = _tools(tmp_path, _apt(tmp_path), ("id", "#!/bin/sh\necho 0\n"))
    done = _script(tools, f'need_tools "{_venv(tmp_path, "- libodd.so.3, which it loads")}"')
    assert (done.returncode, done.stderr) == (1, "The tests need what this machine lacks: libodd.so.3, which it loads.\n")
    assert not (tmp_path / "asked").exists()


def test_nothing_is_done_where_nothing_lacks(tmp_path):
    """No word, no installation."""
    done = _script(_tools(tmp_path, _apt(tmp_path), ("id", "#!/bin/sh\necho 0\n")), f'need_tools "{_venv(tmp_path, "")}"')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "asked").exists()


def test_root_gets_installed_what_lacks(tmp_path):
    """As root on Debian, all of it is installed without asking, and looked for again."""
    tools = _tools(tmp_path, _apt(tmp_path), ("id", "#!/bin/sh\necho 0\n"), ("timeout", '#!/bin/sh\nshift\nexec "$@"\n'))
    done = _script(tools, f'need_tools "{_venv(tmp_path, LACKING)}"')
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [words.split()[0] for words in asked] == ["update", "install"]
    assert asked[1].endswith("libatomic1 chromium")


def _clients(folder, npm):
    """Make an environment whose npm is the shell script `npm`, and a folder with a list of clients; return the call that installs them."""
    for name in ("cmp", "cp", "grep", "head", "mkdir"):
        (folder / name).symlink_to(shutil.which(name))
    (folder / "venv" / "bin").mkdir(parents=True)
    _tools(folder, ("venv/bin/npm", f'#!/bin/sh\necho "$@" >> "{folder}/asked"\n{npm}\n'))
    (folder / "clients").mkdir()
    (folder / "clients" / "package-lock.json").write_text("{}")
    return f'need_clients "{folder}/venv" "{folder}/clients"'


def test_clients_from_npm_are_installed_once(tmp_path):
    """npm is asked at first, and again only after the list changed."""
    call = _clients(tmp_path, f'mkdir -p "{tmp_path}/clients/node_modules"')
    assert [_script(tmp_path, f"{call}; {call}").returncode, (tmp_path / "asked").read_text().count("ci --prefix")] == [0, 1]
    (tmp_path / "clients" / "package-lock.json").write_text('{"lockfileVersion": 3}')
    assert [_script(tmp_path, call).returncode, (tmp_path / "asked").read_text().count("ci --prefix")] == [0, 2]


def test_an_npm_that_is_out_of_reach_is_one_line(tmp_path):
    """Before any test begins; the line has npm's own reason."""
    reason = "request to http://registry.example/zod failed, reason: connect ECONNREFUSED"
    call = _clients(tmp_path, f"echo npm error code ECONNREFUSED >&2\necho npm error FetchError: {reason} >&2\nexit 1")
    done = _script(tmp_path, f"{call}; echo on")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "installing other people's clients from npm",
        f"The tests need clients that other people wrote, and npm could not install them: FetchError: {reason}",
    ]


def test_the_list_of_clients_names_no_registry():
    """Each version has its checksum and no address, so that any registry serves it."""
    packages = json.loads((PROJECT / "tests" / "clients" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    clients = {name: entry for name, entry in packages.items() if name}
    assert [name for name, entry in clients.items() if "resolved" in entry or "integrity" not in entry] == []


@pytest.fixture
def needs(monkeypatch):
    """The script that looks for what the tests' tools need."""
    spec = importlib.util.spec_from_file_location("needs", PROJECT / "scripts" / "needs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_node_that_does_not_start_is_told_by_its_libraries(needs, monkeypatch, tmp_path):
    """Its libraries are asked of the loader; Debian's packages are named for those that a small system lacks."""
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\nexit 127\n")
    node.chmod(0o755)
    ldd = tmp_path / "ldd"
    ldd.write_text(
        "#!/bin/sh\nprintf '\\tlibatomic.so.1 => not found\\n\\tlibc.so.6 => /lib/libc.so.6 (0x0)\\n\\tlibodd.so.3 => not found\\n'\n"
    )
    ldd.chmod(0o755)
    monkeypatch.setenv("PLAYWRIGHT_NODEJS_PATH", str(node))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert list(needs.lacking_for_playwright()) == [
        ("libatomic1", "libatomic.so.1, which Playwright's Node loads"),
        ("-", "libodd.so.3, which Playwright's Node loads"),
    ]
    ldd.write_text("#!/bin/sh\nexit 1\n")
    assert [package for package, _ in needs.lacking_for_playwright()] == ["-"]
    monkeypatch.setattr(needs, "clients_node", lambda: node)
    assert [package for package, _ in needs.lacking_for_clients()] == ["-"]


def test_a_browser_that_does_not_start_is_none(needs, monkeypatch, tmp_path):
    """A name on the PATH is not enough."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(needs, "_own_browser", lambda: False)
    chromium = tmp_path / "chromium"
    for text, lacking in (("exit 127", [("chromium", "Chromium or Chrome")]), ("echo Chromium 156", [])):
        chromium.write_text(f"#!/bin/sh\n{text}\n")
        chromium.chmod(0o755)
        assert list(needs.lacking_for_pages()) == lacking


def test_the_tests_look_for_the_browsers_that_the_script_looks_for(needs):
    """One list in two places."""
    text = (PROJECT / "tests" / "lab.py").read_text(encoding="utf-8")
    assert str(needs.BROWSERS).replace("'", '"') in text


def test_a_python_without_ensurepip_gets_its_pip(tmp_path):
    """Where `python -m venv` fails for want of ensurepip, as on Debian, pip comes from the Python's own pip."""
    asked = tmp_path / "asked"
    refusing = (
        f'#!/bin/sh\necho "$@" >> "{asked}"\ncase "$*" in *--without-pip*|*pip\\ --python*) exit 0;; *venv*) exit 1;; esac\necho Python\n'
    )
    done = _script(_tools(tmp_path, ("python3.12", refusing)), f'make_venv "{tmp_path}/python3.12" "{tmp_path}/venv"')
    assert done.returncode == 0, done.stderr
    words = asked.read_text().splitlines()
    assert f"-m venv --without-pip {tmp_path}/venv" in words
    assert words[-1].startswith(f"-m pip --python {tmp_path}/venv/bin/python install")


def test_one_constant_names_what_is_installed():
    """It is the distribution's name in pyproject.toml, and no message writes a name of its own."""
    assert tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["name"] == _version.INSTALL_NAME
    written = re.compile(r"pip install (-U )?'?imagegen")
    files = (PROJECT / "imagegen_magic").rglob("*.py")
    assert [path.name for path in files if written.search(path.read_text(encoding="utf-8"))] == []


def test_changelog_has_this_version():
    """The changelog is in keep-a-changelog form and tells of the version that the package says it is."""
    text = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE)
    assert "keepachangelog.com" in text
    assert re.search(r"^### Added$", text, re.MULTILINE)
