"""The table of conf/README.md that gives each section of ganhacks its key."""

import re

import pytest
import yaml

from gantool.config.reference import read_command, read_groups
from gantool.config.schema import conf_dir

PAGE = (conf_dir() / "README.md").read_text("utf-8")
HEADING = "## ganhacks, section by section"
GROUPS = {group.name: group for group in read_groups(conf_dir())}
COLUMNS = {"d_grad_norm", "g_grad_norm", "diversity"}  # of metrics.jsonl; tests/test_watch.py has them
SINGLE = {key.path for key in read_command(conf_dir() / "train.yaml")}
OPTIONS = {f"{group.name}={option.name}" for group in GROUPS.values() for option in group.options}
KEYS = {f"{option.package}.{key.path}" for group in GROUPS.values() for option in group.options for key in option.keys}


def rows() -> dict[int, tuple[str, str]]:
    """Section -> its name, and what the table says of it."""
    assert PAGE.count(HEADING) == 1
    text = PAGE.split(HEADING)[1].split("\n## ")[0]
    return {
        int(number): (name, cell) for number, name, cell in re.findall(r"^\| (\d+)\. (.*?) \| (.*) \|$", text, re.M)
    }


def exists(name: str) -> bool:
    """A setting `group=option` or `group=[option]`, a key, or an option beside the group that stands before it."""
    if "=" in name:
        return name.replace("[", "").replace("]", "") in OPTIONS
    return name in KEYS | SINGLE | COLUMNS or name in {option.partition("=")[2] for option in OPTIONS}


def test_every_section_has_its_row():
    assert list(rows()) == list(range(1, 18))


@pytest.mark.parametrize("section", range(1, 18))
def test_what_is_named_exists(section):
    _, cell = rows()[section]
    names = re.findall(r"`([^`]+)`", cell)
    assert names, "no key at all"
    assert [name for name in names if not exists(name)] == []


@pytest.mark.parametrize("name", ["objective=nonsaturating", "trick=[ema2]", "trick.ema.halflife", "no_such"])
def test_what_does_not_exist_is_noticed(name):
    assert not exists(name)


def test_what_the_table_calls_default_is():
    """Of the settings that it says are the default."""
    chosen = {
        key: value
        for item in yaml.safe_load((conf_dir() / "train.yaml").read_text("utf-8"))["defaults"]
        if isinstance(item, dict)
        for key, value in item.items()
    }
    said = [name for _, cell in rows().values() for name in re.findall(r"`(\w+=\w+)`, the default", cell)]
    assert len(said) == 3
    for setting in said:
        group, _, option = setting.partition("=")
        assert chosen[group] == option
