"""Signs that a run is failing, from the rows of metrics.jsonl alone: each is told once, when it has lasted."""

import math
import statistics
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

PATIENCE = 3  # rows on end in which a sign must be there, and gone to count as over: single rows are blips
LASTING = 20  # steps from the first of these rows to the last, at least: rows of a short run are blips themselves
SURE = 0.99  # of reals, and of fakes; where G has learnt, D is right about half (Goodfellow et al. 2014, theorem 1)
VANISHED = 1e-2  # norm of G's gradients: under a perfect D it falls to 0 (Arjovsky and Bottou 2017, theorem 2.4)
SHARE = 0.01  # or this share of what was usual, for games whose gradients are large
COLLAPSED = 0.1  # diversity: healthy runs end near 1, one mode of the eight of the ring has 0.014
WARM_UP = 500  # steps in which G may still draw one blot: diversity begins near 0.1, whatever comes later
LARGE = 100.0  # "check norms of gradients: if they are over 100 things are screwing up" (ganhacks, section 10)
TIMES = 10.0  # but only if it is this many times what was usual: games have their own scales
ENOUGH = 10  # rows from which on there is something usual
ABSURD = 1e4  # too large in any game
COLUMNS = ("d_loss", "g_loss", "d_grad_norm", "g_grad_norm")  # that may run off
REMEDIES = {  # what the literature offers, as the command line takes it
    "discriminator_won": (
        "objective=non_saturating (Goodfellow et al. 2014)", "trick=[instance_noise] (Arjovsky and Bottou 2017)",
        "trick=[label_smoothing] (Salimans et al. 2016)", "trick=[gradient_penalty] (Mescheder et al. 2018)",
        "rates that are alike, or a lower optimizer.discriminator.lr",
    ),
    "samples_collapsed": (
        "update=unrolled (Metz et al. 2017)", "trick=[minibatch_discrimination] (Salimans et al. 2016)",
        "trick=[minibatch_stddev] (Karras et al. 2018)", "trick=[gradient_penalty] (Mescheder et al. 2018)",
    ),
    "runs_off": (
        "lower optimizer.generator.lr and optimizer.discriminator.lr",
        "trick=[gradient_clipping] (Pascanu et al. 2013)", "trick=[gradient_penalty] (Gulrajani et al. 2017)",
        "trick=[spectral_norm] (Miyato et al. 2018)",
    ),
}  # fmt: skip

Row = Mapping[str, Any]
Usual = Mapping[str, float]  # column -> median size in the rows in which it did not run off


class Sign(NamedTuple):
    """As status.json has it."""

    name: str
    step: int
    text: str


def discriminator_won(row: Row, usual: Usual) -> str | None:
    """What is to be said; "" if all is well; None where this row does not tell, as without accuracies."""
    real, fake, norm = (number(row, name) for name in ("d_accuracy_real", "d_accuracy_fake", "g_grad_norm"))
    if real is None or fake is None or norm is None:
        return None
    if min(real, fake) < SURE or norm > max(VANISHED, SHARE * usual.get("g_grad_norm", 0.0)):
        return ""
    return f"D has won: it tells {min(real, fake):.1%} of reals and fakes apart, and G's gradients vanish ({norm:.2g})"


def samples_collapsed(row: Row, usual: Usual) -> str | None:
    """The same, of rows that have a `diversity`."""
    diversity = number(row, "diversity")
    if diversity is None or row["step"] < WARM_UP:
        return None
    if diversity >= COLLAPSED:
        return ""
    return f"the samples have collapsed: they lie {diversity:.1%} as far apart as the data"


def runs_off(row: Row, usual: Usual) -> str | None:
    """The same, of losses and gradient norms."""
    off = [name for name in COLUMNS if is_off(row, name, usual)]
    return f"{', '.join(f'{name} ({row[name]:.2g})' for name in off)} ran off" if off else ""


RULES: dict[str, Callable[[Row, Usual], str | None]] = {
    rule.__name__: rule for rule in (discriminator_won, samples_collapsed, runs_off)
}


class Watch:
    """Sees a run's rows in turn; whoever sees the same rows knows the same, so a resumed run shows it the old ones."""

    def __init__(self, chosen: Collection[str] = ()) -> None:
        """`chosen`: what the run has already, `trick=[ema]`, and is not to be told."""
        self.chosen = frozenset(chosen)
        self.sizes: dict[str, list[float]] = {name: [] for name in COLUMNS}
        self.streaks = dict.fromkeys(RULES, 0)  # rows on end with a sign; negative: without
        self.since = dict.fromkeys(RULES, 0)  # the step of the first of these rows
        self.active: list[str] = []  # names of the signs that were told and are not over

    def see(self, row: Row) -> list[Sign]:
        """What is to be told after this row."""
        usual = {name: statistics.median(sizes) for name, sizes in self.sizes.items() if len(sizes) >= ENOUGH}
        told = [warning for name in RULES if (warning := self._judge(name, row, usual))]
        for name, sizes in self.sizes.items():
            size = number(row, name)
            if size is not None and not is_off(row, name, usual):
                sizes.append(abs(size))
        return told

    def _judge(self, name: str, row: Row, usual: Usual) -> Sign | None:
        said = RULES[name](row, usual)
        if said is None:
            return None
        streak = self.streaks[name]
        self.streaks[name] = max(streak, 0) + 1 if said else min(streak, 0) - 1
        if abs(self.streaks[name]) == 1:
            self.since[name] = row["step"]
        lasted = abs(self.streaks[name]) >= PATIENCE and row["step"] - self.since[name] >= LASTING
        if lasted and not said and name in self.active:
            self.active.remove(name)
        elif lasted and said and name not in self.active:
            self.active.append(name)
            new = [remedy for remedy in REMEDIES[name] if remedy.partition(" ")[0] not in self.chosen]
            return Sign(name, row["step"], f"{said}. Against it: {', '.join(new)}")
        return None


def is_off(row: Row, name: str, usual: Usual) -> bool:
    """Is a column far from what was usual, and large; or beyond all measure?"""
    size = number(row, name)
    limit = min(max(LARGE, TIMES * usual[name]), ABSURD) if name in usual else ABSURD
    return size is not None and abs(size) > limit


def number(row: Row, name: str) -> float | None:
    value = row.get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None
