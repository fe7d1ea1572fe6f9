"""gantool evaluate: measures what a run has learnt, shows it, and adds it as a row to the run's metrics.jsonl."""

import logging
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gantool.errors import UsageError
from gantool.runs.folder import RunFolder, find
from gantool.runs.resume import key_of

if TYPE_CHECKING:
    from gantool.commands.measuring import Told

log = logging.getLogger(__name__)

FOR_ALL = {"samples": "samples", "features": "features", "inception_weights": "weights"}  # key here -> of a metric
SUITABLE = (  # for a run that was trained without metrics: of each line the first that fits
    ("modes", "stacked_modes", "class_accuracy", "classes_drawn", "diversity"),
    ("class_error",),
    ("memorization",),
)


def run(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from gantool.commands.console import evaluation
    from gantool.config.schema import Evaluate
    from gantool.config.signature import check_root
    from gantool.runs import status
    from gantool.runs.rows import Rows

    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    check_root({key: value for key, value in config.items() if key != "metric"}, Evaluate)  # `measure` checks those
    hydra = HydraConfig.get()
    job = RunFolder(hydra.runtime.output_dir) if hydra.mode == RunMode.MULTIRUN else None
    if job:
        status.update(job, run=config["run"])
    folder, file = find(config["run"], trained=True)
    with evaluation() as tell:
        row, columns = measure(config, folder, file, tell, set(map(key_of, hydra.overrides.task)))
    if job:
        log.info("%s  %s", folder.root, "  ".join(f"{name} {_number(row[name])}" for name in columns if name in row))
    else:
        show(folder, row, columns)
    Rows(folder.rows).append(row)
    if job:
        compare_later(job, folder, row, list(hydra.overrides.task))


def measure(
    config: Mapping[str, Any], folder: RunFolder, file: Path | None, tell: "Told", typed: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """The row: step, every column, and what the numbers depend on; and which metric a column is of.

    `typed`: the keys that were given for this evaluation.
    """
    import torch

    from gantool.commands.assembly import device_name
    from gantool.commands.loading import load, state_of, trained_with
    from gantool.commands.measuring import Kept, Metrics
    from gantool.commands.sample import dataset_of, training_data
    from gantool.config.build import Builder
    from gantool.config.schema import FACTS
    from gantool.config.signature import check_component
    from gantool.engine.precision import set_up
    from gantool.runs import status
    from gantool.runs.rows import EVALUATED

    state, trained = state_of(folder, file, config["checkpoint"]), trained_with(folder)
    _refuse_new_share(trained, config["dataset"])
    deployed = load(state, folder, dict(config))
    torch.set_flush_denormal(True)  # as training does
    set_up(deployed.device, bool(trained.get("deterministic")))
    builder = Builder(tuple(config["trust"]))
    dataset = Kept(builder.make("dataset", dataset_of(trained, config["dataset"])))
    training_data(dataset, trained, state)  # it is there, and the run's
    own = trained.get("metric") or {}
    chosen = as_trained(config.get("metric") or {}, own, typed) or own or suitable(builder, trained, dataset, deployed)
    nodes = set_for_all(chosen, config, trained)
    for name, node in nodes.items():
        check_component(f"metric.{name}", node, FACTS)
    if config["truncation"] is not None:
        trained["truncation"] = None if config["truncation"] == "none" else config["truncation"]
    metrics = Metrics(builder, nodes, trained, deployed.device)
    metrics.check(dataset, deployed)
    seed = trained["seed"] if config["seed"] is None else config["seed"]
    found = metrics(deployed, dataset, seed, tell, {"device": device_name(deployed.device)})
    return {"step": state["step"], EVALUATED: status.now(), **found}, metrics.columns


def _refuse_new_share(trained: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """It says which images were trained on, which do not become unseen by being called so."""
    share = changes.get("test_share")
    if share is not None and share != trained["dataset"].get("test_share"):
        raise UsageError(
            f"dataset.test_share={share}: what is held out was settled when this run was trained: leave it out"
        )


def as_trained(chosen: Mapping[str, Any], own: Mapping[str, Any], typed: Collection[str]) -> dict[str, Any]:
    """The chosen metrics: one that the run has is set as there, but for what was typed; numbers can be compared."""
    return {name: _as_trained(f"metric.{name}", node, own.get(name) or {}, typed) for name, node in chosen.items()}


def _as_trained(path: str, node: Mapping[str, Any], own: Mapping[str, Any], typed: Collection[str]) -> dict[str, Any]:
    if not isinstance(node, Mapping):
        raise UsageError(f"{path}={node}: metrics are chosen by their names, metric=[NAME]; {path}.KEY=... sets one")
    if "_target_" not in node or own.get("_target_") != node["_target_"]:
        return dict(node)
    given = {key for key in node if any(f"{one}.".startswith(f"{path}.{key}.") for one in typed)}
    kept = {key: value if key in given else own.get(key, value) for key, value in node.items()}
    other = " ".join(f"{key}={value}" for key, value in kept.items() if value != node[key])
    if other:
        log.info("%s is measured as in training, with %s; %s.KEY=... says otherwise", path, other, path)
    return kept


def set_for_all(nodes: Mapping[str, Any], config: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics with what is given for all of them; features that are not given are as the run has them."""
    given = {key: config[name] for name, key in FOR_ALL.items()}
    for name, key in FOR_ALL.items():
        if given[key] is not None and not any(key in node for node in nodes.values()):
            raise UsageError(f"{name}={given[key]}: no metric among {', '.join(nodes)} has use for it: leave it out")
    default = {"features": trained.get("features") or "inception", "weights": trained.get("inception_weights")}

    def value(key: str, own: Any) -> Any:
        return next((one for one in (given.get(key), own, default.get(key)) if one is not None), None)

    return {name: {key: value(key, own) for key, own in node.items()} for name, node in nodes.items()}


def suitable(builder: Any, trained: Mapping[str, Any], dataset: Any, deployed: Any) -> dict[str, Any]:
    """Metrics for a run that was trained without."""
    from gantool.commands.measuring import Metrics
    from gantool.config.schema import conf_dir
    from gantool.features.classifier import Distrusted

    def fits(node: Mapping[str, Any]) -> bool:
        try:
            Metrics(builder, node, trained, deployed.device).check(dataset, deployed)
        except Distrusted as error:
            log.info("left out: %s", error)
        except UsageError:
            pass  # it is for other data or another objective
        else:
            return True
        return False

    def option(name: str) -> dict[str, Any]:
        node = OmegaConf.load(conf_dir() / "metric" / f"{name}.yaml")
        return {name: OmegaConf.to_container(node)}

    found = [next(filter(fits, map(option, line)), {}) for line in SUITABLE]
    if not any(found):
        raise UsageError("no metric is known to suit this run: give metric=[...]; gantool list metric says which exist")
    return {name: node for each in found for name, node in each.items()}


def show(folder: RunFolder, row: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    """A table on standard output: every column, and beside the first of a metric what it depends on."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    measured = row["measured"]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    said = {
        name: ", ".join(_fact(key, value) for key, value in facts.items() if value is not None)
        for name, facts in measured["metrics"].items()
    }
    for column, name in columns.items():
        if column in row:
            table.add_row(Text(column, "cyan"), Text(_number(row[column])), Text(said.pop(name, ""), "dim"))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    where = f"{folder.root}  step {row['step']:,}  {measured['weights']} weights  seed {measured['seed']}"
    if measured["truncation"] is not None:
        where += f"  truncation {measured['truncation']:g}"
    console.print(Text(where, "bold"), soft_wrap=True)
    console.print(table)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.5g}"


def _fact(key: str, value: Any) -> str:
    return f"{key} {value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{key} {value}"


def compare_later(job: RunFolder, folder: RunFolder, row: Mapping[str, Any], asked: Iterable[str]) -> None:
    """What the summary of several evaluations needs of this one (gantool.runs.sweep)."""
    from gantool.runs import status
    from gantool.runs.resume import key_of, read_config
    from gantool.runs.sweep import alike, given, meanwhile

    typed, facts = [one for one in asked if key_of(one) not in ("run", "seed")], status.read(folder)
    status.update(
        job, state="done", last=row, run=str(folder.root), settings=[*given(facts), *typed],
        group=alike(read_config(folder.config), [*meanwhile(facts), *typed]),
    )  # fmt: skip
