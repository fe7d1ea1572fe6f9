"""Every YAML file documents itself, has exactly the keys of its class, composes, and passes its own checks."""

import io
import re
from contextlib import redirect_stdout
from itertools import groupby, zip_longest
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from gantool.commands import list as list_command
from gantool.config import reference
from gantool.config.reference import read_groups, read_option
from gantool.config.schema import FACTS, Sample, Train, conf_dir
from gantool.config.signature import check_root, signature
from gantool.errors import RunError, UsageError

GROUPS = {group.name: group for group in read_groups(conf_dir())}
FILES = [conf_dir() / group.name / f"{option.name}.yaml" for group in GROUPS.values() for option in group.options]
BRINGS = {"wgan": "weight_clipping", "wgan_gp": "gradient_penalty", "mmd_gan": "gradient_penalty"}


def name(path: Path) -> str:
    return f"{path.parent.name}={path.stem}"


def chosen(path: Path) -> str:
    several = GROUPS[path.parent.name].default.startswith("[")
    return f"{path.parent.name}=[{path.stem}]" if several else name(path)


def components(node: object):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from components(value)


def test_every_folder_of_options_is_a_group():
    folders = {folder.name for folder in conf_dir().iterdir() if folder.is_dir()} - {"hydra"}
    assert folders == set(GROUPS)
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=name)
def test_option_says_what_it_is_and_where_it_is_from(path):
    option = read_option(path.parent.name, path)
    assert re.fullmatch(r"\S.*\.", option.sentence), f"first comment line: {option.sentence!r}"
    assert option.source
    assert [key.path for key in option.keys if not key.meaning] == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_option_has_the_keys_of_its_class(path):
    for node in components(yaml.safe_load(path.read_text("utf-8"))):
        fields = signature(node["_target_"])
        if fields is not None and path.parent.name != "experiment":
            defaults = [key for item in node.get("defaults", []) if isinstance(item, dict) for key in item]
            parts = {found[1] for key in defaults if (found := re.fullmatch(r"/\w+@(\w+)", key))}
            assert (set(node) - {"_target_", "defaults"}) | parts == set(fields) - FACTS, node["_target_"]


def together() -> list[tuple[Path, ...]]:
    """All options, in as few compositions as there are options of a group. Experiments: `test_train.py`."""
    groups = groupby(FILES, lambda path: path.parent.name)
    files = {group: list(paths) for group, paths in groups}
    del files["experiment"]
    apart = [(path,) for path in files.pop("sampler")]
    return apart + [tuple(path for path in row if path) for row in zip_longest(*files.values())]


@pytest.mark.parametrize("paths", together(), ids=lambda paths: ",".join(map(name, paths)))
def test_options_compose_and_pass_their_checks(paths, compose):
    command = GROUPS[paths[0].parent.name].command
    cfg = compose(*map(chosen, paths), command=command)
    for key in missing(cfg):  # what the user must give, as dataset.path
        OmegaConf.update(cfg, key, "given")
    check_root(OmegaConf.to_container(cfg, resolve=True), {"train": Train, "sample": Sample}[command])


def missing(cfg) -> set[str]:
    return OmegaConf.missing_keys(cfg)


@pytest.mark.parametrize(("objective", "trick"), BRINGS.items())
def test_a_constraint_that_an_objective_brings_stays(objective, trick, compose):
    assert set(compose(f"objective={objective}").trick) == {trick}
    cfg = compose(f"objective={objective}", "trick=[ema]", f"+trick.{trick}._x=1")
    assert {"ema", trick} <= set(cfg.trick)
    assert "_target_" in cfg.trick[trick]


def test_tricks_are_a_list_that_can_be_replaced(compose):
    assert list(compose("trick=[ema,label_smoothing]").trick) == ["ema", "label_smoothing"]
    assert compose("trick=[ema]", "trick.ema.half_life=5").trick.ema.half_life == 5


# The reference page and `gantool list`


def test_reference_page_is_fresh():
    assert reference.main(["--check"]) == 0, "run `make reference`"


def test_stale_reference_page_is_noticed_and_mended(tmp_path):
    page = tmp_path / "README.md"
    text = (conf_dir() / "README.md").read_text("utf-8")
    page.write_text(text.replace("`optimizer.generator.lr`", "`optimizer.generator.rate`"), "utf-8")
    with pytest.raises(RunError, match="stale"):
        reference.main(["--check"], page)
    reference.main([], page)
    assert page.read_text("utf-8") == text


def test_reference_page_has_every_option_and_root_key():
    text = (conf_dir() / "README.md").read_text("utf-8")
    for path in FILES:
        assert f"| `{path.stem}` |" in text
    for key in ("batch_size", "best.metric", "truncation", "trick.ema.half_life", "architecture.generator.hidden"):
        assert f"| `{key}` |" in text


def listed(*argv: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        assert list_command.run(argv) == 0
    return out.getvalue()


def test_list_shows_every_option_with_its_sentence(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    text = listed()
    for path in FILES:
        option = read_option(path.parent.name, path)
        assert re.search(rf"^  {option.name} +{re.escape(option.sentence)} +{re.escape(option.source)}", text, re.M)


def test_list_of_one_group_shows_keys_defaults_and_meanings(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    text = listed("trick")
    assert re.search(
        r"trick\.label_smoothing\.real +0\.9 +D's target on reals +\(number in \[0, 1\]\)", text.replace("= ", "")
    )
    assert "gantool train trick=[NAME,...]" in text
    assert "gantool sample sampler=NAME" in listed("sampler")


def test_list_says_what_was_meant():
    with pytest.raises(UsageError, match="no such group 'datset'\n  did you mean 'dataset'"):
        list_command.run(["datset"])
    with pytest.raises(UsageError, match="'ema' is an option of trick: gantool list trick"):
        list_command.run(["ema"])
    with pytest.raises(UsageError, match="nowhere: there is no such folder"):
        list_command.run(["--config-dir", "nowhere"])


def test_list_includes_a_users_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    own = tmp_path / "objective"
    own.mkdir()
    (own / "mine.yaml").write_text(
        "# Mine. Source: a notebook.\n_target_: my_gan.Mine\nmargin: 1.0  # a margin\nplain: [1, 2]\n", "utf-8"
    )
    (own / "minimax.yaml").write_text("# Hidden by ours. Source: nobody.\n_target_: my_gan.Mine\n", "utf-8")
    text = listed("objective", "--config-dir", str(tmp_path))
    assert re.search(r"mine  Mine\.\n +Source: a notebook\n +objective\.margin +=? ?1\.0 +a margin", text)
    assert "objective.plain" in text
    assert "Hidden by ours" not in text
    (own / "broken.yaml").write_text("# Broken. Source: me.\na: [1\n", "utf-8")
    with pytest.raises(UsageError, match="broken.yaml"):
        list_command.run(["--config-dir", str(tmp_path)])


def test_every_objective_says_what_the_players_lower():
    (group,) = (group for group in read_groups(conf_dir()) if group.name == "objective")
    for option in group.options:
        said = " ".join(option.more)
        assert re.search(r"\bG (raises and G )?lowers |^Both lower ", said) and said.endswith("."), option.name
