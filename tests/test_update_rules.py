"""The update rules that look ahead or back, against their papers; in float64, so that formulas hold to the last digits.

On V(x, y) = x y, with w = x + i y, the gradients (y, -x) that both players descend are -i w, and each rule is a linear
map whose powers are written down by hand.
"""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gantool.commands.planning import check_use
from gantool.config.build import Builder
from gantool.game.ahead import Ahead
from gantool.game.game import Game
from gantool.game.hooks import Objective, Trick
from gantool.game.player import Player
from gantool.game.schedules import Schedule
from gantool.game.updates import Alternating, Consensus, ExtraGradient, Optimistic, Simultaneous, Unrolled, Update
from gantool.objectives.minimax import Minimax
from gantool.objectives.mmd import MomentMatching
from gantool.objectives.non_saturating import NonSaturating
from gantool.tricks.gradient_clipping import GradientClipping
from gantool.tricks.gradient_penalty import GradientPenalty
from gantool.tricks.weight_clipping import WeightClipping
from toys import Fixed, bilinear, pictures, plain, players, refusal, same, verdict, weights, where

LR, START = 0.2, 1.0 + 0.5j


@pytest.fixture(autouse=True)
def float64(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A game computes its losses in float32; here what it calls so is float64, except in whole games."""
    if "compose" not in request.fixturenames:
        monkeypatch.setattr(Tensor, "float", Tensor.double)
        torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def path(update: Update, steps: int, lr: float = LR, game: Game | None = None, **how: Any) -> list[complex]:
    game = game or bilinear(START.real, START.imag)
    d, g = players(game, lr, **how)
    found = [complex(*where(game))]
    for _ in range(steps):
        update(game, d, g)
        found.append(complex(*where(game)))
    return found


# ---------------------------------------------------------------- rates on x y


def test_simultaneous_descent_spirals_out():
    """w -> (1 + i lr) w: exactly sqrt(1 + lr^2) a step (Mescheder et al. 2017, section 3)."""
    for n, w in enumerate(path(Simultaneous(), 100)):
        assert w == pytest.approx(START * (1 + 1j * LR) ** n, rel=1e-12)
        assert abs(w) == pytest.approx(abs(START) * (1 + LR**2) ** (n / 2), rel=1e-12)


def test_alternating_descent_stays_within_its_ellipse():
    """x^2 + y^2 + lr x y never changes, so |w|^2 stays within the ratio of its axes, (1 + lr/2) / (1 - lr/2)."""
    norms = [abs(w) ** 2 for w in path(Alternating(), 2000)]
    ratio = (1 + LR / 2) / (1 - LR / 2)
    assert abs(START) ** 2 / ratio < min(norms) and max(norms) < abs(START) ** 2 * ratio
    assert max(norms) > 1.05 * min(norms)


def test_extra_gradient_converges():
    """w -> w + i lr (1 + i lr) w, whose |1 - lr^2 + i lr|^2 = 1 - lr^2 + lr^4 (Gidel et al. 2019, section 3.2)."""
    for n, w in enumerate(path(ExtraGradient(), 300)):
        assert w == pytest.approx(START * (1 - LR**2 + 1j * LR) ** n, rel=1e-11)
        assert abs(w) == pytest.approx(abs(START) * (1 - LR**2 + LR**4) ** (n / 2), rel=1e-11)
    assert abs(w) < 0.005


def test_optimistic_descent_converges():
    """w_(t+1) = w_t + 2 i lr w_t - i lr w_(t-1), w_(-1) = 0 (Daskalakis et al. 2018, equation 6).

    The roots of its characteristic equation are (1 + 2 i lr +- s) / 2, s = sqrt(1 - 4 lr^2); the larger has the square
    of its modulus (1 + s) / 2 < 1. From w_(-1) = 0: w_t = w_0 (a^(t+1) - b^(t+1)) / (a - b).
    """
    s = math.sqrt(1 - 4 * LR**2)
    a, b = (1 + 2j * LR + s) / 2, (1 + 2j * LR - s) / 2
    assert abs(a) ** 2 == pytest.approx((1 + s) / 2)
    for n, w in enumerate(path(Optimistic(), 300)):
        assert w == pytest.approx(START * (a ** (n + 1) - b ** (n + 1)) / (a - b), rel=1e-11)
    assert abs(w) < 0.005


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_consensus_converges(gamma):
    """|v|^2 / 2 = |w|^2 / 2, whose gradient is w: w -> (1 + i lr - lr gamma) w (Mescheder et al. 2017, section 4)."""
    for n, w in enumerate(path(Consensus(gamma), 150)):
        assert w == pytest.approx(START * (1 - LR * gamma + 1j * LR) ** n, rel=1e-11)
    assert abs(w) < 1e-3


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_unrolling_converges(ahead):
    """y' = y + lr x; D later is y' + K lr x, and x times it has the slope y' + 2 K lr x, half of it through D's steps.

    The map (x, y) -> (x - lr (y' + 2 K lr x), y') has the determinant 1 - 2 K lr^2, the square of the modulus of both
    its eigenvalues where they are complex: it converges for K > 0, and goes round for K = 0.
    """
    step = np.array([[1 - LR**2 - 2 * ahead * LR**2, -LR], [LR, 1]])
    modulus = np.abs(np.linalg.eigvals(step))
    assert modulus == pytest.approx(math.sqrt(1 - 2 * ahead * LR**2))
    for n, w in enumerate(path(Unrolled(ahead), 200)):
        x, y = np.linalg.matrix_power(step, n) @ [START.real, START.imag]
        assert w == pytest.approx(complex(x, y), rel=1e-10, abs=1e-14)
    assert (abs(w) < 0.01) == (ahead > 0)


Step = Callable[[complex, complex, float], complex]  # w, what was taken back last, lr -> w
RULES: dict[str, tuple[Update, Step]] = {
    "simultaneous": (Simultaneous(), lambda w, last, lr: w + 1j * lr * w),
    "extra_gradient": (ExtraGradient(), lambda w, last, lr: w + 1j * lr * (w + 1j * lr * w)),
    "optimistic": (Optimistic(), lambda w, last, lr: w + 2j * lr * w - last),
    "consensus": (Consensus(0.5), lambda w, last, lr: w + 1j * lr * w - 0.5 * lr * w),
    "alternating": (Alternating(), lambda w, last, lr: unrolled(w, lr, 0)),
    "unrolled": (Unrolled(3), lambda w, last, lr: unrolled(w, lr, 3)),
}
UPDATES = {name: update for name, (update, _) in RULES.items()}


def unrolled(w: complex, lr: float, ahead: int) -> complex:
    later = w.imag + lr * w.real
    return complex(w.real - lr * (later + 2 * ahead * lr * w.real), later)


@pytest.mark.parametrize("name", RULES)
def test_learning_rate_follows_its_schedule(name):
    """Step t is taken with lr (1 - 0.9 t / 10) wherever the rule has lr: in both half steps, and in the steps ahead."""
    update, step = RULES[name]
    schedule = Schedule(budget_steps=10, kind="linear", final=0.1)
    w, last = START, 0j
    for t, found in enumerate(path(update, 13, schedule=schedule)):
        assert found == pytest.approx(w, rel=1e-6)  # torch's factor is float32
        lr = LR * (1 - 0.9 * min(t, 10) / 10)
        w, last = step(w, last, lr), 1j * lr * w


# ---------------------------------------------------------------- Adam


def adam(grads: Callable[[np.ndarray], np.ndarray], steps: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Both players' weights and first moments after extra-gradient with Adam, or optimistic Adam."""
    b1, b2, lr, eps = 0.5, 0.9, 0.05, 1e-8
    w = np.array([START.real, START.imag])
    m, v, count, previous = np.zeros(2), np.zeros(2), 0, np.zeros(2)

    def displacement(at: np.ndarray) -> np.ndarray:
        nonlocal m, v, count
        g, count = grads(at), count + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        return lr * (m / (1 - b1**count)) / (np.sqrt(v / (1 - b2**count)) + eps)

    for _ in range(steps):
        if kind == "extra_gradient":
            w = w - displacement(w - displacement(w))
        else:
            now = displacement(w)
            w, previous = w - 2 * now + previous, now
    return w, m


@pytest.mark.parametrize("kind", ["extra_gradient", "optimistic"])
def test_with_adam(kind):
    """Extra-gradient: moments see both gradients, both steps start at w_t (Gidel et al. 2019, algorithm 4).

    Optimistic: w - 2 lr m_t / sqrt(v_t) + lr m_(t-1) / sqrt(v_(t-1)) (Daskalakis et al. 2018, algorithm 1).
    """
    game = bilinear(START.real, START.imag)
    d, g = players(game, 0.05, partial(torch.optim.Adam, betas=(0.5, 0.9)))
    for n in range(1, 13):
        UPDATES[kind](game, d, g)
        w, m = adam(lambda w: np.array([w[1], -w[0]]), n, kind)
        assert where(game) == pytest.approx(w, rel=1e-6)  # of lr, in the fused kernel
        moments = [float(player.optimizer.state[player.parameters[0]]["exp_avg"]) for player in (g, d)]
        assert moments == pytest.approx(m, rel=1e-6)


# ---------------------------------------------------------------- gradients of gradients, by differences


class Net(nn.Module):
    """D, smooth, with a unit whose gradient is always 0."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
        self.idle = nn.Parameter(torch.ones(2))

    def forward(self, image: Tensor, label: Tensor):
        return verdict(self.body(image) + 0 * self.idle.sum())


class Noisy(nn.Module):
    """G, smooth."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return self.body(latent)


class Still(Fixed):
    """The same latents too, so that a loss is a function of the weights."""

    def latents(self) -> tuple[Tensor, Tensor]:
        return torch.linspace(-1, 2, 2 * self.batch_size).view(-1, 2), torch.full((self.batch_size,), -1)


def smooth(objective: Objective, tricks: dict[str, Trick] | None = None) -> Game:
    torch.manual_seed(0)
    return Game(Noisy(), Net(), objective, tricks or {}, Still(torch.linspace(-1, 1, 5)[:, None], latent_dim=2))


def differences(function: Callable[[], float], parameters: list[Tensor], h: float = 1e-5) -> Tensor:
    """Central differences by each number of the parameters."""
    slopes = []
    for parameter in parameters:
        numbers = parameter.data.view(-1)
        for i in range(len(numbers)):
            kept = float(numbers[i])
            ends = []
            for way in (h, -h):
                numbers[i] = kept + way
                ends.append(function())
            numbers[i] = kept
            slopes.append((ends[0] - ends[1]) / (2 * h))
    return torch.tensor(slopes)


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.3),
    "momentum": partial(torch.optim.SGD, lr=0.3, momentum=0.5, weight_decay=0.1),
    "nesterov": partial(torch.optim.SGD, lr=0.3, momentum=0.5, nesterov=True),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.05, alpha=0.9),
    "rmsprop_momentum": partial(torch.optim.RMSprop, lr=0.05, alpha=0.9, momentum=0.5),
    "adam": partial(torch.optim.Adam, lr=0.05, betas=(0.5, 0.9), weight_decay=0.1),
    "adamw": partial(torch.optim.AdamW, lr=0.05, betas=(0.5, 0.9), weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("objective", [NonSaturating, Minimax])
def test_unrolled_gradient(objective, optimizer):
    """Against differences of f_K, for which torch's own optimiser takes the K steps (Metz et al. 2017, equations 7, 9).

    f of minimax is E log D(x) + E log(1 - D(G(z))), both parts, since D depends on G.
    """
    ahead, game = 3, smooth(objective())
    d = Player(game.nets["discriminator"].parameters(), OPTIMIZERS[optimizer])
    g = Player(game.nets["generator"].parameters(), partial(torch.optim.SGD, lr=1.0))
    for _ in range(3):
        Alternating()(game, d, g)  # so that the optimiser has something to remember
    alone, before = copy.deepcopy((game, d)), weights(game.nets["generator"])
    Unrolled(ahead)(game, d, g)
    moved = flat(before) - flat(weights(game.nets["generator"]))

    game, d = alone
    d.apply(d.grads(game.d_loss()[0]))  # its one true step
    assert same(weights(game.nets["discriminator"]), d.parameters)

    def value(steps: int = ahead) -> float:
        later, player = copy.deepcopy((game, d))
        for _ in range(steps):
            player.apply(player.grads(later.d_loss()[0]))
        fake = later.nets["generator"](*later.source.latents())
        logit = later.nets["discriminator"](fake, None).logits
        if objective is NonSaturating:
            return float(-torch.sigmoid(logit).log().mean().detach())
        real = later.nets["discriminator"](later.source.real, None).logits
        return float((torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(logit)).log().mean()).detach())

    mine = list(game.nets["generator"].parameters())
    expected = differences(value, mine)
    assert moved == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert (differences(partial(value, 0), mine) - expected).norm() > 0.02 * expected.norm()


def test_unrolled_is_d_of_one_step():
    """The steps ahead leave nothing behind: weights, optimiser and buffers of D are those after one step."""
    game, other = (smooth(NonSaturating()) for _ in range(2))
    for net in (game.nets["discriminator"], other.nets["discriminator"]):
        net.body.insert(1, nn.BatchNorm1d(4))
    for each, update in ((game, Unrolled(4)), (other, Alternating())):
        d, g = players(each, 0.1, torch.optim.Adam)
        update(each, d, g)
        assert int(d.optimizer.state[d.parameters[0]]["step"]) == 1
    assert same(weights(game.nets["discriminator"]), weights(other.nets["discriminator"]))
    assert int(game.nets["discriminator"].body[1].num_batches_tracked) == 2  # reals and fakes
    assert not same(weights(game.nets["generator"]), weights(other.nets["generator"]))


def test_unrolled_refuses_an_optimiser_that_it_cannot_differentiate():
    game = bilinear(1.0, 0.5)
    assert "Adagrad" in refusal(Unrolled(1), game, *players(game, 0.1, torch.optim.Adagrad))


@pytest.mark.parametrize(
    "optimizer, option", [("adam", "amsgrad"), ("rmsprop", "centered"), ("sgd", "maximize"), ("adamw", "maximize")]
)
def test_unrolled_refuses_what_it_would_leave_out_of_a_step(compose, optimizer, option):
    """Before a step; what Ahead heeds or what changes the speed only is taken."""
    name = f"optimizer.discriminator.{option}"
    game, d, _, _ = trained(compose, Unrolled(2), f"optimizer={optimizer}", f"+{name}=true")
    config = plain(compose(f"optimizer={optimizer}"))
    said = refusal(check_use, config, Unrolled(2), game, d, [])
    assert f"with {option}=True" in said and f"leave out {name}" in said
    assert refusal(Ahead, d) == said
    check_use(config, Unrolled(0), game, d, [])
    check_use(config, Alternating(), game, d, [])
    for settings in ([], [f"+{name}=false"], ["optimizer.discriminator.weight_decay=0.1"]):
        game, d, _, _ = trained(compose, Unrolled(2), f"optimizer={optimizer}", *settings)
        check_use(config, Unrolled(2), game, d, [])


def test_unrolled_refuses_tricks_on_the_weights_themselves(compose):
    """Clamped weights, and weights drawn to their past: the D ahead would be neither."""
    for trick in ("weight_clipping", "historical_averaging"):
        game, d, _, _ = trained(compose, Unrolled(2), f"trick=[{trick}]")
        said = refusal(check_use, plain(compose()), Unrolled(2), game, d, [])
        assert f"trick.{trick} acts on D's weights themselves" in said
        check_use(plain(compose()), Unrolled(0), game, d, [])
    others = "trick=[gradient_clipping,gradient_penalty,spectral_norm,replay_buffer]"
    game, d, _, _ = trained(compose, Unrolled(2), others)
    check_use(plain(compose()), Unrolled(2), game, d, [])


def test_unrolled_refuses_where_nothing_is_ahead(compose):
    game, d, _, _ = trained(compose, Unrolled(2), "objective=mmd")
    assert "this objective has none: leave it out" in refusal(check_use, plain(compose()), Unrolled(2), game, d, [])
    check_use(plain(compose()), Unrolled(0), game, d, [])


@pytest.mark.parametrize("ahead", [0, 3])
def test_steps_ahead_fill_no_replay_buffer(compose, ahead):
    """Half of a batch of 8 is kept each round, however far G looks ahead."""
    game, *_, play = trained(compose, Unrolled(ahead), "trick=[replay_buffer]", "batch_size=8")
    play(5)
    assert int(game.tricks["replay_buffer"].filled) == 5 * 4


@pytest.mark.parametrize("objective", [NonSaturating, Minimax])
def test_consensus_gradient(objective):
    """v + gamma * gradient of |v|^2 / 2, that by differences of v (Mescheder et al. 2017, algorithm 2)."""
    gamma, game = 0.7, smooth(objective())
    d, g = players(game, lr=1.0)
    everything = [*d.parameters, *g.parameters]

    def field() -> Tensor:
        return torch.cat([flat(list(d.grads(game.d_loss()[0]))), flat(list(g.grads(game.g_loss()[0])))])

    squares = differences(lambda: float(field().square().sum() / 2), everything)
    expected = field() + gamma * squares
    before = flat(everything)
    Consensus(gamma)(game, d, g)
    assert before - flat(everything) == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert squares[-4:].abs().min() > 1e-4  # G's part has the second derivatives of D's loss by G in it


@pytest.mark.parametrize("kind", ["wgan_gp", "r1", "r2", "dragan"])
def test_g_moves_the_points_of_a_penalty_too(kind):
    """Consensus differentiates D's gradient by G's weights, on which interpolates and fakes depend; by differences."""
    game = smooth(NonSaturating(), {"gradient_penalty": GradientPenalty(kind, weight=3.0)})
    d, g = players(game, lr=1.0)
    everything = [*d.parameters, *g.parameters]

    def field() -> Tensor:
        torch.manual_seed(1)  # the same interpolates
        return torch.cat([flat(list(d.grads(game.d_loss()[0]))), flat(list(g.grads(game.g_loss()[0])))])

    expected = field() + 0.7 * differences(lambda: float(field().square().sum() / 2), everything)
    before = flat(everything)
    torch.manual_seed(1)
    Consensus(0.7)(game, d, g)
    assert before - flat(everything) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_the_point_ahead_is_clipped_too():
    """Gidel et al. 2019, algorithm 2: both steps are projected; the field is asked at the first of them."""
    seen = []

    class Looking(ExtraGradient):
        def field(self, game: Game, d: Player, g: Player) -> Any:
            seen.append(float(flat(d.parameters).abs().max()))
            return super().field(game, d, g)

    game = smooth(NonSaturating(), {"weight_clipping": WeightClipping(0.02)})
    d, g = players(game, lr=5.0)
    for _ in range(3):
        Looking()(game, d, g)
    assert len(seen) == 6 and max(seen[1:]) <= 0.02 and float(flat(d.parameters).abs().max()) <= 0.02


# ---------------------------------------------------------------- whole games


composed: dict[tuple[str, ...], dict[str, Any]] = {}


def trained(compose: Callable, update: Update, *overrides: str) -> tuple[Game, Player, Player, Callable[[int], None]]:
    """Game and players, new and alike each time, and what plays so many rounds."""
    if overrides not in composed:
        composed[overrides] = plain(compose("batch_size=4", "architecture=mlp", *overrides))
    config, builder, images = copy.deepcopy(composed[overrides]), Builder((), 100), pictures(10)
    torch.manual_seed(1)
    source = builder.source(config, images, flip=False)
    game = builder.game(config, images.shape, images.num_classes, source)
    players = builder.players(game, config["optimizer"])
    source.reserve(10 * update.real_batches(game))

    def play(rounds: int) -> None:
        source.prepare(rounds * update.real_batches(game))
        for _ in range(rounds):
            update(game, *players)

    return game, *players, play


SMALL = ["architecture.generator.hidden=[6]", "architecture.discriminator.hidden=[6]"]
DROPOUT = [*SMALL, "architecture.generator.normalization=batch", "architecture.discriminator.dropout=0.5"]
SCHEDULED = ["trick=[ema,instance_noise]", "optimizer.generator.schedule.kind=cosine", "optimizer.generator.lr=0.01"]


def state(game: Game, d: Player, g: Player) -> dict[str, Any]:
    return copy.deepcopy(
        {"game": game.state_dict(), "d": d.state_dict(), "g": g.state_dict(), "rng": torch.get_rng_state()}
    )


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", UPDATES)
def test_resumed_equals_uninterrupted(compose, name, optimizer):
    """Bit for bit, with BatchNorm in G and dropout in D."""
    settings = [*DROPOUT, *SCHEDULED, f"optimizer={optimizer}"]
    game, d, g, play = trained(compose, UPDATES[name], *settings)
    play(4)
    saved = state(game, d, g)
    assert bool(saved["d"]["previous"]) == (name == "optimistic")
    play(3)
    whole = state(game, d, g)
    game, d, g, play = trained(compose, UPDATES[name], *settings)
    game.restore(saved["game"])
    d.load_state_dict(saved["d"])
    g.load_state_dict(saved["g"])
    torch.set_rng_state(saved["rng"])
    play(3)
    mine, theirs = (torch.utils._pytree.tree_flatten(each) for each in (whole, state(game, d, g)))
    assert mine[1] == theirs[1]
    for ours, its in zip(mine[0], theirs[0], strict=True):
        assert torch.equal(ours, its) if isinstance(ours, Tensor) else ours == its


def test_no_step_ahead_is_alternating(compose):
    """K = 0 equals Alternating bit for bit; K = 1 does not."""
    ends = []
    for update in (Alternating(), Unrolled(0), Unrolled(1)):
        game, *_, play = trained(compose, update, "objective=minimax", *DROPOUT)
        play(5)
        ends.append(weights(game.nets))
    assert same(ends[0], ends[1]) and not same(ends[0], ends[2])


@pytest.mark.parametrize("name", UPDATES)
def test_nets_with_batch_norm_and_convolutions(compose, name):
    small = [
        f"architecture.{player}.{key}=2"
        for player in ("generator", "discriminator")
        for key in ("features", "max_features")
    ]
    game, *_, play = trained(compose, UPDATES[name], "architecture=dcgan", *small)
    before = weights(game.nets)
    play(3)
    assert not any(torch.equal(old, new) for old, new in zip(before, weights(game.nets), strict=True))
    assert all(torch.isfinite(each).all() for each in weights(game.nets))


@pytest.mark.parametrize("name", UPDATES)
def test_without_a_critic(compose, name):
    """Moment matching has no D: what looks ahead of D, or takes turns with it, is plain descent of G."""
    ends = []
    for update in (UPDATES[name], Alternating()):
        game, *_, play = trained(compose, update, "objective=mmd", *SMALL, "optimizer=sgd")
        play(3)
        ends.append(weights(game.nets))
    assert all(torch.isfinite(each).all() for each in ends[0])
    assert same(*ends) == (name in ("alternating", "simultaneous", "unrolled"))


class Looking(Trick):
    """Looks at reals in G's turn."""

    needs_real = True


@pytest.mark.parametrize("tricks", [{}, {"looking": Looking()}], ids=["plain", "needs_real"])
@pytest.mark.parametrize("objective", [NonSaturating, Minimax, partial(MomentMatching, [1.0])])
@pytest.mark.parametrize("update", [*UPDATES.values(), Unrolled(0)], ids=[*UPDATES, "none ahead"])
def test_update_says_how_many_batches_it_draws(update, objective, tricks):
    game = smooth(objective())
    game = Game(*game.nets.values(), objective(), tricks, game.source)
    d, g = players(game, lr=0.1)
    update(game, d, g)
    game.source.asked = 0
    update(game, d, g)
    assert game.source.asked == update.real_batches(game)


# ---------------------------------------------------------------- hooks


@pytest.mark.parametrize("name", UPDATES)
def test_clipping_sees_what_is_applied(name):
    """All gradients are larger than 0.01, so each step is of 0.01 lr; the optimistic rule's first is of twice that."""
    game = bilinear(START.real, START.imag, {"clip": GradientClipping(0.01, by="value")})
    w = path(UPDATES[name], 1, game=game)[1]
    size = 0.01 * LR * (2 if name == "optimistic" else 1)
    assert w - START == pytest.approx(complex(-size, size), rel=1e-9)


def test_steps_ahead_pass_the_hooks_too():
    """With halved gradients: y' = y + lr x / 2, later y' + K lr x / 2, and x moves by half of y' + K lr x."""

    class Halved(Trick):
        def gradients(self, grads):
            return [grad / 2 for grad in grads]

    w = path(Unrolled(3), 1, game=bilinear(START.real, START.imag, {"halved": Halved()}))[1]
    later = START.imag + LR * START.real / 2
    assert w == pytest.approx(complex(START.real - LR * (later + 3 * LR * START.real) / 2, later), rel=1e-12)


@pytest.mark.parametrize("by", ["norm", "value"])
def test_steps_ahead_pass_through_clipping(by):
    """Several weights, one of which has no gradient. A limit that is not reached changes nothing."""
    ends = []
    for tricks in ({}, {"clip": GradientClipping(100.0, by)}, {"clip": GradientClipping(0.01, by)}):
        game = smooth(Minimax())
        game = Game(*game.nets.values(), game.objective, tricks, game.source)
        Unrolled(3)(game, *players(game, 0.1, torch.optim.Adam))
        ends.append(flat(weights(game.nets)))
    assert ends[1] == pytest.approx(ends[0], rel=1e-9)
    assert torch.isfinite(ends[2]).all()


def test_adaptive_hooks_do_not_see_the_steps_ahead():
    class Watching(Trick):
        seen = 0

        def watch(self, realness):
            Watching.seen += 1

    game = bilinear(1.0, 0.5, {"watching": Watching()})
    path(Unrolled(3), 2, game=game)
    assert Watching.seen == 2
