"""Metrics over features, on samples whose answer is known in closed form or from another library."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances
from torch import Tensor

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from drawn import Drawn, dataset, measured
from gantool.datasets.digits import Digits
from gantool.features import sets
from gantool.features.classifier import Classifier
from gantool.features.extractors import Pixels, choose
from gantool.features.sets import Moments, Reference, moments
from gantool.game.images import to_float
from gantool.metrics.density_coverage import Coverage, Density, density_coverage
from gantool.metrics.fid import FID, frechet_distance
from gantool.metrics.inception_score import InceptionScore
from gantool.metrics.kid import KID
from gantool.metrics.precision_recall import Precision, Recall
from toys import refusal

CPU = torch.device("cpu")
ALL = (FID, KID, Precision, Recall, Density, Coverage)


def normal(n: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def points(metric: type, **options) -> object:
    return metric(features="pixels", **options)


# ------------------------------------------------------------------ Fréchet distance


def test_frechet_distance_of_gaussians():
    """Where covariances commute it is |m - m'|^2 + sum (sqrt(s) - sqrt(s'))^2 over their eigenvalues s; 2 x 2 ones have
    tr sqrt(S S') = sqrt(tr(S S') + 2 sqrt(det(S S'))), as the eigenvalues a, b of S S' give (sqrt a + sqrt b)^2.
    """
    mean, other = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([0.0, 2.0, 5.0]).double()
    s, t = torch.tensor([1.0, 4.0, 0.0]).double(), torch.tensor([9.0, 0.25, 1e-6]).double()
    turn = torch.linalg.qr(normal(3, 3).double()).Q
    turned = [Moments(m, turn @ torch.diag(v) @ turn.T) for m, v in ((mean, s), (other, t))]
    expected = 5 + float((s.sqrt() - t.sqrt()).square().sum())
    assert frechet_distance(*turned) == pytest.approx(expected, abs=1e-7)
    a, b = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double(), torch.tensor([[5.0, -2.0], [-2.0, 1.0]]).double()
    root = math.sqrt(float((a @ b).trace()) + 2 * math.sqrt(float(torch.linalg.det(a @ b))))
    zero = torch.zeros(2, dtype=torch.float64)
    assert frechet_distance(Moments(zero, a), Moments(zero, b)) == pytest.approx(5 + 6 - 2 * root, rel=1e-12)


def test_fid_of_points_that_are_moved():
    """Equal covariances leave |shift|^2; spread twice as far, with unit covariance C, tr C (2 - 1)^2."""
    data = normal(2000, 3)
    found = measured(points(FID), data + torch.tensor([3.0, 0.0, 4.0]), dataset(data))
    assert found == {"fid": pytest.approx(25, abs=1e-4)}
    assert measured(points(FID), 2 * data, dataset(data))["fid"] == pytest.approx(
        float(data.mean(dim=0).square().sum() + data.var(dim=0).sum()), rel=1e-5
    )
    assert math.isnan(measured(points(FID), data * float("nan"), dataset(data))["fid"])


def test_moments_in_one_pass():
    """Against numpy's, far from 0, where sums of squares in float32 would lose all digits."""
    data = normal(1000, 5) @ normal(5, 5, 1) + 10_000
    found = moments(data.split([1, 400, 599]), CPU)
    exact = data.double().numpy()
    assert found.mean.numpy() == pytest.approx(exact.mean(axis=0), rel=1e-12)
    assert found.covariance.numpy() == pytest.approx(np.cov(exact, rowvar=False), rel=1e-9)


# ------------------------------------------------------------------ KID


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """Bińkowski et al. 2018, section 4."""
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def test_kid_is_the_unbiased_mmd():
    """One subset that is everything: the U-statistic of Gretton et al. 2012, equation 3."""
    fakes, reals = normal(40, 6) + 0.5, normal(40, 6, 1)
    within = sum((kernel(x, x).sum() - kernel(x, x).trace()) / (40 * 39) for x in (fakes, reals))
    expected = float(within - 2 * kernel(fakes, reals).mean())
    found = measured(points(KID, subsets=3), fakes, dataset(reals))
    assert found == {"kid": pytest.approx(expected, rel=1e-9)}


def test_kid_has_no_bias():
    """Over 300 pairs of 10 points from the same distribution the mean is 0 within 4 standard errors; that of the biased
    estimate is E k(x, x) - E k(x, y) over 5, here above 0.5."""
    draws = [
        measured(points(KID, subsets=1), normal(10, 4, 2 * i), dataset(normal(10, 4, 2 * i + 1))) for i in range(300)
    ]
    values = torch.tensor([draw["kid"] for draw in draws])
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(300) < 0.5


# ------------------------------------------------------------------ inception score


class Labeller:
    """Says what it is given: an example is its logits."""

    fingerprint = "labeller"

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return pixels, pixels

    def facts(self) -> dict:
        return {}


def score(logits: Tensor, splits: int) -> dict[str, float]:
    metric = InceptionScore(features="classifier", samples=len(logits), splits=splits)
    metric._extractor = Labeller()
    return metric(Drawn(logits), None)


def test_inception_score_of_known_labellers():
    """Sure of classes that are equally many: their number; of always one class, or never sure: 1; sure of classes with
    shares p: exp of their entropy."""
    sure = 100 * torch.eye(7)
    assert score(sure.repeat(30, 1), 1) == {"inception_score": pytest.approx(7), "inception_score_sd": 0}
    assert score(sure[:1].expand(50, -1), 10)["inception_score"] == pytest.approx(1)
    assert score(torch.zeros(50, 7), 10)["inception_score"] == pytest.approx(1)
    shares = torch.tensor([1, 3])
    entropy = math.log(4) - 0.75 * math.log(3)
    assert score(sure[:2].repeat_interleave(shares, dim=0), 1)["inception_score"] == pytest.approx(math.exp(entropy))


# ------------------------------------------------------------------ balls


def test_precision_and_recall_of_known_sets():
    """Two clusters far apart, of which the samples have one, or a third one, or both."""
    left, right, far = normal(100, 2), normal(100, 2, 1) + 50, normal(200, 2, 2) + 1000
    data = dataset(torch.cat([left, right]))
    for samples, precision, recall in (
        (torch.cat([left, right]), 1, 1), (left.repeat(2, 1), 1, 0.5),
        (far, 0, 0), (torch.cat([left, far[:100]]), 0.5, 0.5),
    ):  # fmt: skip
        assert measured(points(Precision), samples, data) == {"precision": pytest.approx(precision)}
        assert measured(points(Recall), samples, data) == {"recall": pytest.approx(recall)}


def test_density_and_coverage_by_hand():
    """Examples 0, 1, ..., 9 have balls of radius 1, those at the ends 2 for the second neighbour... so k = 1: all 1.
    A sample at 0.5 lies within the balls of 0 and 1, one at 20 in none.
    """
    reals = torch.arange(10.0)[:, None]
    assert density_coverage(torch.full((8, 1), 0.5), reals, 1, print) == (2, 0.2)
    assert density_coverage(torch.tensor([[0.5], [20.0]]), reals, 1, print) == (1, 0.2)


def test_density_and_coverage_against_scikit_learn():
    reals, fakes = normal(300, 8), 0.8 * normal(200, 8, 1) + 0.5
    radius = np.sort(pairwise_distances(reals.double()), axis=1)[:, 5]
    within = pairwise_distances(reals.double(), fakes.double()) < radius[:, None]
    found = density_coverage(fakes, reals, 5, print)
    assert found == (pytest.approx(within.sum() / (5 * 200)), pytest.approx(within.any(axis=1).mean()))
    assert 0.2 < found[1] < 0.98


def test_density_and_coverage_of_the_data_and_of_a_collapsed_generator():
    """Of the data's own distribution: 1, and 1 - (M - 1)...(M - k) / ((2 M - 1)...(2 M - k)) (Naeem et al. 2020, lemma
    2); one example again and again lies in 5 balls on average, and covers a share of 5 / M of the data.
    """
    data = dataset(normal(1000, 3))
    fair, one = normal(1000, 3, 1), data.load().pixels[:1].expand(1000, -1)
    expected = 1 - math.prod((1000 - i) / (2000 - i) for i in range(1, 6))
    assert measured(points(Density), fair, data)["density"] == pytest.approx(1, abs=0.1)
    assert measured(points(Coverage), fair, data)["coverage"] == pytest.approx(expected, abs=0.03)
    assert measured(points(Coverage), one, data)["coverage"] < 0.015


# ------------------------------------------------------------------ on images


@pytest.mark.parametrize("features", ["pixels", "classifier"])
def test_real_test_digits_are_the_floor(features):
    """Held-out digits are as near to the training digits as samples can come; blurred, noisy and few ones are not."""
    digits = Digits()
    test = to_float(digits.load("test").pixels)
    noisy = test + 0.6 * torch.randn(test.shape, generator=torch.Generator().manual_seed(0))
    zeros = test[digits.load("test").labels == 0].repeat(10, 1, 1, 1)
    for metric in ALL:
        floor, worse, few = (measured(metric(features=features), x, digits)[metric.name] for x in (test, noisy, zeros))
        if metric.name in ("fid", "kid"):
            assert floor < worse and floor < few and (metric.name == "fid" or abs(floor) < 0.05 * min(worse, few))
        elif metric.name in ("precision", "density"):
            assert floor > 0.8 and worse < floor
        else:
            assert floor > 0.8 and few < 0.3
    if features == "classifier":
        metric = InceptionScore(features=features, splits=1)
        many, one = (measured(metric, x, digits)["inception_score"] for x in (test, zeros))
        assert 9 < many <= 10 and one < 1.1


def test_samples_are_seen_as_a_png_file_keeps_them():
    """A third of a grey level more or less, and what lies outside [-1, 1], makes no difference."""
    digits = Digits()
    test = to_float(digits.load("test").pixels)
    other = torch.where(test > 0.99, test + 3, test + 0.6 / 255)
    first, second = (measured(points(FID), x, digits)["fid"] for x in (test, other))
    assert first == second


def test_stacked_digits_are_seen_digit_by_digit():
    """A number's chance is the product of its digits' chances, red first."""
    digits = Digits()
    test = digits.load("test")
    pick = torch.randint(180, (50, 3), generator=torch.Generator().manual_seed(0))
    stacked = SimpleNamespace(shape=(3, 8, 8), names=tuple(map(str, range(1000))), digits=digits)
    extractor = choose("classifier", "fid", stacked, None, 0.9, None)
    features, logits = extractor(test.pixels[pick].squeeze(2))
    one_features, one_logits = Classifier(digits)(test.pixels)
    assert torch.equal(features[0], one_features[pick[0]].flatten())
    chance, (a, b, c) = logits.softmax(dim=1), one_logits.softmax(dim=1)[pick[0]]
    assert chance.shape == (50, 1000) and float(chance[0, 123]) == pytest.approx(float(a[1] * b[2] * c[3]), rel=1e-4)
    numbers = test.labels[pick] @ torch.tensor([100, 10, 1])
    assert float((logits.argmax(dim=1) == numbers).double().mean()) > 0.9


# ------------------------------------------------------------------ one pass, and what is kept


class Counting(Pixels):
    """Not told apart from others by its class, so that its features are kept."""

    fingerprint = "counting"

    def __init__(self):
        self.seen = 0

    def __call__(self, pixels: Tensor) -> tuple[Tensor, None]:
        self.seen += len(pixels)
        return pixels.float().flatten(1), None


@pytest.fixture
def counting(tmp_path, monkeypatch) -> Counting:
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path))
    monkeypatch.setattr(sets, "Pixels", type(None))
    return Counting()


def test_metrics_share_the_features_of_samples_and_runs_those_of_the_data(counting):
    data, samples = dataset(normal(900, 2), normal(50, 2, 3)), normal(700, 2, 1)
    trained = Drawn(samples)
    metrics = [metric(features="pixels", samples=700, reference=800) for metric in ALL]
    for metric in metrics:
        metric.check(data, None)
        metric._extractor = counting
        metric(trained, data)
    assert counting.seen == 700 + 800 + 700  # samples; moments; vectors, of no more than there are samples
    trained = Drawn(samples)
    for metric in metrics:
        metric(trained, data)
    assert counting.seen == 2200 + 700  # a later evaluation: samples only
    reference = Reference(dataset(normal(901, 2)), "train", 800, counting, trained)
    reference.moments()
    assert counting.seen == 2900 + 800  # other data
    Reference(data, "test", 800, counting, trained).moments()
    assert counting.seen == 3700 + 50  # another split


def test_kept_features_are_those_that_were_extracted(counting):
    data = dataset(normal(900, 2))
    first, again = (Reference(data, "train", 800, counting, Drawn(normal(1, 2))) for _ in range(2))
    rows = {tuple(row) for row in data.load().pixels.tolist()}
    assert len({tuple(row) for row in first.vectors(800).tolist()} & rows) == 800
    assert torch.equal(first.vectors(300), again.vectors(300)) and len(first.vectors(300)) == 300
    assert all(map(torch.equal, first.moments(), again.moments()))
    assert counting.seen == 800 + 300 + 800


def test_progress_and_pieces(counting):
    """What is under way is told piece by piece; no piece has more than 500 examples."""
    trained = Drawn(normal(600, 2))
    sets.of_samples(trained, counting, 600)
    Reference(dataset(normal(1200, 2)), "train", 1100, counting, trained).moments()
    assert trained.told[:3] == [("features of samples", n, 600) for n in (256, 512, 600)]
    assert trained.told[3:] == [("features of the data", n, 1100) for n in (500, 1000, 1100)]


# ------------------------------------------------------------------ as a user has them


def test_a_run_has_all_of_them_and_what_they_depend_on(gantool: Gantool):
    names = [metric.name for metric in ALL] + ["inception_score"]
    run = ("train", "steps=2", "logger=[]", "hydra.run.dir=run", f"metric=[{','.join(names)}]", "features=classifier")
    done = gantool(*run, *(f"metric.{name}.samples=300" for name in names))
    assert done.code == 0, done.err
    row = json.loads(Path("run/metrics.jsonl").read_text("utf-8").splitlines()[-1])
    assert row["fid"] > 10 and row["kid"] > 1 and row["precision"] == row["coverage"] == 0
    facts = row["measured"]["metrics"]
    for name in names:
        assert facts[name]["samples"] == 300 and facts[name]["features"] == "classifier"
        assert facts[name]["fingerprint"] == facts["fid"]["fingerprint"] and facts[name]["judge_accuracy"] > 0.98
    assert [facts[name].get("reference_size") for name in names] == [1617, 300, 300, 300, 300, 300, None]
    assert facts["kid"]["subset_size"] == 300 and facts["density"]["neighbours"] == 5


def test_what_cannot_be_measured_is_refused():
    data, digits = dataset(normal(3, 2)), Digits()
    assert "features=pixels" in refusal(FID().check, data, None)
    assert "dataset with classes" in refusal(FID(features="classifier").check, data, None)
    assert "metric.kid.subset_size needs 2 samples" in refusal(points(KID, subset_size=1).check, data, None)
    points(KID, subset_size=2).check(data, None)
    assert "needs 4 samples" in refusal(points(Precision).check, data, None)
    assert "needs 10 samples" in refusal(InceptionScore(features="classifier", samples=9).check, digits, None)
    assert "has no classes" in refusal(points(InceptionScore).check, digits, None)
