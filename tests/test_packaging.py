"""What is shipped: the wheel holds the configuration and runs from any folder; make and CI can be relied upon."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import gantool

ROOT = Path(__file__).parents[1]


def sh(*command: str, cwd: Path = ROOT, **env: str) -> str:
    ran = subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=250)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    sh(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    """As pip would install it: nothing of the checkout is in sight."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_wheel_holds_the_configuration_inside_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {f"gantool/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert ours <= names
    assert {"gantool/conf/train.yaml", "gantool/conf/objective/wgan_gp.yaml", "gantool/config/signature.py"} <= names
    assert {name.partition("/")[0] for name in names} == {"gantool", f"gantool-{gantool.__version__}.dist-info"}
    assert not any("__pycache__" in name for name in names)


def test_wheel_has_the_command_the_version_and_the_licence(wheel):
    info = f"gantool-{gantool.__version__}.dist-info"
    archive = zipfile.ZipFile(wheel)
    assert "gantool = gantool.cli.dispatch:main" in archive.read(f"{info}/entry_points.txt").decode()
    metadata = archive.read(f"{info}/METADATA").decode()
    for line in ("Requires-Python: >=3.11", "License-Expression: MIT", "Requires-Dist: hydra-core<1.4,>=1.3.8"):
        assert line in metadata
    assert f"{info}/licenses/LICENSE" in archive.namelist()


def test_wheel_says_that_it_is_typed(wheel):
    """A marker file (PEP 561): else type checkers pass over what is annotated."""
    assert "gantool/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_sdist_holds_what_its_tests_and_its_readme_need(tmp_path):
    pytest.importorskip("hatchling")
    sh(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path))
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/test_packaging.py", ".ci/run", "outputs/demo.png", "conf/train.yaml", "Makefile"} <= names
    assert not any("__pycache__" in name or name.endswith(".pt") for name in names)


def test_there_is_no_python_file_among_the_configuration():
    """It would break editable installs (hatchling refuses Python files under a moved prefix)."""
    assert list((ROOT / "conf").rglob("*.py")) == []


def test_wheel_reads_its_own_configuration_in_any_folder(unpacked, tmp_path):
    code = (
        "import gantool, sys; from gantool.config.schema import conf_dir; from gantool.commands.list import run\n"
        "print(gantool.__file__); print(conf_dir()); sys.exit(run(['objective']))"
    )
    out = sh(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(unpacked))
    package, conf, *text = out.splitlines()
    assert Path(package).parent == unpacked / "gantool"
    assert Path(conf) == unpacked / "gantool" / "conf"
    assert any(line.strip().startswith("wgan_gp") for line in text)


def test_wheel_trains_and_samples_in_any_folder(unpacked, tmp_path):
    run = [sys.executable, "-m", "gantool"]
    env = {"PYTHONPATH": str(unpacked), "GANTOOL_CACHE": str(tmp_path / "cache")}
    sh(*run, "train", "steps=2", "device=cpu", "batch_size=8", cwd=tmp_path, **env)
    sh(*run, "sample", "n=4", "out=grid.png", cwd=tmp_path, **env)
    assert (tmp_path / "grid.png").stat().st_size > 0


def test_make_lists_its_targets():
    assert "help" in sh("make")
    for target in ("demo", "test", "lint", "types", "reference", "clean"):
        assert f"make {target} " in sh("make", "help")


def test_make_uses_an_environment_that_has_everything(tmp_path):
    """Neither a new environment nor pip: the stamps say that all is installed."""
    venv = tmp_path / "env"
    (venv / "bin").mkdir(parents=True)
    for name in ("bin/python", ".installed", ".installed-dev"):
        (venv / name).touch()
    planned = sh("make", "-n", "test", "demo", f"VENV={venv}")
    assert "pip install" not in planned
    assert "-m venv" not in planned
    (venv / ".installed").unlink()
    assert "pip install" in sh("make", "-n", "demo", f"VENV={venv}")


def test_make_says_which_python_it_needs(tmp_path):
    ran = subprocess.run(
        ["make", "demo", f"VENV={tmp_path / 'env'}", "PYTHON=/bin/false"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode != 0
    assert "gantool needs Python 3.11 or newer" in ran.stderr
    assert not (tmp_path / "env").exists()


def test_ci_runs_everything():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text("utf-8")
    assert all(f"make --no-print-directory {target}" in text for target in ("test", "lint", "types"))


def test_every_extra_is_capped_where_newer_plugins_crash():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for plugin in ("joblib", "slurm", "optuna", "ray"):
        assert all("<" in requirement for requirement in extras[plugin])


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout")
def test_nothing_stray_is_kept():
    """Such as what a test has written into the folder that it was started in."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    top = {"pyproject.toml", "README.md", "LICENSE", "Makefile", "gantool", "conf", "tests", "outputs"}
    assert {file.split("/")[0] for file in listed.stdout.splitlines()} == top | {".ci", ".gitignore"}


@pytest.mark.slow
def test_bare_clone_becomes_an_environment(tmp_path):
    """`make` from nothing: needs a package index, and takes minutes."""
    clone = tmp_path / "clone"
    sh("git", "clone", "--quiet", str(ROOT), str(clone))
    for _ in range(2):
        subprocess.run(["make", "test", "ARGS=tests/test_packaging.py -k wheel"], cwd=clone, check=True, timeout=3000)
