"""The command line that continues an earlier run or sweep.

A saved configuration is data from somewhere: it is never composed, resolved or executed. What is replayed are the
settings that were typed then; what conf/ says differently today is pinned to its old value. Hydra's own settings and
`trust` are never taken from a saved file.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gantool.errors import UsageError
from gantool.runs.folder import RunFolder

NEVER = ("hydra", "trust", "resume", "checkpoint")  # keys that no saved file may set
Compose = Callable[[list[str]], Mapping[str, Any]]  # overrides -> today's configuration, resolved


def replay(folder: RunFolder, changes: Sequence[str], compose: Compose) -> list[str]:
    """The overrides that continue a run: those it was started with, pins, the changes, and its folder or a new one."""
    saved = read_config(folder.config)
    overrides = [
        override for override in _typed(_read(folder.overrides), folder.overrides) if not _interpolates(override)
    ]
    now = compose(overrides)
    newer = now.keys() - saved.keys() - {*NEVER}
    if newer:  # than the run: of such a key it has the usual value, whatever today's recipe says
        usual = compose([])
        saved |= {key: usual[key] for key in newer & usual.keys() if not isinstance(usual[key], Mapping)}
    pins = _pins(saved, now)  # the value of an interpolation, too, as it was then
    kept = _without([*overrides, *pins], changes)
    return [*kept, *changes, *([] if new_folder(folder, changes) else [f"hydra.run.dir={literal(str(folder.root))}"])]


def new_folder(folder: RunFolder, changes: Sequence[str]) -> str | None:
    """The hydra.run.dir of a branch: where the changes name another folder than the run's own."""
    named = [change.partition("=")[2].strip("'\"") for change in changes if key_of(change) == "hydra.run.dir"]
    return named[-1] if named and Path(named[-1]).resolve() != folder.root.resolve() else None


def replay_sweep(sweep: Path, changes: Sequence[str]) -> list[str]:
    """The overrides that run the jobs of a sweep again, into the same folder: finished jobs are passed over."""
    file = sweep / "multirun.yaml"
    if not file.is_file():
        if RunFolder(sweep).status.is_file():
            raise UsageError(f"{sweep} is one run: leave out -m")
        raise UsageError(f"{sweep} is no sweep that can be resumed: it has no multirun.yaml")
    overrides = _read(file)
    for key in ("hydra", "overrides", "task"):
        overrides = overrides.get(key) if isinstance(overrides, dict) else None
    typed = _typed(overrides, file)
    given = [change for change in changes if key_of(change) in ("hydra.sweep.dir", "hydra.run.dir")]
    changes = [change for change in changes if change not in given]
    if any(Path(change.partition("=")[2].strip("'\"")).absolute() != sweep.absolute() for change in given):
        raise UsageError(
            f"a sweep goes on in its own folder, {sweep}: leave out {key_of(given[0])}; one of its runs can go on "
            "elsewhere, with gantool train resume=RUN hydra.run.dir=FOLDER"
        )
    swept = {key_of(override) for override in typed if _parsed(override, file).is_sweep_override()}
    for change in changes:
        if key_of(change) in swept and not _parsed(change).is_sweep_override():
            raise UsageError(
                f"{change}: {key_of(change)} is what {sweep} compares: leave it out, or give all of its values"
            )
    kept = _without(typed, changes)
    for override in kept:
        if _interpolates(override):
            raise UsageError(f"{file} holds an interpolation, which is not replayed: give {key_of(override)}=... again")
    return [*kept, *changes, f"hydra.sweep.dir={literal(str(sweep))}"]


def read_config(file: Path) -> dict[str, Any]:
    """A run's config.yaml, which holds plain values only. UsageError where it holds anything else."""
    config = _read(file)
    if not isinstance(config, dict):
        raise UsageError(f"{file} holds no configuration")
    for text in _texts(config):
        if "${" in text:
            raise UsageError(f"{file} holds an interpolation ({text}), which a saved configuration never does")
    return {key: value for key, value in config.items() if key not in NEVER}


def changed(then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`batch_size=32 (was 64)`, `trick.ema is new`: how a run's configuration differs from what it was."""
    for key in [*then, *(key for key in now if key not in then)]:
        name, old, new = f"{prefix}{key}", then.get(key), now.get(key)
        if name in NEVER or old == new:
            continue
        nodes = [isinstance(value, dict) for value in (old, new)]
        if all(nodes) or (any(nodes) and not prefix):  # a group may have been empty
            yield from changed(old or {}, new or {}, f"{name}.")
        elif any(nodes):
            yield f"{name} is {'new' if nodes[1] else 'gone'}"
        else:
            yield f"{name}={new} (was {old})"


def stretched(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """One line where schedules that end with the run now end later or earlier, so that their values jump."""
    if any(then.get(key) != now.get(key) for key in ("steps", "images")):
        names = [name for name, node in _nodes(now) if _open_ended(node)]
        before = {name for name, node in _nodes(then) if _open_ended(node)}
        jumping = [name for name in names if name in before]
        if jumping:
            yield (
                f"{', '.join(jumping)} has no `end` and follows the new budget: it jumps to where that puts this step; "
                "give the former last step as its `end` to keep it as it was"
            )


def _nodes(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All mappings in there, by their keys."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield f"{prefix}{key}", value
            yield from _nodes(value, f"{prefix}{key}.")


def _open_ended(node: Mapping[str, Any]) -> bool:
    schedule = str(node.get("_target_", "")).startswith("gantool.game.schedules.")
    return schedule and node.get("end") is None and node.get("kind", "constant") != "constant"


def key_of(override: str) -> str:
    """++trick.ema.decay=0.5 -> trick.ema.decay; an option that is put elsewhere (group@key=option) is of that key."""
    group, _, package = override.lstrip("+~").partition("=")[0].partition("@")
    return package or group


def own_folders(hydra: Any) -> list[str]:
    """The flags that name the folders of the user's own options to the command at hand, whose configuration this is."""
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    return [part for folder in folders for part in ("--config-dir", folder)]


def command(hydra: Any, run: Path, overrides: Iterable[str]) -> str:
    """The command line that goes on with a run: no run keeps where options of the user's own lie, nor `trust`."""
    trust = [override for override in overrides if key_of(override) == "trust"]
    return shlex.join(["gantool", "train", *own_folders(hydra), f"resume={run}", *trust])


def literal(value: Any) -> str:
    """A plain value in the grammar of Hydra's command line."""
    from hydra.core.override_parser.types import Quote, QuotedString

    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_plain(key)}:{literal(item)}" for key, item in value.items()) + "}"
    return repr(value) if isinstance(value, int | float) else QuotedString(str(value), Quote.single).with_quotes()


def _read(file: Path) -> Any:
    """YAML as OmegaConf writes it (1e-4 is a number), without letting OmegaConf give any value a meaning."""
    import yaml
    from omegaconf._utils import get_yaml_loader

    try:
        return yaml.load(file.read_bytes(), Loader=get_yaml_loader())
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"cannot read {file}: it is damaged; put back a copy of it, or begin another run") from error


def _texts(value: Any) -> Iterator[str]:
    """Every string in there, keys included."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _typed(overrides: Any, file: Path) -> list[str]:
    """The saved settings that may be replayed: no flags, nothing of Hydra's, no trust."""
    if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
        raise UsageError(f"{file} holds no list of overrides")
    parsed = [(override, _parsed(override, file)) for override in overrides]
    for override, one in parsed:
        if one.package and one.package.startswith("hydra"):
            raise UsageError(f"{file} puts an option into Hydra's own settings ({override}), which is refused")
    return [override for override, one in parsed if re.split(r"[./]", one.key_or_group)[0] not in NEVER]


def _parsed(override: str, file: Path | None = None) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise UsageError(f"{file}: cannot read {override!r}") from error


def _interpolates(override: str) -> bool:
    r"""Would OmegaConf look up something? `$\{` becomes an interpolation, too."""
    parsed = _parsed(override)
    if parsed.is_sweep_override():
        return "${" in override or "\\" in override
    return any("${" in text for text in (override, *_texts(parsed.value())))


def _without(overrides: Iterable[str], changes: Iterable[str]) -> list[str]:
    """The overrides of keys that are neither changed nor below a changed one (optimizer=sgd drops optimizer.*)."""
    changed = tuple(f"{key_of(change)}." for change in changes)
    return [override for override in overrides if not f"{key_of(override)}.".startswith(changed)]


def _pins(saved: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Overrides that bring today's configuration back to the saved one."""
    for key, value in saved.items():
        path = f"{prefix}{_plain(key)}"
        if isinstance(value, dict) and value and isinstance(now.get(key), Mapping):
            yield from _pins(value, now[key], f"{path}.")
        elif key not in now or now[key] != value or type(now[key]) is not type(value):
            yield f"++{path}={literal(value)}"
    other_class = "_target_" in saved and saved["_target_"] != now.get("_target_")
    for key in now:
        if key not in saved and (other_class or _is_component(now[key])):
            yield f"~{prefix}{_plain(key)}"


def _is_component(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _plain(key: Any) -> str:
    if not re.fullmatch(r"[\w-]+", str(key)):
        raise UsageError(f"the saved configuration has a key that no run writes: {key!r}")
    return str(key)
