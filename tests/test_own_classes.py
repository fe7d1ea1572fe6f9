"""Classes and options of the user's own: the page's examples run, and their errors are called theirs."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from cli_helpers import Gantool, files, gantool_fixture, read_status  # noqa: F401 (it is a fixture)
from gantool.cli.bugs import own_place
from gantool.runs import checkpoint
from gantool.runs.folder import RunFolder


@pytest.mark.parametrize(
    ("shape", "names", "said"),
    [
        ("2", "()", "dataset.shape must be (C, H, W) of images, or (P,) of points, not 2"),
        ("(2.0,)", "()", "dataset.shape must be (C, H, W) of images, or (P,) of points, not (2.0,)"),
        ("(8, 8, 1)", "()", "dataset.shape is (C, H, W), and (8, 8, 1) looks like (H, W, C)"),
        ("(2,)", "'ab'", "dataset.names must be a tuple of texts, another one for each class, not 'ab'"),
        ("(2,)", "(0, 1)", "dataset.names must be a tuple of texts"),
        ("(2,)", "('a', 'a')", "dataset.names must be a tuple of texts"),
    ],
)
def test_what_a_dataset_of_ones_own_says_of_itself_is_checked(gantool: Gantool, shape: str, names: str, said: str):
    body = f"class Mine:\n    shape, names, flip = {shape}, {names}, False\n    def load(self, split='train'): ..."
    assert said in refused(gantool, "my_data", "dataset", body)


NO_REALS = """
from gantool.game.hooks import Trick
class Mine(Trick):
    def g_penalty(self, turn, on_fake):
        return turn.real.mean()
"""


def test_what_is_not_finite_at_once_is_told_otherwise(gantool: Gantool):
    """The mean of no reals; a lower learning rate does not help."""
    result = gantool("train", *own("my_mean", "trick", NO_REALS))
    sys.modules.pop("my_mean")
    assert result.code == 1 and "g_my_mean was no longer finite at step 1" in result.err
    assert "needs_real = True" in result.err and "learning rates" not in result.err


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
        assert result.code == 2 and f"dataset.load('{split}') gives torch.float64" in result.err, result.err
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


def own(name: str, group: str, body: str, *more: str) -> tuple[str, ...]:
    """Writes the class `Mine` and its option, and gives the settings that choose it."""
    Path(f"{name}.py").write_text(body, "utf-8")
    option = Path("mine", group, f"{name}.yaml")
    option.parent.mkdir(parents=True)
    lists = group in ("logger", "metric", "trick")
    head = f"# @package {group}.{name}\n" if lists else ""
    option.write_text(f"{head}# Mine. Source: this test.\n_target_: {name}.Mine\n", "utf-8")
    chosen = f"{group}=[{name}]" if lists else f"{group}={name}"
    quick = ("dataset=ring", "batch_size=8", "steps=2", "logger=[]", "compile=off", "hydra.run.dir=r")
    others = [setting for setting in quick if not setting.startswith(f"{group}=")]
    return ("--config-dir", "mine", f"trust=[{name}]", chosen, *others, *more)


def refused(gantool: Gantool, name: str, group: str, body: str, *more: str) -> str:
    """What is said of such a class, which is not trained with."""
    result = gantool("train", *own(name, group, body, *more))
    sys.modules.pop(name, None)
    assert result.code == 2, result.err
    return result.err


OBJECTIVE = """
from gantool.game.hooks import Objective
class Mine(Objective):
    def d_loss(self, turn, on_real, on_fake):
        return on_fake.logits.mean() - on_real.logits.mean()
    def g_loss(self, turn, on_fake):
        return {loss}
    def report(self, turn, on_real, on_fake):
        return {report}
"""


@pytest.mark.parametrize(
    ("loss", "report", "said"),
    [
        (
            "on_fake.logits",
            "{}",
            "Mine.g_loss must give one number, a tensor without dimensions, not torch.float32",
        ),
        ("on_fake.logits.mean().detach()", "{}", "Mine.g_loss depends on no weight that learns"),
        ("None", "{}", "Mine.g_loss must give one number, a tensor without dimensions, not None"),
        ("float(on_fake.logits.mean())", "{}", "not a float"),
        ("-on_fake.logits.mean()", "{'mine': 0.5}", "Mine.report()['mine'] must give one number"),
        ("-on_fake.logits.mean()", "{'step': on_fake.logits.mean()}", "Mine gives the column step, which each row has"),
        ("-on_fake.logits.mean()", "{'d_loss': on_fake.logits.mean()}", "Mine gives the column d_loss, which"),
    ],
)
def test_what_ones_own_objective_gives_wrongly_is_said_of_it(gantool: Gantool, loss: str, report: str, said: str):
    assert said in refused(gantool, "my_loss", "objective", OBJECTIVE.format(loss=loss, report=report))


@pytest.mark.parametrize("lacks", ["d_loss", "g_loss"])
def test_a_loss_that_ones_own_objective_lacks_is_named(gantool: Gantool, lacks: str):
    body = OBJECTIVE.format(loss="-on_fake.logits.mean()", report="{}").replace(lacks, "other")
    assert f"Mine has no {lacks}" in refused(gantool, "my_loss", "objective", body)


METRIC = """
import torch
class Mine:
    columns = ({column!r},)
    def check(self, dataset, objective): ...
    def facts(self): return {facts}
    def __call__(self, generator, dataset): return {{{column!r}: 1.0}}
"""


@pytest.mark.parametrize(
    ("column", "facts", "said"),
    [
        ("g_loss", "{}", "metric.my_metric gives the column g_loss, which training has: rename it"),
        ("step", "{}", "gives the column step"),
        ("mine", "{'size': torch.ones(2)}", "metric.my_metric: what facts() gives cannot be written as JSON"),
    ],
)
def test_what_ones_own_metric_gives_wrongly_is_said_of_it(gantool: Gantool, column: str, facts: str, said: str):
    assert said in refused(gantool, "my_metric", "metric", METRIC.format(column=column, facts=facts))


def test_a_trick_is_not_called_like_something_of_torchs_modules(gantool: Gantool, tmp_path: Path):
    body = "from gantool.game.hooks import Trick\nclass Mine(Trick): ...\n"
    assert "trick=half: torch's modules have something of that name" in refused(gantool, "half", "trick", body)
    assert not (tmp_path / "r").exists()


PRIOR = """
import torch
class Mine:
    def __call__(self, n, dim, device=None{more}):
        return {given}
"""


@pytest.mark.parametrize(
    ("more", "given", "said"),
    [
        (", generator=None", "torch.zeros(n, dim + 1)", "prior: Mine must give float32 (2, 64), n latents, and gives"),
        (", generator=None", "torch.zeros(n, dim).double()", "gives torch.float64 (2, 64)"),
        (", generator=None", "None", "gives None"),
        ("", "torch.zeros(n, dim)", "prior: Mine cannot be called with (n, dim, generator): got an unexpected keyword"),
    ],
)
def test_what_ones_own_prior_gives_wrongly_is_said_of_it(gantool: Gantool, more: str, given: str, said: str):
    assert said in refused(gantool, "my_prior", "prior", PRIOR.format(more=more, given=given))


UPDATE = """
from gantool.game.updates import Alternating
class Mine(Alternating):
    def __init__(self): super().__init__()
    def {method}:
        stats = Alternating.__call__(self, game, d, g)
        return {given}
"""


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("__call__(self, game, d, g)", "None", "update: Mine must give a dictionary, column: number, not None"),
        ("__call__(self, game, d, g)", "{}", "not an empty one"),
        ("__call__(self, game, d, g)", "stats | {'mine': 1.0}", "Mine.__call__()['mine'] must give one number"),
        ("__call__(self, game)", "None", "update: Mine cannot be called with (game, d, g): too many positional"),
    ],
)
def test_what_ones_own_update_gives_wrongly_is_said_of_it(gantool: Gantool, method: str, given: str, said: str):
    assert said in refused(gantool, "my_update", "update", UPDATE.format(method=method, given=given))


SAMPLER = """
from pathlib import Path
class Mine:
    def {method}:
        return {given}
"""


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("__call__(self, batches, reference, out)", "None", "sampler: Mine must give the Path that it has written"),
        ("__call__(self, batches, reference, out)", "Path('nothing.png')", "not PosixPath('nothing.png')"),
        ("__call__(self, batches)", "None", "sampler: Mine cannot be called with (batches, reference, out)"),
        ("draw(self)", "None", "sampler: Mine has no __call__(batches, reference, out)"),
    ],
)
def test_what_ones_own_sampler_gives_wrongly_is_said_of_it(gantool: Gantool, method: str, given: str, said: str):
    quick = ("dataset=ring", "batch_size=8", "steps=1", "logger=[]", "compile=off", "hydra.run.dir=run")
    assert gantool("train", *quick).code == 0
    chosen = own("my_sampler", "sampler", SAMPLER.format(method=method, given=given))[:4]
    result = gantool("sample", *chosen, "run=run", "n=4")
    sys.modules.pop("my_sampler")
    assert result.code == 2 and said in result.err, result.err


DRAWING = """
from gantool.game.updates import Alternating
class Mine(Alternating):
    def real_batches(self, game):
        return {told}
    def __call__(self, game, d, g):
        for _ in range({drawn}):
            game.source.reals()
        return super().__call__(game, d, g)
"""


@pytest.mark.parametrize(
    ("told", "drawn", "data", "code", "said"),
    [
        (2, 1, "stream", 0, ""),
        (4, 1, "device", 0, ""),
        (1, 1, "device", 2, "a step draws more batches of reals than real_batches() of the update rule tells of"),
        (4, 1, "stream", 2, "a step draws fewer batches of reals than real_batches() of the update rule tells of"),
        (0, 0, "device", 2, "Mine.real_batches() must give how many batches of reals a step draws, a whole number"),
        (None, 0, "stream", 2, "a whole number from 1, not None"),
        (1.0, 0, "device", 2, "a whole number from 1, not 1.0"),
    ],
)
def test_an_update_of_ones_own_draws_as_many_reals_as_it_says(
    gantool: Gantool, told: float | None, drawn: int, data: str, code: int, said: str
):
    """Others do not lie ready: on a GPU an index beyond them ends the process."""
    settings = own("my_rule", "update", DRAWING.format(told=told, drawn=drawn))
    result = gantool("train", *settings, f"data={data}")
    sys.modules.pop("my_rule")
    assert result.code == code and said in result.err, result.err


LOOKAHEAD = """
import torch
from torch import nn
from gantool.game.updates import Alternating
class Mine(nn.Module):
    discriminator_steps = 1
    def __init__(self):
        super().__init__()
        self.inner, self.count = Alternating(), 0
        self.register_buffer("now", torch.zeros((), dtype=torch.int64))
    def ready(self, game, d, g):
        for i, weight in enumerate([*d.parameters, *g.parameters]):
            self.register_buffer("slow" + str(i), weight.detach().clone())
    def real_batches(self, game):
        return 1
    def forward(self, game, d, g):
        stats = self.inner(game, d, g)
        self.now += 1
        due = (self.now % 4 == 0).float()
        with torch.no_grad():
            for i, weight in enumerate([*d.parameters, *g.parameters]):
                slow = getattr(self, "slow" + str(i))
                slow.lerp_(weight, 0.5 * due)
                weight.lerp_(slow, due)
        self.count += {counted}
        return stats
"""


@pytest.mark.parametrize("how", ["compile=off", pytest.param("compile=step", marks=pytest.mark.slow)])
def test_what_an_update_of_ones_own_remembers_is_saved_and_recorded(gantool: Gantool, how: str):
    """Lookahead (Zhang et al. 2019): its slow weights and its count are buffers."""
    settings = own("my_slow", "update", LOOKAHEAD.format(counted=0), "tick_every=1")

    def trained(folder: str, steps: int, how: str = how) -> dict:
        result = gantool("train", *settings, how, f"steps={steps}", f"hydra.run.dir={folder}")
        assert result.code == 0 and "is no buffer" not in result.err + result.out, result.err
        return checkpoint.load(checkpoint.choose(RunFolder(folder), "last"))

    trained("halted", 6)
    there, whole, plain = trained("halted", 9), trained("whole", 9), trained("plain", 9, "compile=off")
    sys.modules.pop("my_slow")
    assert int(whole["update"]["state"]["now"]) == 9
    for ended in (there, whole):
        assert all(torch.equal(value, whole["game"][name]) for name, value in ended["game"].items())
        assert all(map(torch.equal, ended["update"]["state"].values(), whole["update"]["state"].values()))
    torch.testing.assert_close(whole["update"]["state"], plain["update"]["state"], rtol=1e-3, atol=1e-5)


def test_what_a_class_of_ones_own_keeps_in_python_is_told(gantool: Gantool):
    settings = own("my_count", "update", LOOKAHEAD.format(counted=1), "tick_every=1")
    result = gantool("train", *settings, "steps=5")
    sys.modules.pop("my_count")
    said = "update.count changes in each step and is no buffer: if later steps go by it, a resumed run goes on"
    assert result.code == 0 and said in " ".join((result.err + result.out).split()), result.err


TRICK = """
from gantool.game.hooks import Trick
class Mine(Trick):
    def {method}:
        return {given}
"""


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("d_penalty(self, turn, on_real, on_fake)", "on_real.logits ** 2", "Mine.d_penalty must give one number"),
        ("g_penalty(self, turn, on_fake)", "0.5", "Mine.g_penalty must give one number, a tensor"),
        ("targets(self, real, fake)", "real", "Mine.targets() must give two tensors, and gives torch.float32 (8,)"),
        ("replay(self, fake, label)", "None", "Mine.replay() must give two tensors, and gives None"),
        ("after_d(self)", "None", "trick.my_trick: Mine.after_d cannot be called with (nets): too many positional"),
    ],
)
def test_what_a_trick_of_ones_own_gives_wrongly_is_said_of_it(gantool: Gantool, method: str, given: str, said: str):
    assert said in refused(gantool, "my_trick", "trick", TRICK.format(method=method, given=given))


def test_what_nobody_foresaw_of_ones_own_class_is_no_defect_of_gantool(gantool: Gantool):
    result = gantool("train", *own("my_view", "trick", TRICK.format(method="view(self, image)", given="None")))
    sys.modules.pop("my_view")
    said = "an error, perhaps by what your own my_view.Mine gives or lacks: "
    assert result.code == 1 and said in result.err and "please report it" not in result.err, result.err


MODULE = """
from dataclasses import dataclass
from gantool.game.ranges import Positive
from gantool.priors.normal import Normal
{body}
"""
KEYWORD = "class Mine(Normal):\n    def __init__(self, *, scale: Positive): ..."
FIELD = "@dataclass\nclass Mine(Normal):\n    scale: Positive = 1.0"


@pytest.mark.parametrize(
    ("body", "setting", "said"),
    [
        (KEYWORD, "+prior.scale=-1", "prior.scale must be a number > 0, got -1"),
        (FIELD, "+prior.scale=-1", "prior.scale must be a number > 0, got -1"),
        (KEYWORD, "seed=1", "prior.scale is missing: give prior.scale="),
        ("def (:", "seed=1", "my_prior.py, line 5: SyntaxError: invalid syntax"),
        ("import nowhere", "seed=1", "my_prior.py, line 5: ModuleNotFoundError: No module named 'nowhere'"),
        ("class Other: ...", "seed=1", "there is no class 'my_prior.Mine'"),
    ],
)
def test_a_class_that_cannot_be_made_so_is_told(gantool: Gantool, body: str, setting: str, said: str):
    assert said in refused(gantool, "my_prior", "prior", MODULE.format(body=body), setting)


METHODS = """
class Base:
    columns, shape, names, flip, discriminator_steps = {{"mine": "min"}}, (2,), (), False, {steps}
    def __init__(self, **facts): ...
    def check(self, dataset, shown): ...
    def facts(self): return {{}}
class Mine(Base):
    def {method}: ...
"""


@pytest.mark.parametrize(
    ("group", "method", "steps", "said"),
    [
        ("metric", "measure(self)", 1, "metric.my_part: Mine has no __call__(trained, dataset)"),
        ("metric", "__call__(self)", 1, "metric.my_part: Mine cannot be called with (trained, dataset)"),
        ("logger", "close(self)", 1, "logger.my_part: Mine has no row(row)"),
        ("logger", "row(self)", 1, "logger.my_part: Mine.row cannot be called with (row)"),
        ("dataset", "load(self)", 1, "dataset: Mine.load cannot be called with (split)"),
        ("update", "__call__(self, game, d, g)", 1, "update: Mine has no real_batches(game)"),
        ("update", "__call__(self, g, d): ...\n    def real_batches(self, game)", 1, "update: Mine cannot be called"),
        (
            "update",
            "__call__(self, game, d, g): ...\n    def real_batches(self, game)",
            None,
            "Mine.discriminator_steps",
        ),
    ],
)
def test_what_a_class_of_ones_own_lacks_is_said_before_the_first_step(
    gantool: Gantool, group: str, method: str, steps: int | None, said: str
):
    assert said in refused(gantool, "my_part", group, METHODS.format(method=method, steps=steps))


BROKEN = """
class Mine:
    columns = {"mine": "min"}
    def check(self, dataset, shown): ...
    def facts(self): return {}
    def __call__(self, trained, dataset): return 1 / 0
"""
FAILING = """
import time
class Mine:
    def __init__(self, folder, step): ...
    def row(self, row):
        if row["step"] == {step}:
            time.sleep({late})
            raise ConnectionError("the server is down")
    def picture(self, step, path): ...
    def close(self): ...
"""


@pytest.mark.parametrize(
    ("group", "body", "saved"),
    [
        ("metric", BROKEN, 9),
        ("logger", FAILING.format(step=7, late=0), 7),
        ("logger", FAILING.format(step=9, late=1), 9),  # all else is done by then
    ],
    ids=["metric", "logger", "late"],
)
def test_steps_before_an_error_of_ones_own_metric_or_logger_are_saved(
    gantool: Gantool, group: str, body: str, saved: int
):
    """And once it is mended the run goes on."""
    settings = own("my_part", group, body, "tick_every=1", "checkpoint_every=5")
    result = gantool("train", *settings, "steps=9")
    sys.modules.pop("my_part")
    assert result.code == 1 and "an error in your own my_part.py" in result.err, result.err
    steps = [int(file.stem.rpartition("_")[2]) for file in Path("r/checkpoints").iterdir()]
    assert max(steps) >= saved
    Path("my_part.py").write_text(body.replace("1 / 0", "{'mine': 1.0}").replace("raise Conn", "Conn"), "utf-8")
    result = gantool("train", *settings, "steps=9")
    sys.modules.pop("my_part")
    assert result.code == 0 and read_status(Path("r"))["step"] == 9, result.err
    rows = [json.loads(line)["step"] for line in Path("r/metrics.jsonl").read_text().splitlines()]
    assert rows == list(range(1, 10)) and Path("r/samples/step_00000009.png").is_file()


LATE = """
import torch
from gantool.game.hooks import Trick
class Mine(Trick):
    def after_round(self, nets):
        if not hasattr(self, "late"):
            self.register_buffer("late", torch.zeros(()))
        self.late += 1
"""


def test_a_buffer_that_is_made_too_late_to_go_on_with_is_told(gantool: Gantool):
    settings = own("my_late", "trick", LATE)
    assert gantool("train", *settings).code == 0
    result = gantool("train", *settings, "steps=4")
    sys.modules.pop("my_late")
    assert result.code == 2 and "trick.my_late has saved late, which it lacks now" in result.err, result.err


LOGGER = """
class Mine:
    def __init__(self, folder, step): self.file = open(folder / "rows.txt", "a")
    def row(self, row): print(int(row["step"]), file=self.file)
    def picture(self, step, path): ...
    def close(self): self.file.close()
"""


def test_ones_own_logger_has_a_folder_of_its_name(gantool: Gantool):
    settings = own("my_logger", "logger", LOGGER)
    result = gantool("train", *settings, "tick_every=1")
    sys.modules.pop("my_logger")
    assert result.code == 0, result.err
    assert Path("r/my_logger/rows.txt").read_text().split() == ["1", "2"]


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
