"""InfoGAN: its bound against entropies and mutual information, whom its gradient reaches, over which bases it plays."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.game import Game
from gantool.game.types import Verdict
from gantool.game.updates import Player
from gantool.objectives.auxiliary_classifier import AuxiliaryClassifier
from gantool.objectives.hinge import Hinge
from gantool.objectives.info import Info
from gantool.objectives.mmd import MomentMatching
from gantool.objectives.non_saturating import NonSaturating
from gantool.objectives.semi_supervised import SemiSupervised
from gantool.tricks.gradient_penalty import GradientPenalty
from toys import composed_game, refusal, turn, verdict


def info(categorical=(10,), continuous=0, **more) -> Info:
    return Info(NonSaturating(), list(categorical), continuous, **more)


def found(objective: Info, codes: Tensor, guesses: Tensor) -> tuple[float, float]:
    """L_I of latents that are all codes, where D says 0 and Q says `guesses`."""
    said = torch.cat([torch.zeros(len(codes), 1, dtype=guesses.dtype), guesses], dim=1)
    categorical, continuous = objective.information(codes, Verdict(said, said))
    return float(categorical), float(continuous)


# ---------------------------------------------------------------- the bound


@pytest.mark.parametrize("values", [2, 5, 10])
def test_the_bound_is_at_most_the_entropy_of_the_code(values):
    """Chen et al. 2016, equation 4: L_I <= H(c) = log K; reached where Q is sure and right, 0 where Q knows nothing."""
    codes, generator = torch.eye(values).double().repeat(7, 1), torch.Generator().manual_seed(0)
    for scale in (0.1, 1.0, 30.0):
        guesses = scale * torch.randn(len(codes), values, generator=generator, dtype=torch.float64)
        assert found(info([values]), codes, guesses)[0] < math.log(values)
    assert found(info([values]), codes, 60 * codes)[0] == pytest.approx(math.log(values), abs=1e-12)
    assert found(info([values]), codes, torch.zeros_like(codes))[0] == pytest.approx(0, abs=1e-12)


def test_a_guess_that_is_right_nine_times_in_ten():
    """Q(c|x) = 0.9 for one of 4 values, 1/30 for each other, and that is how often they occur: log 4 - H(0.9, ...)."""
    share = torch.tensor([0.9, *3 * [0.1 / 3]], dtype=torch.float64)
    codes = torch.eye(4).double()[torch.tensor([0] * 27 + [1, 2, 3])]
    known = math.log(4) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1 / 3)
    assert found(info([4]), codes, share.log().expand(30, -1))[0] == pytest.approx(known, abs=1e-12)


def test_several_codes_add_up():
    codes = torch.cat([torch.eye(2)[[0, 1, 1]], torch.eye(3)[[2, 0, 1]]], dim=1).double()
    assert found(info([2, 3]), codes, 60 * codes)[0] == pytest.approx(math.log(6), abs=1e-12)


def test_continuous_codes_by_hand():
    """log N(c; m, s^2) + log 2 for c uniform in [-1, 1]: of c = 0.5 and -1, guessed as 0.3 and 0, with s = 0.5."""
    codes, means, s = *torch.tensor([[[0.5], [-1.0]], [[0.3], [0.0]]], dtype=torch.float64), 0.5
    logs = [-((c - m) ** 2) / (2 * s**2) - math.log(s * math.sqrt(2 * math.pi)) for c, m in ((0.5, 0.3), (-1.0, 0.0))]
    known = sum(logs) / 2 + math.log(2)
    assert found(info([], 1, std=s), codes, means) == pytest.approx((0, known), abs=1e-12)


def test_the_column_of_continuous_codes_takes_the_best_width():
    """Of two numbers found with errors of 0.1 and 0.5: the sum of log 2 - log(2 pi e error^2) / 2, 1.58 and -0.03."""
    objective = info([], 2)
    codes = torch.zeros(4, 2, dtype=torch.float64)
    guesses = torch.tensor([[0.1, 0.5], [-0.1, -0.5], [0.1, -0.5], [-0.1, 0.5]], dtype=torch.float64)
    said = Verdict(torch.cat([codes[:, :1], guesses], dim=1), codes)
    shown = turn(codes, codes, None, latent=codes)
    known = sum(math.log(2) - math.log(2 * math.pi * math.e * error**2) / 2 for error in (0.1, 0.5))
    found = objective.report(shown, said, said)
    assert float(found["information_continuous"]) == pytest.approx(known) and "information" not in found
    assert known > found_bound(objective, codes, guesses)


def found_bound(objective: Info, codes: Tensor, guesses: Tensor) -> float:
    return found(objective, codes, guesses)[1]


# ---------------------------------------------------------------- the codes


def test_codes_are_uniform_and_the_rest_of_the_latent_stays():
    """Chi-squared of 9 degrees of freedom is below 27.9 in 99.9 % of cases; uniform in [-1, 1] has variance 1/3."""
    torch.manual_seed(0)
    noise = torch.randn(20_000, 16)
    latent = info([10], 2).latent(noise)
    counts = latent[:, :10].sum(dim=0)
    assert set(latent[:, :10].unique().tolist()) == {0.0, 1.0} and (latent[:, :10].sum(dim=1) == 1).all()
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 27.9
    numbers = latent[:, 10:12]
    assert float(numbers.abs().max()) <= 1 and numbers.mean(dim=0).abs().max() < 0.02
    assert torch.allclose(numbers.var(dim=0), torch.full((2,), 1 / 3), atol=0.01)
    assert torch.equal(latent[:, 12:], noise[:, 12:])
    assert not torch.equal(info([10], 2).latent(noise)[:, :12], latent[:, :12])


# ---------------------------------------------------------------- whom the gradient reaches


class Channel(nn.Module):
    """G(c, z) = gain * (value of c) + z: a noisy channel for one of three values."""

    def __init__(self, gain: float):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        value = latent[:, :3] @ torch.arange(3.0).to(latent.dtype)
        return self.gain * value[:, None] + latent[:, 3:]


class Noise(nn.Module):
    """Reals and latents from normals."""

    num_classes, batch_size = 0, 512

    def reals(self) -> tuple[Tensor, Tensor]:
        return torch.randn(self.batch_size, 1), torch.full((self.batch_size,), -1)

    def latents(self) -> tuple[Tensor, Tensor]:
        return torch.randn(self.batch_size, 4), torch.full((self.batch_size,), -1)


class Heads(nn.Module):
    """A hidden layer, the verdict and Q of three values."""

    def __init__(self):
        super().__init__()
        self.trunk, self.head = (
            nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()),
            nn.Linear(64, 4),
        )

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        features = self.trunk(image)
        return Verdict(self.head(features), features)


def test_the_information_reaches_g_and_the_whole_of_d():
    """Trap: an InfoGAN term that carries no gradient. Against a difference quotient of L_I alone."""
    torch.manual_seed(0)
    game = Game(Channel(0.7), Heads(), info([3], weight=1.0), {}, Noise())

    def g_loss(weight: float, gain: float) -> Tensor:
        torch.manual_seed(1)
        game.objective.weight = weight
        game.nets["generator"].gain.data.fill_(gain)
        return game.g_loss()[0]

    def through_g(weight: float) -> float:
        return float(torch.autograd.grad(g_loss(weight, 0.7), game.nets["generator"].gain)[0])

    ahead, back = (float((g_loss(1.0, g) - g_loss(0.0, g)).detach()) for g in (0.71, 0.69))
    assert through_g(1.0) - through_g(0.0) == pytest.approx((ahead - back) / 0.02, rel=0.01)
    assert abs(ahead - back) > 1e-4
    game.objective.weight = 1.0
    torch.manual_seed(1)
    loss, _ = game.d_loss()
    slopes = torch.autograd.grad(loss, list(game.nets["discriminator"].parameters()))
    assert slopes[-2][1:].abs().min(dim=1).values.max() > 0  # Q's rows of the last layer
    game.objective.weight = 0.0
    torch.manual_seed(1)
    without = torch.autograd.grad(game.d_loss()[0], list(game.nets["discriminator"].parameters()))
    assert not torch.allclose(slopes[0], without[0]) and (without[-2][1:] == 0).all()


def test_trained_alone_q_is_the_posterior_and_the_bound_the_mutual_information():
    """c uniform on 3 values, x = 1.5 c + N(0, 1): Q(c|x) by Bayes, I(c; x) = H(c) - E H(c|x) by quadrature."""
    torch.manual_seed(0)
    game = Game(Channel(1.5), Heads(), info([3]), {}, Noise())
    d = Player(game.nets["discriminator"].parameters(), partial(torch.optim.Adam, lr=0.005))
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(d.optimizer, 600)
    for _ in range(600):
        d.apply(d.grads(game.d_loss()[0]))
        rates.step()
    x = torch.linspace(-6, 9, 3001, dtype=torch.float64)
    joint = torch.stack([torch.exp(-((x - 1.5 * c) ** 2) / 2) / math.sqrt(2 * math.pi) / 3 for c in range(3)])
    posterior = joint / joint.sum(dim=0)
    known = math.log(3) + float(torch.trapezoid(torch.special.xlogy(joint, posterior).sum(dim=0), x))
    game.source.batch_size = 2**16
    assert float(game.d_loss()[1]["information"]) == pytest.approx(known, abs=0.02)
    likely = joint.sum(dim=0) > 0.02
    q = torch.softmax(game.nets["discriminator"](x[likely, None].float(), x).logits[:, 1:], dim=1).T
    assert (q - posterior[:, likely]).abs().max() < 0.06


# ---------------------------------------------------------------- over a base

BASES = {
    "hinge": [], "wasserstein": ["trick=[gradient_penalty]"], "relativistic": [], "f_gan": [], "mmd_gan": [],
    "least_squares": [], "feature_matching": [], "began": ["architecture=autoencoder"],
}  # fmt: skip


def based(compose, outer: str, base: str, *more: str) -> Game:
    game = composed_game(compose, f"objective={outer}", f"objective@objective.base={base}", *BASES.get(base, []), *more)
    game.source.reserve(8)
    game.source.prepare(8)
    return game


@pytest.mark.parametrize("base", BASES)
def test_every_base_is_played_and_reports_its_own_divergence(compose, base):
    """The base sees its own numbers only: what it makes of them equals what it makes of a verdict without Q's."""
    torch.manual_seed(0)
    game = based(compose, "info", base, "architecture.latent_dim=16")
    objective = game.objective
    assert objective.logits == objective.base.logits + 12
    stats = game.d_loss()[1] | game.g_loss()[1]
    column = "convergence" if base == "began" else "divergence"
    assert {"information", "information_continuous", column, "d_loss", "g_loss"} <= set(stats)
    assert all(torch.isfinite(value) for value in stats.values())
    real, fake = torch.randn(2, 6, objective.logits)
    alone = [Verdict(each[:, : objective.base.logits], each) for each in (real, fake)]
    shown = turn(torch.zeros(6, 2), torch.zeros(6, 2), None, latent=torch.zeros(6, 16))
    whole = objective.estimate(shown, Verdict(real, real), Verdict(fake, fake))
    assert base == "began" or torch.equal(whole, objective.base.estimate(shown, *alone))


def test_needs_of_the_base_are_inherited(compose):
    assert "bounded slope" in refusal(composed_game, compose, "objective=info", "objective@objective.base=wasserstein")
    smoothed = ["objective=info", "objective@objective.base=hinge", "trick=[label_smoothing]"]
    assert "has none" in refusal(composed_game, compose, *smoothed)


def test_bases_without_features_or_with_codes_are_refused():
    for base in (MomentMatching(), info()):
        with pytest.raises(UsageError, match="take another base"):
            Info(base)


def test_a_classifier_over_codes():
    """Nested: D's numbers are the verdict, then Q's, then the classes; the classes are those of the outermost."""
    objective = AuxiliaryClassifier(info([4], 1), num_classes=3)
    logits = torch.arange(9.0).expand(2, 9)
    assert objective.logits == 1 + 5 + 3 and objective.codes == (4, 1)
    assert objective.class_logits(logits)[0].tolist() == [6, 7, 8]
    assert objective.base.class_logits(logits[:, :6])[0].tolist() == [1, 2, 3, 4]
    assert objective.realness(logits).tolist() == [0, 0]


def test_class_error_measures_the_classifier_under_the_codes():
    """Trap: over semi_supervised, whose logits sort by class, the code's values passed for classes."""
    objective = Info(SemiSupervised(10), [10], 0)
    logits = torch.arange(20.0).expand(2, 20)
    assert objective.class_logits(logits)[0].tolist() == list(range(10))
    assert info([4], 1).class_logits(torch.arange(6.0).expand(2, 6))[0].tolist() == [1, 2, 3, 4]


def test_a_penalty_bends_the_verdict_and_not_q():
    """On a linear D with slope w of the verdict, (|w| - 1)^2, whatever the slopes of Q: here (5 - 1)^2."""

    class LinearHeads(nn.Module):
        def forward(self, image: Tensor, label: Tensor) -> Verdict:
            return Verdict(image @ torch.tensor([[3.0, 100.0], [4.0, -70.0]]), image)

    game = Game(Channel(1.0), nn.Identity(), Info(Hinge(), [], 1), {}, Noise())
    game.nets["discriminator"] = LinearHeads()
    x, label = torch.randn(5, 2), torch.full((5,), -1)
    shown = game._turn(x, label, x + 1, label, torch.zeros(5, 4), None)
    penalty = GradientPenalty(weight=1.0).d_penalty(shown, verdict(x[:, 0]), verdict(x[:, 0]))
    assert float(penalty) == pytest.approx(16)
