"""`gantool doctor` tells what is there, what is missing, and what to do about it."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gantool.commands import doctor


@pytest.fixture
def told(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")

    def run() -> tuple[int, str]:
        code = doctor.run([])
        return code, capsys.readouterr().out

    return run


def test_doctor_tells_versions_devices_data_and_extras(told):
    code, text = told()
    assert code == 0
    assert text.endswith("Training can run.\n")
    for package in ("torch", "hydra-core", "omegaconf", "pillow", "numpy", "scikit-learn"):
        assert re.search(rf"^  {package} +ok +{re.escape(importlib.metadata.version(package))}$", text, re.M)
    for line in (
        r"cpu +ok",
        r"auto +- +device=\w+ precision=(fp32|bf16) for images, fp32 for points",
        r"joblib +(ok|absent)",
    ):
        assert re.search(rf"^  {line}", text, re.M)


def test_a_missing_package_fails_the_doctor_with_what_to_install(told, monkeypatch):
    version = importlib.metadata.version

    def without_pillow(name: str) -> str:
        if name == "pillow":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.1" if name == "hydra-core" else version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_pillow)
    code, text = told()
    assert code == 1
    assert re.search(r"^  pillow +missing +pip install 'pillow[^']*'$", text, re.M)
    assert re.search(
        r"^  hydra-core +missing +1\.1 is too old or too new: pip install 'hydra-core<1\.4,>=1\.3\.8'$", text, re.M
    )
    assert "Training cannot run: mend hydra-core, pillow." in text


def test_a_missing_extra_is_no_failure(told, monkeypatch):
    version = importlib.metadata.version

    def without_joblib(name: str) -> str:
        if name == "hydra-joblib-launcher":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_joblib)
    code, text = told()
    assert code == 0
    assert re.search(r"^  joblib +absent +pip install 'gantool\[joblib\]'$", text, re.M)


def test_doctor_speaks_even_where_nothing_else_is_installed():
    code = (
        "import sys\n"
        "for name in ('torch', 'rich', 'packaging', 'yaml', 'hydra', 'omegaconf', 'numpy'): sys.modules[name] = None\n"
        "from gantool.cli.dispatch import main; sys.exit(main(['doctor']))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1, ran.stderr
    assert "Training cannot run: mend packaging, torch." in ran.stdout


def test_doctor_shows_each_gpu(told, monkeypatch):
    import torch

    properties = SimpleNamespace(name="H200", total_memory=139 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (100 * 2**30, 139 * 2**30))
    code, text = told()
    assert code == 0
    assert re.search(r"^  cuda:0 +ok +H200, 139 GiB, 100 free, compute capability 9\.0, bf16$", text, re.M)
    assert "device=cuda precision=bf16 for images, fp32 for points" in text
    monkeypatch.setattr("gantool.commands.doctor.find_spec", lambda name: None)
    assert re.search(r"^  torch\.compile +.*needs triton on a GPU", told()[1], re.M)


def test_doctor_takes_an_empty_variable_for_none(told, tmp_path, monkeypatch):
    monkeypatch.setenv("GANTOOL_DATA", "")
    monkeypatch.setenv("GANTOOL_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    text = " ".join(told()[1].split())
    assert f"{Path('data').absolute()}, " in text and "another is named by GANTOOL_DATA" in text
    assert f"{tmp_path / '.cache' / 'gantool'}, " in text


def test_doctor_finds_datasets_and_the_cache(told, tmp_path, monkeypatch):
    (tmp_path / "data" / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "pixels").write_bytes(bytes(3 * 2**20))
    monkeypatch.setenv("GANTOOL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor, "GIB", 2**20)
    code, text = told()
    assert code == 0
    assert re.search(r"^  mnist +ok +in ", text, re.M)
    assert re.search(r"^  cifar10 +absent +not there yet: dataset=cifar10 downloads it", text, re.M)
    assert "3.0 GiB of decoded images, classifiers" in " ".join(text.split())
