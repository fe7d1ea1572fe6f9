"""Checkpoints: read back only if whole, chosen, kept and forgotten."""

import math
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gantool.errors import UsageError
from gantool.runs import checkpoint, status
from gantool.runs.folder import write_atomically
from test_runs import STATE, files, folder_fixture  # noqa: F401 (it is a fixture)


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    checkpoint.save(tmp_path / "a.pt", STATE)
    state = checkpoint.load(tmp_path / "a.pt")
    assert equal(state, {**STATE, "format": "gantool-1"}) and list(state["game"]) == ["weight", "bias"]


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize(
    "value", [np.float64(1.0), np.int64(1), np.zeros(2), Path("x"), object(), {1, 2}, torch.Size([1])]
)
def test_what_could_not_be_read_back_is_not_saved(tmp_path, value):
    with pytest.raises(TypeError, match=r"state\['game'\]\[1\]"):
        checkpoint.save(tmp_path / "a.pt", {"game": [0, value]})
    assert files(tmp_path) == []


@pytest.mark.parametrize("share", [0, 1e-9, 0.01, 0.3, 0.5, 0.9, 0.999, 1 - 1e-9])
def test_a_truncated_checkpoint_is_refused(tmp_path, share):
    path = tmp_path / "a.pt"
    checkpoint.save(path, STATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: math.ceil(share * (len(whole) - 1))])
    with pytest.raises(UsageError, match="is truncated|corrupted|no gantool checkpoint"):
        checkpoint.load(path)


def test_no_flipped_byte_changes_what_is_read(tmp_path):
    """Everywhere in the file: it is refused, or it was a byte of padding and the state is the same."""
    path, state = tmp_path / "a.pt", {"step": 1, "weight": torch.arange(64.0)}
    checkpoint.save(path, state)
    whole = path.read_bytes()
    numbers = whole.index(state["weight"].numpy().tobytes())
    refused = 0
    for place in {*range(0, len(whole), 3), *range(numbers, numbers + 256, 5)}:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            read_back = checkpoint.load(path)
        except UsageError:
            refused += 1
        else:
            assert not numbers <= place < numbers + 256
            assert equal(read_back, {**state, "format": "gantool-1"}), place
    assert refused > 100


def test_a_flipped_byte_is_called_corrupted(tmp_path):
    path = tmp_path / "a.pt"
    checkpoint.save(path, STATE)
    whole = bytearray(path.read_bytes())
    whole[whole.index(STATE["game"]["weight"].numpy().tobytes()) + 2000] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UsageError, match="corrupted"):
        checkpoint.load(path)


class Malicious:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch_legacy", "inside"])
def test_a_malicious_checkpoint_is_refused_and_runs_nothing(tmp_path, kind):
    path, proof = tmp_path / "a.pt", tmp_path / "was_run"
    state = {"format": "gantool-1", "weight": torch.zeros(1), "x": Malicious(proof)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(state))
    elif kind == "inside":  # a good checkpoint whose pickle was exchanged
        checkpoint.save(path, {"weight": torch.zeros(1)})
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, pickle.dumps(Malicious(proof), 2) if name.endswith("data.pkl") else data)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(UsageError, match="no gantool checkpoint") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value) and not proof.exists()
    if kind == "torch":  # the test itself can fail: a careless reader does run it
        torch.load(path, weights_only=False)
        assert proof.exists()


def test_missing_foreign_and_newer_checkpoints_are_told_apart(tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises(UsageError, match="there is no checkpoint"):
        checkpoint.load(path)
    with pytest.raises(UsageError, match="cannot read"):
        checkpoint.load(tmp_path)
    for foreign in ({"state_dict": {}}, [1, 2], {"format": "other"}, {"format": torch.zeros(2)}):
        torch.save(foreign, path)
        with pytest.raises(UsageError, match="no gantool checkpoint"):
            checkpoint.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UsageError, match="no gantool checkpoint"):
        checkpoint.load(path)
    torch.save({"format": "gantool-2"}, path)
    with pytest.raises(UsageError, match="newer gantool"):
        checkpoint.load(path)


def saved(folder, *steps):
    for age, step in enumerate(steps):
        checkpoint.save(folder.checkpoint(step), {"step": step})
        os.utime(folder.checkpoint(step), (age, age))


def test_last_passes_over_a_truncated_checkpoint_and_says_so(folder, caplog):
    saved(folder, 9, 10, 200)
    (folder.checkpoints / "step_x.pt").write_text("not ours", "utf-8")
    assert checkpoint.steps(folder) == [9, 10, 200]
    assert checkpoint.choose(folder, "last") == folder.checkpoint(200)
    os.truncate(folder.checkpoint(200), 100)
    assert checkpoint.choose(folder, "last") == folder.checkpoint(10)
    assert "step_00000200.pt is truncated" in caplog.text
    for step in (9, 10):
        os.truncate(folder.checkpoint(step), 0)
    with pytest.raises(UsageError, match="none of the checkpoints"):
        checkpoint.choose(folder, "last")


def test_best_and_a_step_are_chosen_or_missed_with_a_sentence(folder):
    with pytest.raises(UsageError, match="has no checkpoint yet"):
        checkpoint.choose(folder, "last")
    saved(folder, 9, 10)
    with pytest.raises(UsageError, match="no best checkpoint: best.metric was not set, or was finite in no row; use"):
        checkpoint.choose(folder, "best")
    status.update(folder, best={"step": 9, "metric": "fid", "value": 1.0})
    assert checkpoint.choose(folder, "best") == folder.checkpoint(9)
    assert checkpoint.choose(folder, 10) == folder.checkpoint(10)
    with pytest.raises(UsageError, match="no checkpoint of step 11: there is 9, 10"):
        checkpoint.choose(folder, 11)
    with pytest.raises(UsageError, match="must be last, best or a step, got newest"):
        checkpoint.choose(folder, "newest")


@pytest.mark.parametrize(
    ("last", "best", "stay"),
    [(2, None, [4, 5]), (2, 1, [1, 4, 5]), (2, 5, [4, 5]), (0, None, [5]), (0, 2, [2, 5]), (9, 1, [1, 2, 3, 4, 5])],
)
def test_keep_leaves_the_newest_and_the_best(folder, last, best, stay):
    saved(folder, 1, 2, 3, 4, 5)
    checkpoint.keep(folder, last, best)
    assert checkpoint.steps(folder) == stay


def test_keep_never_deletes_what_was_just_written(folder):
    """Gone on from step 500, because 1000 is damaged: the new 600 is the only good one beside it."""
    saved(folder, 500, 1000, 600)
    checkpoint.keep(folder, 1, None)
    assert checkpoint.steps(folder) == [600, 1000]


def test_keep_clears_what_a_killed_writer_left(folder):
    saved(folder, 1)
    (folder.checkpoints / ".step_00000002.pt.123.tmp").write_text("half", "utf-8")
    checkpoint.keep(folder, 1, None)
    assert files(folder.checkpoints) == ["step_00000001.pt"]


def test_rewind_forgets_what_came_later(folder):
    saved(folder, 5, 10, 15)
    for step in (5, 10, 15):
        write_atomically(folder.grid(step), lambda file: file.write(b"x"))
    (folder.samples / "step_final.png").write_text("mine", "utf-8")
    checkpoint.rewind(folder, 10)
    assert checkpoint.steps(folder) == [5, 10]
    assert files(folder.samples) == ["step_00000005.png", "step_00000010.png", "step_final.png"]
