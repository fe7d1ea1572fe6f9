"""A class's constructor, read as text, is what Python finds by importing it; and values are checked against it."""

import importlib
import inspect
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gantool.config import schema, signature
from gantool.config.schema import FACTS, conf_dir
from gantool.config.signature import Field, check_component, check_root
from gantool.config.values import check_value, phrase
from gantool.errors import UsageError

SMOOTHING = {"_target_": "gantool.tricks.label_smoothing.LabelSmoothing", "real": 0.9, "fake": 0.0}
PENALTY = {"_target_": "gantool.tricks.gradient_penalty.GradientPenalty", "kind": "r1", "weight": 10.0}
NOISE = {"_target_": "gantool.tricks.instance_noise.InstanceNoise", "sigma": 0.1}


def targets(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["_target_"]} if "_target_" in node else set()
        return own.union(*map(targets, node.values()))
    return set()


ALL_TARGETS = sorted(
    set().union(*(targets(yaml.safe_load(path.read_text("utf-8"))) for path in conf_dir().glob("*/*.yaml")))
)


def refusal(function, *args) -> str:
    with pytest.raises(UsageError) as caught:
        function(*args)
    return str(caught.value)


# Reading


@pytest.mark.parametrize("target", [target for target in ALL_TARGETS if target.startswith("gantool.")])
def test_signature_is_what_python_sees(target):
    module, _, name = target.rpartition(".")
    made = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    if {parameter.kind for parameter in made} == {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        made = []  # nn.Module's own (*args, **kwargs), which take nothing
    assert all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in made)
    seen = {parameter.name: parameter.default is parameter.empty for parameter in made}
    assert {field.name: field.required for field in signature.signature(target).values()} == seen
    for parameter in made:
        if isinstance(parameter.default, int | float | str | bool | list | None):
            assert signature.signature(target)[parameter.name].default == parameter.default


def test_signature_follows_bases_in_this_file_and_in_others(tmp_path, monkeypatch):
    house = tmp_path / "gantool"
    house.mkdir()
    monkeypatch.setattr(signature, "HOUSE", house)
    (house / "base_zz.py").write_text(
        "from torch import nn\n"
        "class Far(nn.Module):\n    def __init__(self, a: Share, *, b: int | None = None): pass\n",
        "utf-8",
    )
    (house / "leaf_zz.py").write_text(
        "from dataclasses import dataclass\n"
        "from gantool.base_zz import Far as Away\n"
        "from gantool import base_zz\n"
        "from torch import nn\n"
        "class Near(Away): pass\n"
        "class Leaf(Near): x = 1\n"
        "class ByModule(base_zz.Far): pass\n"
        "class Foreign(nn.Linear): logits: int = 3\n"
        "@dataclass(frozen=True)\nclass Data:\n    n: Count\n    names: list[str] = make()\n",
        "utf-8",
    )
    expected = {"a": Field("a", "Share", None, True), "b": Field("b", "int | None", None, False)}
    for name in ("Near", "Leaf", "ByModule"):
        assert signature.signature(f"gantool.leaf_zz.{name}") == expected
    assert signature.signature("gantool.leaf_zz.Foreign") == {}
    data = {"n": Field("n", "Count", None, True), "names": Field("names", "list[str]", "make()", False)}
    assert signature.signature("gantool.leaf_zz.Data") == data
    for missing in ("gantool.leaf_zz.Leaves", "gantool.absent_zz.Leaf", "gantool./leaf_zz.Leaf", "gantool.\0.Leaf"):
        assert "there is no" in refusal(signature.signature, missing)


def test_other_peoples_classes_have_no_signature_here():
    assert signature.signature("torch.optim.Adam") is None
    assert signature.signature("my_gan.Hinge") is None


# Values

GOOD = [
    ("int", 3), ("int", -3), ("float", 3), ("float", 1e-4), ("bool", True), ("str", ""), ("str | None", None),
    ("Share", 0), ("Share", 1.0), ("Decay", 0.999), ("Positive", 1e-9), ("NonNegative", 0), ("Count", 1),
    ("Natural", 0),
    ("Literal['a', 'b']", "b"), ("Literal[1, 2]", 2), ("list[Count]", [1, 2]), ("list[Count]", []), ("list[int]", (1,)),
    ("tuple[Share, Count]", [0.5, 3]), ("tuple[int, ...]", [1, 2, 3]), ("Count | Literal['auto']", "auto"),
    ("list[str | int] | None", ["a", 1]), ("Device", "cuda:1"), ("Any", object()),
]  # fmt: skip

BAD = [
    ("int", True, "a whole number", "true"),
    ("int", 3.0, "a whole number", "3.0: write 3"),
    ("Count", 0.0, "a whole number >= 1", "0.0"),
    ("int", "3", "a whole number", "'3'"),
    ("float", "fast", "a number", "'fast'"),
    ("float", math.nan, "a number", "nan"),
    ("NonNegative", math.inf, "a number >= 0", "inf"),
    ("bool", 1, "true or false", "1"),
    ("bool", "yes", "true or false", "'yes'"),
    ("str", 3, "text", "3"),
    ("str", None, "text", "null"),
    ("Share", 1.5, "a number in [0, 1]", "1.5"),
    ("Share", True, "a number in [0, 1]", "true"),
    ("Decay", 1, "a number in [0, 1)", "1"),
    ("Positive", 0, "a number > 0", "0"),
    ("NonNegative", -1, "a number >= 0", "-1"),
    ("Count", 0, "a whole number >= 1", "0"),
    ("Natural", -1, "a whole number >= 0", "-1"),
    ("Count | None", "big", "a whole number >= 1 or null", "'big'"),
    ("Literal['wgan_gp', 'r1']", "x", "one of wgan_gp, r1", "'x'"),
    ("Literal[1, 2]", True, "one of 1, 2", "true"),
    ("list[Count]", 3, "a list (each a whole number >= 1)", "3"),
    ("list[str]", "ab", "a list (each text)", "'ab'"),
    ("list[Count]", [1, 0], "a list (each a whole number >= 1)", "[1, 0]"),
    ("tuple[Share, Share]", [0.5], "a list of 2: a number in [0, 1], a number in [0, 1]", "[0.5]"),
    ("tuple[Share, Share]", [0.5, 2], "a list of 2: a number in [0, 1], a number in [0, 1]", "[0.5, 2]"),
    ("Seed", 2**32, "a whole number in [0, 2**32)", "4294967296"),
    ("Device", "gpu", "auto, cpu, cuda, cuda:N or mps", "'gpu'"),
    ("Device", "cuda:x", "auto, cpu, cuda, cuda:N or mps", "'cuda:x'"),
    ("Schedule | None", 3, "a Schedule with its _target_ or null", "3"),
    ("float", {"a": 1}, "a number", "settings without a _target_"),
]


@pytest.mark.parametrize(("annotation", "value"), GOOD)
def test_value_is_accepted(annotation, value):
    check_value("k", value, annotation)


@pytest.mark.parametrize(("annotation", "value", "wanted", "shown"), BAD)
def test_value_is_refused_in_words(annotation, value, wanted, shown):
    assert refusal(check_value, "group.key", value, annotation) == f"group.key must be {wanted}, got {shown}"
    assert phrase(annotation) == wanted


def test_a_value_left_to_the_user_is_asked_for():
    assert refusal(check_value, "dataset.path", "???", "str") == "missing value: give dataset.path=..."


# Components


def test_component_with_good_values_passes():
    check_component("trick.label_smoothing", SMOOTHING)
    check_component("trick.label_smoothing", {"_target_": SMOOTHING["_target_"]})  # the class has defaults
    check_component("prior", {"_target_": "my_gan.Prior", "anything": object()})  # not ours to check


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (SMOOTHING | {"real": 1.5}, "k.real must be a number in [0, 1], got 1.5"),
        (PENALTY | {"kind": "x"}, "k.kind must be one of wgan_gp, dragan, r1, r2, got 'x'"),
        (
            PENALTY | {"wieght": 1},
            "unknown key 'k.wieght'\n  did you mean 'weight'?; choices: every, kind, share, weight",
        ),
        (PENALTY | {"_partial_": True}, "unknown key 'k._partial_'\n  choices: every, kind, share, weight"),
        ({"real": 1}, "k._target_ must be text, got null"),
        ("ema", "k holds settings of its own: set k.KEY=..., not k itself"),
        (NOISE | {"schedule": {"_target_": "gantool.game.schedules.Schedule", "kind": 1}},
         "k.schedule.kind must be one of constant, linear, cosine, exponential, got 1"),
        (NOISE | {"schedule": {"_target_": "gantool.game.schedules.Schedule", "budget_steps": 3}},
         "unknown key 'k.schedule.budget_steps'\n  choices: begin, end, final, kind"),
        ({"_target_": "torch.optim.Adam", "lr": -1}, "k.lr must be a number > 0, got -1"),
        ({"_target_": "torch.optim.Adam", "betas": [0.5, 1]},
         "k.betas must be a list of 2: a number in [0, 1), a number in [0, 1), got [0.5, 1]"),
        ({"_target_": "torch.optim.SGD", "nesterov": 1}, "k.nesterov must be true or false, got 1"),
    ],
)  # fmt: skip
def test_component_is_refused_in_words(node, sentence):
    assert refusal(check_component, "k", node, FACTS) == sentence


def test_required_argument_is_asked_for_unless_it_is_a_fact():
    node = {"_target_": "gantool.game.schedules.Schedule"}
    assert refusal(check_component, "s", node) == "missing value: give s.budget_steps=..."
    check_component("s", node, {"budget_steps"})


# The root


@pytest.mark.parametrize("command", [schema.Train, schema.Evaluate, schema.Sample])
def test_root_schema_has_the_keys_of_the_yaml(command):
    written = yaml.safe_load((conf_dir() / f"{command.__name__.lower()}.yaml").read_text("utf-8"))
    groups = {name for item in written.pop("defaults") if isinstance(item, dict) for name in item if " " not in name}
    keys = groups | set(written) - {"hydra"}
    assert set(signature.signature(f"{schema.__name__}.{command.__name__}")) == keys - {"experiment"}
    assert set(schema.Best.__annotations__) == {"metric", "mode"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stepz": 3}, "unknown key 'stepz'\n  did you mean 'steps'?"),
        ({"steps": 0}, "steps must be a whole number >= 1 or null, got 0"),
        ({"best": {"metric": None, "mode": "mean"}}, "best.mode must be one of min, max, got 'mean'"),
        ({"best": 3}, "best holds settings of its own: set best.KEY=..., not best itself"),
        ({"objective": {"_target_": "gantool.objectives.minimax.Minimax", "a": 1}}, "unknown key 'objective.a'"),
        ({"trick": {"ema": {"half_life": 5}}},
         "trick.ema: has settings (half_life) but is not selected; add it to trick=[...] or drop it with '~trick.ema'"),
        ({"trick": {"label_smoothing": SMOOTHING | {"real": 2}}},
         "trick.label_smoothing.real must be a number in [0, 1], got 2"),
    ],
)  # fmt: skip
def test_whole_configuration_is_refused_in_words(compose, change, sentence):
    cfg = as_plain(compose())
    check_root(cfg, schema.Train)
    assert refusal(check_root, cfg | change, schema.Train).startswith(sentence)


def test_deep_settings_of_architecture_and_optimizer_are_checked(compose):
    cfg = as_plain(compose())
    cfg["architecture"]["generator"]["hidden"] = [64, "big"]
    assert refusal(check_root, cfg, schema.Train).startswith("architecture.generator.hidden must be a list")
    cfg = as_plain(compose())
    cfg["architecture"]["depth"] = 3
    assert refusal(check_root, cfg, schema.Train).startswith("unknown key 'architecture.depth'")
    cfg = as_plain(compose())
    del cfg["architecture"]["latent_dim"]
    assert refusal(check_root, cfg, schema.Train) == "missing value: give architecture.latent_dim=..."
    cfg = as_plain(compose())
    cfg["optimizer"]["generator"]["schedule"]["final"] = -1
    assert refusal(check_root, cfg, schema.Train).startswith("optimizer.generator.schedule.final must be a number >= 0")


def test_a_required_group_that_is_absent_is_asked_for(compose):
    cfg = as_plain(compose())
    del cfg["objective"]
    assert refusal(check_root, cfg, schema.Train) == "missing value: give objective=..."


def as_plain(cfg):
    from omegaconf import OmegaConf

    return OmegaConf.to_container(cfg, resolve=True)


def test_checking_does_not_import_torch():
    code = (
        "import sys; from gantool.config.signature import check_component\n"
        f"check_component('trick.x', {NOISE!r})\n"
        "assert not {'torch', 'hydra', 'omegaconf', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
