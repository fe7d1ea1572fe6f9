"""AdaGAN: the reweighting against the paper's theory, draws by weight, the mixture, and a whole run around several."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.config.fit import Choice, misfits
from gantool.engine.deploy import Deployed
from gantool.engine.source import DeviceSource, systematic
from gantool.game.game import Game
from gantool.game.meta import Meta, Mixture
from gantool.game.networks import Discriminator
from gantool.game.types import Images
from gantool.meta.ada_gan import AdaGAN, importance, odds, threshold
from gantool.objectives.non_saturating import NonSaturating
from gantool.priors.normal import Normal
from gantool.runs import status
from gantool.runs.folder import RunFolder
from test_no_sync import NoPython, NoSync
from test_resume import TIMING, compare
from toys import F_DIVERGENCES, points, same, verdict

P = torch.tensor([4, 2, 1, 1], dtype=torch.float64) / 8  # the data: eight examples on four points
Q = torch.tensor([5, 3, 0, 0], dtype=torch.float64) / 8  # a mixture that misses two of the points
EXAMPLES = torch.arange(4).repeat_interleave((8 * P).long())  # point of each example


def random_ratios(seed: int) -> Tensor:
    """h(d) for d from almost 0 to almost 1."""
    return odds(4 * torch.randn(500, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


# ---------------------------------------------------------------- the weights


def test_odds_are_h_of_d():
    """h(d) = (1 - d) / d with d = sigmoid(a), for any a."""
    a = torch.linspace(-9, 9, 19, dtype=torch.float64)
    d = torch.sigmoid(a)
    assert torch.allclose(odds(a), (1 - d) / d, rtol=1e-12)
    assert odds(torch.tensor([-1e4, 1e4])).isfinite().all()


@pytest.mark.parametrize("beta", [0.01, 1 / 3, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_threshold_by_sorting_is_that_by_bisection(beta, seed):
    """lambda* is the root of sum_i (lambda - (1 - beta) h_i)_+ = M beta, whose left side rises with lambda."""
    ratio = random_ratios(seed)
    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        mass = (middle - (1 - beta) * ratio).clamp(min=0).sum()
        low, high = (middle, high) if mass < len(ratio) * beta else (low, middle)
    assert float(threshold(ratio, beta)) == pytest.approx(low, rel=1e-9)


@pytest.mark.parametrize("beta", [0.01, 0.5, 1.0])
def test_weights_are_a_distribution_that_falls_with_what_the_mixture_draws(beta):
    ratio = random_ratios(9)
    weights = importance(ratio, beta)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    assert (weights >= 0).all()
    assert (weights[ratio.argsort()].diff() <= 0).all()
    assert (weights == 0).any() == (beta < 1)


def test_three_points_by_hand():
    """h = 0, 1, 4 and beta = 1/2. For k = 1: (3/2 + 0)/1 = 3/2 > h_2/2; for k = 2: (3/2 + 1/2)/2 = 1 <= h_3/2 = 2.

    So lambda* = 1, and w = (1 - 0, 1 - 1/2, 0) / (3/2).
    """
    ratio = torch.tensor([4.0, 0.0, 1.0], dtype=torch.float64)
    assert float(threshold(ratio, 0.5)) == 1.0
    assert importance(ratio, 0.5).tolist() == pytest.approx([0, 2 / 3, 1 / 3], abs=1e-15)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0])
def test_nothing_missing_or_all_new_weighs_all_alike(beta):
    """d = 1/2 everywhere: the mixture is the data. beta = 1: what the mixture draws does not count any more."""
    alike = torch.full((7,), 1 / 7, dtype=torch.float64)
    assert torch.allclose(importance(odds(torch.zeros(7)), beta), alike, atol=1e-15)
    assert torch.allclose(importance(random_ratios(0), 1.0)[:7], torch.full((7,), 1 / 500).double(), atol=1e-15)


def by_point(weights: Tensor) -> Tensor:
    return torch.zeros(4, dtype=torch.float64).index_add_(0, EXAMPLES, weights)


def test_best_next_component_completes_the_data():
    """Corollary of theorem 1: where (1 - beta) q <= p, here beta >= 1/3, the mixture is the data: lambda* = 1."""
    ratio = (Q / P)[EXAMPLES]
    for beta in (1 / 3, 0.5, 0.8):
        assert torch.allclose((1 - beta) * Q + beta * by_point(importance(ratio, beta)), P, atol=1e-15)
    beta = 0.3
    assert not torch.allclose((1 - beta) * Q + beta * by_point(importance(ratio, beta)), P, atol=1e-3)


@pytest.mark.parametrize("name", F_DIVERGENCES)
def test_best_next_component_is_best_for_every_f_divergence(name):
    """Theorem 1: of all Q', D_f((1 - beta) q + beta Q' || p) is smallest for Q*, here where beta is too small for 0."""
    f, beta = F_DIVERGENCES[name], 0.2

    def divergence(component: Tensor) -> Tensor:
        return (P * f((0.98 * (1 - beta) * Q + 0.02 * (1 - beta) * P + beta * component) / P)).sum(-1)

    mixed = 0.98 * Q + 0.02 * P  # nowhere 0, where some f is not finite
    best = by_point(importance((mixed / P)[EXAMPLES], beta))
    others = torch.distributions.Dirichlet(torch.full((4,), 0.5).double()).sample((2000,))
    near = 0.99 * best + 0.01 * others
    assert (divergence(best) <= divergence(torch.cat([others, near])) + 1e-12).all()


class Table(nn.Module):
    """D as a number for each of four points."""

    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(4))

    def forward(self, image: Tensor, label: Tensor):
        return verdict(self.logit[image[:, 0].long()])


class Drawn:
    """Samples of a known distribution on four points (gantool.game.types.Trained)."""

    def fakes(self, n: int) -> Tensor:
        return torch.multinomial(Q, n, replacement=True)[:, None].float()


def test_a_discriminator_finds_what_is_missing():
    """The whole reweighting: D learns q / p from samples, and the next component gets (p - (1 - beta) q) / beta."""
    torch.manual_seed(0)
    meta = AdaGAN(components=2, discriminator_steps=1500, discriminator_lr=0.01)
    meta.components = []
    examples = DeviceSource(Images(EXAMPLES[:, None].float(), torch.full((8,), -1)), Normal(), 1, batch_size=8)
    share, weights = meta.reweigh(examples, Drawn(), Table())
    assert share == 0.5
    assert torch.allclose(by_point(weights), (P - 0.5 * Q) / 0.5, atol=0.05)


class Normed(nn.Module):
    """A D with BatchNorm."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 32), nn.BatchNorm1d(32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def forward(self, image: Tensor, label: Tensor):
        return verdict(self.body(image)[:, 0])


@pytest.mark.parametrize("seed", range(3))
def test_batch_norm_does_not_tell_data_from_mixture_by_the_batch(seed):
    """Trap: a D of batches, not of examples. The mixture draws half of the data: the other half gets all the weight."""
    torch.manual_seed(seed)
    data = torch.randn(1000, 2) * 0.5 + torch.tensor([2.0, 0.0])
    data[500:] -= torch.tensor([4.0, 0.0])
    examples = DeviceSource(Images(data, torch.full((1000,), -1)), Normal(), 1, batch_size=64)
    drawn = SimpleNamespace(fakes=lambda n: torch.randn(n, 2) * 0.5 + torch.tensor([2.0, 0.0]))
    meta = AdaGAN(components=2, beta=0.5, discriminator_steps=300)
    meta.components = []
    _, weights = meta.reweigh(examples, drawn, Normed())
    assert float(weights[500:].sum()) > 0.9


@pytest.mark.parametrize(("beta", "expected"), [(None, [1 / 4] * 4), (0.5, [1 / 8, 1 / 8, 1 / 4, 1 / 2])])
def test_shares_of_the_components(beta, expected):
    """p_g <- (1 - beta_t) p_g + beta_t p_c from p_g = p_1: uniform for beta_t = 1/t."""
    meta = AdaGAN(4, beta, discriminator_steps=1)
    meta.begin(points(8))
    examples = DeviceSource(points(8), Normal(), 1, batch_size=8)
    for _ in range(3):
        drawn = SimpleNamespace(fakes=lambda n: torch.randn(n, 2))
        share, weights = meta.reweigh(examples, drawn, Linear2())
        meta.advance(nn.Identity(), share, weights)
    assert meta.shares[:, -1].tolist() == pytest.approx(expected, abs=1e-12)


class Linear2(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor, label: Tensor):
        return verdict(image[:, 0] * self.weight)


# ---------------------------------------------------------------- draws by weight


def test_systematic_draws_are_fair():
    """Every example comes floor or ceil(M w) times, M w on average (the bound: 5 standard errors of a coin's toss)."""
    weights = torch.tensor([0.0, 0.05, 0.3, 0.0, 0.45, 0.2, 0.0], dtype=torch.float64)
    generator, trials = torch.Generator().manual_seed(0), 2000
    counts = torch.stack([torch.bincount(systematic(weights, generator), minlength=7) for _ in range(trials)])
    assert ((counts - 7 * weights).abs() < 1).all()
    assert torch.allclose(counts.double().mean(0), 7 * weights, atol=5 * 0.5 / trials**0.5)
    assert systematic(torch.full((1000,), 1e-3), generator).tolist() == list(range(1000))


def weighted(drawn: int = 0, classes: int = 0) -> DeviceSource:
    """Ten examples, of which those with an odd number are never drawn."""
    source = DeviceSource(points(10, classes=classes), Normal(), 3, batch_size=4, seed=5)
    source.reserve(100)
    source.drawn.fill_(drawn)
    source.weigh(torch.tensor([0.1, 0, 0.2, 0, 0.3, 0, 0.3, 0, 0.1, 0]).double())
    return source


def numbers(source: DeviceSource, batches: int) -> list[int]:
    source.prepare(batches)
    return [int(value) for _ in range(batches) for value in source.reals()[0][:, 0]]


def test_reals_come_by_their_weights():
    counts = torch.bincount(torch.tensor(numbers(weighted(), 100)), minlength=10)
    assert counts.tolist() == [40, 0, 80, 0, 120, 0, 120, 0, 40, 0]  # of 40 epochs of 10 draws


def test_reals_by_weight_follow_from_seed_and_position_alone():
    whole = numbers(weighted(), 50)
    assert numbers(weighted(drawn=4 * 13), 37) == whole[4 * 13 :]
    assert whole[:10] != whole[10:20]
    again = weighted()
    assert [*numbers(again, 7), *numbers(again, 39)] == whole[: 4 * 46]
    again.weigh(None)
    plain = DeviceSource(points(10), Normal(), 3, batch_size=4, seed=5)
    plain.reserve(100)
    plain.drawn.fill_(4 * 46)  # within an epoch
    assert numbers(again, 5) == numbers(plain, 5)  # alike again: epochs, each a permutation


def test_labels_to_ask_of_g_come_by_the_weights_too():
    """Classes 0, 1, 2 of example i are i mod 3: 0.1 (0) + 0.3 (6); 0.3 (4); 0.2 (2) + 0.1 (8)."""
    torch.manual_seed(0)
    source = weighted(classes=3)
    label = torch.cat([source.latents()[1] for _ in range(5000)])
    share = torch.bincount(label, minlength=3) / len(label)
    assert torch.allclose(share, torch.tensor([0.4, 0.3, 0.3]), atol=5 * 0.5 / 20_000**0.5)
    source.prepare(1), source.reals()
    image, _ = source.labelled()
    assert (image[:, 0] % 2 == 0).all()


def test_steps_with_weights_do_not_wait():
    source = weighted(classes=3)
    source.prepare(1)
    with NoSync(), NoPython():
        source.reals()
        source.latents()
        source.labelled()


# ---------------------------------------------------------------- the mixture


class Says(nn.Module):
    """Its number, beside the latent and the label it was given."""

    def __init__(self, number: float):
        super().__init__()
        self.number = nn.Parameter(torch.tensor(number))

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return torch.stack([self.number.expand(len(latent)), latent[:, 0], label.float()], dim=1)


def deployed(meta: Meta, counts: list[int], batch_size: int = 64) -> Deployed:
    game = Game(Says(2.0), nn.Identity(), NonSaturating(), {}, DeviceSource(points(8), Normal(), 1, 4))
    return Deployed(game, Normal(), 1, counts, batch_size=batch_size, meta=meta)


def three(shares: list[list[float]]) -> Meta:
    meta = Meta(3)
    meta.components, meta.shares = [Says(0.0), Says(1.0)], torch.tensor(shares, dtype=torch.float64)
    return meta


def test_components_draw_as_often_as_their_shares_say():
    """Pearson's chi-square with 2 degrees of freedom is above 13.8 once in 1000 times."""
    share = torch.tensor([0.5, 0.3, 0.2])
    sample = deployed(three([[0.5], [0.3], [0.2]]), []).draw(6000, torch.Generator().manual_seed(0))
    counts = torch.bincount(sample[:, 0].long(), minlength=3)
    assert float(((counts - 6000 * share) ** 2 / (6000 * share)).sum()) < 13.8


def test_a_seed_repeats_whatever_the_batch_size():
    meta = three([[0.5], [0.3], [0.2]])
    draws = [deployed(meta, [], size).draw(100, torch.Generator().manual_seed(1)) for size in (1, 7, 256)]
    assert same(draws[:1] * 2, draws[1:])
    latent = deployed(meta, []).latents(100, torch.Generator().manual_seed(1))
    assert latent.shape == (100, 2)
    assert torch.equal(latent[:, 0], draws[0][:, 1])  # the component draws from the rest of its own row
    assert set(draws[0][:, 0].tolist()) == {0.0, 1.0, 2.0}


def test_a_class_is_drawn_by_the_components_that_know_it():
    """Component 1 has seen class 0 only; of class 0 it has half of the share that component 0 has (Bayes)."""
    meta = three([[0.4, 0.1, 0.5], [0.2, 0.0, 0.2], [0.0, 0.3, 0.3]])
    made = deployed(meta, [1, 1])
    latent = made.latents(6000, torch.Generator().manual_seed(2))
    zeros, ones = (made.images(latent, torch.full((6000,), c))[:, 0].long() for c in (0, 1))
    assert torch.allclose(torch.bincount(zeros, minlength=3) / 6000, torch.tensor([2 / 3, 1 / 3, 0]), atol=0.02)
    assert torch.allclose(torch.bincount(ones, minlength=3) / 6000, torch.tensor([0.25, 0, 0.75]), atol=0.02)


def test_class_shares_follow_the_weights():
    """Classes of the examples 0, 1, 0, 1, -1: first 2/5 each; then by the weights; each times the component's share."""
    meta = Meta(2)
    meta.begin(Images(torch.zeros(5, 2), torch.tensor([0, 1, 0, 1, -1]), ("a", "b")))
    assert meta.shares.tolist() == [pytest.approx([0.4, 0.4, 1.0])]
    meta.advance(nn.Identity(), 0.25, torch.tensor([0.5, 0.0, 0.1, 0.1, 0.3]).double())
    assert meta.shares.tolist() == [pytest.approx([0.3, 0.3, 0.75]), pytest.approx([0.15, 0.025, 0.25])]


def test_a_class_that_nobody_has_seen_is_drawn_by_all():
    net = Mixture([Says(0.0), Says(1.0)], torch.tensor([[0.0, 0.5], [0.0, 0.5]]))
    drawn = net(torch.tensor([[0.0, 0.49], [0.0, 0.51]]), torch.tensor([0, 0]))
    assert drawn[:, 0].tolist() == [0.0, 1.0]


# ---------------------------------------------------------------- whole runs

TINY = ("batch_size=16", "architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]", "logger=[]",
        "meta=ada_gan", "meta.components=3", "meta.discriminator_steps=5", "steps=14", "keep_last=50",
        "checkpoint_every=1", "tick_every=3", "sample_every=7")  # fmt: skip
RING = ("dataset=ring", "dataset.size=100")
DIGITS = ("dataset=digits", "architecture.class_conditional=true", "trick=[ema,instance_noise]", "seed=3",
          "optimizer.generator.lr=0.01", "optimizer.generator.schedule.kind=linear",
          "optimizer.generator.schedule.final=0.5")  # fmt: skip


def state(run: str, step: int) -> dict[str, Any]:
    return torch.load(f"{run}/checkpoints/step_{step:08d}.pt", weights_only=True)


def rows(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize(("data", "killed"), [(RING, (4, 5)), (DIGITS, (8, 13))], ids=["ring", "digits"])
def test_killed_and_resumed_equals_uninterrupted(
    gantool: Gantool, data: tuple[str, ...], killed: tuple[int, ...]
) -> None:
    """Components begin after steps 4 and 8. Killed just before one begins, just after, and in the last."""
    assert gantool("train", *data, *TINY, "hydra.run.dir=whole").code == 0
    for step in killed:
        broken = Path(f"broken_{step}")
        shutil.copytree("whole", broken)
        for later in range(step + 1, 15):
            (broken / f"checkpoints/step_{later:08d}.pt").unlink()
        status.update(RunFolder(broken), state="killed")
        resumed = gantool("train", f"resume={broken}")
        assert resumed.code == 0, resumed.err
        compare(state("whole", 14), state(str(broken), 14))
        timeless = [[{key: row[key] for key in row.keys() - TIMING} for row in rows(run)] for run in ("whole", broken)]
        assert timeless[0] == timeless[1]
        assert (
            Path("whole/samples/step_00000014.png").read_bytes() == (broken / "samples/step_00000014.png").read_bytes()
        )


def test_a_run_is_several_games_one_after_the_other(gantool: Gantool) -> None:
    """The first is that of a plain run; each later one starts afresh, and what is finished stays as it is."""
    assert gantool("train", *DIGITS, *TINY, "hydra.run.dir=run").code == 0
    plain = [setting for setting in TINY if not setting.startswith("meta")]
    assert gantool("train", *DIGITS, *plain, "steps=4", "hydra.run.dir=plain").code == 0
    first, second, last = state("run", 4), state("run", 5), state("run", 14)
    compare(first["game"], state("plain", 4)["game"])
    compare(first["players"], state("plain", 4)["players"])

    assert {float(moments["step"]) for moments in second["players"]["generator"]["moments"].values()} == {1.0}
    assert int(second["game"]["tricks.ema.clock.now"]) == 1
    assert int(second["game"]["source.drawn"]) == 5 * 16
    finished = {name: first["game"][f"tricks.ema.average.{name}"] for name in last["meta"]["components"][0]}
    compare(dict(last["meta"]["components"][0]), finished)
    weights = [each["body.0.weight"] for each in last["meta"]["components"]]
    assert len(weights) == 2
    assert not torch.allclose(weights[0], weights[1], atol=0.01)
    assert last["meta"]["shares"][:, -1].tolist() == pytest.approx([1 / 3] * 3)
    assert float(last["meta"]["weights"].sum()) == pytest.approx(1)


@pytest.mark.usefixtures("with_plots")
def test_rows_status_and_log_say_which_component_is_trained(gantool: Gantool) -> None:
    done = gantool("train", *RING, *TINY, "metric=[modes]", "hydra.run.dir=run")
    assert done.code == 0, done.err
    assert [(row["step"], row["component"]) for row in rows("run")] == [
        (3, 1), (4, 1), (6, 2), (8, 2), (9, 3), (12, 3), (14, 3),
    ]  # fmt: skip
    told = status.read(RunFolder("run"))
    assert (told["component"], told["components"]) == (3, 3)
    assert "component 3/3" in done.err
    assert "component 1 of 3 is trained" in done.err
    assert Path("run/curves.png").is_file()


def test_codes_come_before_the_choice(gantool: Gantool) -> None:
    """objective=info draws the first numbers of each latent anew; the choice of the component is a number more."""
    done = gantool("train", "dataset=digits", *TINY, "objective=info", "hydra.run.dir=run")
    assert done.code == 0, done.err
    last = state("run", 14)
    assert last["grid"]["latents"].shape == (100, 65)
    assert (last["grid"]["latents"][:, :10].sum(dim=1) == 1).all()
    assert gantool("sample", "run=run", "n=9", "truncation=0.5").code == 0


def test_a_mixture_is_sampled_from_its_folder_alone(gantool: Gantool) -> None:
    assert gantool("train", *DIGITS, *TINY, "hydra.run.dir=run").code == 0
    for name, settings in {"a": (), "b": ("batch_size=2",), "raw": ("ema=false",)}.items():
        done = gantool("sample", "run=run", "n=9", "seed=4", "classes=[3]", f"out={name}.png", *settings)
        assert done.code == 0, done.err
    a, b, raw = (Path(f"{name}.png").read_bytes() for name in ("a", "b", "raw"))
    assert a == b
    assert a != raw


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["steps=null", "minutes=1"],
            "meta=... shares out the budget among its components: give it in steps or images",
        ),
        (["steps=2"], "a budget of 2 steps is too small for 3 components"),
        (["meta.beta=0"], "meta: beta is the share of a further component"),
        (["meta.beta=2"], "meta.beta must be a number in [0, 1]"),
        (["meta.components=0"], "meta.components must be a whole number >= 1"),
        (["meta.component=3"], "did you mean 'components'"),
        (["meta=adagan"], "did you mean 'ada_gan'"),
        (["meta=null"], "leave it out for none; choices: ada_gan"),
        (["~meta"], "no option of meta is selected: give meta=..., too"),
    ],
)
def test_bad_settings_get_one_sentence(gantool: Gantool, settings: list[str], sentence: str) -> None:
    refused = gantool("train", *RING, *TINY, *settings, "hydra.run.dir=run")
    assert refused.code == 2, refused.err
    assert sentence in refused.err
    assert not Path("run").exists()


def test_an_autoencoder_weighs_no_examples():
    class Autoencoder(Discriminator):
        energy = True

    class Energetic(NonSaturating):
        energy = True

    choice = Choice("objective began", Energetic(), {}, Autoencoder, 4, (1, 8, 8), 0, 0, False, False)
    assert list(misfits(choice)) == []
    (sentence,) = misfits(replace(choice, classifies=True))
    assert "does not tell real from fake" in sentence


def test_other_ways_to_go_on_are_refused_or_work(gantool: Gantool) -> None:
    assert gantool("train", *RING, *TINY, "steps=12", "hydra.run.dir=run").code == 0
    same_share = ("steps=20", "meta.components=5")  # 4 steps each, as before
    for changes, sentence in (
        ((*same_share, "dataset.size=90"), "has weighed 100 examples, and the data now has 90"),
        (("steps=20", "~meta"), "was trained with meta=...: go on with it"),
        (("steps=15",), "each of 3 components has 5 steps, and this run has finished 2 in 12, 4 each"),
    ):
        refused = gantool("train", "resume=run", *changes)
        assert refused.code == 2, refused.err
        assert sentence in refused.err
    more = gantool("train", "resume=run", *same_share)
    assert more.code == 0, more.err
    assert len(state("run", 20)["meta"]["components"]) == 4
    other = gantool("train", "resume=run", "steps=60", "meta.components=20")  # 3 steps each: five would be done by now
    assert other.code == 2 and "each of 20 components has 3 steps, and this run has finished 4 in 20" in other.err
    assert gantool("train", "resume=run", "steps=22").code == 0  # the last goes on


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_mixture_covers_what_one_gan_misses(gantool: Gantool) -> None:
    """conf/experiment/ring_ada_gan.yaml: the first component is a plain GAN that misses modes."""
    assert gantool("train", "experiment=ring_ada_gan", "hydra.run.dir=run", "logger=[]").code == 0
    covered = [row["modes_covered"] for row in rows("run") if "modes_covered" in row]
    assert covered[0] < covered[-1] == 10
    assert covered == sorted(covered)
