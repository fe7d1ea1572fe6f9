"""Configuration -> objects: whose classes may be built, what is said of mistakes, and which facts reach whom."""

import copy
import sys
import textwrap

import pytest
import torch

from gantool.commands.planning import plan_of
from gantool.config.build import Builder
from gantool.game.hooks import Objective, Trick
from gantool.game.networks import Generator
from gantool.priors.normal import Normal
from toys import composed_game, pictures, plain, points, refusal


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder of the user's own, importable, with a module that tells when it is imported."""
    (tmp_path / "my_gan").mkdir()
    (tmp_path / "my_gan" / "__init__.py").write_text("", "utf-8")
    (tmp_path / "my_gan" / "ideas.py").write_text(
        textwrap.dedent("""
            from pathlib import Path
            from torch.nn.functional import relu
            from gantool.game.hooks import Objective
            from gantool.game.networks import Generator

            Path(__file__).with_name("imported").touch()

            class Hinge(Objective):
                def __init__(self, margin=1.0):
                    super().__init__()
                    self.margin = margin

                def d_loss(self, turn, on_real, on_fake):
                    return relu(self.margin - on_real.logits).mean() + relu(self.margin + on_fake.logits).mean()

                def g_loss(self, turn, on_fake):
                    return -on_fake.logits.mean()

            class Strict(Objective):
                def __init__(self, margin):
                    super().__init__()

            class Narrow(Generator):
                def __init__(self, shape, latent_dim):
                    super().__init__(shape, latent_dim)
        """),
        "utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "my_gan"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_gan"]:
        del sys.modules[name]


# ---------------------------------------------------------------- whose classes


@pytest.mark.parametrize(
    "target",
    [
        "asyncio.run", "asyncio.create_subprocess_shell", "os.system", "subprocess.Popen", "builtins.open",
        "builtins.eval", "pip._internal.cli.main.main", "shutil.copyfile", "urllib.request.urlopen", "pickle.Unpickler",
        "torch.load", "torch.nn.Linear", "torch.utils.data.DataLoader", "hydra.utils.instantiate",
        "gantoolx.Evil", "torch.optimx.Evil", "torch.optim", "Evil", ".", "..",
        "gantool_evil.objectives.Minimax",
    ],
)  # fmt: skip
def test_strangers_are_refused_by_name(target):
    said = refusal(Builder().make, "objective", {"_target_": target})
    assert said.startswith(f"objective._target_: {target!r} is outside gantool")
    package, _, rest = target.partition(".")
    ours = package in sys.stdlib_module_names  # nobody should be talked into trusting those
    assert ("say so: 'trust=[" in said) == bool(not ours and package and rest)


@pytest.mark.parametrize(
    "target",
    [
        "gantool.cli.dispatch.os.system",  # a module that one of ours imports
        "gantool.config.build.importlib.import_module",
        "gantool.config.build.partial",  # a class, but not ours
        "gantool.game.game.Tensor",
        "gantool.samplers.dump.Path",
        "gantool.runs.pictures.Image",
        "torch.optim.adam.Tensor",
        "gantool.game.updates.move",  # ours, but a function
        "gantool.cli.dispatch.main",
        "gantool.objectives.minimax",  # a module
        "gantool.objectives.minimax.Minmax",
        "gantool.objectives.minmax.Minimax",
        "gantool.", "gantool..Minimax", "gantool.objectives.minimax.", "torch.optim.",
    ],
)  # fmt: skip
def test_what_is_reached_through_gantool_is_refused_too(target):
    said = refusal(Builder().make, "objective", {"_target_": target})
    assert said.startswith("objective._target_: ")
    assert "\n" not in said


def test_refused_class_is_not_even_imported(package):
    """Importing runs code, so the name is judged first."""
    node = {"_target_": "my_gan.ideas.Hinge"}
    for trust in ((), ("my",), ("my_gan.ideas.Hinge",), ("other",)):
        assert "trust=[my_gan]" in refusal(Builder(trust).make, "objective", node, Objective)
    nested = {"_target_": "gantool.tricks.instance_noise.InstanceNoise", "schedule": node}
    assert "trick.instance_noise.schedule._target_" in refusal(Builder().make, "trick.instance_noise", nested, Trick)
    assert not any(name.startswith("my_gan") for name in sys.modules)
    assert not (package / "imported").exists()


@pytest.mark.parametrize("trust", ["my_gan", "my_gan.ideas"])
def test_trusted_class_is_built(package, trust):
    objective = Builder((trust,)).make("objective", {"_target_": "my_gan.ideas.Hinge", "margin": 2.0}, Objective)
    assert (type(objective).__name__, objective.margin) == ("Hinge", 2.0)
    assert (package / "imported").exists()


def test_trust_in_one_package_is_no_trust_in_what_it_imports(package):
    assert "is outside gantool" in refusal(Builder(("my_gan",)).resolve, "objective", "my_gan.ideas.Path")


@pytest.mark.parametrize(
    "key, target",
    [
        ("objective", "gantool"),
        ("objective", "gantool.tricks.ema.EMA"),
        ("objective", "gantool.errors.UsageError"),
        ("trick.ema", "gantool.priors.normal.Normal"),
        ("prior", "gantool.commands.assembly.Assembly"),  # would build whatever its own argument names
        ("prior", "gantool.config.build.Builder"),
        ("objective.x", "gantool.cli.job.Job"),  # nested
    ],
)
def test_only_the_shelf_of_the_group_is_built_from(key, target):
    """A run folder from a stranger could otherwise name any class of gantool's own."""
    assert f"{key}._target_: {target!r} is not one of" in refusal(Builder().make, key, {"_target_": target})


@pytest.mark.parametrize(
    "key, target, kind",
    [
        ("architecture.generator", "gantool.architectures.mlp.Discriminator", Generator),
        ("optimizer.generator", "torch.optim.lr_scheduler.StepLR", torch.optim.Optimizer),
    ],
)
def test_class_of_the_wrong_kind_is_refused(key, target, kind):
    assert (
        refusal(Builder().make, key, {"_target_": target}, kind) == f"{key}._target_: {target!r} is no {kind.__name__}"
    )


def test_settings_without_a_class_are_refused():
    said = refusal(Builder().make, "trick.ema", {"half_life": 5}, Trick)
    assert said == "trick.ema has settings but is not selected: select it, or drop it with '~trick.ema'"


# ---------------------------------------------------------------- keys


def test_unknown_key_comes_with_a_suggestion(package):
    builder = Builder(("my_gan",))
    said = refusal(builder.make, "objective", {"_target_": "my_gan.ideas.Hinge", "margn": 1})
    assert said.splitlines() == ["unknown key 'objective.margn'", "  did you mean 'margin'?; choices: margin"]
    node = {"_target_": "gantool.architectures.mlp.Generator", "hiden": [3]}
    facts = {"shape": (2,), "latent_dim": 3, "num_classes": 0}
    said = refusal(builder.make, "architecture.generator", node, Generator, **facts)
    assert "did you mean 'hidden'?" in said
    assert "shape" not in said  # what the program knows is no choice


def test_missing_key_is_said_in_a_sentence(package):
    """Of a class of the user's own: an argument without a default, or one that gantool gives and nobody takes."""
    builder = Builder(("my_gan",))
    assert "margin" in refusal(builder.make, "objective", {"_target_": "my_gan.ideas.Strict"}, Objective)
    facts = {"shape": (2,), "latent_dim": 3, "num_classes": 0}
    node = {"_target_": "my_gan.ideas.Narrow"}
    assert "num_classes" in refusal(builder.make, "architecture.generator", node, Generator, **facts)


def optimized(compose, *overrides: str):
    builder = Builder((), 100)
    played = composed_game(compose, builder=builder)
    return played, builder.players(played, plain(compose(*overrides))["optimizer"])


def test_players_have_their_own_settings(compose):
    played, (d, g) = optimized(compose, "optimizer.discriminator.lr=0.3", "optimizer.generator.betas=[0.1,0.2]")
    assert (d.optimizer.defaults["lr"], g.optimizer.defaults["lr"]) == (0.3, 2e-4)
    assert (d.optimizer.defaults["betas"], g.optimizer.defaults["betas"]) == ((0.5, 0.999), (0.1, 0.2))
    for player, net in ((d, "discriminator"), (g, "generator")):
        assert {id(p) for p in player.parameters} == {id(p) for p in played.nets[net].parameters()}


def test_betas_may_be_whole_numbers(compose):
    """[0,0.9] are those of Gulrajani et al. 2017; torch takes floats only, of which YAML makes an integer."""
    _, (d, _) = optimized(compose, "optimizer.discriminator.betas=[0,0.9]")
    d.apply([torch.ones_like(weight) for weight in d.parameters])
    assert d.optimizer.defaults["betas"] == (0, 0.9)


@pytest.mark.parametrize(
    "override, says",
    [
        ("+optimizer.generator.lrr=1", "unknown key 'optimizer.generator.lrr'\n  did you mean 'lr'?"),
        ("optimizer.discriminator.lr=-1", "optimizer.discriminator: Invalid learning rate"),
        ("optimizer.generator.betas=[0.5,1.5]", "optimizer.generator: Invalid beta"),
        ("optimizer.generator._target_=torch.nn.Linear", "is outside gantool"),
        ("optimizer.generator._target_=torch.optim.lr_scheduler.StepLR", "is no Optimizer"),
        ("optimizer.generator.schedule.kind=linear optimizer.generator.schedule.end=0", "must end after it begins"),
    ],
)
def test_impossible_optimizer_is_refused(compose, override, says):
    assert says in refusal(optimized, compose, *override.split())


# ---------------------------------------------------------------- schedules


@pytest.mark.parametrize("budget, steps", [("steps=70", 70), ("images=100", 5), ("steps=3 images=100", 3)])
def test_end_of_a_schedule_is_the_end_of_the_budget(compose, budget, steps):
    """Of 10 examples, twice a round: 100 images are 5 rounds. Whichever budget is spent first ends the run."""
    config = plain(compose("trick=[instance_noise]", "batch_size=10", "update.discriminator_steps=2", *budget.split()))
    plan = plan_of(config, ())
    noise = Builder((), plan.steps).make("trick.instance_noise", config["trick"]["instance_noise"], Trick)
    assert (plan.steps, noise.schedule.end) == (steps, steps)


def test_schedule_without_an_end_is_refused(compose):
    """A budget in minutes says nothing of steps."""
    config = plain(compose("trick=[instance_noise]", "minutes=5"))
    node = config["trick"]["instance_noise"]
    builder = Builder((), plan_of(config, ()).steps)
    assert "give its `end`" in refusal(builder.make, "trick.instance_noise", node, Trick)
    node["schedule"]["end"] = 30
    assert builder.make("trick.instance_noise", node, Trick).schedule.end == 30


# ---------------------------------------------------------------- the game


def test_facts_reach_the_nets(compose):
    played = composed_game(
        compose, "architecture.latent_dim=7", "architecture.class_conditional=true", images=pictures(10, (3, 8, 8))
    )
    g, d = played.nets["generator"], played.nets["discriminator"]
    assert (g.shape, g.latent_dim, g.num_classes) == ((3, 8, 8), 7, 2)
    assert (d.shape, d.num_classes, d.logits) == ((3, 8, 8), 2, 1)
    assert (played.source.latent_dim, played.source.batch_size, type(played.source.prior)) == (7, 4, Normal)
    assert composed_game(compose).nets["generator"].num_classes == 0


def test_wide_verdicts_of_an_objective_reach_d_and_codes_leave_the_latent_as_wide_as_it_is(compose):
    class Wide(Objective):
        logits, codes = 5, (1, 1)

    class Chosen(Builder):
        def make(self, key, node, kind=None, offered=None, **facts):
            return Wide() if key == "objective" else super().make(key, node, kind, offered, **facts)

    played = composed_game(compose, "architecture.latent_dim=7", builder=Chosen())
    assert played.nets["generator"].latent_dim == played.source.latent_dim == 7
    assert played.nets["discriminator"].logits == 5


def test_conditional_without_classes_is_refused(compose):
    said = refusal(composed_game, compose, "architecture.class_conditional=true", images=points(10))
    needs = "architecture.class_conditional=true needs a dataset with classes, and this one has none"
    assert said == f"{needs}: leave it out"


def test_tricks_act_in_the_order_of_the_list(compose):
    for order in (["ema", "label_smoothing", "instance_noise"], ["instance_noise", "ema", "label_smoothing"]):
        played = composed_game(compose, f"trick=[{','.join(order)}]")
        assert list(played.hooks) == ["objective", *order]
        assert list(played.tricks) == order


def test_building_does_not_change_the_configuration(compose):
    config = plain(compose("batch_size=4", "trick=[instance_noise,ema]"))
    before, builder = copy.deepcopy(config), Builder((), 100)
    images = pictures(10)
    builder.players(builder.game(config, images.shape, 2, builder.source(config, images, False)), config["optimizer"])
    assert config == before


def test_ranges_of_a_users_own_class_are_checked(tmp_path, monkeypatch):
    """gantool/README.md: the range names of a signature hold for classes outside gantool, too."""
    (tmp_path / "ranged_gan.py").write_text(
        "from gantool.game.hooks import Objective\n"
        "from gantool.game.ranges import Positive\n\n\n"
        "class Ranged(Objective):\n"
        "    def __init__(self, margin: Positive = 1.0, other: 'Whatever' = None):\n"
        "        super().__init__()\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    builder, node = Builder(("ranged_gan",)), {"_target_": "ranged_gan.Ranged", "margin": -1.0, "other": 3}
    assert "objective.margin must be a number > 0, got -1.0" in refusal(builder.make, "objective", node, Objective)
    assert builder.make("objective", node | {"margin": 2.0}, Objective)
