"""What a step does not compute: counted, not timed.

A mode sees every operation that runs. Whose gradient a product of matrices is can be told from its shape: no two layers
of these nets have the same widths.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gantool.game.networks import Discriminator, judges_by_example
from gantool.tricks.gradient_penalty import GradientPenalty
from toys import composed_game, turn, verdict

BATCH = 4
NETS = [
    "architecture.latent_dim=3", "architecture.generator.hidden=[5]", "architecture.discriminator.hidden=[7]",
]  # fmt: skip
OF_G, OF_D = {(5, 3), (64, 5)}, {(7, 64), (1, 7)}  # shapes of the weights, (outputs, inputs)


class Products(TorchDispatchMode):
    """Shapes of all products of matrices, and how many rows entered each layer."""

    def __init__(self):
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **kwargs or {})
        if operation.overloadpacket.__name__ in ("mm", "addmm"):
            self.shapes.append(tuple(result.shape))
        return result

    def gradients(self, weights: set[tuple[int, ...]]) -> int:
        """How many gradients of these weights were computed."""
        return sum(shape in weights or shape[::-1] in weights for shape in self.shapes)


def game_of(compose, *overrides):
    game = composed_game(compose, *NETS, *overrides)
    game.source.reserve(4)
    game.source.prepare(4)
    return game


def parameters(game, player: str) -> list[torch.Tensor]:
    return list(game.nets[player].parameters())


def test_no_gradients_of_the_other_players_weights(compose):
    """Each player's two weights have one gradient each in its own turn, the other's have none."""
    game = game_of(compose)
    for player, loss, mine, other in (
        ("generator", game.g_loss, OF_G, OF_D),
        ("discriminator", game.d_loss, OF_D, OF_G),
    ):
        with Products() as seen:
            torch.autograd.grad(loss()[0], parameters(game, player))
        assert (seen.gradients(mine), seen.gradients(other)) == (2, 0), player


def test_the_turn_of_d_keeps_no_graph_of_g(compose):
    """Only a rule that looks through G asks for it."""
    game = game_of(compose)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(game.d_loss()[0], parameters(game, "generator"))
    assert torch.autograd.grad(game.d_loss(through_g=True)[0], parameters(game, "generator"))


NEEDS_REALS = ["feature_matching", "relativistic", "mmd_gan", "semi_supervised"]


@pytest.mark.parametrize("objective", NEEDS_REALS)
def test_the_turn_of_g_keeps_no_graph_of_d_on_reals(compose, objective):
    """G cannot change what D says of them; a rule that differentiates by D's weights can ask for it."""
    for through_d in (False, True):
        game = game_of(compose, f"objective={objective}")
        recorded: list[bool] = []
        game.nets["discriminator"].register_forward_hook(
            lambda net, inputs, out, recorded=recorded: recorded.append(torch.is_grad_enabled())
        )
        loss, _ = game.g_loss(through_d=through_d)
        assert sorted(recorded) == [through_d, True]
        slopes = torch.autograd.grad(loss, parameters(game, "generator"))
        assert any(bool(slope.any()) for slope in slopes)


def test_d_judges_reals_and_fakes_at_once(compose):
    """One pass of twice the rows; apart where examples of a batch meet, or where somebody listens to D."""
    rows: list[int] = []
    for overrides in ([], ["architecture.discriminator.normalization=batch"], ["trick=[minibatch_stddev]"],
                      ["trick=[spectral_norm]"], ["trick=[discriminator_noise]"]):  # fmt: skip
        game = game_of(compose, *overrides)
        rows.clear()
        game.nets["discriminator"].forward = counted(game.nets["discriminator"].forward, rows)
        game.d_loss()
        assert rows == ([BATCH, BATCH] if overrides else [2 * BATCH]), overrides


def counted(forward, rows: list[int]):
    def counting(image, label):
        rows.append(len(image))
        return forward(image, label)

    return counting


@pytest.mark.parametrize("architecture", ["mlp", "mlp_maxout", "dcgan", "autoencoder"])
def test_judging_at_once_changes_nothing(compose, architecture):
    """Loss, columns and gradients by one pass equal those by two, to rounding; each with its own labels."""
    own = ["architecture.discriminator.normalization=layer"] if architecture == "dcgan" else []
    own += ["architecture.discriminator.input_dropout=0", "architecture.discriminator.dropout=0"] * (
        architecture == "mlp_maxout"
    )
    objective = "began" if architecture == "autoencoder" else "hinge"
    game = composed_game(compose, f"architecture={architecture}", f"objective={objective}",
                         "architecture.class_conditional=true", *own)  # fmt: skip
    assert game.by_example
    found = []
    for game.by_example in (True, False):
        game.source.drawn.zero_()
        game.source.prepare(1)
        torch.manual_seed(0)
        loss, stats = game.d_loss()
        found.append([*stats.values(), *torch.autograd.grad(loss, parameters(game, "discriminator"))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_class_of_ones_own_is_judged_apart_unless_it_says_so():
    class Mine(Discriminator):
        by_example = True

        def __init__(self):
            super().__init__((3,))
            self.trunk, self.head = torch.nn.Flatten(), torch.nn.Linear(3, 1)

    class Heir(Mine):
        def forward(self, image, label):
            return super().forward(image - image.mean(dim=0), label)

    assert judges_by_example(Mine())
    assert not judges_by_example(Heir())


@pytest.mark.parametrize("kind", ["wgan_gp", "dragan", "r1", "r2"])
@pytest.mark.parametrize("share", [0.5, 0.01])
def test_a_penalty_on_a_share_of_the_batch(kind, share):
    """D sees so many examples for it, and it is their mean: 3 |v|^2 / 2 at v = 2, as slopes are |v|; 2 (2 - 1)^2."""
    seen: list[int] = []

    def critic(image, label):
        seen.append(len(image))
        assert len(label) == len(image)
        return verdict(image.square().sum(dim=1) / 2)

    v = torch.full((8, 1), 2.0)
    trick = GradientPenalty(kind, weight=3.0, share=share)
    found = trick.d_penalty(turn(v, v, critic), None, None)  # type: ignore[arg-type]
    assert seen == [4 if share == 0.5 else 1]
    assert float(found.detach()) == pytest.approx({"r1": 6.0, "r2": 6.0}.get(kind, 3.0))  # equal reals have no noise
