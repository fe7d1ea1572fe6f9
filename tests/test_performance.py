"""What the page of figures says of given measurements, and where it is put."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gantool.commands import bench, costs, performance
from gantool.commands.planning import plan_of
from gantool.config.compose import composed
from gantool.engine import allocator
from gantool.errors import RunError
from gantool.measure.blank import Blank
from gantool.measure.report import Report
from gantool.measure.windows import Spread, Window

FACTS = {
    "device": "cpu", "cpu": "a processor", "threads": 2, "precision": "bf16", "way": "eager", "batch_size": 64,
    "parameters": {"generator": 5, "discriminator": 1234}, "peak_memory": 3 * 2**20, "torch": "2.9",
}  # fmt: skip
OPTIONS = performance.Options(rounds=3, seconds=2.0, images=None)
TINY = (
    "dataset=shapes", "dataset.size=8", "dataset.resolution=8", "batch_size=2", "device=cpu", "precision=fp32",
    "architecture=dcgan", "architecture.generator.features=2", "architecture.discriminator.features=2", "logger=[]",
)  # fmt: skip

# Sections


def section(name: str, device: str = "cpu") -> str:
    return "\n".join(performance.SECTIONS[name](OPTIONS._replace(device=device)))


def test_a_section_is_put_in_its_own_place():
    new = "## Costs\n\nnew\n"
    assert performance.placed("# Performance\n", new) == f"# Performance\n\n{new}"
    page = "# Performance\n\n## Costs\n\nold\nolder\n\n## Costs of others\n\nstays\n"
    assert performance.placed(page, new) == f"# Performance\n\n{new}\n## Costs of others\n\nstays\n"
    assert performance.placed(performance.placed(page, new), new) == performance.placed(page, new)


def test_each_loop_has_a_row_and_a_gpu_two_more_and_one_for_its_peak(monkeypatch: pytest.MonkeyPatch):
    """8 GFLOP in 0.2 s are 40 GFLOP/s, two fifths of 100."""
    asked: list[dict[str, Any]] = []

    def measured(config: dict[str, Any], command: str, settings: None) -> Report:
        asked.append(config)
        loop = {"name": "x", "images_per_second": Spread(10, 20, 30), "ratio": Spread(2, 2.5, 3)}
        facts = FACTS | {"device": config["device"]}
        rate, step = Spread(40, 50, 60), Spread(0.1, 0.2, 0.4)
        return Report(command, facts, rate, step, {}, 8e9, 1e11, loop=loop if config["against"] else None)

    monkeypatch.setattr(bench, "measured", measured)
    monkeypatch.setenv("GANTOOL_DATA", "/nowhere")
    lines = [line for device in ("cpu", "cuda") for line in section("loops", device).splitlines()]
    table = [line.split(" | ") for line in lines if line.startswith("| `experiment")]
    mlp, compiled, dcgan, gpu_mlp, gpu_compiled, gpu_dcgan, _, peak = table
    assert mlp[0].endswith("bench_mlp dataset=shapes dataset.resolution=28 dataset.channels=1 device=cpu against=loop`")
    assert mlp[2:5] == ["20 (10 to 30)", "50 (40 to 60)", "2.5 (2 to 3)"]
    assert compiled[0].endswith("against=loop compile=step`") and compiled[5] == "5"
    assert [line[5] for line in (mlp, dcgan, gpu_compiled, gpu_dcgan, peak)] == [
        "5",
        "2.5",
        "50",
        "10",
        "40% of the peak",
    ]
    assert peak[6] == "40% |" and peak[2] == "" and asked[7]["batch_size"] == 1024
    assert gpu_mlp[5] == "50" and section("loops", "cuda").startswith(
        "## Against the loops of the tutorials, on a GPU\n"
    )
    assert [(each["rounds"], each["seconds"]) for each in asked[:8]] == [(3, each) for each in (2, 2, 6, *[2] * 5)]
    assert [each["device"] for each in asked[:8]] == ["cpu"] * 3 + ["cuda"] * 5


def test_the_data_of_a_loop_is_the_published_set_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("GANTOOL_DATA", str(tmp_path))
    given = OPTIONS._replace(images="pictures")
    assert performance.data("bench_dcgan", given)[:2] == ["dataset=folder", "dataset.path=pictures"]
    assert performance.data("bench_dcgan", OPTIONS)[0] == "dataset=shapes"
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert performance.data("bench_dcgan", given) == []


def test_overhead_is_a_tenth_of_what_a_tenth_of_the_steps_takes_longer(monkeypatch: pytest.MonkeyPatch):
    """400 steps in 5, 5.6 and 5.6 s, where alone they take 4: 25 % and 40 % longer, a tenth of that in ten times as
    many steps, which write as often."""
    windows = [[Window(400, 5.0), Window(400, 5.6), Window(400, 5.6)], [Window(400, 4.0)] * 3]
    seen: list[Any] = []
    monkeypatch.setattr(performance, "Process", Knowing)
    monkeypatch.setattr(performance, "take_turns", lambda *given: (seen.extend(given), windows)[1])
    assert "**4.0% (3.2% to 4.0%)** (goal: at most 2%)" in section("overhead")
    short = seen[0][0].settings[-3:]
    assert short == ("device=cpu", "steps=1000", "tick_every=10") and seen[2] == 400
    plans = [plan_of(composed("experiment=bench_mlp", *more), ()) for more in (["steps=10000"], short)]
    for name in ("tick_every", "sample_every", "checkpoint_every"):
        written = [plan.steps // getattr(plan, name) for plan in plans]
        assert written[0] == written[1], name


class Knowing:
    """A process that knows the facts only."""

    def __init__(self, *task: Any):
        assert task[1]["play"] == "gantool"

    def __enter__(self) -> "Knowing":
        return self

    def __exit__(self, *failure: object) -> None: ...

    def answer(self) -> str:
        return "ready"

    def ask(self, do: str) -> Any:
        assert do == "facts"
        return FACTS


def test_a_window_of_the_whole_is_as_long_as_its_rows_say(tmp_path: Path):
    """Between the rows of steps 4 and 8; the training is stopped there."""
    whole = performance.Whole((*TINY, "steps=100000", "tick_every=2"))
    steps, seconds = whole.window(4)
    assert steps == 4 and 0 < seconds < 5


def test_a_training_that_ends_too_early_is_not_waited_for():
    with pytest.raises(RunError, match=r"(?s)gantool train has ended: .*done at step 6"):
        performance.Whole((*TINY, "steps=6", "tick_every=2")).window(4)


def test_growth_is_relative_to_the_smallest_set_and_the_largest_is_streamed(monkeypatch: pytest.MonkeyPatch):
    seen: list[Any] = []
    windows = [[Window(10 + n, 1.0)] for n in range(5)]
    monkeypatch.setattr(performance, "in_turns", lambda *given: (seen.extend(given[0]), (windows, FACTS))[1])
    table = [line.split(" | ") for line in section("growth").splitlines()[-5:]]
    assert [line[0] for line in table] == ["| 1,000", "| 10,000", "| 100,000", "| 1,000,000", "| 10,000,000"]
    assert table[0][2:] == ["640 (640 to 640)", "1 (1 to 1) |"] and table[4][3] == "1.4 (1.4 to 1.4) |"
    assert [task["config"]["data"] for task in seen] == ["device"] * 4 + ["stream"]
    assert table[4][1] == "28.6"  # 1e7 * 3072 bytes


def test_startup_has_its_row(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "startup", lambda settings: {"first": 1.25, "sample": 2.0})
    assert "| `experiment=demo device=cpu` | 1.2 s | 2.0 s |" in section("startup")


def test_unknown_sections_are_refused(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended:
        performance.run(["loop"])
    assert ended.value.code == 2
    assert "there is no section 'loop': loops, overhead" in capsys.readouterr().err


# Costs


def test_a_cost_is_the_median_of_the_ratios_of_a_turn():
    """A machine ten times slower for one turn changes nothing: 2, 20 / 10, 3 -> 2; the ratio of medians would be 3.

    The first steps do not count. Of a lazy trick, 3/4 of whose rounds are as plain ones: 3/4 * 1 + 1/4 * 5 = 2.
    """
    warm_up = [99.0] * costs.WARM_UP
    plain_times = [*warm_up, 1.0, 10.0, 1.0]
    assert costs.relative({0: 1.0}, {0: [*warm_up, 2.0, 20.0, 3.0]}, plain_times) == 2.0
    times = {0: [*warm_up, 5.0, 50.0, 5.0], 1: [*warm_up, 1.0, 10.0, 1.0]}
    assert costs.relative({0: 0.25, 1: 0.75}, times, plain_times) == 2.0


def test_every_trick_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Of two tricks and the lazy penalty here; the clock is set by hand: a step with `ema` takes three times as long,
    and one in which the penalty is due 17 times, which is in one of 16 rounds: 15/16 + 17/16 = 2."""
    (tmp_path / "trick").mkdir()
    for name in ("ema", "weight_clipping"):
        (tmp_path / "trick" / f"{name}.yaml").touch()
    monkeypatch.setattr(costs, "conf_dir", lambda: tmp_path)
    monkeypatch.setattr(costs, "SETTINGS", TINY)
    seconds = costs.Runner.seconds

    def timed(runner: costs.Runner, number: int) -> float:
        assert seconds(runner, number) > 0
        due = [hook.due for hook in runner.assembly.game.hooks.values() if hasattr(hook, "due")]
        return 17.0 if due == [True] else 3.0 if runner.name == "ema" else 1.0

    monkeypatch.setattr(costs.Runner, "seconds", timed)
    page = tmp_path / "PERFORMANCE.md"
    assert performance.run(["tricks", "--rounds", "1", "--page", str(page)]) == 0
    text = page.read_text("utf-8")
    assert text.startswith("# Performance\n") and "batch of 2" in text
    lines = [
        "| `ema` | 3.00 | 1.03 |",
        "| `gradient_penalty, r1 every 16` | 2.00 | 1.15 |",
        "| `weight_clipping` | 1.00 |  |",
    ]
    assert "\n".join(lines) in text and "\n".join(lines) in capsys.readouterr().out


# What is measured


def test_blank_images_are_as_many_as_wished_and_take_no_disk(monkeypatch: pytest.MonkeyPatch):
    images = Blank(10, resolution=4, channels=3).load()
    assert images.pixels.shape == (10, 3, 4, 4) and images.pixels.dtype == torch.uint8 and images.num_classes == 0
    monkeypatch.setattr("gantool.measure.blank.FEW", 5)
    mapped = Blank(10**7, resolution=32).load().pixels  # 29 GiB
    assert mapped.shape == (10**7, 3, 32, 32) and int(mapped[-1].max()) == 0


def test_memory_is_kept_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch):
    """An old glibc refuses more than 32 MiB as the size from which on blocks are mapped; others have no such call."""
    told: list[tuple[int, int]] = []

    class Old:
        def mallopt(self, what: int, value: int) -> int:
            told.append((what, value))
            return int(what != -3 or value <= 32 * 2**20)

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Old())
    allocator.keep_memory()
    assert told == [(-3, 2**31 - 1), (-3, 32 * 2**20), (-1, 2**31 - 1)]
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    allocator.keep_memory()
