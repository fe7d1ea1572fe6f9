"""`objective.base=NAME` on the command line, and the sampler that varies a code."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from cli_helpers import Gantool, files, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.cli.argv import based
from gantool.runs.resume import key_of

SMALL = [
    "dataset=digits", "architecture.latent_dim=16", "architecture.generator.hidden=[16]",
    "architecture.discriminator.hidden=[16]", "steps=4", "batch_size=16", "logger=[]", "sample_every=4",
]  # fmt: skip


def test_a_name_is_an_option_and_keys_below_it_are_keys():
    assert based("objective.base=hinge") == "objective@objective.base=hinge"
    assert based("objective.base=hinge,f_gan") == "objective@objective.base=hinge,f_gan"
    for other in ("objective.base.divergence=kl", "objective=hinge", "objective.weight=2", "objective.base="):
        assert based(other) == other
    assert key_of("objective@objective.base=hinge") == "objective.base"
    assert key_of("++trick.ema.decay=0.5") == "trick.ema.decay" and key_of("~trick.ema") == "trick.ema"


def test_base_is_composed_with_its_own_keys(gantool: Gantool):
    asked = ["objective=info", "objective.base=f_gan", "objective.base.divergence=kl", "--cfg", "job"]
    shown = gantool("train", *asked)
    assert shown.code == 0, shown.err
    base = yaml.safe_load(shown.out)["objective"]["base"]
    assert base["_target_"].endswith("FGAN") and base["divergence"] == "kl"


def test_base_that_is_not_there_is_one_sentence(gantool: Gantool, tmp_path):
    said = gantool("train", "objective=info", "objective.base=hinges")
    assert said.code == 2 and "did you mean 'hinge'?" in said.err and "Traceback" not in said.err
    assert files(tmp_path) == []


def test_a_base_where_none_is_taken_is_refused(gantool: Gantool, tmp_path):
    said = gantool("train", "objective=hinge", "objective.base=minimax")
    assert said.code == 2 and "this objective is built on no other: drop it" in said.err
    several = gantool("train", "objective=info", "objective.base=[hinge,minimax]")
    assert several.code == 2 and "takes the name of one option" in several.err
    assert files(tmp_path) == []


def test_settings_that_would_change_nothing_are_refused(gantool: Gantool, tmp_path):
    for chosen, words in (
        (["objective=mmd", "update.discriminator_steps=5"], "this objective has no discriminator: leave it out"),
        (["labels=100"], "hides classes that this objective does not look at"),
        (["architecture=mlp_salimans2016", "batch_size=1"], "BatchNorm needs two examples"),
    ):
        said = gantool("train", "dataset=digits", *chosen)
        assert said.code == 2 and words in said.err, said.err
    assert files(tmp_path) == []


def test_resumed_with_another_base_and_another_objective(gantool: Gantool):
    run = ["objective=feature_matching", "objective.base=hinge", "hydra.run.dir=run", *SMALL]
    assert gantool("train", *run).code == 0
    changed = gantool("train", "resume=run", "objective.base=least_squares", "steps=6")
    assert changed.code == 0, changed.err
    assert yaml.safe_load(Path("run/config.yaml").read_text("utf-8"))["objective"]["base"]["_target_"].endswith(
        "LeastSquares"
    )
    same = gantool("train", "resume=run", "steps=8")
    assert same.code == 0, same.err
    assert yaml.safe_load(Path("run/config.yaml").read_text("utf-8"))["objective"]["base"]["_target_"].endswith(
        "LeastSquares"
    )
    other = gantool("train", "resume=run", "objective=minimax", "steps=9")
    assert other.code == 0, other.err
    assert "base" not in yaml.safe_load(Path("run/config.yaml").read_text("utf-8"))["objective"]
    assert json.loads(Path("run/status.json").read_text("utf-8"))["step"] == 9


def test_a_sweep_over_bases_has_a_folder_for_each(gantool: Gantool):
    swept = gantool("train", "-m", "objective=info", "objective.base=hinge,least_squares", "hydra.sweep.dir=s", *SMALL)
    assert swept.code == 0, swept.err
    names = sorted(path.name for path in Path("s").iterdir() if path.is_dir())
    assert len(names) == 2 and "hinge" in names[0] and "least_squares" in names[1]


def test_codes_vary_along_the_rows(gantool: Gantool):
    assert gantool("train", "objective=info", "objective.continuous=1", "hydra.run.dir=run", *SMALL).code == 0
    for code, columns in ((0, 10), (1, 7)):
        drawn = gantool("sample", "run=run", "sampler=codes", f"sampler.code={code}", "columns=7", "n=35", "seed=1",
                        f"out=code_{code}.png")  # fmt: skip
        assert drawn.code == 0, drawn.err
        with Image.open(f"code_{code}.png") as picture:
            rows = 35 // columns
            assert picture.width / picture.height == pytest.approx(columns / rows, rel=0.1)
    beyond = gantool("sample", "run=run", "sampler=codes", "sampler.code=2")
    assert beyond.code == 2 and "2 codes" in beyond.err
    assert gantool("train", "hydra.run.dir=plain", *SMALL).code == 0
    none = gantool("sample", "run=plain", "sampler=codes")
    assert none.code == 2 and "take sampler=grid" in none.err
