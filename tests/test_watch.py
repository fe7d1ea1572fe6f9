"""Signs that a run is failing: the rules by hand, runs that really fail so, and silence over those that do not."""

import json
import re
from pathlib import Path

import pytest
import torch

from cli_helpers import Gantool, gantool_fixture, read_status  # noqa: F401 (it is a fixture)
from gantool.commands.results import stated
from gantool.engine import watch
from gantool.engine.diversity import Diversity, alike, spread
from gantool.engine.watch import ENOUGH, PATIENCE, RULES, WARM_UP, Watch
from gantool.game.types import Images
from gantool.runs.folder import RunFolder
from gantool.runs.rows import read

RUN = Path("run")
SMALL = (
    "dataset=ring", "dataset.size=2000", "batch_size=64", "architecture.latent_dim=4", "logger=[]", "hydra.run.dir=run",
    "architecture.generator.hidden=[32,32]", "architecture.discriminator.hidden=[32,32]",
)  # fmt: skip
QUIET = ("sample_every=100", "checkpoint_every=100")
WON = {"d_accuracy_real": 1.0, "d_accuracy_fake": 1.0, "g_grad_norm": 1e-5}
CALM = {"d_accuracy_real": 0.6, "d_accuracy_fake": 0.6, "g_grad_norm": 1.0, "d_loss": 1.3, "g_loss": 0.7}


def told(rows: list[dict[str, float]], first: int = 1000, apart: int = 10) -> list[tuple[str, int]]:
    """Name of each warning and the row, from 1, after which it was told."""
    seen, found = Watch(), []
    for number, row in enumerate(rows, 1):
        found += [(each.name, number) for each in seen.see({"step": first + apart * number} | row)]
    return found


# ---------------------------------------------------------------- the rules


@pytest.mark.parametrize("bad", [WON, {"diversity": 0.01}, {"g_loss": -1e5}], ids=list(RULES))
def test_a_sign_is_told_once_when_it_has_lasted_and_again_when_it_comes_back(bad):
    """By hand, with patience 3: told after the third row, silent for good while it lasts; over after three without."""
    (name,) = {name for name, rule in RULES.items() if rule({"step": 1000} | bad, {})}
    good = CALM | {"diversity": 1.0}
    assert PATIENCE == 3
    assert told([bad] * 2 + [good] + [bad] * 2 + [good]) == []
    assert told([bad] * 50) == [(name, 3)]
    assert told([bad] * 3 + [good, good] + [bad] * 10) == [(name, 3)]  # two rows without it do not end it
    assert told([bad] * 3 + [good] * 3 + [bad] * 10) == [(name, 3), (name, 9)]


@pytest.mark.parametrize("off, change", [
    (False, {}), (True, {"d_accuracy_real": 0.98}), (True, {"d_accuracy_fake": 0.98}), (True, {"g_grad_norm": 0.5}),
    (True, {"d_accuracy_real": None}), (True, {"g_grad_norm": None}), (True, {"g_grad_norm": float("nan")}),
])  # fmt: skip
def test_d_has_won_only_where_it_knows_both_and_g_learns_nothing(off, change):
    """A sure D alone is no failure: non-saturating losses and feature matching live with it."""
    assert (told([WON | change] * 5) == []) == off


def test_gradients_that_vanish_are_those_far_below_what_was_usual():
    """100 of them were of norm 50; 0.4 is less than a hundredth of that, 0.6 is not."""
    before = [CALM | {"g_grad_norm": 50.0}] * 100
    assert told(before + [WON | {"g_grad_norm": 0.4}] * 3) == [("discriminator_won", 103)]
    assert told(before + [WON | {"g_grad_norm": 0.6}] * 3) == []


def test_objectives_without_accuracies_are_judged_by_the_rest():
    """wasserstein has no accuracy, mmd no D: a missing column says nothing, neither yes nor no."""
    assert told([{"g_loss": 0.01, "g_grad_norm": 1e-6}] * 20) == []
    assert told([WON, {}, WON, {}, {}, {}, {}, WON]) == [("discriminator_won", 8)]


def test_samples_are_not_judged_before_g_has_begun():
    """The first row that is judged is the tenth, at the end of the warm-up."""
    assert told([{"diversity": 0.01}] * 20, first=WARM_UP - 100) == [("samples_collapsed", 12)]


def test_rows_of_a_few_steps_must_be_more():
    """Three rows three steps apart are nine steps, the length of a spike; 20 steps are over at the eighth row."""
    assert told([WON] * 7, apart=3) == []
    assert told([WON] * 8, apart=3) == [("discriminator_won", 8)]


@pytest.mark.parametrize("column", watch.COLUMNS)
def test_a_column_runs_off_by_its_own_scale(column):
    """500 is much after 1, and nothing after 80; 20 is little whatever came before; 20,000 is too much in any game."""
    calm = {size: [{column: size}] * ENOUGH for size in (1.0, 80.0, 1e-3)}
    assert told(calm[1.0] + [{column: 500.0}] * 3) == [("runs_off", ENOUGH + 3)]
    assert told(calm[80.0] + [{column: 500.0}] * 20) == []
    assert told(calm[1e-3] + [{column: 20.0}] * 20) == []
    assert told([{column: 500.0}] * 20) == []  # nothing is usual yet
    assert told([{column: 2e4}] * 3) == [("runs_off", 3)]


def test_what_runs_off_never_becomes_usual():
    """Otherwise the median would follow it, and the sign would end by itself and be told anew."""
    assert told([CALM] * ENOUGH + [CALM | {"d_loss": 500.0}] * 100) == [("runs_off", ENOUGH + 3)]


def test_what_a_run_has_already_is_no_remedy():
    rows = [CALM | {"step": step, "d_loss": 2e4} for step in range(10, 50, 10)]

    def advice(*chosen: str) -> str:
        seen = Watch(chosen)
        return next(warning.text for row in rows for warning in seen.see(row)).partition("Against it: ")[2]

    assert "trick=[gradient_penalty] (" in advice() and "trick=[spectral_norm] (" in advice()
    left = advice("objective=hinge", "trick=[ema]", "trick=[gradient_penalty]")
    assert "gradient_penalty" not in left and left == advice().replace(
        "trick=[gradient_penalty] (Gulrajani et al. 2017), ", ""
    )


def test_every_remedy_can_be_chosen(compose):
    assert set(watch.REMEDIES) == set(RULES)
    for text in map(", ".join, watch.REMEDIES.values()):
        settings = re.findall(r"\b\w+=\[?\w+\]?", text)
        assert len(settings) >= 2
        for setting in settings:
            compose(setting)
        for key in re.findall(r"optimizer[\w.]+", text):
            assert compose(f"{key}=1").optimizer


# ---------------------------------------------------------------- diversity


def test_spread_is_the_mean_distance_within_a_label():
    """Of 0, 3, 4 on a line: (3 + 4 + 1) / 3; within the pairs {0, 3} and {4, 10}: (3 + 6) / 2; of one each: none."""
    line = torch.tensor([[0.0], [3.0], [4.0], [10.0]])
    assert spread(line[:3], torch.full((3,), -1)) == pytest.approx(8 / 3)
    assert spread(line, torch.tensor([0, 0, 5, 5])) == pytest.approx(4.5)
    assert spread(line, torch.arange(4)) is None
    assert spread(line.view(4, 1, 1, 1) + 1e6, torch.tensor([0, 0, 5, 5])) == pytest.approx(4.5)


def test_diversity_compares_classes_with_themselves():
    """Class c of the data is at 100 c + {-1, 1}. A G that draws one point a class has no diversity, however far apart
    the classes are; told nothing of classes, it would pass as varied."""
    label = torch.arange(400) % 4
    sign = torch.arange(400) // 4 % 2 * 2.0 - 1
    data = Images((100.0 * label + sign)[:, None], label, tuple("abcd"))
    wanted = torch.arange(40) % 4
    assert (data.labels[alike(data.labels, wanted, 0)].bincount() == 10).all()
    measure = Diversity(data, wanted, 0)
    assert measure(100.0 * wanted[:, None]) == 0.0
    half = 100.0 * wanted + torch.arange(40) // 4 % 2 - 0.5  # five at each end: 25 of 45 pairs differ, by half as much
    assert 0.4 < measure(half[:, None]) < 0.6
    many = torch.arange(3000) % 3  # more than are measured; the classes spread by 1, 2 and 3
    far = (torch.randn(3000, 2, generator=torch.Generator().manual_seed(0)).T * (1 + many)).T
    assert Diversity(Images(far, many, tuple("abc")), many, 0)(far) == pytest.approx(1, abs=0.1)
    blind = Diversity(data, torch.full((40,), -1), 0)
    assert 0.7 < blind(100.0 * wanted[:, None]) < 1.3


# ---------------------------------------------------------------- runs that fail so


def warned() -> list[str]:
    return [each["name"] for each in read_status(RUN)["warnings"]]


def test_d_wins_at_a_hundred_times_the_rate(gantool: Gantool):
    """Minimax: with a D that is sure, G's cost is flat (Goodfellow et al. 2014, section 3)."""
    done = gantool("train", *SMALL, "objective=minimax", *QUIET, "optimizer.discriminator.lr=0.02", "steps=200")
    assert done.code == 0, done.err
    (warning,) = read_status(RUN)["warnings"]
    assert warning["name"] == "discriminator_won"
    for place in (done.err, (RUN / "train.log").read_text("utf-8")):
        assert f"step {warning['step']}: D has won" in place
        assert "objective=non_saturating" in place
    assert re.search(r"step 200/200 .*warning: discriminator_won", done.err)


def test_a_generator_in_one_mode(gantool: Gantool):
    """At such a rate its hidden units die: it draws one point, whatever the latent."""
    done = gantool("train", *SMALL, "optimizer.generator.lr=1.0", "steps=640", "sample_every=64", "tick_every=32")
    assert done.code == 0, done.err
    assert warned() == ["samples_collapsed"]
    assert re.search(r"they lie 0\.\d% as far apart as the data\. Against it: update=unrolled", done.err)


@pytest.mark.parametrize("failing", [
    ("optimizer.discriminator.lr=10", "optimizer.generator.lr=10"),
    ("objective=wgan", "trick.weight_clipping.c=1000", "optimizer.discriminator.lr=1"),  # as good as no constraint
], ids=["rate 10", "unbounded critic"])  # fmt: skip
def test_what_runs_off(gantool: Gantool, failing):
    done = gantool("train", *SMALL, *failing, "steps=60", *QUIET)
    assert done.code == 0, done.err
    assert warned().count("runs_off") == 1
    assert re.search(r"[dg]_loss \([-\d.e+]+\).* ran off\. Against it: .*gradient_clipping", done.err)


def test_warnings_are_kept_on_resume_and_forgotten_with_their_rows(gantool: Gantool):
    """The rows are the watch's memory: going on from before the warning tells it again, from after it does not."""
    failing = ("objective=minimax", "optimizer.discriminator.lr=0.02", "sample_every=100")
    keep = ("checkpoint_every=10", "keep_last=100", "tick_every=2")
    assert gantool("train", *SMALL, *failing, *keep, "steps=100").code == 0
    (first,) = read_status(RUN)["warnings"]
    again = gantool("train", "resume=run", "steps=130")
    assert read_status(RUN)["warnings"] == [first]
    assert "Against it" not in again.err
    assert re.search(r"step 130/130 .*warning: discriminator_won", again.err)
    assert gantool("train", "resume=run", "checkpoint=10", "steps=12").code == 0
    assert read_status(RUN)["warnings"] == []


# ---------------------------------------------------------------- runs that do not fail


def silent(gantool: Gantool, experiment: str, *settings: str) -> None:
    """Rows every few steps, so that there is much to be wrong about."""
    done = gantool("train", f"experiment={experiment}", "logger=[]", "hydra.run.dir=run", *settings)
    assert done.code == 0, done.err
    assert len(read(RUN / "metrics.jsonl")) > 10
    assert read_status(RUN)["warnings"] == []
    assert "Against it" not in done.err


@pytest.mark.parametrize("experiment", ["demo", pytest.param("ring_gradient_penalty", marks=pytest.mark.slow)])
def test_healthy_runs_beyond_the_warm_up(gantool: Gantool, experiment):
    small = [f"architecture.{player}.hidden=[64,64]" for player in ("generator", "discriminator")]
    silent(gantool, experiment, "steps=640", "tick_every=16", "sample_every=64", "batch_size=32", *small)


@pytest.mark.parametrize("experiment", ["ring_wgan_gp", "mmd_digits", "began_digits", "ring_hinge", "ring_f_gan"])
def test_healthy_beginnings(gantool: Gantool, experiment):
    silent(gantool, experiment, "steps=48", "tick_every=4", "sample_every=48", "batch_size=32")


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [each.name for each in stated() if "mnist" not in each.name])
def test_healthy_experiments(gantool: Gantool, experiment):
    silent(gantool, experiment, "steps=1500", "tick_every=15", "sample_every=50")


# ---------------------------------------------------------------- columns


def test_diversity_comes_with_the_grids_and_norms_with_every_row(gantool: Gantool):
    done = gantool("train", *SMALL, "steps=40", "tick_every=4", "sample_every=10", "trick=[ema]")
    assert done.code == 0, done.err
    rows = read(RUN / "metrics.jsonl")
    assert [row["step"] for row in rows if "diversity" in row] == [12, 20, 32, 40]
    assert all(row["d_grad_norm"] > 0 and row["g_grad_norm"] > 0 for row in rows)
    assert gantool("train", *SMALL, "objective=mmd", "steps=4", "hydra.run.dir=other").code == 0
    assert "d_grad_norm" not in json.loads((Path("other") / "metrics.jsonl").read_text("utf-8").splitlines()[-1])


def test_diversity_is_that_of_the_weights_that_train(gantool: Gantool):
    """An average that hardly moves would show the first weights for ever."""
    settings = (*SMALL, "optimizer.generator.lr=0.01", "steps=40", "sample_every=20")
    still = ("trick=[ema]", "trick.ema.half_life=1e9", "trick.ema.ramp_up=0")
    found = []
    for folder, tricks in (("run", still), ("other", ("trick=[]",))):
        assert gantool("train", *settings, f"hydra.run.dir={folder}", *tricks).code == 0
        found.append([row.get("diversity") for row in read(RunFolder(Path(folder)).rows)])
    assert found[0] == found[1]
