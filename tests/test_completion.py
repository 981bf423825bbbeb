"""TAB offers options, gateways, models, and exactly what the chosen model takes with the options given."""

from contextlib import suppress

import pytest
from shells import a_shell

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.subcommands import COMMANDS
from imagegen_magic.options import OPTIONS, option_for
from imagegen_magic.providers import registry
from imagegen_magic.providers.alternatives import fitting_values, possible_values
from imagegen_magic.request import ImageRequest

SIX = {"16:9", "9:16", "2:1", "1:2", "21:9", "9:21"}
THIRTEEN = SIX | {"1:1", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5"}
FIFTEEN = THIRTEEN | {"3:1", "1:3"}


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


def test_options_complete_in_cell_and_line(shell):
    """`--` and a beginning of an option complete in both magics; what is given already is not offered again."""
    assert shell.tab("%%imagegen --res") == ["--resolution"]
    assert shell.tab("%imagegen --res") == ["--resolution"]
    assert shell.tab("castles = %imagegen --res") == ["--resolution"]
    everything = shell.tab("%%imagegen -")
    assert everything == [option.long for option in OPTIONS if option.flags]
    assert "--n" not in shell.tab("%%imagegen -n 2 --")
    assert "--ref" in shell.tab("%%imagegen --ref https://a.example/1.png --")


def test_an_empty_line_offers_everything(shell):
    """After the bare magic come options, and for the line magic subcommands first."""
    assert shell.tab("%%imagegen ")[0] == "--provider"
    offered = shell.tab("%imagegen ")
    assert offered[: len(COMMANDS)] == [command.name for command in COMMANDS]
    assert "--provider" in offered


def test_subcommands_complete(shell):
    """A beginning of a subcommand completes, and so do its arguments."""
    assert shell.tab("%imagegen hi") == ["history"]
    assert shell.tab("%imagegen login ev") == ["evolink"]
    assert shell.tab("%imagegen login evolink --") == ["--save"]
    assert shell.tab("%imagegen models x") == ["xingchao"]
    assert shell.tab("%imagegen doctor --n") == ["--network"]
    assert shell.tab("%%imagegen hi") == []


def test_what_plan_and_config_take(shell):
    """`plan` takes the options of a request with their values, `config` the name of a setting."""
    assert shell.tab("%imagegen plan --a") == ["--all"]
    assert shell.tab("%imagegen plan --resol") == ["--resolution"]
    assert "--size" not in shell.tab("%imagegen plan -s 16:9 --")
    assert shell.tab("%imagegen plan -p fal -m fal-ai/flux/") == ["fal-ai/flux/schnell", "fal-ai/flux/dev"]
    assert set(shell.tab("%imagegen plan -p evolink -q ")) == {"low", "medium", "high"}
    assert shell.tab("%imagegen config prov") == ["provider="]


def test_gateways_complete(shell, own_world):
    """`-p` offers every gateway, configured ones too."""
    assert shell.tab("%%imagegen -p ") == list(registry.provider_names())
    assert shell.tab("%imagegen --provider=ev") == ["evolink"]
    (own_world / "pyproject.toml").write_text(
        '[tool.imagegen.providers.zeta]\nlike = "apimart"\nbase_url = "https://zeta.example"\nkey_variable = "ZETA_API_KEY"\n'
    )
    assert "zeta" in shell.tab("%%imagegen -p ")


def test_models_of_the_chosen_gateway(shell, monkeypatch):
    """`-m` offers the chosen gateway's models; the gateway may be configured, or the first with a key."""
    assert shell.tab("%%imagegen -p xingchao -m ") == ["gpt-image-2", "gpt-image-2-r"]
    assert shell.tab("%%imagegen -p gccai --model=") == ["gpt-image-2-official", "gpt-image-1-official", "gpt-image-1.5-official"]
    monkeypatch.setenv("XINGCHAO_API_KEY", "not-a-real-one")
    assert shell.tab("%%imagegen -m ") == ["gpt-image-2", "gpt-image-2-r"]
    monkeypatch.setenv("IMAGEGEN_PROVIDER", "evolink")
    assert shell.tab("%%imagegen -m ") == ["gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.5-sunburst"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-p apimart --size ", THIRTEEN),
        ("-p apimart -r 4k --size ", SIX),
        ("-r 4K -p apimart -s ", SIX),
        ("-p apimart -r 4k --size=", SIX),
        ("-p apimart -r ", {"1k", "2k", "4k"}),
        ("-p apimart -s 1:1 -r ", {"1k", "2k"}),
        ("-p apimart -s 16:9 -r ", {"1k", "2k", "4k"}),
        ("-p apimart -s 1536x1024 -r ", set()),
        ("-p xingchao -r 4k -s ", SIX),
        ("-p xingchao -m gpt-image-2-r -r ", {"1k"}),
        ("-p xingchao -m gpt-image-2-r -q ", set()),
        ("-p xingchao -q ", {"low", "medium", "high"}),
        ("-p evolink -s ", FIFTEEN | {"auto"}),
        ("-p evolink -r 4k -s ", FIFTEEN),
        ("-p evolink -r ", {"1k", "2k", "4k"}),
        ("-p evolink -s auto -r ", set()),
        ("-p evolink -q ", {"low", "medium", "high"}),
        ("-p evolink -m gpt-image-2.5-flare -q ", {"low", "medium", "high", "xhigh", "max"}),
        ("-p evolink --background ", {"auto", "opaque"}),
        ("-p xingchao --background ", set()),
        ("-p gccai -s ", FIFTEEN | {"auto", "1881x836", "887x1774"}),
        ("-p gccai -q ", {"auto", "low", "medium", "high"}),
        ("-p gccai --background ", {"auto", "opaque"}),
        ("-p gccai -m gpt-image-1.5-official -s ", {"1:1", "2:3", "3:2"}),
        ("-p gccai -m gpt-image-1.5-official --background ", {"auto", "opaque", "transparent"}),
        ("-p gccai -m gpt-image-1.5-official --background transparent --output-format ", {"png"}),
        ("-p gccai --output-compression 80 --output-format ", {"jpeg", "webp"}),
        ("-p gccai --output-format ", {"png", "jpeg", "webp"}),
        ("-p gccai --moderation ", {"auto", "low"}),
    ],
)
def test_exactly_the_valid_values(shell, line, expected):
    """Sizes, tiers, qualities and the rest are those that this model takes with what is given."""
    assert set(shell.tab(f"%%imagegen {line}")) == expected
    assert set(shell.tab(f"%imagegen {line}")) == expected


@pytest.mark.parametrize("name", registry.provider_names())
@pytest.mark.parametrize("flag", ["--size", "--resolution", "--quality", "--background", "--moderation", "--output-format"])
def test_what_is_offered_can_be_planned_and_nothing_else(name, flag):
    """The plan takes each offered value; a value of other models is refused, or marked as not checked if the model is known in part."""
    option = option_for(flag)
    everything = {value for other in registry.all_providers() for model in other.models for value in possible_values(model, option.name)}
    provider = registry.get_provider(name)
    for model in provider.models:
        offered = fitting_values(provider, {"model": model.name}, option.name)
        for value in everything:
            size = "16:9" if flag == "--resolution" and "16:9" in model.sizes else None
            request = ImageRequest("a fox", **{"model": model.name, "size": size, option.name: value})
            if value in offered:
                provider.plan(request)
            elif "x" in value and model.pixel_rule:
                continue
            elif model.strict:
                with pytest.raises(UnsupportedOption):
                    provider.plan(request)
            else:
                with suppress(UnsupportedOption):
                    assert provider.plan(request).unchecked


def test_another_mistake_does_not_empty_the_menu(shell):
    """Where something else on the line is wrong, values are still offered."""
    assert set(shell.tab("%%imagegen -p evolink -q auto -r ")) == {"1k", "2k", "4k"}


def test_nothing_in_a_prompt(shell):
    """In the cell's body, in a line's prompt, after -- and outside our magics nothing of ours is offered."""
    assert shell.tab("%%imagegen -p evolink\n") == []
    assert shell.tab("%%imagegen\n%imagegen -p ") == []
    assert shell.tab("%imagegen a red fo") == []
    assert shell.tab("%imagegen a red ") == []
    assert shell.tab("%imagegen -- -") == []
    assert shell.tab("%%time\n%imagegen --res") == []
    assert shell.tab("imagegen --res") == []
    assert shell.tab("%%imagegenius --res") == []


def test_option_line_completes_with_a_body_below(shell):
    """The cursor's line counts, whatever stands below it."""
    assert shell.tab("%%imagegen --res\na castle", line=0) == ["--resolution"]
    assert shell.tab("import os\n%imagegen --res\nx = 1", line=1) == ["--resolution"]


def test_free_values_are_left_to_the_person(shell):
    """A number, a name or an address is not offered."""
    for line in ("-n ", "-o ", "--name ", "--ref ", "--set "):
        assert shell.tab(f"%%imagegen {line}") == []


def test_errors_stay_out_of_the_menu(shell, own_world):
    """An unknown gateway or model offers nothing and raises nothing; a bad setting takes nothing from the menu."""
    assert shell.tab("%%imagegen -p nowhere -s ") == []
    assert shell.tab("%%imagegen -p evolink -m nothing -s ") == []
    gateways = shell.tab("%%imagegen -p ")
    (own_world / "pyproject.toml").write_text("[tool.imagegen]\nspeed = 3\nn = 2.7\n")
    assert shell.tab("%%imagegen -p ") == gateways != []


def test_unloading_takes_tab_away(shell):
    """After %unload_ext neither the magic nor its completions are there."""
    shell.shell.extension_manager.unload_extension("imagegen_magic")
    assert shell.tab("%%imagegen --res") == []
    assert shell.shell.find_line_magic("imagegen") is None
    assert shell.shell.find_cell_magic("imagegen") is None
    shell.shell.extension_manager.load_extension("imagegen_magic")
    assert shell.tab("%%imagegen --res") == ["--resolution"]


def test_reloading_leaves_one_of_each(shell):
    """%reload_ext does not double the completions."""
    shell.shell.extension_manager.reload_extension("imagegen_magic")
    assert shell.tab("%%imagegen --res") == ["--resolution"]
    assert sum("ImageGenMagics" in type(one).__name__ for one in shell.shell.configurables) == 1
