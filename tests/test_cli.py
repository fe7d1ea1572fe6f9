"""What a person meets at the command line: help, paths, exit codes, what a run leaves, completion."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cli_helpers import Gantool, fake_train, files, gantool_fixture, of_gantool, read_status  # noqa: F401 (it is a fixture)
from gantool.cli import argv as arguments
from gantool.cli.dispatch import COMMANDS
from gantool.cli.errors import Asked, explain
from gantool.config.reference import read_command, read_groups
from gantool.config.schema import conf_dir
from gantool.errors import Diverged, Interrupted, RunError, UsageError
from gantool.runs.folder import RunFolder
from toys import refusal


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


# ---------------------------------------------------------------------------------------------- argv


def test_flags_may_stand_anywhere(gantool: Gantool):
    result = gantool("train", "dataset=ring", "--cfg", "job", "seed=7", "--package", "seed")
    assert (result.code, result.out) == (0, "7\n")


def test_info_does_not_swallow_an_override(gantool: Gantool):
    assert arguments.split(["--info", "seed=7"]) == (["--info=all"], ["seed=7"])
    for command, meant in (("sample", "out=x"), ("train", "hydra.run.dir=...")):
        assert refusal(arguments.split, ["--out", "x"], command).endswith(f"settings have no dashes: {meant}")
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
    assert arguments.quoted_path("dataset.path=a b,'my, x',c") == "dataset.path='a b','my, x',c"
    assert arguments.quoted_path("run=choice(a,b)") == "run=choice(a,b)"
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
        ("[猫,Schöne Grüße]", "['猫','Schöne Grüße']"),
        ("[dog (big),it's]", r"['dog (big)','it\'s']"),
        ("[cat,null,'dog, big']", "[cat,'null','dog, big']"),
        ("[0,1],[2,3]", "[0,1],[2,3]"),
        ("choice([1],[2])", "choice([1],[2])"),
        ("${classes}", "${classes}"),
        ("[]", "[]"),
    ],
)
def test_classes_are_text(value: str, quoted: str):
    assert arguments.named(f"classes={value}") == f"classes={quoted}"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("steps=1e3", "steps=1000"),
        ("images=2.5E6,1e+7", "images=2500000,10000000"),
        ("steps=choice(1e3,2e3)", "steps=choice(1000,2000)"),
        ("x=[1e5,1e-5,1.25e1,-1e5,1e5x,2e400,{a:1e2}]", "x=[100000,1e-5,1.25e1,-1e5,1e5x,2e400,{a:100}]"),
        ("out=1e3", "out=1e3"),
        ("inception_weights=/data/1e5/w.pt", "inception_weights=/data/1e5/w.pt"),
        ("hydra.sweep.subdir=1e5", "hydra.sweep.subdir=1e5"),
        ("name=a/1e5", "name=a/1e5"),
        ("classes=1e5", "classes=1e5"),
        ("lr=1e-3,1e0", "lr=1e-3,1e0"),
        ("radius=1e18,1e19,1e30", "radius=1000000000000000000,1e19,1e30"),
        ("n=range(1,1e3)", "n=range(1,1000)"),
        ("name='1e3'", "name='1e3'"),
    ],
)
def test_whole_numbers_may_be_written_with_an_exponent(typed: str, read: str):
    assert arguments.whole(typed) == read


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
