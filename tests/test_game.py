"""How the hooks of an objective and of tricks are folded into two losses."""

import ast
import inspect
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import gantool
from gantool.game.game import Game
from gantool.game.hooks import Objective, Trick
from gantool.objectives.least_squares import LeastSquares
from gantool.objectives.minimax import Minimax
from gantool.objectives.non_saturating import NonSaturating
from gantool.tricks.gradient_penalty import GradientPenalty
from toys import Fixed, Linear, Scalar, Shown, verdict

PACKAGE = Path(gantool.__file__).parent
HOOKS = {name for name, member in vars(Trick).items() if inspect.isfunction(member)} | {"latent", "d_loss", "g_loss"}


class Logged(Trick):
    """Says which hook was called, on what."""

    def __init__(self, name: str, log: list[str]):
        super().__init__()
        self.name, self.log = name, log

    def rewrite(self, nets, source) -> None:
        self.log.append(f"rewrite {self.name}")

    def ready(self, nets) -> None:
        self.log.append(f"ready {self.name}")

    def replay(self, fake: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        self.log.append(f"replay {self.name} {float(fake.detach()[0, 0]):g}")
        return fake + 10, label

    def view(self, image: Tensor) -> Tensor:
        self.log.append(f"view {self.name} {float(image[0, 0].detach()):g}")
        return 2 * image


def game(objective: Objective, tricks: dict[str, Trick] | None = None, x: float = 2.0, w: float = 3.0) -> Game:
    return Game(Scalar(x), Linear(torch.tensor([w])), objective, tricks or {}, Fixed(torch.ones(4, 1)))


# ---------------------------------------------------------------- order


def test_all_surgery_comes_before_any_copy():
    log: list[str] = []
    game(Minimax(), {"a": Logged("a", log), "b": Logged("b", log)})
    assert log == ["rewrite a", "rewrite b", "ready a", "ready b"]


def test_views_and_replays_are_folded_in_order():
    """D sees 1 -> 2 -> 4 of reals and 2 + 10 + 10 -> 44 -> 88 of fakes; nothing is replayed in G's turn."""
    log: list[str] = []
    played = game(Shown(), {"a": Logged("a", log), "b": Logged("b", log)})
    log.clear()
    played.d_loss()
    assert sorted(log) == sorted(["replay a 2", "replay b 12", "view a 1", "view b 2", "view a 22", "view b 44"])
    assert log.index("replay b 12") < log.index("view a 22") < log.index("view b 44")
    assert played.objective.d_turn.real.unique().tolist() == [4]
    assert played.objective.d_turn.fake.unique().tolist() == [88]
    log.clear()
    played.g_loss()
    assert log == ["view a 2", "view b 4"]


def test_deployed_generator_is_folded_in_order():
    class Wrapped(Trick):
        def deploy(self, generator: nn.Module) -> nn.Module:
            return nn.Sequential(generator)

    played = game(Minimax(), {"a": Wrapped(), "b": Wrapped()})
    assert played.deployed[0][0] is played.nets["generator"]
    assert game(Minimax()).deployed.x == 2.0


# ---------------------------------------------------------------- turns


def test_generator_turn_draws_no_reals_unless_somebody_looks():
    class Looking(Trick):
        needs_real = True

    plain, looking = game(Shown()), game(Shown(), {"looking": Looking()})
    plain.g_loss()
    assert (plain.source.asked, len(plain.objective.g_turn.real)) == (0, 0)
    looking.g_loss()
    assert (looking.source.asked, looking.objective.g_turn.real.unique().tolist()) == (1, [1])


def test_discriminator_turn_gives_g_no_gradient_unless_asked():
    played = game(Shown())
    x = played.nets["generator"].x
    assert torch.autograd.grad(played.d_loss()[0], x, allow_unused=True) == (None,)
    (slope,) = torch.autograd.grad(played.d_loss(through_g=True)[0], x)
    assert float(slope) == -3


def test_labels_reach_both_nets():
    """Reals carry their own label, fakes the one that G was asked for."""
    asked: list[tuple[str, int]] = []

    class Labelled(Fixed):
        num_classes = 9

        def reals(self):
            return self.real, torch.full((4,), 5)

        def latents(self):
            return torch.zeros(4, 1), torch.full((4,), 6)

    class G(Scalar):
        def forward(self, latent, label):
            asked.append(("g", int(label[0])))
            return super().forward(latent, label)

    class D(Linear):
        def forward(self, image, label):
            asked.append((f"d of {float(image[0, 0].detach()):g}", int(label[0])))
            return super().forward(image, label)

    played = Game(G(2.0), D(torch.ones(1)), Shown(), {}, Labelled(torch.ones(4, 1)))
    played.d_loss()
    assert asked == [("g", 6), ("d of 1", 5), ("d of 2", 6)]
    assert played.objective.d_turn.label.tolist() == [5] * 4
    assert played.objective.d_turn.fake_label.tolist() == [6] * 4
    asked.clear()
    played.g_loss()
    assert asked == [("g", 6), ("d of 2", 6)]


def test_reals_and_fakes_pass_d_separately():
    """Where D has BatchNorm, each batch has its own statistics."""

    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.means = nn.BatchNorm1d(1), []

        def forward(self, image, label):
            self.means.append(float(image.mean().detach()))
            return verdict(self.norm(image))

    critic = Normed()
    Game(Scalar(2.0), critic, Minimax(), {}, Fixed(torch.ones(4, 1))).d_loss()
    assert critic.means == [1.0, 2.0]


def test_codes_join_the_latents_of_both_turns():
    class Coded(Shown):
        codes = 2

        def latent(self, noise: Tensor) -> Tensor:
            return torch.cat([noise, torch.ones(len(noise), 2)], dim=1)

    played = game(Coded())
    played.d_loss()
    played.g_loss()
    assert played.objective.d_turn.latent.shape == played.objective.g_turn.latent.shape == (4, 3)


def test_targets_are_one_and_zero_unless_a_trick_says_otherwise():
    class Shifted(Trick):
        def targets(self, real, fake):
            return real - 0.25, fake + 0.125

    for tricks, expected in (
        ({}, (1, 0)),
        ({"a": Shifted()}, (0.75, 0.125)),
        ({"a": Shifted(), "b": Shifted()}, (0.5, 0.25)),
    ):
        played = game(Shown(), tricks)
        played.d_loss()
        turn = played.objective.d_turn
        assert (turn.real_target.unique().tolist(), turn.fake_target.unique().tolist()) == (
            [expected[0]],
            [expected[1]],
        )


# ---------------------------------------------------------------- losses


class Costs(Trick):
    def __init__(self, d: float, g: float):
        super().__init__()
        self.d, self.g = d, g

    def d_penalty(self, turn, on_real, on_fake) -> Tensor:
        return self.d * on_fake.logits.mean()

    def g_penalty(self, turn, on_fake) -> Tensor:
        return self.g * on_fake.logits.mean()


def test_losses_add_up():
    """Trap: a loss overwritten by another. D(G(z)) = 6 and D(x) = 3: each part counts once, by its name."""
    played = game(Shown(), {"a": Costs(10, 100), "b": Costs(1000, 10_000)})
    loss, stats = played.d_loss()
    assert float(loss.detach()) == (3 - 6) + 60 + 6000
    assert {name: float(stats[name]) for name in ("d_loss", "d_a", "d_b")} == {"d_loss": -3, "d_a": 60, "d_b": 6000}
    assert float(torch.autograd.grad(loss, played.nets["discriminator"].weight)[0]) == 1 - 2 + 20 + 2000
    loss, stats = played.g_loss()
    assert float(loss.detach()) == 6 + 600 + 60_000
    assert {name: float(value) for name, value in stats.items()} == {"g_loss": 6, "g_a": 600, "g_b": 60_000}
    assert float(torch.autograd.grad(loss, played.nets["generator"].x)[0]) == 3 + 300 + 30_000


def test_statistics_are_detached_scalars():
    _, stats = game(NonSaturating(), {"a": Costs(1, 1)}).d_loss()
    assert all(value.shape == () and not value.requires_grad for value in stats.values())
    assert stats["d_real"] == 3
    assert stats["d_fake"] == 6


@pytest.mark.parametrize(
    "objective, real, fake, accuracy",
    [
        (NonSaturating(), 1.0, -1.0, (1, 1)),
        (NonSaturating(), -1.0, 1.0, (0, 0)),
        (LeastSquares(), 0.6, 0.4, (1, 1)),  # the middle of 0 and 1
        (LeastSquares(), 0.4, 0.6, (0, 0)),
    ],
)
def test_accuracy_of_d(objective, real, fake, accuracy):
    played = Game(Scalar(fake), Linear(torch.ones(1)), objective, {}, Fixed(torch.full((4, 1), real)))
    stats = played.d_loss()[1]
    assert (float(stats["d_accuracy_real"]), float(stats["d_accuracy_fake"])) == accuracy


def test_another_critic_takes_the_place_of_d():
    """For update rules that look ahead: the loss and the penalties ask it, not D."""
    other = Linear(torch.tensor([-1.0]))
    played = game(Shown(), {"penalty": GradientPenalty("r1", 2.0)})
    loss, stats = played.d_loss(critic=other)
    assert float(stats["d_loss"]) == -1 + 2
    assert float(stats["d_penalty"]) == 1
    assert torch.autograd.grad(loss, played.nets["discriminator"].weight, allow_unused=True) == (None,)
    assert float(played.g_loss(critic=other)[0].detach()) == -2


# ---------------------------------------------------------------- names


SHELVES = [path for shelf in ("objectives", "tricks") for path in sorted((PACKAGE / shelf).glob("[!_]*.py"))]
CLASSES = {
    f"{path.stem}.{node.name}": node
    for path in SHELVES
    for node in ast.parse(path.read_text("utf-8")).body
    if isinstance(node, ast.ClassDef)
}


@pytest.mark.parametrize("node", CLASSES.values(), ids=CLASSES)
def test_no_hyperparameter_is_called_like_a_hook(node):
    """`self.view = view` would silently take the place of the hook."""
    assert {"view", "replay", "d_penalty", "deploy", "latent"} <= HOOKS
    for item in ast.walk(node):
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            assert HOOKS.isdisjoint(argument.arg for argument in item.args.args + item.args.kwonlyargs)
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store):
            assert item.attr not in HOOKS
