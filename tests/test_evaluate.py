"""`gantool evaluate`: runs measured after their training, one or many."""

import io
import json
import logging
import shutil
import signal
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli_helpers import Gantool, files, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.cli.dispatch import main
from gantool.features import classifier
from gantool.runs import status
from gantool.runs.folder import RunFolder
from gantool.runs.rows import Rows, evaluations, read
from image_files import save
from measured import MODES, RING, RUN, differing, rows, rude, state


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with averaged weights, evaluated at its end, and one with neither."""
    folder, handlers = tmp_path_factory.mktemp("made"), logging.getLogger().handlers[:]
    for name, more in (("run", [*MODES[:2], "metric.modes.within=96", "trick=[ema]", "seed=3"]), ("raw", [])):
        assert main(["train", *RING, "checkpoint_every=4", *more, f"hydra.run.dir={folder / name}"]) == 0
    logging.getLogger().handlers[:] = handlers
    return folder


@pytest.fixture
def ring(gantool: Gantool, made: Path) -> Gantool:
    shutil.copytree(made / "run", "run")
    return gantool


@pytest.fixture
def many(ring: Gantool, made: Path) -> Gantool:
    """Beside the run one without an average, one whose checkpoints are damaged, and one without any."""
    shutil.copytree(made / "raw", "raw")
    for name in ("damaged", "empty"):
        shutil.copytree(made / "run", name)
    for path in Path("damaged/checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-99])
    shutil.rmtree("empty/checkpoints")
    return ring


COLUMNS = ("modes_covered", "modes_high_quality", "modes_kl")


def evaluated(run: str = "run") -> list[dict[str, Any]]:
    return [row for row in rows(run) if "evaluated" in row]


def test_an_evaluation_finds_what_training_found(ring: Gantool) -> None:
    """The run's own metrics, settings and seed, and the same numbers, any number of times; one row each."""
    before = (RUN / "metrics.jsonl").read_bytes()
    for _ in range(2):
        assert ring("evaluate", "run=run").code == 0
    assert (RUN / "metrics.jsonl").read_bytes().startswith(before)
    trained, first, second = rows()[-3:]
    assert (
        [trained[name] for name in COLUMNS] == [first[name] for name in COLUMNS] == [second[name] for name in COLUMNS]
    )
    assert first["measured"] == second["measured"] == trained["measured"]
    assert first["step"] == 8 and 0 < first["modes_high_quality"] < 1


def test_what_can_be_chosen(ring: Gantool) -> None:
    """Seed, number of samples, weights, checkpoint and batch size are written down, and tell the numbers apart."""
    for changes in ([], ["seed=5"], ["samples=100"], ["ema=false"], ["checkpoint=4"], ["batch_size=9"]):
        done = ring("evaluate", "run=run", *changes)
        assert done.code == 0, done.err
    plain, seed, samples, raw, earlier, batches = evaluated()
    others = (seed, samples, raw, earlier)
    assert len({json.dumps([row[name] for name in COLUMNS]) for row in (plain, *others)}) == 5
    assert seed["measured"]["seed"] == 5 and plain["measured"]["seed"] == 3
    assert samples["measured"]["metrics"]["modes"]["samples"] == 100
    assert (plain["measured"]["weights"], raw["measured"]["weights"]) == ("averaged", "raw")
    assert (earlier["step"], batches["measured"]["batch_size"]) == (4, 9)
    assert [batches[name] for name in COLUMNS] == [plain[name] for name in COLUMNS]  # samples do not depend on it


def test_the_table_names_each_column_and_what_it_depends_on(ring: Gantool) -> None:
    told = ring("evaluate", "run=run")
    first, *lines = told.out.splitlines()
    assert first.split("  ") == ["run", "step 8", "averaged weights", "seed 3"]
    assert [line.split()[0] for line in lines] == list(COLUMNS)
    assert float(lines[1].split()[1]) == pytest.approx(evaluated()[0]["modes_high_quality"], rel=1e-3)
    assert lines[0].rstrip().endswith("samples 300, within 96, least 1")


def test_metrics_draw_from_a_prior_without_tails(gantool: Gantool) -> None:
    """Of latents next to 0 all samples are one, in training and afterwards; the rows say how the tails were cut."""
    small = ("architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]", "logger=[]", "steps=2")
    few = ("metric=[diversity,divergence,fid]", "metric.diversity.pairs=9", "metric.fid.samples=99", "features=pixels")
    done = gantool("train", *small, *few, "truncation=1e-6", "hydra.run.dir=run")
    assert done.code == 0, done.err
    for changes in ([], ["truncation=none"], ["truncation=9"]):
        done = gantool("evaluate", "run=run", *changes)
        assert done.code == 0, done.err
    trained, same, fair, wide = rows()[-4:]
    assert [row["measured"]["truncation"] for row in (trained, same, fair, wide)] == [1e-6, 1e-6, None, 9]
    assert "truncation 9" in done.out.splitlines()[0]
    assert trained["ms_ssim"] == same["ms_ssim"] == pytest.approx(1) and wide["ms_ssim"] < 0.99
    for column in ("fid", "test_d_fake"):
        assert trained[column] == same[column] != wide[column]
    assert gantool("train", *small, *few, "hydra.run.dir=fair").code == 0
    for column in ("ms_ssim", "fid", "test_d_fake"):
        assert rows("fair")[-1][column] == fair[column]  # training does not see it either


def test_a_prior_without_tails_to_cut_says_so_at_once(gantool: Gantool) -> None:
    refused = gantool("train", "prior=sphere", "truncation=1", "steps=2")
    assert refused.code == 2 and "a sphere has no tails to cut" in refused.err
    small = ("architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]", "logger=[]", "steps=2")
    assert gantool("train", "prior=sphere", *small, "hydra.run.dir=run").code == 0
    refused = gantool("evaluate", "run=run", "metric=[probe]", "truncation=1")
    assert refused.code == 2 and "a sphere has no tails to cut" in refused.err and evaluated() == []


def test_training_goes_on_as_if_nobody_had_evaluated(ring: Gantool) -> None:
    """Rows of evaluations are no rows of training: not of its watch, curves, status or best checkpoint."""
    shutil.copytree("run", "other")
    told = status.read(RunFolder("run"))
    assert ring("evaluate", "run=run").code == ring("evaluate", "run=run", "checkpoint=4").code == 0
    assert status.read(RunFolder("run")) == told
    for run in ("run", "other"):
        assert ring("train", f"resume={run}", "steps=12").code == 0
    assert differing(state("run", 12), state("other", 12)) == set()
    assert [row["step"] for row in rows("run")] == [4, 8, 8, 4, 12]
    assert [row["step"] for row in read(RUN / "metrics.jsonl")] == [4, 8, 12]
    assert [row["step"] for row in evaluations(RUN / "metrics.jsonl")] == [8, 4]
    assert ring("train", "resume=run", "checkpoint=4", "steps=8").code == 0  # later rows go, of either kind
    assert [row["step"] for row in rows("run")] == [4, 4, 8]


def test_a_run_without_metrics_gets_those_that_suit_it(many: Gantool) -> None:
    assert many("evaluate", "run=raw", "samples=100").code == 0
    measured = evaluated("raw")[0]["measured"]["metrics"]
    assert set(measured) == {"modes", "memorization"} and measured["modes"]["samples"] == 100


def test_a_metric_whose_classifier_is_poor_is_left_out_aloud(gantool: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one that suits is taken; the minute that the classifier took is accounted for."""
    assert gantool("train", "dataset=digits", *RING[2:], "hydra.run.dir=run").code == 0
    real = classifier.kept
    monkeypatch.setattr(classifier, "kept", lambda *args: {**real(*args), "accuracy": 0.5})
    done = gantool("evaluate", "run=run", "samples=50")
    assert done.code == 0, done.err
    assert "left out: metric=[classes_drawn]: the classifier" in done.err and "a share of 0.500" in done.err
    assert set(evaluated()[0]["measured"]["metrics"]) == {"diversity", "memorization"}


def test_what_is_set_for_all_metrics(many: Gantool) -> None:
    """`features` of the command line, of the metric itself, of the run: the first that is given."""
    run = variant(Path("raw"), "seen", features="classifier")
    for argv in (["features=pixels"], ["metric.fid.features=pixels"], []):
        done = many("evaluate", f"run={run}", "metric=[fid]", "samples=60", "metric.fid.reference=60", *argv)
        assert done.code == 0, done.err
    facts = [row["measured"]["metrics"]["fid"] for row in evaluated(run)]
    assert [each["features"] for each in facts] == ["pixels", "pixels", "classifier"]
    assert {each["samples"] for each in facts} == {60}


def test_a_metric_that_the_run_has_is_set_as_there(gantool: Gantool) -> None:
    """But for what is typed, and for what is given for all."""
    own = ("metric.modes.least=7", "metric.modes.samples=300")
    assert gantool("train", *RING, "metric=[modes]", *own, "hydra.run.dir=run").code == 0
    for argv, settings in (
        ((), (7, 300)),
        (("metric=[modes,parzen]",), (7, 300)),
        (("metric=[modes]", "metric.modes.least=1"), (1, 300)),
        (("metric=[modes]", "samples=200"), (7, 200)),
    ):
        done = gantool("evaluate", "run=run", *argv)
        assert done.code == 0, done.err
        facts = rows()[-1]["measured"]["metrics"]["modes"]
        assert (facts["least"], facts["samples"]) == settings
        assert ("metric.modes is measured as in training, with" in done.err) == (argv != ()), done.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["+metric.modes.samples=3"], "metric.modes._target_ must be text"),
        (["metric=[modes]", "metric.modes=5"], "metric.modes=5: metrics are chosen by their names, metric=[NAME]"),
    ],
)
def test_a_metric_that_is_not_chosen_by_name(ring: Gantool, argv: list[str], said: str) -> None:
    refused = ring("evaluate", "run=run", *argv)
    assert refused.code == 2 and said in refused.err, refused.err


@pytest.mark.parametrize("settings", [
    ("meta=ada_gan", "meta.components=2", "meta.discriminator_steps=2"),
    ("objective=mmd",),
    ("architecture.class_conditional=true",),
])  # fmt: skip
def test_every_kind_of_run(gantool: Gantool, settings: tuple[str, ...]) -> None:
    assert gantool("train", *RING, *MODES[:2], *settings, "hydra.run.dir=run").code == 0
    assert gantool("evaluate", "run=run").code == 0
    _, trained, again = rows()
    assert {name: again[name] for name in COLUMNS} == {name: trained[name] for name in COLUMNS}


def test_latest_and_a_run_in_training(ring: Gantool) -> None:
    """Its status and checkpoints are its own; the row lies beside those that it goes on to write."""
    Path("outputs").mkdir()
    Path("run").rename("outputs/run")
    running = RunFolder("outputs/run")
    status.update(running, state="running", **status.process())
    before = running.status.read_bytes()
    assert ring("evaluate").code == 0
    assert running.status.read_bytes() == before
    Rows(running.rows).append({"step": 9})
    assert [row["step"] for row in rows("outputs/run")] == [4, 8, 8, 9]


def test_data_that_has_moved(gantool: Gantool) -> None:
    """`dataset.path` of the run is overridden; other pictures there are told, other shapes refused."""
    for shade in range(8):
        save(Path(f"a/{shade}.png"), colour=(30 * shade, 9, 200))
    small = ("architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]", "batch_size=4", "steps=1")
    held_out = ("dataset.resolution=8", "dataset.test_share=0.5")
    done = gantool("train", "dataset=folder", "dataset.path=a", *held_out, *small, "logger=[]", "hydra.run.dir=run")
    assert done.code == 0, done.err
    Path("a").rename("b")
    gone = gantool("evaluate", "run=run", "metric=[memorization]")
    assert gone.code == 2 and "'/" in gone.err and "Traceback" not in gone.err
    found = gantool("evaluate", "run=run", "metric=[memorization]", "dataset.path=b", "samples=3")
    assert found.code == 0 and "has changed" not in found.err, found.err
    Path("b/0.png").unlink()
    fewer = gantool("evaluate", "run=run", "metric=[memorization]", "dataset.path=b", "samples=3")
    assert fewer.code == 0 and "the data is not what this run was trained on" in fewer.err
    other = gantool("evaluate", "run=run", "metric=[memorization]", "dataset.path=b", "dataset.resolution=4")
    assert other.code == 2 and "[3, 4, 4]" in other.err
    assert len(evaluated()) == 2
    share = gantool("evaluate", "run=run", "metric=[memorization]", "dataset.path=b", "dataset.test_share=0.25")
    assert share.code == 2 and "what is held out was settled when this run was trained" in share.err
    near = gantool("sample", "run=run", "sampler=neighbours", "dataset.path=b", "n=1", "out=near.png")
    assert near.code == 0 and Path("near.png").is_file(), near.err


def test_data_without_a_test_split(gantool: Gantool) -> None:
    """What needs one is refused before training; an evaluation without names takes what does not."""
    for shade in range(8):
        save(Path(f"a/{shade % 2}/{shade}.png"), colour=(30 * shade, 9, 200))
    small = ("architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]", "batch_size=4", "steps=1")
    settings = ("dataset=folder", "dataset.path=a", "dataset.resolution=8", *small, "logger=[]", "hydra.run.dir=run")
    for metric, objective in (
        ("memorization", "hinge"), ("parzen", "hinge"), ("divergence", "hinge"), ("probe", "hinge"),
        ("class_error", "semi_supervised"), ("classes_drawn", "hinge"),
    ):  # fmt: skip
        few = ["metric.probe.labels=[2]"] if metric == "probe" else []
        refused = gantool("train", *settings, f"objective={objective}", f"metric=[{metric}]", *few)
        assert refused.code == 2 and "has no test images" in refused.err and not RUN.exists(), metric
    assert gantool("train", *settings).code == 0
    done = gantool("evaluate", "run=run")
    assert done.code == 0, done.err
    assert set(evaluated()[0]["measured"]["metrics"]) == {"diversity"}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run=nowhere"], "no such run: nowhere"),
        (["checkpoint=5"], "has no checkpoint of step 5: there is"),
        (["checkpoint=best"], "best.metric was not set"),
        (["metric=[class_error]"], "metric=[class_error] needs a discriminator that sorts examples"),
        (["metric=[stacked_modes]"], "drop it for this dataset"),
        (["metric=[mods]"], "did you mean 'modes'?"),
        (["samples=0"], "samples must be a whole number >= 1"),
        (["samples=9", "metric=[divergence]"], "no metric among divergence has use for it"),
        (["features=pixels"], "no metric among modes has use for it"),
        (["features=pixel"], "features must be one of inception, classifier, pixels"),
        (["metric=[fid]"], "sees grey and colour images only: take features=pixels"),
        (["metric=[fid]", "metric.fid.sample=3"], "unknown key 'metric.fid.sample'"),
        (["metric=[fid]", "metric.fid.samples=x"], "metric.fid.samples must be a whole number"),
        (["dataset.rot=3"], "unknown key 'dataset.rot'"),
        (["dataset=digits"], "there is no group 'dataset' in this command"),
        (["dataset.size=1000000", "dataset.std=x"], "dataset.std must be a number > 0"),
        (["metric.modes.samples=5"], "is metric modes selected?"),
        (["ema=true", "run=raw"], "kept no average of its weights"),
        (["run=damaged"], "none of the checkpoints"),
        (["run=empty"], "has no checkpoint yet"),
        (["run=."], "run=. is 4 runs: add -m"),
        (["run=r*"], "run=r* is 2 runs: add -m"),
        (["run=x*"], "no run matches x*"),
        (["device=cuda:9"], "device=cuda:9"),
    ],
)
def test_bad_input_is_one_sentence(many: Gantool, argv: list[str], said: str) -> None:
    refused = many("evaluate", *(["run=run"] if not any(one.startswith("run=") for one in argv) else []), *argv)
    assert refused.code == 2, refused.out + refused.err
    assert said in refused.err and "Traceback" not in refused.err and "internal error" not in refused.err
    assert evaluated() == [] and refused.out == ""


def test_a_full_disk_loses_nothing(ring: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the row fits: it is taken back, what was there stays, and what was found is on the screen."""
    before = (RUN / "metrics.jsonl").read_bytes()

    class Full(io.FileIO):
        def write(self, data: bytes) -> int:
            return super().write(data[: len(data) // 2])

    real = open

    def opened(path: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        return Full(path, "a+") if mode == "ab+" else real(path, mode, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", opened)
        failed = ring("evaluate", "run=run")
    assert failed.code == 1 and "disk full" in failed.err and "modes_kl" in failed.out
    assert (RUN / "metrics.jsonl").read_bytes() == before


def test_ctrl_c_ends_it_at_once(ring: Gantool, monkeypatch: pytest.MonkeyPatch) -> None:
    rude(monkeypatch, 1, signal.SIGINT)
    before = files(RUN), (RUN / "metrics.jsonl").read_bytes()
    stopped = ring("evaluate", "run=run")
    assert stopped.code == 130 and "interrupted" in stopped.err and "Traceback" not in stopped.err
    assert (files(RUN), (RUN / "metrics.jsonl").read_bytes()) == before


# ---------------------------------------------------------------------------------------- several runs


def variant(source: Path, target: str, **changes: Any) -> str:
    """A copy of a run, as if it had been trained with these settings."""
    shutil.copytree(source, target)
    folder = RunFolder(target)
    folder.config.write_text(yaml.safe_dump(yaml.safe_load(folder.config.read_text("utf-8")) | changes), "utf-8")
    overrides = status.read(folder)["overrides"]
    status.update(folder, overrides=[*overrides, *(f"{key}={value}" for key, value in changes.items())])
    return target


def test_runs_that_differ_in_their_seed_are_one_row(gantool: Gantool, made: Path) -> None:
    """Two seeds of one run, and another run; one that fails stays alone. The sd is that of the sample."""
    pair = [variant(made / "raw", f"outputs/s/{seed}", seed=seed, images=99) for seed in (1, 2)]
    other = variant(made / "raw", "outputs/other", images=77)
    wide = ("metric=[modes]", "metric.modes.samples=300", "metric.modes.within=96")
    empty = variant(made / "raw", "outputs/empty")
    shutil.rmtree("outputs/empty/checkpoints")
    done = gantool("evaluate", "-m", f"run=outputs/s,{other},{empty}", *wide)
    assert done.code == 1 and f"{empty} has no" in done.out
    (folder,) = Path("outputs/evaluate").iterdir()
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    found = {one["name"]: (one["done"], one["figures"].get("modes_high_quality")) for one in summary["settings"]}
    values = [evaluated(run)[0]["modes_high_quality"] for run in pair]
    assert len(set(values)) == 2
    assert found == {
        f"run={empty}": (0, None),
        "images=99": (2, {"mean": statistics.fmean(values), "sd": pytest.approx(statistics.stdev(values)), "jobs": 2}),
        "outputs/other": (1, {"mean": evaluated(other)[0]["modes_high_quality"], "sd": None, "jobs": 1}),
    }
    assert len(json.loads(gantool("runs", "--json").out)) == 4  # evaluations are no runs
    assert "run=outputs/* is 4 runs: add -m" in gantool("evaluate", "run=outputs/*").err
    again = gantool("evaluate", "-m", f"run=outputs/s,{other}", *wide, f"hydra.sweep.dir={folder}")
    assert again.err.count("already finished") == 3 and len(evaluated(other)) == 1


def test_a_job_that_never_began_is_passed_over_below_a_folder_and_refused_by_name(gantool: Gantool, made: Path) -> None:
    """The sweep's second job is refused for its settings, and leaves a status without a configuration."""
    sweep = gantool("train", "-m", "batch_size=300,400", *RING[:2], "hydra.sweep.dir=s")
    assert sweep.code == 1 and not any(Path(f"s/batch_size-{size}/config.yaml").exists() for size in (300, 400))
    for where in ("s", "s/*"):
        refused = gantool("evaluate", "-m", f"run={where}")
        assert refused.code == 2 and f"run={where}: no training has begun there" in refused.err
    shutil.rmtree("s/batch_size-400")
    run = variant(made / "raw", "s/raw")
    settings = ("metric=[modes]", "metric.modes.samples=300")
    for number, where in enumerate(("s", "s/*"), 1):
        done = gantool("evaluate", "-m", f"run={where}", *settings, f"hydra.sweep.dir=e{number}")
        assert done.code == 0, done.err
        said = [line for line in done.err.splitlines() if "passed over" in line]
        assert len(said) == 1 and said[0].endswith("no training has begun there: s/batch_size-300")
        assert len(evaluated(run)) == number
    named = gantool("evaluate", "-m", f"run={run},s/batch_size-300", *settings)
    assert named.code == 2 and "s/batch_size-300 is no complete run" in named.err


def test_a_run_that_is_not_there_is_refused_before_the_first_is_measured(many: Gantool) -> None:
    refused = many("evaluate", "-m", "run=raw,nowhere", "metric=[modes]")
    assert refused.code == 2 and "no such run: nowhere" in refused.err
    assert not evaluated("raw") and not Path("outputs").exists()


def test_one_run_by_several_seeds_of_samples_is_a_row_with_its_name(gantool: Gantool, made: Path) -> None:
    run = variant(made / "raw", "outputs/one")
    assert gantool("evaluate", "-m", f"run={run}", "seed=1,2", "metric=[modes]", "metric.modes.samples=300").code == 0
    (folder,) = Path("outputs/evaluate").iterdir()
    settings = json.loads((folder / "summary.json").read_text("utf-8"))["settings"]
    assert [(one["name"], one["done"]) for one in settings] == [("outputs/one", 2)]


def test_what_was_not_measured_alike_is_said(gantool: Gantool, made: Path) -> None:
    metric = yaml.safe_load((made / "run/config.yaml").read_text("utf-8"))["metric"]["modes"]
    variant(made / "run", "a", metric={"modes": metric | {"samples": 100}})
    variant(made / "run", "b", metric={"modes": metric | {"samples": 200}})
    assert "modes.samples: 100, 200" in gantool("evaluate", "-m", "run=a,b").out
    assert "measured alike" not in gantool("evaluate", "-m", "run=a,b", "samples=50").out
    variant(made / "run", "c", truncation=1.0)
    assert "truncation: 1.0, None" in gantool("evaluate", "-m", "run=a,c", "samples=50").out
