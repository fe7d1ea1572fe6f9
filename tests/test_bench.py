"""What `gantool bench` measures, by clocks set by hand; and that the loops it compares with play the same game."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from cli_helpers import Gantool as Command
from cli_helpers import gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.baselines import dcgan, mlp
from gantool.baselines.pictures import Pictures
from gantool.commands import against, bench
from gantool.commands.subject import Gantool
from gantool.config.build import Builder
from gantool.config.schema import Bench
from gantool.config.signature import check_root
from gantool.errors import RunError
from gantool.game.hooks import Trick
from gantool.game.updates import Alternating, Simultaneous
from gantool.measure import parts
from gantool.measure.kinds import rounds_of
from gantool.measure.machine import peak_flops
from gantool.measure.process import Process
from gantool.measure.report import Report
from gantool.measure.windows import Spread, Window, ratios, spread, take_turns
from gantool.runs import growth
from gantool.runs.folder import find, runs_below
from gantool.runs.sweep import Figure, Setting
from gantool.tricks.gradient_penalty import GradientPenalty
from toys import Fixed, bilinear, plain, players, refusal, weights

# Windows in turns


class Machine:
    """Its clock goes on while a contender works; nobody else may work then."""

    def __init__(self):
        self.log: list[str] = []

    def contender(self, name: str, speeds: list[float]) -> Any:
        left = list(speeds)

        def window(seconds: float) -> Window:
            self.log.append(name)
            return Window(round(left.pop(0) * seconds), seconds)

        return SimpleNamespace(window=window)


def test_contenders_take_turns_and_the_first_changes():
    machine = Machine()
    pair = [machine.contender("a", [10, 5, 10]), machine.contender("b", [2, 1, 4])]
    told: list[int] = []
    ours, theirs = take_turns(pair, rounds=3, seconds=2.0, told=told.append)
    assert machine.log == ["a", "b", "b", "a", "a", "b"] and told == [1, 2, 3]
    assert [window.steps for window in ours] == [20, 10, 20]
    assert ratios(ours, theirs) == [5.0, 5.0, 2.5]  # a round in which the machine was slow for both changes nothing


def test_spread_is_median_and_quartiles():
    """Of 1 to 5: the quartiles of the inclusive method lie at 1 + 4/4 and 1 + 3 * 4/4."""
    assert spread([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(2.0, 3.0, 4.0)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0)


TOY = """
import sys
from gantool.errors import UsageError
from gantool.measure.process import serve
class Toy:
    def __init__(self, speed): self.speed = speed; print("noise of a library")
    def window(self, seconds): return self.speed * seconds, seconds
    def refuse(self): raise UsageError("take another")
    def die(self): sys.exit(3)
serve(Toy)
"""


def test_a_process_answers_is_refused_and_dies_in_words(tmp_path: Path):
    (tmp_path / "toy.py").write_text(TOY, "utf-8")
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    with Process("toy", 3, os.environ | {"PYTHONPATH": paths}) as toy:
        assert toy.answer() == "ready"
        assert toy.window(4.0) == Window(12, 4.0)
        assert refusal(toy.ask, "refuse") == "take another"
        with pytest.raises(RunError, match=r"toy has died \(exit code 3\)"):
            toy.ask("die")


# Parts of a step


class Clock:
    """Shows what calls are said to take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 0.0
        monkeypatch.setattr(parts.time, "perf_counter", lambda: self.now)

    def slow(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, seconds: Callable[..., float]) -> None:
        call = getattr(owner, name)

        def slowed(*args: Any, **kwargs: Any) -> Any:
            self.now += seconds(*args)
            return call(*args, **kwargs)

        monkeypatch.setitem(vars(owner), name, slowed)


class Lazy(Trick):
    """A penalty in every second round, of a weight of its own so that a loss tells whether it is part of it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.ones((), requires_grad=True)

    def begin(self, step: int) -> bool:
        self.due = step % 2 == 0
        return self.due

    def d_penalty(self, turn, on_real, on_fake) -> Tensor | None:
        return self.weight * 1.0 if self.due else None


def test_parts_of_a_step_are_what_the_calls_in_them_take(monkeypatch: pytest.MonkeyPatch):
    """In each step: 2 batches of latents at 1 s and one of reals at 2; backward 8 of D, 16 of G, 32 more where the
    penalty, itself 4, is due, which is every second round; optimisers 64 each; 128 in a trick after the round."""
    trick = Lazy()
    game = bilinear(1.0, 1.0, {"lazy": trick})
    d, g = players(game, 0.1)
    clock = Clock(monkeypatch)
    with monkeypatch.context() as patch:
        patched = [
            (game.source, "latents", lambda: 1.0),
            (game.source, "reals", lambda: 2.0),
            (d, "grads", lambda loss: 8.0 + 32.0 * bool(depends(loss, trick.weight))),
            (g, "grads", lambda loss: 16.0),
            (trick, "d_penalty", lambda *turn: 4.0 * trick.due),
            (d, "apply", lambda grads, optimistic: 64.0),
            (g, "apply", lambda grads, optimistic: 64.0),
            (trick, "after_round", lambda nets: 128.0),
        ]
        for owner, name, seconds in patched:
            clock.slow(patch, owner, name, seconds)
        steps = lambda: Alternating()(game, d, g)  # noqa: E731
        measured = parts.measure(game, (d, g), lambda: None, steps, torch.device("cpu"), seconds=0.0)
    assert measured == {
        "data": 4.0, "D": 8.0, "G": 16.0, "penalties": 0.5 * (4 + 32), "optimiser": 128.0, "tricks": 128.0, "rest": 0.0
    }  # fmt: skip
    assert "reals" not in vars(game.source) and "grads" not in vars(d)


def depends(loss: Tensor, weight: Tensor) -> bool:
    return torch.autograd.grad(loss, weight, retain_graph=True, allow_unused=True)[0] is not None


def test_rounds_are_counted_by_kind():
    game = bilinear(1.0, 1.0, {"lazy": Lazy()})
    assert rounds_of(game) == {0: 0.5, 1: 0.5}
    assert rounds_of(bilinear(1.0, 1.0)) == {0: 1.0}
    for every in (10, 100):
        shares = rounds_of(bilinear(1.0, 1.0, {"penalty": GradientPenalty(every=every)}))
        assert shares[0] == pytest.approx(1 / every, rel=0.03)


# Operations, memory, peak

TINY = (
    "dataset=shapes", "dataset.size=16", "dataset.resolution=8", "batch_size=4", "device=cpu", "precision=fp32",
    "architecture=mlp", "architecture.latent_dim=5",
    "architecture.generator.hidden=[6]", "architecture.discriminator.hidden=[7]", "logger=[]",
)  # fmt: skip


def subject(compose: Callable, *overrides: str) -> Gantool:
    return Gantool(plain(compose(*TINY, *overrides)))


def test_operations_are_those_of_the_products_and_none_is_wasted(compose):
    """A product of (N, a) and (a, b) takes 2 N a b; its backward as many for the weights and as many for the input.

    D's turn: G forward; D forward and backward on reals and on fakes, but for the gradient of the images.
    G's turn: G and D forward; D's gradient of its input, not of its weights; all of G, but for that of the latents.
    """
    n, pixels = 4, 3 * 8 * 8
    g_first, g_last, d_first, d_last = (2 * n * a * b for a, b in ((5, 6), (6, pixels), (pixels, 7), (7, 1)))
    g, d = g_first + g_last, d_first + d_last
    d_turn = g + 2 * (d + d + d_last)
    g_turn = g + d + d + g + g_last
    assert subject(compose).flops() == d_turn + g_turn


def test_operations_of_a_penalty_count_both_backward_passes_and_how_often_it_is_due(compose):
    """R1 of D, in its first layer: a product forward, one for the slope, two to differentiate that, and one of zeros
    (through the slope of a leaky ReLU, which does not change); without the second backward they would be two."""

    def penalised(every: int) -> float:
        return subject(compose, "trick=[gradient_penalty]", "trick.gradient_penalty.kind=r1",
                       f"trick.gradient_penalty.every={every}").flops()  # fmt: skip

    plain_step, always = subject(compose).flops(), penalised(1)
    product = 2 * 4 * (3 * 8 * 8) * 7
    assert 4 * product <= always - plain_step < 6 * product
    assert penalised(4) == plain_step + (always - plain_step) / 4


def test_a_subject_steps_and_says_what_it_is(compose, monkeypatch):
    monkeypatch.setattr("gantool.commands.subject.PART_SECONDS", 0.0)
    tiny = subject(compose, "metric=[]")
    steps, seconds = tiny.window(1e-3)
    assert steps >= 1 and seconds >= 1e-3
    assert tiny.clock.step == steps
    assert tiny.window(0.0)[0] == 0
    facts = tiny.facts()
    assert facts["parameters"] == {"generator": 5 * 6 + 6 + 6 * 192 + 192, "discriminator": 192 * 7 + 7 + 7 + 1}
    assert (facts["images_per_step"], facts["batch_size"], facts["precision"]) == (4, 4, "fp32")
    assert facts["budget"] == tiny.parts.config["steps"]
    assert sum(tiny.shares().values()) == pytest.approx(1.0)
    assert tiny.evaluation() is None
    json.dumps(facts)


def test_peak_is_the_best_of_several_products(monkeypatch: pytest.MonkeyPatch):
    """2 * 2048^3 operations in 0.5 s, once; the others take 2 s."""
    times = iter([0.0, 10.0, 12.0, 30.0, 30.5, 50.0, 52.0, 99.0])
    monkeypatch.setattr("gantool.measure.machine.time", SimpleNamespace(perf_counter=lambda: next(times)))
    monkeypatch.setattr(torch, "mm", lambda a, b: None)
    monkeypatch.setattr(torch, "randn", lambda *size, **kind: None)
    assert peak_flops(torch.device("cpu"), "fp32") == 2 * 2048**3 / 0.5


# The loops of the tutorials

LOOPS = {"mlp": (mlp, 28, 1), "dcgan": (dcgan, 64, 3)}


def experiment(compose: Callable, name: str, *overrides: str) -> dict[str, Any]:
    channels, size = LOOPS[name][2], LOOPS[name][1]
    data = ("dataset=shapes", f"dataset.resolution={size}", f"dataset.channels={channels}", "dataset.size=6")
    return plain(compose(f"experiment=bench_{name}", *data, "batch_size=6", "device=cpu", *overrides))


def networks(name: str) -> tuple[nn.Module, nn.Module]:
    module, size, channels = LOOPS[name]
    sizes = {"mlp": (channels, size), "dcgan": (channels,)}[name]
    return module.Generator(100, *sizes), module.Discriminator(*sizes)


def copied(weights: list[Tensor], net: nn.Module) -> None:
    """gantool's weights in a loop's network. Its first layer is linear where DCGAN's is a transposed convolution."""
    for theirs, ours in zip(net.parameters(), weights, strict=True):
        linear = theirs.dim() == 4 and ours.dim() == 2
        same = (ours if len(ours) == 1 else ours.T).reshape(theirs.shape) if linear else ours
        theirs.data.copy_(same)


class Given(Fixed):
    """The same reals and latents at every draw."""

    def __init__(self, real: Tensor, latent: Tensor):
        super().__init__(real, latent.shape[1])
        self.latent = latent

    def latents(self) -> tuple[Tensor, Tensor]:
        return self.latent, torch.full((len(self.latent),), -1)


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_has_our_networks_losses_and_gradients(name, compose, monkeypatch):
    """One step by plain gradients from the same weights, on the same images and latents, ends at the same weights.

    The DCGAN loop moves D, then G against it, as `alternating`; that of PyTorch-GAN moves both from where they were
    (G first, but D sees the old fakes), as `simultaneous`, and halves D's loss.
    """
    torch.manual_seed(0)
    module, size, channels = LOOPS[name]
    config = experiment(compose, name)
    builder = Builder((), 100)
    images = builder.make("dataset", config["dataset"]).load()
    latent = torch.randn(6, 100)
    source = Given(images.pixels.float() / 127.5 - 1, latent)
    source.labels = source.known = torch.empty(0)
    game = builder.game(config, images.shape, 0, source)
    ours = [game.nets["generator"], game.nets["discriminator"]]
    theirs = networks(name)
    for our, their in zip(ours, theirs, strict=True):
        assert sum(w.numel() for w in our.parameters()) == sum(w.numel() for w in their.parameters())
        copied(list(our.parameters()), their)
    began = [weights(net) for net in theirs]

    monkeypatch.setattr(module, "Generator", lambda *sizes: theirs[0])
    monkeypatch.setattr(module, "Discriminator", lambda *sizes: theirs[1])
    monkeypatch.setattr(module, "weights_init", lambda layer: None, raising=False)
    monkeypatch.setattr(torch, "randn", lambda *sizes, device: latent.view(sizes))
    monkeypatch.setattr(torch.optim, "Adam", lambda weights, lr, betas: torch.optim.SGD(weights, lr=lr))
    dataset = against.pictures(config["dataset"], builder.make("dataset", config["dataset"]))
    fast = {} if name == "mlp" else {"workers": 0}
    d_loss, g_loss = next(module.train(dataset, channels, size, batch_size=6, lr=0.01, **fast))

    half = name == "mlp"
    update = Simultaneous() if half else Alternating()
    d, _ = players(game, 0.005 if half else 0.01)
    _, g = players(game, 0.01)
    stats = update(game, d, g)
    assert float(stats["g_loss"]) == pytest.approx(g_loss, rel=1e-3)
    assert float(stats["d_loss"]) * (0.5 if half else 1.0) == pytest.approx(d_loss, rel=1e-4)
    for our, their, shape, before in zip(ours, theirs, networks(name), began, strict=True):
        copied(list(our.parameters()), shape)
        for mine, other, start in zip(shape.parameters(), their.parameters(), before, strict=True):
            moved = other.detach() - start
            assert (mine.detach() - start - moved).norm() <= 1e-2 * moved.norm() + 1e-6


def test_a_loop_is_found_by_its_networks_and_told_our_settings(compose):
    assert [against.loop_of(experiment(compose, name)) for name in LOOPS] == ["mlp", "dcgan"]
    given = against.settings(
        experiment(compose, "dcgan", "optimizer.generator.lr=0.1", "optimizer.generator.betas=[0,0.9]")
    )
    assert given.pop("pictures")
    assert given == {"channels": 3, "image_size": 64, "latent_dim": 100, "batch_size": 6, "lr": 0.1, "betas": (0, 0.9),
                     "device": "cpu"}  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["architecture.generator.leak=0.1"], "architecture is another"),
        (["objective=hinge"], "objective is another"),
        (["trick=[ema]"], "trick is another"),
        (["update.discriminator_steps=2"], "update is another"),
        (["optimizer=rmsprop"], "optimizer is not plain Adam"),
        (["optimizer.generator.lr=0.1"], "optimizer is not plain Adam"),
        (["dataset.resolution=32"], "of 64 pixels"),
    ],
)
def test_another_game_has_no_loop(compose, overrides, reason):
    assert reason in refusal(against.loop_of, experiment(compose, "dcgan", *overrides))


def test_a_loop_mirrors_no_image(compose):
    assert "mirrors no image" in refusal(against.loop_of, plain(compose("experiment=bench_dcgan", "dataset.flip=true")))


def test_pictures_come_as_torchvision_gives_them():
    """uint8 (M, C, H, W) -> PIL images of the same pixels, grey as L and colour as RGB."""
    pixels = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    image, label = Pictures(pixels, torch.tensor([3, 4]), lambda picture: picture)[1]
    assert (image.mode, image.size, label) == ("RGB", (5, 4), 4)
    assert image.getpixel((2, 1)) == tuple(pixels[1, :, 1, 2].tolist())
    grey, _ = Pictures(pixels[:, :1], torch.tensor([3, 4]), lambda picture: picture)[0]
    assert (grey.mode, grey.getpixel((4, 3))) == ("L", int(pixels[0, 0, 3, 4]))


# The command


def report(images: float = 640.0, **more: Any) -> Report:
    facts = {
        "device": "cpu", "cpu": "a processor", "threads": 2, "precision": "bf16", "way": "eager", "batch_size": 64,
        "parameters": {"generator": 5, "discriminator": 1234}, "peak_memory": 3 * 2**20, "torch": "2.9",
    }  # fmt: skip
    rate = Spread(images / 2, images, 2 * images)
    shares = {name: 0.25 if name in "DG" else 0.0 for name in parts.PARTS} | {"data": 0.5}
    return Report("gantool bench", facts, rate, Spread(0.1, 0.2, 0.4), shares, 4e9, 1e11, **more)


def test_a_report_says_what_it_knows():
    """4 GFLOP in 0.2 s are 20 GFLOP/s, a fifth of 100; 20,000 times 0.2 s are 4000 s."""
    text = report(
        startup={"gantool sample": 1.5}, evaluation=2.0,
        loop={"name": "mlp", "images_per_second": Spread(1, 2, 3), "ratio": Spread(2, 2.5, 3)},
    ).markdown()  # fmt: skip
    for line in (
        "| images/s | 640 (320 to 1,280) |", "| step | 200 (100 to 400) ms |", "| data | 100 ms, 50% |",
        "| share of the peak | 20% | 20 of 100 GFLOP/s", "| peak memory | 3 MiB |", "| gantool sample | 1.50 s |",
        "| parameters | 5 and 1,234 |", "| times as fast | 2.5 (2 to 3) |", "| evaluation | 2.00 s |",
    ):  # fmt: skip
        assert line in text
    slow = report()
    assert " steps | take " not in slow.markdown()
    slow.facts["budget"] = 20_000
    assert "| 20,000 steps | take about 66.7 min |" in slow.markdown()
    assert "penalties" not in text and "times as fast" not in report().markdown()


def test_every_key_of_training_is_a_key_of_bench(compose):
    config = OmegaConf.to_container(compose("experiment=demo", command="bench"), resolve=True)
    check_root(config, Bench)
    assert set(config) - set(bench.OWN) == set(compose("experiment=demo"))
    assert "against must be one of loop or null, got 'lop'" in refusal(check_root, config | {"against": "lop"}, Bench)


def test_a_sweep_of_benches_is_a_table_and_a_picture_and_no_run(gantool: Command, monkeypatch, tmp_path):
    seen: list[Any] = []

    def measured(config: dict[str, Any], command: str, settings: Any) -> Report:
        seen.append((config["batch_size"], settings))
        return report(10.0 * config["batch_size"])

    monkeypatch.setattr(bench, "measured", measured)
    result = gantool("bench", "-m", "batch_size=16,8", "dataset=shapes", "dataset.resolution=8,16", "rounds=1")
    assert result.code == 0, result.err
    assert [size for size, _ in seen] == [16, 16, 8, 8]
    assert seen[0][1] == ["batch_size=16", "dataset=shapes", "dataset.resolution=8"]
    (folder,) = (tmp_path / "outputs" / "bench").iterdir()
    rows = [line.split() for line in result.out.splitlines() if line.startswith("batch_size")]
    assert [(row[0], row[3]) for row in rows] == [
        ("batch_size=8", "80"), ("batch_size=8", "80"), ("batch_size=16", "160"), ("batch_size=16", "160")
    ]  # fmt: skip
    assert (folder / "growth.png").read_bytes().startswith(b"\x89PNG") and str(folder.name) in result.out
    job = folder / "batch_size-16_dataset.resolution-8"
    assert json.loads((job / "bench.json").read_text("utf-8"))["images_per_second"] == {
        "low": 80,
        "median": 160,
        "high": 320,
    }
    assert "| images/s | 160 (80 to 320) |" in (job / "bench.md").read_text("utf-8")
    assert runs_below(tmp_path) == [] and "there are no runs" in refusal(find, "latest")


def test_growth_has_the_most_varied_number_as_its_axis():
    def setting(name: str, value: float) -> Setting:
        return Setting(name, 1, 1, {"images/s": Figure(value, None, 1)})

    settings = [setting(f"batch_size={size} trick=[{trick}]", size) for trick in ("", "ema") for size in (16, 4)]
    axis, lines = growth.grown(settings)
    assert axis == "batch_size"
    assert lines == {f"trick=[{trick}]": [(4, {"images/s": 4}), (16, {"images/s": 16})] for trick in ("", "ema")}
    assert growth.grown([setting("trick=[]", 1), setting("trick=[ema]", 1)]) == ("", {})


STARTS = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[-1].removeprefix("hydra.run.dir="))
folder.mkdir()
signal.signal(signal.SIGTERM, lambda *_: ((folder / "saved").touch(), sys.exit()))
(folder / "metrics.jsonl").write_text("" if "broken" in sys.argv else "{}\\n")
sys.exit("no such thing") if "broken" in sys.argv else time.sleep(60)
"""


def test_the_first_step_is_waited_for_and_the_run_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "python", lambda: [sys.executable, "-c", STARTS])
    run = tmp_path / "run"
    assert 0 < bench.first_step([f"hydra.run.dir={run}"], run) < 60
    assert (run / "saved").exists()
    with pytest.raises(RunError, match="gantool train has ended: no such thing"):
        bench.first_step(["broken", f"hydra.run.dir={tmp_path / 'other'}"], tmp_path / "other")


ASKED = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text("\\n".join(sys.argv[2:]))
if sys.argv[1] == "train":
    folder = pathlib.Path(sys.argv[-1].removeprefix("hydra.run.dir="))
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("{}\\n")
    time.sleep(60)
"""


def test_whom_training_trusts_sampling_trusts(tmp_path, monkeypatch):
    """A run keeps no trust, so `gantool sample` must be told again; other settings are in the run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "python", lambda: [sys.executable, "-c", ASKED])
    assert len(bench.startup(["objective=mine", "trust=[my_gan]", "--config-dir", "my_conf"])) == 2
    train, sample = (Path(name).read_text("utf-8").splitlines() for name in ("train", "sample"))
    assert train[:4] == ["objective=mine", "trust=[my_gan]", "--config-dir", "my_conf"]
    assert [key.partition("=")[0] for key in sample] == ["trust", "run", "out"] and sample[0] == "trust=[my_gan]"


def test_sigterm_ends_it_with_one_line(tmp_path):
    command = [sys.executable, "-m", "gantool", "bench", "dataset=ring", "rounds=30", "seconds=1", "startup=false"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as bench:
        children = Path(f"/proc/{bench.pid}/task/{bench.pid}/children")
        for _ in range(600):  # until the process that is measured has begun
            if not children.exists() or children.read_text():
                break
            assert bench.poll() is None
            time.sleep(0.1)
        time.sleep(1 if children.exists() else 10)
        bench.terminate()
        out, err = bench.communicate(timeout=60)
    assert (bench.returncode, out, err) == (143, "", "gantool bench: stopped by SIGTERM\n")


def test_a_process_whose_asker_is_gone_ends_quietly():
    code = "from gantool.measure.process import serve; serve(lambda task: None)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=-1, text=True) as child:
        child.stdout.close()
        _, err = child.communicate('"task"\n', timeout=60)
    assert err == ""
