"""Whatever is typed wrongly is one sentence and exit code 2, and leaves nothing behind."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cli_helpers import Gantool, files, gantool_fixture  # noqa: F401 (it is a fixture)
from conftest import Compose
from gantool.cli.words import MEANT, OPTION
from gantool.config.schema import conf_dir

MISTAKES = [
    (["optimizer.lrr=1"], ["unknown key 'optimizer.lrr'", "choices: discriminator, generator"]),
    (["optimizer.generator.lrr=1"], ["unknown key 'optimizer.generator.lrr'", "did you mean 'lr'?; choices: betas,"]),
    (["optimizer.generator.lr=fast"], ["optimizer.generator.lr", "'fast'"]),
    (["optimizer.generator.lr=-1"], ["optimizer.generator.lr", "-1"]),
    (["update.discriminator_steps=2.5"], ["update.discriminator_steps must be a whole number", "2.5"]),
    (["dataset=mnits"], ["unknown option dataset=mnits", "did you mean 'mnist'?; choices: "]),
    (["trick=[emma]"], ["unknown option trick=emma", "did you mean 'ema'?; choices: "]),
    (["-m", "trick=[],[emma]"], ["unknown option trick=emma", "did you mean 'ema'?"]),
    (["prior.bound=2"], ["unknown key 'prior.bound'", "it is a key of prior=truncated_normal and prior=uniform"]),
    (["update=simultaneous", "update.discriminator_steps=5"], ["it is a key of update=alternating"]),
    (["trick=[ema,top_k,ema]"], ["trick=[ema,top_k,ema] names ema twice: name it once"]),
    (["-m", "metric=[],[modes,modes]"], ["metric=[modes,modes] names modes twice"]),
    (["datset=mnist"], ["unknown key 'datset'", "did you mean 'dataset'?"]),
    (["trick.ema.half_life=3"], ["unknown key 'trick.ema.half_life'", "is trick ema selected? Add it to trick=[...]"]),
    (["trick=[ema]", "trick.ema.decay=1"], ["unknown key 'trick.ema.decay'", "choices: half_life, ramp_up"]),
    (["metric.modes.least=3"], ["is metric modes selected? Add it to metric=[...]"]),
    (["trick=[a"], ["cannot read 'trick=[a': a bracket is not closed"]),
    (["trick=a]"], ["cannot read 'trick=a]': a bracket is not opened"]),
    (["trick=[ema,]"], ["cannot read 'trick=[ema,]': behind = there must be a word"]),
    (["objective=null"], ["objective=null is no option of objective", "least_squares, "]),
    (["experiment=null"], ["leave it out for none"]),
    (["trick=null"], ["write trick=[] for none"]),
    (["--help", "dataset=mnits"], ["unknown option dataset=mnits"]),
    (["trick=[label_smoothing]", "trick.label_smoothing.real=1.5"], ["trick.label_smoothing.real", "[0, 1]", "1.5"]),
    (["mnist"], ["cannot read 'mnist': settings are written key=value", "did you mean dataset=mnist?"]),
    (["seed=1,2"], ["seed=1,2 is several values: add -m"]),
    (["sampler=grid"], ["there is no group 'sampler' in this command"]),
    (["~objective"], ["every run needs objective=...: it cannot be left out"]),
    (["dataset=folder"], ["missing", "give dataset.path=..."]),
    (["seed=${nope}"], ["'nope' not found"]),
    (["hydra/launcher=ray", "-m"], ["hydra/launcher=ray needs a plugin: pip install 'gantool[ray]'"]),
    (["--config-dir", "nowhere"], ["--config-dir: there is no folder 'nowhere'"]),
    (["threads=100000"], ["threads must be a whole number in [1, 1024] or null, got 100000"]),
    (["-m", "seed=1,2", "hydra.run.dir=r"], ["with -m, hydra.sweep.dir=FOLDER holds the folders of all"]),
    (["hydra.run.dir=null"], ["hydra.run.dir=null names no folder"]),
    (["~steps"], ["~steps takes nothing away: steps is not set"]),
    (["seed =1"], ["cannot read 'seed =1': there is a space before its ="]),
    (["dataset.path='a"], ["a quote is not closed"]),
    (["trick=[ema],[]"], ["is several values: add -m to run each of them"]),
    (["--nonsense"], ["no flag --nonsense; settings have no dashes: nonsense=VALUE"]),
    (["--steps", "100"], ["settings have no dashes: steps=100"]),
    (["--batch-size", "100"], ["there is no flag --batch-size; settings have no dashes: batch_size=100"]),
    (["--epochs", "5"], ["there is no flag --epochs; settings have no dashes: steps=... (updates of G) or images="]),
    (["conditional=true"], ["did you mean architecture.class_conditional=true?"]),
    (["wandb=true"], ["did you mean logger=[...]?"]),
    (["optimizer.lr=1e-4"], ["did you mean optimizer.generator.lr or optimizer.discriminator.lr?"]),
    (["lr=0.1"], ["unknown key 'lr'", "did you mean optimizer.discriminator.lr or optimizer.generator.lr?"]),
    (["half_life=3"], ["did you mean trick.ema.half_life?"]),
    (["ema=true"], ["unknown key 'ema'", "did you mean trick=[ema]?"]),
    (["wgan_gp=true"], ["did you mean objective=wgan_gp?"]),
    (["epochs=3"], ["unknown key 'epochs'", "did you mean steps=... (updates of G) or images=..."]),
    (["objective=lsgan"], ["unknown option objective=lsgan", "did you mean 'least_squares'?"]),
    (["objective=WGAN-GP"], ["did you mean 'wgan_gp'?"]),
    (["dataset=MNIST"], ["did you mean 'mnist'?"]),
    (["trick=[r1]"], ["did you mean 'gradient_penalty'?"]),
    (["n_critic=5"], ["did you mean update.discriminator_steps=...?"]),
    (["update=unrolled", "update.k=5"], ["unknown key 'update.k'", "unrolled_steps"]),
    (["trick=[gradient_clipping]", "trick.gradient_clipping.clip=1"], ["choices: by, limit"]),
    (["outdir=x"], ["did you mean hydra.run.dir=...?"]),
    (["r1=3"], ["did you mean trick=[gradient_penalty] trick.gradient_penalty.kind=r1?"]),
    (["architecture.nz=100"], ["unknown key 'architecture.nz'", "did you mean architecture.latent_dim=...?"]),
    (["dataset=my_images"], ["dataset=folder dataset.path=FOLDER"]),
    (["seed=1", "--batch_size=7", "steps=2"], ["settings have no dashes: batch_size=7"]),
    (["--experimental-rerun", "x"], ["is not offered"]),
    (["-sc", "query=bash"], ["gantool -sc install=bash"]),
    (["resume="], ["give resume=outputs/..."]),
    (["resume=nowhere"], ["no such run: nowhere"]),
    (["-m", "resume=nowhere"], ["nowhere is no sweep"]),
    (["hydra.run.dir=/dev/null/x"], ["cannot use /dev/null/x: not a directory"]),
    (["trick=[[ema]]"], ["trick=[[ema]]: options of trick are chosen by their names: trick=[NAME,...]"]),
    (["trick=[{a:1}]"], ["options of trick are chosen by their names"]),
    (["-m", "metric=[],[null]"], ["options of metric are chosen by their names"]),
    (["dataset=[[ring]]"], ["options of dataset are chosen by their names: dataset=NAME"]),
    (["steps==5"], ["cannot read 'steps==5': it has one = too many: steps=5"]),
    (["dataset=ring,"], ["nothing follows its last comma: dataset=ring"]),
    (["~dataset=grid"], ["~dataset=grid takes nothing away: dataset=grid is not selected"]),
    (["--config-path", "/nope"], ["leave out --config-path and --config-name", "--config-dir FOLDER"]),
    (["--config-name", "nope"], ["leave out --config-path and --config-name"]),
    (["hydra.run=3"], ["hydra.run holds settings of its own"]),
    (["-"], ["cannot read '-': settings are written key=value"]),
    (["=5"], ["cannot read '=5': settings are written key=value"]),
    (["data.path=x"], ["unknown key 'data.path': data holds one value", "did you mean dataset.path?"]),
    (["-m", "hydra.sweeper.params={seed:'1,2'}"], ["sweep over KEY=VALUE,VALUE itself", "for YAML files"]),
    (["-m", "+hydra.sweeper.params.seed='range(1,9)'"], ["sweep over KEY=VALUE,VALUE itself"]),
    (["objective=[hinge,wgan]"], ["objective takes one option; for a run of each: -m objective=hinge,wgan"]),
    (["trick={ema:{half_life:3}}"], ["options of trick are chosen by their names: trick=[NAME,...]"]),
    (["-m", "steps=glob(*)"], ["glob() is for the options of a group: write the values, steps=A,B"]),
    (["hydra.run.dir="], ["hydra.run.dir= names no folder: give one, or leave it out"]),
    (["-m", "seed=1,2", "hydra.sweep.dir="], ["hydra.sweep.dir= names no folder"]),
    (
        ["best.metric=memorisation", "metric=[memorization]"],
        ["no column of metrics.jsonl; did you mean 'memorization'?"],
    ),
    (["dataset=folder", "dataset.path=a,b"], ["there is no folder", "/a,b'"]),
]


@pytest.mark.parametrize(("argv", "said"), MISTAKES, ids=lambda value: " ".join(value)[:40])
def test_mistake_is_one_sentence_and_leaves_nothing(gantool: Gantool, tmp_path: Path, argv: list[str], said: list[str]):
    if "hydra/launcher=ray" in argv and find_spec("hydra_plugins"):
        pytest.skip("a launcher is installed")
    result = gantool("train", *argv)
    assert result.code == 2
    assert all(words in result.err for words in said), result.err
    assert "Traceback" not in result.err and "HYDRA_FULL_ERROR" not in result.err
    assert "gantool train: " in result.err and len(result.err.splitlines()) <= 9
    assert files(tmp_path) == []


def test_what_others_call_a_setting_leads_to_one_that_there_is(compose: Compose):
    tricks = "trick=[gradient_penalty,weight_clipping,label_smoothing]"
    config = compose("architecture=dcgan", "dataset=folder", "dataset.path=x", tricks, "+resume=''")
    for word, setting in MEANT.items():
        assert word not in config
        for key in re.findall(r"([\w.]+)=", setting.replace("hydra.run.dir=", "")):
            parent, _, name = key.rpartition(".")
            there = OmegaConf.select(config, parent) if parent else config
            assert name in there or (conf_dir() / key).is_dir(), (word, key)
    for word, option in OPTION.items():
        assert list(conf_dir().glob(f"*/{option}.yaml")) and not list(conf_dir().glob(f"*/{word}.yaml"))


MY_FILES = {
    "objective/typo.yaml": "_target_: gantool.tricks.gradient_penalty.GradientPenalty\nwieght: 3\n",
    "objective/broken.yaml": "a: [1\nb: 2\n",
    "experiment/typo.yaml": "# @package _global_\ndefaults: [{override /datset: ring}]\n",
    "experiment/lost.yaml": "steps: 3\n",
    "experiment/astray.yaml": "defaults: [{override /dataset: ring}]\n",
    "metric/lost.yaml": "_target_: gantool.metrics.modes.Modes\n",
    "experiment/tricky.yaml": "# @package _global_\ndefaults: [override /trick: [ema]]\ntrick: {ema: {half_life: 5}}\n",
}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["objective=typo"], ["unknown key 'objective.wieght'", "did you mean 'weight'?"]),
        (["objective=broken"], ["broken.yaml, line 2: no valid YAML"]),
        (["experiment=typo"], ["experiment/typo.yaml: there is no group 'datset'"]),
        (["experiment=tricky", "trick=[]"], ["trick.ema: has settings (half_life) but is not selected"]),
        (["experiment=lost"], ["must have `# @package _global_` as the first line of its file"]),
        (["experiment=astray"], ["experiment/astray.yaml: an experiment must have `# @package _global_` as the first"]),
        (["metric=[modes,lost]"], ["an option of metric must have `# @package metric.NAME` as the first line of its"]),
        (["objective=tpyo"], ["did you mean 'typo'?", "wgan_gp"]),
    ],
)
def test_mistake_in_the_users_own_files(gantool: Gantool, tmp_path: Path, argv: list[str], said: list[str]):
    for name, text in MY_FILES.items():
        (tmp_path / "my" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my" / name).write_text(text, "utf-8")
    result = gantool("train", "--config-dir", "my", *argv)
    assert result.code == 2 and all(words in result.err for words in said), result.err
    assert [path for path in files(tmp_path) if not path.startswith("my")] == []


def test_one_name_in_a_list_is_that_name(gantool: Gantool):
    result = gantool("train", "objective=[hinge]", "--cfg", "job", "--package", "objective")
    assert result.code == 0 and "_target_: gantool.objectives.hinge.Hinge" in result.out, result.err
