"""What D says of held-out data, where the best D and the answer are known."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from gantool.datasets.digits import Digits
from gantool.engine.deploy import Deployed
from gantool.game.game import Game
from gantool.game.types import Images, Verdict
from gantool.metrics.divergence import Divergence
from gantool.objectives.mmd import MomentMatching
from gantool.objectives.non_saturating import NonSaturating
from gantool.priors.normal import Normal
from toys import Fixed, composed_game, pictures, refusal, verdict

SHIFT = 1.5  # data N(0, 1), samples N(SHIFT, 1)


class Shifted(nn.Module):
    """G(z) = z + SHIFT."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(SHIFT))

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return latent + self.shift


class Best(nn.Module):
    """log p(x) / q(x) = SHIFT^2 / 2 - SHIFT x, the logit of p / (p + q); in training it is something else."""

    def __init__(self):
        super().__init__()
        self.told: list[Tensor] = []

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        self.told.append(label)
        logits = SHIFT**2 / 2 - SHIFT * image[:, 0]
        return verdict(logits + torch.randn(()) if self.training else logits)


def gaussians(n: int) -> SimpleNamespace:
    points = torch.randn(n, 1, generator=torch.Generator().manual_seed(5))
    return SimpleNamespace(load=lambda split: Images({"test": points}[split], torch.arange(n) % 3))


def jensen_shannon() -> float:
    """By quadrature, in nats."""
    x = torch.linspace(-12, 14, 200_001, dtype=torch.float64)
    p, q = (torch.exp(-((x - m) ** 2) / 2) / math.sqrt(2 * math.pi) for m in (0, SHIFT))
    each = torch.special.xlogy(p, 2 * p / (p + q)) + torch.special.xlogy(q, 2 * q / (p + q))
    return float(torch.trapezoid(each, x)) / 2


def game() -> Game:
    return Game(Shifted(), Best(), NonSaturating(), {}, Fixed(torch.ones(100, 1)))


def test_the_best_discriminator_measures_the_divergence():
    """It is right where x < SHIFT / 2 for a real, with the chance Phi(SHIFT / 2); E log p/q = SHIFT^2 / 2."""
    found = Divergence()(Deployed(game(), Normal(), 1, []).seeded(0), gaussians(40_000))
    assert found == {
        "test_divergence": pytest.approx(jensen_shannon(), abs=0.004),
        "test_d_accuracy": pytest.approx((1 + math.erf(SHIFT / 2 / math.sqrt(2))) / 2, abs=0.005),
        "test_d_real": pytest.approx(SHIFT**2 / 2, abs=0.03),
        "test_d_fake": pytest.approx(-(SHIFT**2) / 2, abs=0.03),
    }


def test_no_discriminator_finds_more_than_the_best():
    for factor in (0.3, 3.0):
        played = game()
        best = played.nets["discriminator"].forward
        played.nets["discriminator"].forward = lambda x, y, f=factor, best=best: verdict(f * best(x, y).logits)
        found = Divergence()(Deployed(played, Normal(), 1, []).seeded(0), gaussians(40_000))
        assert found["test_divergence"] < jensen_shannon() - 0.01


def test_no_trace_in_mixed_batches_of_the_training_size():
    """250 test examples, sorted by class, in batches of 100: three; of reals, then fakes, told no class here."""
    played, rng = game(), torch.get_rng_state()
    net, told = played.nets["discriminator"], []
    trained = Deployed(played, Normal(), 1, []).seeded(3)
    trained.report = lambda *each: told.append(each)
    label = torch.arange(250)  # a class each
    first = trained.verdicts(gaussians(250).load("test").pixels, label)
    assert [len(labels) for labels in net.told] == [100] * 6
    reals, fakes = torch.stack(net.told[::2]), torch.stack(net.told[1::2])
    assert torch.equal(reals.unique(), label) and all(len(batch.unique()) == 100 for batch in reals)
    assert (fakes == -1).all() and all(30 < int((batch < 125).sum()) < 70 for batch in reals)
    assert told[-1] == ("verdicts", 3, 3)
    assert played.training and net.training and torch.equal(rng, torch.get_rng_state())
    assert first == Deployed(played, Normal(), 1, []).seeded(3).verdicts(gaussians(250).load("test").pixels, label)


class Centred(nn.Module):
    """What is left of an example without the mean of its batch, and the mean: in eval mode by BatchNorm's averages."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1, affine=False)

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        return verdict(self.norm(image)[:, 0])


def test_batch_norm_goes_by_the_batch_and_keeps_its_averages():
    """As D is trained: of reals alone and of fakes alone the mean is 0, whatever its averages have become."""
    net = Centred()
    net.norm.running_mean += 7
    before = {name: value.clone() for name, value in net.state_dict().items()}
    played = Game(Shifted(), net, NonSaturating(), {}, Fixed(torch.ones(100, 1)))
    found = Divergence()(Deployed(played, Normal(), 1, []).seeded(0), gaussians(300))
    assert found["test_d_real"] == pytest.approx(0, abs=1e-6) and found["test_d_fake"] == pytest.approx(0, abs=1e-6)
    assert net.training and net.norm.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert list(before) == list(net.state_dict())
    alone = Divergence()(Deployed(played, Normal(), 1, []).seeded(0), gaussians(1))  # has no variance
    assert math.isfinite(alone["test_d_real"])


DATA = pictures(40)
ALL = {"test_divergence", "test_d_accuracy", "test_d_real", "test_d_fake"}


@pytest.mark.parametrize(
    ("overrides", "columns"),
    [
        (["objective=minimax", "trick=[instance_noise,minibatch_discrimination]"], ALL),
        (["objective=wgan_gp"], ALL - {"test_d_accuracy"}),
        (["objective=began", "architecture=autoencoder"], ALL - {"test_divergence", "test_d_accuracy"}),
        (["objective=mmd_gan"], {"test_divergence"}),
        (["objective=relativistic"], ALL - {"test_d_accuracy"}),
        (["objective=info"], ALL),
        (["objective=semi_supervised"], ALL),
        (["objective=auxiliary_classifier", "architecture.class_conditional=true", "trick=[diff_augment]"], ALL),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_every_objective_tells_what_it_can(compose, overrides, columns):
    """What a row of its training has, on held-out data, and NaN for the rest; the networks stay as they are."""
    played = composed_game(compose, *overrides, images=DATA)
    before = {name: value.clone() for name, value in played.state_dict().items()}
    counts = [20, 20] if any("class_conditional" in each for each in overrides) else []
    latent_dim = played.nets["generator"].latent_dim
    found = Divergence()(
        Deployed(played, Normal(), latent_dim, counts).seeded(0), SimpleNamespace(load=lambda split: DATA)
    )
    assert set(found) == ALL == set(Divergence.columns)
    assert {name for name, value in found.items() if math.isfinite(value)} == columns
    assert all(torch.equal(value, before[name]) for name, value in played.state_dict().items())


def test_without_a_discriminator_it_is_refused():
    assert "this objective has none: drop it" in refusal(Divergence().check, None, MomentMatching())
    Divergence().check(Digits(), NonSaturating())
