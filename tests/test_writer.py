"""What is written in the background: in order, bounded, whole, and never without a word where it fails."""

import os
import threading
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gantool.errors import RunError
from gantool.loggers.tensorboard import TensorBoard
from gantool.runs import checkpoint, status
from gantool.runs.folder import RunFolder
from gantool.runs.records import Records
from gantool.runs.writer import Writer


def fail(text: str) -> None:
    raise RunError(text)


def test_jobs_are_done_in_turn_while_others_go_on():
    gate, done = threading.Event(), []
    with Writer() as writer:
        writer.submit(gate.wait, "slow")
        for number in range(5):
            writer.submit(partial(done.append, number))
        assert done == [] and writer.busy("slow")  # and we are here
        gate.set()
        writer.flush()
        assert done == [0, 1, 2, 3, 4] and not writer.busy("slow")
        writer.submit(partial(done.append, 5))
    assert done == [0, 1, 2, 3, 4, 5]  # whoever leaves has waited


def test_the_second_of_a_kind_waits_for_the_first():
    gate, done = threading.Event(), []
    with Writer() as writer:
        writer.submit(gate.wait, "picture")
        other = threading.Thread(target=lambda: (writer.submit(int, "picture"), done.append("submitted")))
        other.start()
        other.join(0.05)
        assert done == []
        writer.submit(int, "checkpoint")  # of another kind: at once
        gate.set()
        other.join()
        assert done == ["submitted"]


@pytest.mark.parametrize("look", ["submit", "check", "flush", "leave"])
def test_an_error_is_raised_where_the_run_next_looks_and_nothing_is_done_after_it(look):
    done = []
    with pytest.raises(RunError, match="disk full"), Writer() as writer:  # noqa: PT012
        writer.submit(partial(fail, "disk full"), "picture")
        if look == "leave":
            return
        writer.wait("picture")
        writer.submit(done.append) if look == "submit" else getattr(writer, look)()
    assert done == []


def test_a_run_that_fails_still_writes_what_waits_and_tells_its_own_error():
    done = []
    with pytest.raises(ValueError, match="its own"), Writer() as writer:  # noqa: PT012
        writer.submit(partial(done.append, 1))
        writer.submit(partial(fail, "another"))
        writer.submit(partial(done.append, 2))
        raise ValueError("its own")
    assert done == [1]


# ---------------------------------------------------------------- a run's records


def records(tmp_path: Path, keep_last: int = 1) -> Records:
    return Records(RunFolder(tmp_path), {}, keep_last)


def test_a_checkpoint_holds_the_state_of_its_step(tmp_path):
    """Training changes every tensor in place, and every list, before the file is written."""
    gate, weights = threading.Event(), torch.arange(3.0)
    state = {"game": OrderedDict(weights=weights), "moments": [weights * 2, (3, "four")], "step": 7}
    with records(tmp_path) as kept:
        kept.submit(gate.wait)
        kept.checkpoint(7, state, None, {"step": 7})
        weights.fill_(-1)
        state["moments"][0].fill_(-1)
        state["moments"].clear()
        assert not list(tmp_path.rglob("*.pt"))
        gate.set()
    loaded = checkpoint.load(RunFolder(tmp_path).checkpoint(7))
    assert torch.equal(loaded["game"]["weights"], torch.tensor([0.0, 1.0, 2.0]))
    assert torch.equal(loaded["moments"][0], torch.tensor([0.0, 2.0, 4.0]))
    assert loaded["moments"][1] == (3, "four") and loaded["step"] == 7
    assert status.read(RunFolder(tmp_path))["step"] == 7


def test_a_snapshot_is_what_torch_would_have_saved():
    """Layouts, types and what a module notes on its state (version numbers) survive."""
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)
    state, copied = net.state_dict(), checkpoint.snapshot(net.state_dict())
    assert type(copied) is OrderedDict and copied._metadata == state._metadata
    for name, tensor in state.items():
        assert torch.equal(copied[name], tensor) and copied[name].stride() == tensor.stride()
        assert copied[name].data_ptr() != tensor.data_ptr() and not copied[name].requires_grad


def test_only_copies_that_are_waited_for_may_come_later():
    """CUDA's are, by its stream. This tensor stands for one of MPS, which honours non_blocking, too."""
    asked: list[bool] = []

    class Elsewhere(torch.Tensor):
        def to(self, *arguments: Any, non_blocking: bool = False, **options: Any) -> torch.Tensor:
            asked.append(non_blocking)
            return super().to(*arguments, **options)

    checkpoint.snapshot({"weight": torch.ones(3).as_subclass(Elsewhere)})
    assert asked == [False]


class Operations(TorchDispatchMode):
    """Notes what is computed in this thread."""

    def __init__(self, seen: set[str]):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(operation.overloadpacket.__name__)
        return operation(*args, **kwargs or {})


@pytest.mark.usefixtures("with_plots")
@pytest.mark.parametrize("shape", [(3, 8, 8), (2,)])
def test_nothing_is_computed_with_torch_in_the_background(tmp_path, monkeypatch, shape):
    """It would begin a second pool of threads, for which each step of the training pays. Views are no computation."""
    seen: set[str] = set()

    def watched(self: Writer, job: Any, run: Any = Writer._run) -> None:
        with Operations(seen):
            run(self, job)

    monkeypatch.setattr(Writer, "_run", watched)
    folder, net = RunFolder(tmp_path), torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    with Records(folder, {"tensorboard": TensorBoard(folder.root / "tensorboard", 0)}, 1) as kept:
        kept.picture(1, torch.randn(16, *shape), 4, torch.randn(50, *shape))
        kept.row({"step": 1, "d_loss": 0.5}, {"step": 1, "d_loss": 0.5})
        kept.checkpoint(1, {"net": net.state_dict()}, None, {})
    assert folder.grid(1).exists() and folder.checkpoint(1).exists()
    assert "detach" in seen  # the watch sees
    assert seen <= {"detach", "alias", "slice", "permute", "select", "view", "_to_copy"}


def test_status_never_names_a_best_checkpoint_that_is_not_there(tmp_path, monkeypatch):
    """Looked at after every file that is renamed or removed, as somebody might after a power cut."""
    folder, seen = RunFolder(tmp_path), []

    def looked(change: Any, *arguments: Any, **options: Any) -> None:
        change(*arguments, **options)
        best = status.read(folder).get("best")
        seen.append(best and best["step"])
        assert best is None or folder.checkpoint(best["step"]).exists()

    monkeypatch.setattr(os, "replace", partial(looked, os.replace))
    monkeypatch.setattr(Path, "unlink", lambda path, unlink=Path.unlink, **options: looked(unlink, path, **options))
    with records(tmp_path) as kept:
        for step, best in ((1, 1), (2, 1), (3, 3), (4, 4), (5, 4)):
            kept.tell(step=step)  # a row of the same step, told before its checkpoint is there
            kept.checkpoint(step, {"step": step}, {"step": best}, {})
    assert checkpoint.steps(folder) == [4, 5]
    assert {1, 3, 4} <= set(seen)


def test_the_last_word_is_the_last(tmp_path):
    """The end is told when all is written, and nothing that was told before it comes later."""
    gate = threading.Event()
    with records(tmp_path) as kept:
        kept.submit(gate.wait)
        kept.picture(3, torch.zeros(4, 1, 8, 8), 2, None)
        kept.checkpoint(3, {"step": 3}, None, {"state": "running"})
        threading.Timer(0.05, gate.set).start()
        kept.end(state="done")
        assert status.read(RunFolder(tmp_path))["state"] == "done"
    assert status.read(RunFolder(tmp_path)).keys() >= {"ended", "state"}
    assert RunFolder(tmp_path).grid(3).exists() and RunFolder(tmp_path).checkpoint(3).exists()
