"""gantool train: wires a configuration into a run, and writes its folder."""

import logging
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gantool.commands.stopping import Abandoned, Stop
from gantool.errors import Diverged, Interrupted, RunError, UsageError
from gantool.runs.folder import RunFolder
from gantool.runs.rows import is_better

if TYPE_CHECKING:
    from gantool.engine.watch import Sign
    from gantool.runs.records import Records

log = logging.getLogger(__name__)
ALWAYS = ("step", "images", "seconds", "images_per_second")  # columns of every row


def run(cfg: DictConfig) -> float | None:
    """Trains until the budget is spent; continues where the run folder already holds checkpoints."""
    from hydra.core.hydra_config import HydraConfig

    from gantool.config.compose import settle_paths
    from gantool.config.schema import Train
    from gantool.config.signature import check_root
    from gantool.runs.resume import read_config

    check_root(OmegaConf.to_container(cfg, resolve=True), Train)  # type: ignore[arg-type]
    hydra = HydraConfig.get()
    folder = RunFolder(Path(hydra.runtime.output_dir))
    settle_paths(cfg, read_config(folder.config) if folder.config.is_file() else {})
    choices = {
        group: choice for group, choice in hydra.runtime.choices.items() if "/" not in group and choice is not None
    }
    return Training(cfg, folder, choices, list(hydra.overrides.task)).run()


class Training:
    """One run: what is played, what is saved, and what is told about it."""

    def __init__(self, cfg: DictConfig, folder: RunFolder, choices: dict[str, Any], overrides: list[str]):
        from gantool.commands.assembly import Assembly
        from gantool.commands.loading import saved_state
        from gantool.engine.cores import Crowd
        from gantool.engine.watch import Watch

        self.cfg, self.folder, self.choices, self.overrides = cfg, folder, choices, overrides
        self.config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
        self.saved = saved_state(folder, cfg.checkpoint)
        self.parts = Assembly(self.config, self.saved)
        self.clock, self.plan = self.parts.clock, self.parts.plan
        self.best: dict[str, Any] | None = None
        self.checked, self.last = False, dict[str, Any]()  # is best.metric a column? the newest row
        chosen = [f"{group}={choices.get(group)}" for group in ("objective", "update")]
        self.watch = Watch([*chosen, *(f"trick=[{name}]" for name in self.config.get("trick") or {})])
        self.warnings, self.crowd = list[dict[str, Any]](), Crowd()
        self.stop, self.recordings = Stop(), self.parts.recordings
        self.row_at = (0, 0.0)  # images and second where the speed of the next row counts from
        self.evaluated = 0.0  # seconds that were spent on the metrics of a row, which its successor's speed leaves out

    def run(self) -> float | None:
        from gantool.runs import status

        before = status.read(self.folder)
        resumed = self._restore(before)
        spent = f"already at step {self.clock.step}: its budget of {self.plan.budget(self.clock)} is spent"
        if before.get("state") == "done" and self.plan.spent(self.clock):
            log.info("%s: give a larger one to go on", spent)
            return self._value()
        if resumed and not before and self.plan.spent(self.clock):
            raise UsageError(f"{spent}: give a larger one, or an earlier checkpoint=")
        with self._open(resumed) as self.records, self.stop.listening():
            with self._progress() as self.progress:
                finished = self.parts.train(self, self.stop.asked)
            try:
                if not finished:
                    self._interrupted()
                self.stop.listen_no_more()
                self._finished()
            except Exception as error:  # of what was written in the background
                self.rescue(error)
                raise
        return self._value()

    # -------------------------------------------------------- what the loop tells (gantool.engine.loop.Observer)

    def stepped(self, step: int) -> None:
        if self.parts.recordings != self.recordings:
            self.recordings = self.parts.recordings
            self.progress.begin_pace()
        if not self.checked:
            self._check_best()
        self.progress.update(step, None)

    def diverged(self, step: int, name: str) -> None:
        from gantool.runs import checkpoint

        self.records.flush()
        try:
            last = f"the last good checkpoint is {checkpoint.choose(self.folder, 'last')}"
        except UsageError:
            last = "no checkpoint had been saved"
        advice = (
            "Lower the learning rates, bound the discriminator (trick=[gradient_penalty]) or take precision=fp32"
            if step > 1
            else "So early it is the data, or what gives it: to read turn.real in G's turn takes needs_real = True"
        )
        message = f"{name} was no longer finite at step {step}; {last}. {advice}"
        self._end("diverged", message)
        raise Diverged(message)

    def sample(self, step: int) -> None:
        shown = self.parts.shown
        self.records.picture(step, self.parts.grid(), shown.columns, self.parts.reference, shown.classes())

    def evaluate(self, step: int) -> dict[str, Any] | None:
        """A signal gives it up at once: the run goes on with it when it is resumed."""
        if not self.parts.metrics.chosen:
            return {}
        began = time.monotonic()
        try:
            with self.progress.evaluating() as tell:
                return self.parts.evaluate(self.stop, tell)
        except Abandoned:
            return None
        finally:
            self.evaluated = time.monotonic() - began

    def row(self, means: dict[str, Any]) -> bool:
        images, seconds = self.clock.images - self.row_at[0], self.clock.seconds - self.row_at[1]
        row: dict[str, Any] = {"step": self.clock.step, "images": self.clock.images}
        row |= ({"component": self.parts.component} if self.parts.meta else {}) | means
        if self.plan.sampled(self.last, self.clock) or self.plan.spent(self.clock):
            row |= self.parts.diversity()
        row["seconds"] = self.clock.seconds
        row["images_per_second"] = images / seconds if images and seconds > 0 else None
        self.row_at, self.evaluated = (self.clock.images, self.clock.seconds + self.evaluated), 0.0
        columns = {name: value for name, value in row.items() if name != "measured"}
        self.records.row(row, columns)
        self.last = row
        warnings = self._seen(row)
        for warning in warnings:
            log.warning("step %d: %s", warning.step, warning.text)
        if self.parts.device.type == "cpu" and (crowded := self.crowd.look()):
            log.warning("%s", crowded)
        self.progress.update(self.clock.step, columns, self.watch.active)
        better = self._is_best(row)
        if warnings or self.records.silent():
            self.records.tell(**self._place())
        return better

    def _seen(self, row: dict[str, Any]) -> "list[Sign]":
        """What the watch says to a row; it is kept for status.json."""
        warnings = self.watch.see(row)
        self.warnings += [warning._asdict() for warning in warnings]
        return warnings

    def checkpoint(self) -> None:
        if (bad := self.parts.first_bad_weight()) is not None:
            self.diverged(self.clock.step, bad)
        self.records.checkpoint(self.clock.step, self._state(), self.best, self._place())

    def rescue(self, error: BaseException) -> None:
        """Saves the step, unless it diverged or the disk is full; where that cannot be, the error is what is told."""
        with suppress(Exception):
            if not isinstance(error, RunError) and self.parts.first_bad_weight() is None:
                self.records.rescue(self.clock.step, self._state(), self.best, self._place())
                log.info("step %d is saved: once this is mended, gantool train resume=FOLDER goes on", self.clock.step)

    def _state(self) -> dict[str, Any]:
        from gantool.runs.checkpoint import FORMAT

        return self.parts.state_dict() | {"format": FORMAT, "best": self.best}

    def component(self, step: int) -> None:
        self.parts.next_component()
        self.records.tell(**self._place())

    # ---------------------------------------------------------------- beginning and end

    def _restore(self, before: dict[str, Any]) -> bool:
        from gantool.runs.resume import read_config

        state, self.saved = self.saved, None
        if state is not None:
            self.parts.load_state_dict(state)
            saved = read_config(self.folder.config).get("best") if self.folder.config.is_file() else None
            best = state["best"] if saved == self.config["best"] else None  # values of another metric say nothing
            self.best = best if best and self.folder.checkpoint(best["step"]).is_file() else None
        elif before.get("step"):
            log.warning("%s holds no checkpoint to go on from: it begins again", self.folder.root)
        self.row_at = (self.clock.images, self.clock.seconds)
        return state is not None

    def _open(self, resumed: bool) -> "Records":
        from gantool.commands.planning import make_loggers, tell_idle
        from gantool.runs import checkpoint, rows, status
        from gantool.runs.folder import write_atomically
        from gantool.runs.records import Records
        from gantool.runs.resume import changed, read_config, stretched

        rows.Rows(self.folder.rows).truncate(self.clock.step, self.clock.step - self.parts.meters.pending)
        for row in rows.read(self.folder.rows):
            self._seen(row)
            self.last = row
        checkpoint.rewind(self.folder, self.clock.step)
        started = status.read(self.folder).get("started") or status.now()
        before = read_config(self.folder.config) if resumed and self.folder.config.is_file() else self.config
        write_atomically(
            self.folder.config, lambda file: file.write(OmegaConf.to_yaml(self.cfg, resolve=True).encode())
        )
        overrides = OmegaConf.to_yaml(OmegaConf.create(self.overrides))
        write_atomically(self.folder.overrides, lambda file: file.write(overrides.encode()))
        status.update(
            self.folder, state="running", command="train", started=started,
            resumed=status.now() if resumed else None, reason=None, error=None, ended=None,
            step=self.clock.step, best=self.best, choices=self.choices, overrides=self.overrides,
            dataset=self.choices.get("dataset"), warnings=self.warnings,
            architecture=self.choices.get("architecture"), objective=self.choices.get("objective"),
            tricks=list(self.config.get("trick") or {}), update=self.choices.get("update"),
            meta=self.choices.get("meta"), seed=self.cfg.seed, batch_size=self.cfg.batch_size,
            **self.parts.facts(), versions=status.environment(),
            git_revision=status.git_revision(), **status.process(),
        )  # fmt: skip
        loggers = make_loggers(self.parts.builder, self.config.get("logger") or {}, self.folder, self.clock.step)
        parts, verb = self.parts, f"resuming at step {self.clock.step}" if resumed else "training"
        log.info("%s in %s on %s, %s, %s", verb, self.folder.root, parts.device, parts.precision, parts.way)
        log.info("data: %s", parts.described)
        for change in (*changed(before, self.config), *stretched(before, self.config)):
            log.info("from here on %s", change)
        tell_idle(self.config, bool(parts.metrics.chosen))
        return Records(self.folder, loggers, self.cfg.keep_last)

    def _place(self) -> dict[str, Any]:
        """How far the run has come, for status.json."""
        place: dict[str, Any] = {"step": self.clock.step, "images": self.clock.images, "seconds": self.clock.seconds}
        place["warnings"] = list(self.warnings)
        if self.parts.meta:
            place |= {"component": self.parts.component, "components": self.parts.meta.rounds}
        return place | ({"last": self.last} if self.last else {})

    def _end(self, state: str, reason: str) -> None:
        self.records.end(**self._place(), state=state, reason=reason)

    def _finished(self) -> None:
        from gantool.commands.planning import finished

        if not self.folder.grid(self.clock.step).exists():  # something failed before it
            self.sample(self.clock.step)
        self._end("done", f"budget of {self.plan.budget(self.clock)} spent")
        finished(self.folder, self.clock, {name: self.last.get(name) for name in self.parts.metrics.columns}, self.best)

    def _interrupted(self) -> None:
        from hydra.core.hydra_config import HydraConfig

        from gantool.runs.resume import command

        self.checkpoint()
        again = command(HydraConfig.get(), self.folder.root, self.overrides)
        name = signal.Signals(self.stop.number).name
        message = f"stopped by {name} after step {self.clock.step}, which is saved; go on with: {again}"
        self._end("interrupted", message)
        raise Interrupted(message, 128 + self.stop.number)

    def _is_best(self, row: dict[str, Any]) -> bool:
        """Does best.metric prefer this row to all before? Then its step is worth a checkpoint."""
        name, value = self.cfg.best.metric, row.get(self.cfg.best.metric)
        better = is_better(value, self.best["value"] if self.best else None, self.cfg.best.mode)
        self.best = {"step": self.clock.step, "metric": name, "value": value} if better else self.best
        return better

    def _check_best(self) -> None:
        """After the first step, which shows what its statistics are."""
        from gantool.config.signature import suggestion

        self.checked, name = True, self.cfg.best.metric
        known = {*self.parts.meters.names, *self.parts.metrics.columns, "diversity", *ALWAYS}
        if name is not None and name not in known:
            told = f"best.metric={name} is no column of metrics.jsonl; {suggestion(name, known)}"
            raise UsageError(f"{told}; columns of a metric are there if it is chosen, metric=[...]")

    def _value(self) -> float | None:
        """What a sweeper optimises: the best value of best.metric."""
        return float(self.best["value"]) if self.best else None

    def _progress(self) -> Any:
        from gantool.commands.console import Progress

        left = self.plan.minutes and self.plan.minutes - self.clock.seconds / 60
        return Progress(
            total_steps=self.plan.steps, minutes=left, start_step=self.clock.step,
            batch_images=self.parts.images_per_step,
            components=self.parts.meta.rounds if self.parts.meta else None,
        )  # fmt: skip
