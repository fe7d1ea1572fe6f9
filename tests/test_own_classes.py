"""Classes and options of the user's own: the page's examples run, and their errors are called theirs."""

import re
import sys
from pathlib import Path

import pytest

from cli_helpers import Gantool, files, gantool_fixture, read_status  # noqa: F401 (it is a fixture)
from gantool.cli.bugs import own_place
from gantool.runs.folder import RunFolder


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


def test_users_own_option_is_offered_in_help(gantool: Gantool, tmp_path: Path):
    (tmp_path / "my" / "objective").mkdir(parents=True)
    (tmp_path / "my" / "objective" / "mine.yaml").write_text("# My own. Source: me.\n_target_: my_gan.Mine\n", "utf-8")
    assert "mine" in gantool("train", "--help", "-cd", "my").out


def test_an_option_that_a_built_in_one_hides_is_told(gantool: Gantool, tmp_path: Path):
    for name in ("minimax", "mine"):
        file = tmp_path / "conf" / "objective" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("# Mine. Source: me.\n_target_: mine.Mine\n", "utf-8")
    told = gantool("train", "--config-dir", "conf", "--cfg", "job")
    assert told.code == 0
    assert "conf/objective/minimax.yaml is not used: a built-in option has its name" in told.err
    assert "mine.yaml" not in told.err
