"""What a person meets at the command line: help, messages, exit codes, and that nothing is left behind by a mistake."""

import errno
import os
import re
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cli_helpers import Gantool, fake_train, files, gantool_fixture, of_gantool, read_status  # noqa: F401 (it is a fixture)
from gantool.cli import argv as arguments
from gantool.cli.bugs import own_place
from gantool.cli.dispatch import COMMANDS
from gantool.cli.errors import Asked, explain
from gantool.config.reference import read_command, read_groups
from gantool.config.schema import conf_dir
from gantool.errors import Diverged, Interrupted, RunError, UsageError
from gantool.runs import resume
from gantool.runs.folder import RunFolder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantool.commands.train.run", fake_train)


def python(code: str) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=conf_dir().parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------------------------------------- help and version


def test_help_is_light_and_quick():
    code = """
import sys, time
from gantool.cli.dispatch import main
code = main(["--help"])
heavy = {"torch", "hydra", "omegaconf", "rich", "yaml", "numpy"} & set(sys.modules)
print("end", code, sorted(heavy), time.process_time() < 0.3)
"""
    out = python(code)
    assert out.splitlines()[-1] == "end 0 [] True"
    assert all(name in out for name in COMMANDS)


def test_help_of_train_needs_no_torch_and_names_everything():
    code = """
import sys
from gantool.cli.dispatch import main
print("end", main(["train", "--help"]), "torch" in sys.modules)
"""
    out = python(code)
    assert out.splitlines()[-1] == "end 0 False"
    for group in read_groups(conf_dir()):
        if group.command == "train":
            assert all(re.search(rf"\b{option.name}\b", out) for option in group.options), group.name
    for key in read_command(conf_dir() / "train.yaml"):
        assert f"  {key.path}={key.default}" in out
    assert "sampler" not in out and "resume=RUN" in out and "gantool train -m" in out


def test_help_of_sample(gantool: Gantool):
    result = gantool("sample", "--help")
    assert result.code == 0 and "sampler" in result.out and "objective" not in result.out
    assert all(f"  {key.path}={key.default}" in result.out for key in read_command(conf_dir() / "sample.yaml"))


def test_no_arguments_is_a_mistake(gantool: Gantool):
    result = gantool()
    assert (result.code, result.out) == (2, "") and "usage: gantool COMMAND" in result.err


@pytest.mark.parametrize("argv", [["--version"], ["train", "--version"], ["sample", "seed=1", "--version"]])
def test_version(gantool: Gantool, argv: list[str]):
    assert gantool(*argv)[:2] == (0, "gantool 0.1.0\n")


def test_python_m():
    done = subprocess.run(
        [sys.executable, "-m", "gantool", "tran"], capture_output=True, text=True, cwd=conf_dir().parent
    )
    assert done.returncode == 2 and done.stderr == "gantool: no such command 'tran'. Did you mean 'train'?\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["xyzzy"], "no such command 'xyzzy'. There are train, sample,"),
        (["dataset=mnist"], "missing command; did you mean 'gantool train dataset=mnist'?"),
        (["-m", "trick=[],[ema]"], "missing command; did you mean 'gantool train -m 'trick=[],[ema]''?"),
    ],
)
def test_command_that_is_none(gantool: Gantool, argv: list[str], said: str):
    result = gantool(*argv)
    assert result.code == 2 and said in result.err


@pytest.mark.parametrize(
    ("command", "has", "lacks"), [("evaluate", "metric", "architecture"), ("bench", "trick", "sampler")]
)
def test_choices_of_an_unknown_key_are_the_commands_own(gantool: Gantool, command: str, has: str, lacks: str):
    choices = gantool(command, "unheard_of=1").err.partition("choices: ")[2].strip().split(", ")
    assert has in choices and lacks not in choices and "seed" in choices


# ---------------------------------------------------------------------------------------------- mistakes

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
    (["--config-dir", "nowhere"], ["nowhere' not found"]),
    (["--nonsense"], ["no flag --nonsense; settings have no dashes: nonsense=VALUE"]),
    (["--steps", "100"], ["settings have no dashes: steps=100"]),
    (["optimizer.lr=1e-4"], ["did you mean optimizer.generator.lr or optimizer.discriminator.lr?"]),
    (["lr=0.1"], ["unknown key 'lr'", "did you mean optimizer.discriminator.lr or optimizer.generator.lr?"]),
    (["half_life=3"], ["did you mean trick.ema.half_life?"]),
    (["dataset=my_images"], ["dataset=folder dataset.path=FOLDER"]),
    (["seed=1", "--batch_size=7", "steps=2"], ["settings have no dashes: batch_size=7"]),
    (["--experimental-rerun", "x"], ["is not offered"]),
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


def test_users_own_option_is_offered_in_help(gantool: Gantool, tmp_path: Path):
    (tmp_path / "my" / "objective").mkdir(parents=True)
    (tmp_path / "my" / "objective" / "mine.yaml").write_text("# My own. Source: me.\n_target_: my_gan.Mine\n", "utf-8")
    assert "mine" in gantool("train", "--help", "-cd", "my").out


# ---------------------------------------------------------------------------------------------- argv


def test_flags_may_stand_anywhere(gantool: Gantool):
    result = gantool("train", "dataset=ring", "--cfg", "job", "seed=7", "--package", "seed")
    assert (result.code, result.out) == (0, "7\n")


def test_info_does_not_swallow_an_override(gantool: Gantool):
    assert arguments.split(["--info", "seed=7"]) == (["--info=all"], ["seed=7"])
    assert arguments.split(["seed=7", "-i", "defaults"]) == (["--info=defaults"], ["seed=7"])


@pytest.mark.parametrize(
    "name", ["a b", "it's", "0_seed=1,trick=[ema]", "(1)", "日本", "end\\", "a\\'b", "~x", "plain-1.5"]
)
def test_quoted_path_reads_back(name: str):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert (
        OverridesParser.create().parse_override(arguments.quoted_path(f"resume={arguments.quoted(name)}")).value()
        == name
    )


def test_path_with_special_characters_reaches_the_configuration(gantool: Gantool, tmp_path: Path):
    (tmp_path / "0_seed=1,trick=[ema] (2)").mkdir()
    result = gantool("sample", "run=0_seed=1,trick=[ema] (2)", "--cfg", "job", "--package", "run")
    assert (result.code, result.out) == (0, "0_seed=1,trick=[ema] (2)\n")
    assert arguments.quoted_path("run=a,b (1)") == "run=a,'b (1)'"  # a sweep
    assert arguments.quoted_path("dataset.path=~") == f"dataset.path={os.path.expanduser('~')}"
    assert arguments.quoted_path("run='x y'") == "run='x y'"
    assert arguments.quoted_path("seed=(1)") == "seed=(1)"
    assert [arguments.quoted_path(f"{key}=3") for key in ("run", "out")] == ["run='3'", "out='3'"]
    assert arguments.quoted_path("out=null") == "out=null"


@pytest.mark.parametrize("name", ["~/my run (1)=ü, x", "3", "photo(1)"])
def test_a_path_is_text_whatever_is_in_it(gantool: Gantool, fake: None, monkeypatch, tmp_path: Path, name: str):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / name.replace("~", "home")
    assert gantool("train", f"hydra.run.dir={name}").code == 0 and (folder / "status.json").is_file()
    assert gantool("train", "-m", "seed=1,2", f"hydra.sweep.dir={name}/s").code == 0
    assert (folder / "s" / "seed-2" / "status.json").is_file()
    assert gantool("train", "-m", f"resume={name}/s").err.count("already finished") == 2
    shown = gantool("sample", f"out={name}", "--cfg", "job", "--package", "out").out
    assert shown.strip("'\n") == name.replace("~", str(tmp_path / "home"))


def test_a_name_that_is_too_long_is_one_line(gantool: Gantool, tmp_path: Path):
    for argv in (["hydra.run.dir=" + "x" * 300], ["-m", "seed=1,2", "hydra.sweep.dir=" + "x" * 300]):
        result = gantool("train", *argv)
        assert result.code == 2 and result.err.startswith("gantool train: cannot use xxx")
        assert result.err.count("\n") == 1 and files(tmp_path) == []


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("true", "'true'"),
        ("[true,1e3,7,007,null]", "['true','1e3',7,'007','null']"),
        ("null", "null"),
        ("[T-shirt/top,Bag]", "[T-shirt/top,Bag]"),
        ("['1e3']", "['1e3']"),
    ],
)
def test_classes_are_text(value: str, quoted: str):
    assert arguments.named(f"classes={value}") == f"classes={quoted}"


def test_a_full_disk_says_where(gantool: Gantool, monkeypatch, tmp_path: Path):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(OmegaConf, "save", full)  # of multirun.yaml
    result = gantool("train", "-m", "seed=1,2", "hydra.sweep.dir=s")
    assert (result.code, result.err) == (1, "gantool train: disk full: could not write into s\n")


def test_several_runs_are_no_list(gantool: Gantool):
    assert gantool("sample", "run=a,b").err == "gantool sample: run=a,b is 2 runs: add -m to sample each of them\n"


def test_the_current_folder_may_be_gone(gantool: Gantool, tmp_path: Path):
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for command in ("train", "runs"):
        result = gantool(command)
        assert result == (2, "", "gantool: the current folder has been deleted: go to another one\n")


# ---------------------------------------------------------------------------------------------- a run and its end


def test_run_folder_by_default(gantool: Gantool, fake: None, tmp_path: Path):
    assert gantool("train", "objective=wgan_gp").code == 0
    (folder,) = (tmp_path / "outputs").glob("*/*/*")
    assert folder.parts[-3:-1] == ("digits", "wgan_gp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]{4}", folder.name)
    assert read_status(folder)["value"] == 0.25


def test_two_runs_started_together_have_two_folders(gantool: Gantool, fake: None, tmp_path: Path):
    for _ in range(2):
        gantool("train")
    assert len(list((tmp_path / "outputs").glob("*/*/*"))) == 2


def test_users_class_beside_the_current_folder_imports(gantool: Gantool, monkeypatch, tmp_path: Path):
    (tmp_path / "my_only_gan.py").write_text("", "utf-8")
    monkeypatch.setattr("gantool.commands.train.run", lambda cfg: __import__("my_only_gan") and None)
    assert gantool("train", "hydra.run.dir=r").code == 0
    sys.modules.pop("my_only_gan")


def test_bug_is_one_sentence_and_a_traceback_in_a_file(gantool: Gantool, fake: None, tmp_path: Path):
    result = gantool("train", "seed=666")
    assert result.code == 1
    assert "gantool train: internal error: ValueError: what a bug says" in result.err and "Traceback" not in result.err
    log = Path(re.search(r"the traceback is in (\S+);", result.err)[1])
    assert "in fake_train" in log.read_text("utf-8")
    log.unlink()
    assert files(tmp_path) == []


def test_bug_in_the_middle_of_a_run_is_in_its_log(gantool: Gantool, monkeypatch, tmp_path: Path):
    def run(cfg: object) -> None:
        fake_train(cfg)
        from gantool.runs import status

        status.update(RunFolder("r"), state="running")
        of_gantool(ZeroDivisionError("bug"))

    monkeypatch.setattr("gantool.commands.train.run", run)
    result = gantool("train", "hydra.run.dir=r")
    assert result.code == 1 and "the traceback is in " in result.err and "train.log" in result.err
    assert "ZeroDivisionError: bug" in (tmp_path / "r" / "train.log").read_text("utf-8")
    assert read_status(tmp_path / "r")["state"] == "failed" and "bug" in read_status(tmp_path / "r")["error"]


def test_debug_shows_the_traceback(gantool: Gantool, fake: None, monkeypatch):
    monkeypatch.setenv("GANTOOL_DEBUG", "1")
    result = gantool("train", "seed=666")
    assert "Traceback" in result.err and "in fake_train" in result.err
    Path(re.search(r"the traceback is in (\S+);", result.err)[1]).unlink()


@pytest.mark.parametrize(
    ("error", "code", "state"),
    [
        (RunError("the disk died"), 1, "failed"),
        (Diverged("d_loss was nan"), 1, "diverged"),
        (Interrupted("stopped by SIGTERM", 143), 143, "interrupted"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left", "x.pt"), 1, "failed"),
        (OSError(errno.EFBIG, "File too large", "x.pt"), 1, "failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_end_of_a_run(gantool: Gantool, monkeypatch, tmp_path: Path, error: BaseException, code: int, state: str):
    def run(cfg: object) -> None:
        from gantool.runs import status

        status.update(RunFolder("r"), state="running")
        raise error

    monkeypatch.setattr("gantool.commands.train.run", run)
    result = gantool("train", "hydra.run.dir=r")
    assert result.code == code
    assert result.err.count("gantool train: ") == 1 and "Error executing job" not in result.err
    assert read_status(tmp_path / "r")["state"] == state
    assert (tmp_path / "r" / "train.log").read_text("utf-8").count("\n") == 1


def test_mistake_does_not_touch_a_folder_that_was_there(gantool: Gantool, tmp_path: Path):
    (tmp_path / "r").mkdir()
    assert gantool("train", "hydra.run.dir=r", "optimizer.generator.lr=-1").code == 2
    assert files(tmp_path) == ["r"]


def test_done_run_is_not_run_again(gantool: Gantool, fake: None, tmp_path: Path):
    for _ in range(2):
        assert gantool("train", "hydra.run.dir=r").code == 0
    assert read_status(tmp_path / "r")["runs"] == 1
    assert gantool("train", "hydra.run.dir=r", "seed=5").code == 0
    assert read_status(tmp_path / "r")["runs"] == 2


@pytest.mark.parametrize("argv", [["seed=1"], ["-m", "seed=1,2"]])
def test_sample_makes_no_folder(gantool: Gantool, monkeypatch, tmp_path: Path, argv: list[str]):
    seen = []
    monkeypatch.setattr("gantool.commands.sample.run", lambda cfg: seen.append(cfg.seed))
    assert gantool("sample", *argv).code == 0
    assert seen == ([1] if argv == ["seed=1"] else [1, 2]) and files(tmp_path) == []


def test_sample_of_several_runs_goes_on_after_a_failure(gantool: Gantool, monkeypatch):
    seen = []

    def run(cfg) -> None:
        seen.append(cfg.run)
        if cfg.run == "a":
            raise UsageError("a is no run")

    monkeypatch.setattr("gantool.commands.sample.run", run)
    for name in "ab":
        Path(name).mkdir()
        for file in ("config.yaml", "status.json"):
            Path(name, file).write_text("{}", "utf-8")
    result = gantool("sample", "-m", "run=a,b")
    assert seen == ["a", "b"] and result.code == 1 and "a is no run" in result.err and "Traceback" not in result.err


def test_explanations_of_the_machine():
    assert explain(MemoryError()).code == 1
    refused = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    assert explain(RuntimeError(refused)).message.startswith("out of memory")
    assert explain(ValueError("a bug")) is None  # in a job
    assert explain(ValueError("of Hydra"), Asked()).code == 2  # while composing
    assert explain(FileNotFoundError(errno.ENOENT, "none", "x")) is None
    assert explain(PermissionError(errno.EACCES, "Permission denied", "out")).message.startswith("cannot use out: perm")
    assert explain(OmegaConfBaseException("what")).code == 2
    with pytest.raises(OmegaConfBaseException) as caught:  # in a job too
        OmegaConf.update(OmegaConf.create({"seed": 0}, flags={"struct": True}), "sed", 1)
    assert "did you mean 'seed'?" in explain(caught.value).message


# ---------------------------------------------------------------------------------------------- resume


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


def test_a_dataset_of_ones_own_that_breaks_its_promise_is_named(gantool: Gantool, tmp_path: Path):
    """Whichever split it is; nothing is begun."""
    (tmp_path / "my_data.py").write_text(
        "import torch\nfrom gantool.game.types import Images\n"
        "class Points:\n"
        "    shape, names, flip = (2,), (), False\n"
        "    def __init__(self, wrong: str): self.wrong = wrong\n"
        "    def load(self, split='train'):\n"
        "        kind = torch.float64 if split == self.wrong else torch.float32\n"
        "        return Images(torch.zeros(100, 2, dtype=kind), torch.full((100,), -1))\n",
        "utf-8",
    )
    option = tmp_path / "mine" / "dataset" / "points.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("# Mine. Source: this test.\n_target_: my_data.Points\nwrong: none\n", "utf-8")
    before = files(tmp_path)
    for split in ("train", "test"):
        own = ("--config-dir", "mine", "trust=[my_data]", "dataset=points", f"dataset.wrong={split}")
        result = gantool("train", *own, "metric=[memorization]", "steps=1", "batch_size=4")
        assert result.code == 2 and f"dataset.load('{split}') gives pixels of torch.float64" in result.err, result.err
        assert [file for file in files(tmp_path) if "__pycache__" not in file] == before


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return on_real.logit.mean()", "my_losses.py, line 4: AttributeError: 'Verdict' object has no attribute"),
        ("return on_real.logits @ on_fake.logits", "my_losses.py, line 4: RuntimeError: "),  # torch's, innermost
    ],
)
def test_an_error_in_ones_own_class_is_called_so(gantool: Gantool, tmp_path: Path, body: str, said: str):
    """With its place, and without a request to report it."""
    (tmp_path / "my_losses.py").write_text(
        "from gantool.game.hooks import Objective\nclass Mine(Objective):\n"
        f"    def d_loss(self, turn, on_real, on_fake):\n        {body}\n"
        "    def g_loss(self, turn, on_fake):\n        return -on_fake.logits.mean()\n"
    )
    option = tmp_path / "mine" / "objective" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("# Mine. Source: this test.\n_target_: my_losses.Mine\n")
    own = ("--config-dir", "mine", "trust=[my_losses]", "objective=mine", "dataset=ring", "hydra.run.dir=r")
    result = gantool("train", *own, "steps=1", "batch_size=4", "logger=[]", "compile=off")
    sys.modules.pop("my_losses")
    assert result.code == 1 and f"an error in your own {said}" in result.err, result.err
    assert "please report it" not in result.err and result.err.endswith("r/train.log\n")
    assert said in read_status(tmp_path / "r")["error"] and "Traceback" in (tmp_path / "r" / "train.log").read_text()


@pytest.mark.parametrize("group", ["objective=loss_sensitive", "architecture=small"])
def test_the_examples_of_the_houses_page_run(gantool: Gantool, tmp_path: Path, monkeypatch, group: str):
    """Each block of code below the name of its file, written there and trained with."""
    page = (Path(__file__).parents[1] / "gantool" / "README.md").read_text("utf-8")
    blocks = re.findall(r"^`(my_\w+/\S+)`\n\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    for name, text in blocks:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_gan"]:
        monkeypatch.delitem(sys.modules, name)
    own = ("--config-dir", "my_conf", "trust=[my_gan]", group, "trick=[spectral_norm]", "hydra.run.dir=r")
    result = gantool("train", *own, "steps=2", "logger=[]", "compile=off", "architecture.class_conditional=true")
    assert result.code == 0, result.err
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_gan"]:
        sys.modules.pop(name)


def test_what_ones_own_class_lacks_is_its_error(tmp_path: Path, monkeypatch):
    """Though gantool's code looks for it."""
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "my_headless.py"
    file.write_text("from gantool.game.networks import Discriminator\n\n\nclass D(Discriminator):\n    trunk = abs\n")
    import torch
    from my_headless import D

    with pytest.raises(AttributeError) as caught:
        D((2,))(torch.zeros(1, 2), torch.zeros(1))
    assert own_place(caught.value) == f"{file}, line 4, class D"
    with pytest.raises(AttributeError) as caught:
        RunFolder("r").nothing  # noqa: B018
    monkeypatch.setattr("gantool.cli.bugs._own", lambda path: False)
    assert own_place(caught.value) is None


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


# ---------------------------------------------------------------------------------------------- completion


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gantool ", sorted(COMMANDS)),
        ("gantool tr", ["train"]),
        ("gantool train dataset=m", ["dataset=mnist"]),
        ("gantool train seed=1 -m objective=wgan", ["objective=wgan", "objective=wgan_gp"]),
        ("gantool train optimizer.", ["optimizer.discriminator.", "optimizer.generator."]),
        ("gantool train --config-dir my objective=mi", ["objective=mine", "objective=minimax"]),
        ("gantool train -m hydra/launcher=b", ["hydra/launcher=basic"]),
        ("gantool sample run=", ["run=latest", "run=my/"]),
        ("gantool list obj", ["objective"]),
        ("gantool train objective=[ dataset=", []),
        ("gantool train --steps 3 objective=h", []),
        ("", sorted(COMMANDS)),
    ],
)
def test_completion(gantool: Gantool, monkeypatch, tmp_path: Path, line: str, words: list[str]):
    (tmp_path / "my" / "objective").mkdir(parents=True)
    (tmp_path / "my" / "objective" / "mine.yaml").write_text("_target_: my_gan.Mine\n", "utf-8")
    monkeypatch.setenv("COMP_LINE", line)
    assert gantool("-sc", "query=bash") == (0, " ".join(words) + "\n", "")


def test_completion_installs(gantool: Gantool):
    result = gantool("-sc", "install=bash")
    assert result.code == 0 and "complete -o nospace -o default -F hydra_bash_completion gantool" in result.out
    assert gantool("-sc", "install=tcsh").code == 2


def test_an_option_that_a_built_in_one_hides_is_told(gantool: Gantool, tmp_path: Path):
    for name in ("minimax", "mine"):
        file = tmp_path / "conf" / "objective" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("# Mine. Source: me.\n_target_: mine.Mine\n", "utf-8")
    told = gantool("train", "--config-dir", "conf", "--cfg", "job")
    assert told.code == 0
    assert "conf/objective/minimax.yaml is not used: a built-in option has its name" in told.err
    assert "mine.yaml" not in told.err


@pytest.mark.parametrize(
    ("argv", "times"),
    [
        (["seed=1"], 1),
        (["hydra.mode=RUN"], 2),  # there Hydra has to look, and where a file of the user's may say so
        (["--config-dir", "."], 2),
    ],
)
def test_a_configuration_is_composed_once(gantool: Gantool, monkeypatch: pytest.MonkeyPatch, argv: list, times: int):
    """It takes an eighth of a second, before anything else can begin."""
    monkeypatch.setattr("gantool.commands.train.run", lambda cfg: None)
    compose, composed = ConfigLoaderImpl.load_configuration, []

    def counted(*args: Any, **kwargs: Any) -> Any:
        composed.append(kwargs.get("config_name"))
        return compose(*args, **kwargs)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    look = Hydra.get_mode
    result = gantool("train", *argv)
    assert (result.code, len(composed)) == (0, times), result.err
    assert Hydra.get_mode is look
