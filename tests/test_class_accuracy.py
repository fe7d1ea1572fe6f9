"""Classes that a judge reads off samples, on generators whose answer is known."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.datasets.digits import Digits
from gantool.engine.deploy import Deployed
from gantool.game.images import to_float
from gantool.game.types import Images
from gantool.metrics.class_accuracy import ClassAccuracy, ClassesDrawn
from gantool.priors.normal import Normal
from toys import refusal

DIGITS = Digits()
TEST = DIGITS.load("test")  # 18 of each class


def examples(*classes: int) -> Tensor:
    """All test examples of the classes, in their order."""
    return torch.cat([to_float(TEST.pixels[TEST.labels == label]) for label in classes])


@pytest.fixture(scope="module")
def accuracy() -> ClassAccuracy:
    metric = ClassAccuracy(conditional=True, samples=18)
    metric.check(DIGITS, None)
    return metric


@pytest.fixture(scope="module")
def drawn() -> ClassesDrawn:
    metric = ClassesDrawn(samples=180)
    metric.check(DIGITS, None)
    return metric


def asked(metric: ClassAccuracy, drawn_for: dict[int, int]) -> dict[str, float]:
    """Measured on a generator that draws real test examples, of class drawn_for[c] when asked for c."""
    return metric(SimpleNamespace(fakes=lambda n, label: examples(drawn_for[label])[:n]), DIGITS)


def test_real_examples_are_as_right_as_the_judge(accuracy):
    """Classes are equally large in the test split, so the mean over classes is the judge's accuracy."""
    found = asked(accuracy, {c: c for c in range(10)})
    assert found["class_accuracy"] == pytest.approx(accuracy.judge.accuracy, abs=1e-12)
    assert 0.9 <= found["class_accuracy_worst"] <= accuracy.judge.accuracy
    assert accuracy.judge.accuracy > 0.97


def test_a_constant_generator_is_right_for_one_class_in_ten(accuracy):
    found = accuracy(SimpleNamespace(fakes=lambda n, label: examples(0)[:1].expand(n, -1, -1, -1)), DIGITS)
    assert (found["class_accuracy"], found["class_accuracy_worst"]) == (pytest.approx(0.1), 0)


def test_swapped_classes_are_wrong(accuracy):
    """0 and 1 swapped, which the judge never confuses: each of the two counts 0, the mean loses their two tenths."""
    right = asked(accuracy, {c: c for c in range(10)})["class_accuracy"]
    found = asked(accuracy, {c: c for c in range(10)} | {0: 1, 1: 0})
    assert found["class_accuracy"] == pytest.approx(right - 0.2, abs=0.01)
    assert found["class_accuracy_worst"] == 0


def test_every_class_is_drawn_equally_often(accuracy):
    calls: list[tuple[int, int]] = []
    accuracy(SimpleNamespace(fakes=lambda n, label: calls.append((n, label)) or examples(0)[:n]), DIGITS)
    assert calls == [(18, label) for label in range(10)]


@pytest.mark.parametrize("classes, nats", [((0,), math.log(10)), ((0, 1), math.log(5))])
def test_kl_of_missed_classes(drawn, classes, nats):
    """Classes as often as each other, of 10 in the data: log(10 / number drawn); here the judge errs nowhere."""
    found = drawn(SimpleNamespace(fakes=lambda n: examples(*classes)), DIGITS)
    assert found["class_kl"] == pytest.approx(nats, abs=0.02)  # the training split is balanced within 2 %


def test_kl_of_real_examples_is_small(drawn):
    found = drawn(SimpleNamespace(fakes=lambda n: examples(*range(10))), DIGITS)
    assert 0 <= found["class_kl"] < 0.005
    assert drawn.facts()["judge_accuracy"] > 0.97


def test_kl_by_hand():
    """Two classes, well apart, 3 : 1 in the data and 1 : 1 in the samples: log 2 - (log 3) / 2, minus 0 = 0.1438."""
    pixels = torch.tensor([0.0, 0.1, 0.2, 5.0]).repeat(25)[:, None]
    data = Images(pixels, (pixels[:, 0] > 1).long(), ("low", "high"))
    dataset = SimpleNamespace(names=data.names, flip=False, load=lambda split: data)
    metric = ClassesDrawn(samples=2)
    metric.check(dataset, None)
    found = metric(SimpleNamespace(fakes=lambda n: torch.tensor([[0.0], [5.0]])), dataset)
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert found["class_kl"] == pytest.approx(expected, abs=1e-12)


def test_examples_without_a_label_teach_the_judge_nothing():
    pixels = torch.tensor([0.0, 5.0, 5.0, 0.0]).repeat(50)[:, None]
    labels = torch.tensor([0, 1, -1, -1]).repeat(50)
    dataset = SimpleNamespace(names=("a", "b"), flip=False, load=lambda split: Images(pixels, labels, ("a", "b")))
    metric = ClassAccuracy(conditional=True)
    metric.check(dataset, None)
    assert metric.judge.accuracy == 1
    assert metric.judge.examples == 100


@pytest.mark.parametrize("metric", [ClassAccuracy(conditional=True), ClassesDrawn()], ids=lambda m: m.name)
def test_a_judge_that_cannot_tell_the_classes_is_refused(metric):
    """Labels that have nothing to do with the examples: right by chance, one in two."""
    generator = torch.Generator().manual_seed(0)
    data = Images(
        torch.randn(400, 2, generator=generator), torch.randint(2, (400,), generator=generator), ("heads", "tails")
    )
    other = data._replace(labels=torch.randint(2, (400,), generator=generator))
    dataset = SimpleNamespace(names=data.names, flip=False, load=lambda split: data if split == "train" else other)
    said = refusal(metric.check, dataset, None)
    assert f"metric.{metric.name}.floor=0.9" in said and "drop the metric" in said
    assert 0.4 < float(re.search(r"a share of ([\d.]+) of", said)[1]) < 0.6


def test_runs_that_cannot_be_measured_are_refused():
    assert "architecture.class_conditional=true" in refusal(ClassAccuracy(conditional=False).check, DIGITS, None)
    assert "drop it" in refusal(ClassesDrawn().check, SimpleNamespace(names=()), None)


def test_a_deployed_generator_draws_the_class_it_is_asked_for():
    """G(z, c) = c: with a label all of it, without one the frequencies of the data, 1 : 3."""

    class Echo(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, latent: Tensor, label: Tensor) -> Tensor:
            return self.scale * label[:, None]

    echo, objective = Echo(), SimpleNamespace(latent=lambda z: z, codes=())
    game = SimpleNamespace(deployed=echo, nets={"generator": echo}, objective=objective)
    trained = Deployed(game, Normal(), 3, class_counts=[100, 300]).seeded(0)
    assert set(trained.fakes(50, 1)[:, 0].tolist()) == {1}
    assert float(trained.fakes(4000).mean()) == pytest.approx(0.75, abs=0.03)


def test_a_run_writes_the_columns(gantool: Gantool):
    """A run that is told the class has both metrics; one that is not has no use for class_accuracy, and is refused."""
    short = ("train", "steps=2", "logger=[]", "hydra.run.dir=run", "batch_size=8")
    metrics = ("metric=[class_accuracy,classes_drawn]", "metric.class_accuracy.samples=5")
    refused = gantool(*short, *metrics)
    assert refused.code == 2 and "architecture.class_conditional=true" in refused.err and not Path("run").exists()
    done = gantool(*short, *metrics, "architecture.class_conditional=true")
    assert done.code == 0, done.err
    row = json.loads(Path("run/metrics.jsonl").read_text("utf-8").splitlines()[-1])
    assert {"class_accuracy", "class_accuracy_worst", "class_kl"} <= set(row)
    assert row["class_accuracy"] < 0.5  # nothing has been learnt
