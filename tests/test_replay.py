"""resume=RUN: what a run was made with is composed again, and nothing of it is executed or trusted."""

from functools import partial
from pathlib import Path

import pytest

from cli_helpers import Gantool, fake_train, gantool_fixture, read_status  # noqa: F401 (it is a fixture)
from gantool.runs import resume


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantool.commands.train.run", fake_train)


def test_resume_replays_and_changes(gantool: Gantool, fake: None, tmp_path: Path):
    gantool("train", "hydra.run.dir=r", "dataset=ring", "trick=[ema]", "trick.ema.half_life=7", "seed=3", "steps=10")
    assert gantool("train", "resume=r", "steps=20", "trick=[]").code == 0
    assert resume._read(tmp_path / "r" / "overrides.yaml") == ["dataset=ring", "seed=3", "steps=20", "trick=[]"]
    config = resume.read_config(tmp_path / "r" / "config.yaml")
    assert config["steps"] == 20 and config["dataset"]["_target_"].endswith("Ring") and "trick" not in config
    shown = gantool("train", "resume=r", "--cfg", "job", "--package", "seed")
    assert (shown.code, shown.out) == (0, "3\n")


def test_a_key_that_is_newer_than_the_run_has_its_usual_value(gantool: Gantool, fake: None, tmp_path: Path):
    """Though today's recipe sets it."""
    recipe = tmp_path / "mine" / "experiment" / "typical.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text("# @package _global_\n# Typical latents. Source: this test.\ntruncation: 1.5\n", "utf-8")
    train = partial(gantool, "train", "--config-dir", "mine")
    assert train("hydra.run.dir=r", "experiment=typical").code == 0
    config = tmp_path / "r" / "config.yaml"
    assert "truncation: 1.5\n" in config.read_text("utf-8")
    config.write_text(config.read_text("utf-8").replace("truncation: 1.5\n", ""), "utf-8")
    assert "\ntruncation: null\n" in train("resume=r", "--cfg", "job").out
    assert "\ntruncation: 2\n" in train("resume=r", "truncation=2", "--cfg", "job").out


def test_resume_pins_what_conf_says_differently_today():
    saved = {"n": 5, "lr": 1e-4, "betas": [0.5, 0.9], "name": "it's", "trick": {"a": {"_target_": "A", "x": None}}}
    now = {"n": 7, "lr": 1e-4, "betas": [0.9, 0.9], "name": "x", "new": 1, "trick": {"b": {"_target_": "B"}}}
    pins = list(resume._pins(saved, now))
    assert pins == ["++n=5", "++betas=[0.5,0.9]", r"++name='it\'s'", "++trick.a={_target_:'A',x:null}", "~trick.b"]
    same_class = {"objective": {"_target_": "A", "k": 1}}
    assert list(resume._pins(same_class, {"objective": {"_target_": "A", "k": 1, "later": 2}})) == []
    assert list(resume._pins(same_class, {"objective": {"_target_": "B", "k": 1, "other": 2}})) == [
        "++objective._target_='A'",
        "~objective.other",
    ]


def test_resume_of_an_edited_configuration_restores_every_value(gantool: Gantool, fake: None, tmp_path: Path):
    gantool("train", "hydra.run.dir=r", "optimizer=rmsprop", "best.mode=max")
    config = tmp_path / "r" / "config.yaml"
    edited = config.read_text("utf-8").replace("batch_size: 64", "batch_size: 48").replace("mode: max", "mode: min")
    config.write_text(edited, "utf-8")
    assert gantool("train", "resume=r").code == 0
    assert config.read_text("utf-8") == edited
    overrides = resume._read(tmp_path / "r" / "overrides.yaml")
    assert set(overrides) == {"optimizer=rmsprop", "best.mode=max", "++batch_size=48", "++best.mode='min'"}
    assert gantool("train", "resume=r", "seed=9").code == 0  # and again: no pin is written twice
    assert resume._read(tmp_path / "r" / "overrides.yaml") == [*overrides, "seed=9"]


@pytest.fixture
def saved(gantool: Gantool, fake: None, tmp_path: Path) -> Path:
    gantool("train", "hydra.run.dir=r", "dataset=ring")
    return tmp_path / "r"


def test_saved_hydra_settings_are_not_executed(gantool: Gantool, saved: Path, tmp_path: Path):
    plant = f"{{_target_: pathlib.Path.touch, self: {{_target_: pathlib.Path, _args_: [{tmp_path}/planted]}}}}"
    config = saved / "config.yaml"
    config.write_text(config.read_text("utf-8") + f"hydra:\n  callbacks:\n    x: {plant}\n", "utf-8")
    (saved / "overrides.yaml").write_text(
        f"- dataset=ring\n- '+hydra.callbacks.x={plant}'\n- hydra/launcher=evil\n- hydra.mode=MULTIRUN\n- seed=2\n",
        "utf-8",
    )
    assert gantool("train", "resume=r").code == 0
    assert not (tmp_path / "planted").exists()
    assert resume._read(saved / "overrides.yaml")[:2] == ["dataset=ring", "seed=2"]


@pytest.mark.parametrize("text", ["seed: ${oc.env:SECRET}", "best: {mode: 'a${oc.env:SECRET}'}", "${oc.env:SECRET}: 1"])
def test_saved_interpolation_is_refused(gantool: Gantool, saved: Path, monkeypatch, text: str):
    monkeypatch.setenv("SECRET", "s3cr3t")
    (saved / "config.yaml").write_text(text, "utf-8")
    result = gantool("train", "resume=r")
    assert result.code == 2 and "interpolation" in result.err and "s3cr3t" not in result.err


@pytest.mark.parametrize("override", ["+x=${oc.env:SECRET}", r"+x=$\{oc.env:SECRET\}", "+x=[a,{b:${oc.env:SECRET}}]"])
def test_saved_override_with_an_interpolation_is_not_replayed(
    gantool: Gantool, saved: Path, monkeypatch, override: str
):
    monkeypatch.setenv("SECRET", "s3cr3t")
    (saved / "overrides.yaml").write_text(f"- dataset=ring\n- '{override}'\n", "utf-8")
    result = gantool("train", "resume=r", "--cfg", "job", "--resolve")
    assert result.code == 0 and "s3cr3t" not in result.out


def test_saved_trust_is_not_trusted_and_a_foreign_class_is_not_imported(gantool: Gantool, saved: Path, monkeypatch):
    monkeypatch.undo()  # the real command
    monkeypatch.chdir(saved.parent)
    (saved.parent / "evil_gan.py").write_text("open('imported', 'w')\nclass Evil: ...\n", "utf-8")
    config = (saved / "config.yaml").read_text("utf-8")
    config = config.replace("gantool.objectives.non_saturating.NonSaturating", "evil_gan.Evil")
    (saved / "config.yaml").write_text(config.replace("trust: []", "trust: [evil_gan]"), "utf-8")
    (saved / "overrides.yaml").write_text("- dataset=ring\n- trust=[evil_gan]\n", "utf-8")
    result = gantool("train", "resume=r", "steps=1")
    assert result.code == 2 and "'evil_gan.Evil' is outside gantool" in result.err
    assert not (saved.parent / "imported").exists()
    assert read_status(saved)["state"] == "done"  # a refused resume changes nothing


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "!!python/object/apply:os.mkdir [planted]"),
        ("config.yaml", "a: [1"),
        ("config.yaml", "- 1"),
        ("config.yaml", "a b: 1"),
        ("overrides.yaml", "seed: 1"),
        ("overrides.yaml", "- --config-dir=evil"),
        ("overrides.yaml", "- 3"),
    ],
)
def test_damaged_or_foreign_run_is_refused(gantool: Gantool, saved: Path, name: str, text: str):
    (saved / name).write_text(text + "\n", "utf-8")
    result = gantool("train", "resume=r")
    assert result.code == 2 and "Traceback" not in result.err and "internal" not in result.err, result.err
    assert not Path("planted").exists()
