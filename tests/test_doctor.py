"""`gantool doctor` tells what is there, what is missing, and what to do about it."""

import importlib.metadata
import re
import subprocess
import sys

import pytest

from gantool.commands import doctor


@pytest.fixture
def told(capsys):
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
    assert re.search(r"^  pillow +missing +pip install 'pillow'$", text, re.M)
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
