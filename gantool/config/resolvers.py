"""Values that the configuration computes: where data lie, a run's id, a sweep job's folder name, the lists in `--help`.

Importing this module registers them, so that every worker of a sweep has them too.
"""

import hashlib
import re
import secrets
import textwrap
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gantool.config.schema import LISTS
from gantool.runs.places import data_root

LONGEST = 100  # characters in a job's folder name
WIDTH = 110  # columns of `--help`


def slug(overrides: Iterable[str], fixed: Collection[str] = ()) -> str:
    """A sweep job's settings as a folder name of [A-Za-z0-9_.+-]: `objective-wgan_gp_seed-1_trick-ema+label_smoothing`.

    `fixed` settings, which all jobs share, are left out; the seed never is, so that seeds can be added later. Where the
    name would be too long, or another setting could have the same one, a hash of the settings follows.
    """
    settings = {key: value for key, _, value in (item.partition("=") for item in overrides)}
    settings = {key: value for key, value in sorted(settings.items()) if key == "seed" or key not in fixed}
    exact = "_".join(f"{key}-{_word(key, value)}" for key, value in settings.items()) or "defaults"
    name = re.sub(r"[^\w.+-]+", "-", exact, flags=re.ASCII).strip("-")
    ambiguous = any(f"_{key}-" in f"_{value}" for key in settings for value in settings.values())
    if name == exact and len(name) <= LONGEST and not ambiguous:
        return name
    text = " ".join(f"{key}={value}" for key, value in settings.items())
    return f"{name[: LONGEST - 9]}_{hashlib.sha1(text.encode()).hexdigest()[:8]}"


def _word(key: str, value: str) -> str:
    """[ema,label_smoothing] -> ema+label_smoothing in groups that take lists; `trick=ema` is another setting."""
    if key not in LISTS:
        return value
    inner = re.fullmatch(r"\[([\w.,-]*)\]", value)
    return (inner[1].replace(",", "+") or "none") if inner and inner[1] != "none" else f"({value})"


def groups_help(root: DictConfig) -> str:
    """The groups of the command at hand and their options, those of the user's own --config-dir included."""
    from gantool.config.reference import groups_of, read_groups
    from gantool.config.schema import conf_dir

    wanted = {name for name, *_ in groups_of(conf_dir() / f"{root.hydra.job.name}.yaml")}
    sources = [Path(source.path) for source in root.hydra.runtime.config_sources if source.schema == "file"]
    lines: list[str] = []
    for group in read_groups(*sources):
        if group.name not in wanted:
            continue
        defaults = re.findall(r"\w+", group.default)
        names = [f"{option.name}*" if option.name in defaults else option.name for option in group.options]
        lines += _entry(group.name, ", ".join(names) or "(none)", 16)
    return _literal(lines)


def keys_help(root: DictConfig) -> str:
    """The keys at the root of the command's YAML, with their default and meaning."""
    from gantool.config.reference import read_command
    from gantool.config.schema import conf_dir

    keys = read_command(conf_dir() / f"{root.hydra.job.name}.yaml")
    return _literal(line for key in keys for line in _entry(f"{key.path}={key.default}", key.meaning, 28))


def _entry(name: str, text: str, indent: int) -> Iterator[str]:
    """One item of a list: the name, and the text beside it, wrapped."""
    first, *others = textwrap.wrap(text, WIDTH - indent - 2, break_on_hyphens=False) or [""]
    yield f"  {name:{indent}}{first}" if len(name) < indent else f"  {name}  {first}"
    yield from (f"  {'':{indent}}{line}" for line in others)


def _literal(lines: Iterable[str]) -> str:
    """Hydra fills its help with string.Template, to which a dollar means something."""
    return "\n".join(lines).replace("$", "$$")


def _slug_of_job(_root_: DictConfig) -> str:
    hydra = _root_.hydra
    return slug(hydra.overrides.task, hydra.job.config.override_dirname.exclude_keys)


def register() -> None:
    OmegaConf.register_new_resolver("gantool_id", lambda: secrets.token_hex(2), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("gantool_data", data_root, replace=True)
    OmegaConf.register_new_resolver("gantool_slug", lambda *, _root_: _slug_of_job(_root_), replace=True)
    OmegaConf.register_new_resolver("gantool_groups", lambda *, _root_: groups_help(_root_), replace=True)
    OmegaConf.register_new_resolver("gantool_keys", lambda *, _root_: keys_help(_root_), replace=True)


register()
