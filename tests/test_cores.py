"""Threads of torch, and other processes that want their cores."""

import os

import pytest
import torch

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.engine import cores, precision

HZ = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine(seconds, busy, own)`: so much time has passed, all have computed `busy` seconds, this process `own`."""
    stat, now = tmp_path / "stat", [0.0, 0.0]
    monkeypatch.setattr(cores.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(cores.os, "times", lambda: (now[1], 0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(cores.torch, "get_num_threads", lambda: 4)

    def passed(seconds, busy, own):
        now[0], now[1] = now[0] + seconds, own
        stat.write_text(f"cpu  {round(busy * HZ)} 0 0 99999 7 0 0 0 0 0\ncpu0 1 2 3\n")
        return stat

    return passed


@pytest.mark.parametrize(
    ("others", "threads", "fewer"),
    [(0.2, 4, None), (1.0, 4, 3), (2.4, 4, 2), (3.9, 4, 1), (1.0, 3, None), (2.0, 3, 2), (3.9, 1, None)],
)
def test_others_on_the_cores_are_told_once(machine, monkeypatch, others, threads, fewer):
    monkeypatch.setattr(cores.torch, "get_num_threads", lambda: threads)
    crowd = cores.Crowd(machine(0, 1000, 10))
    machine(4, 1000 + 4 * (others + threads), 10 + 4 * threads)
    assert crowd.look() is None, "too early"
    machine(6, 1000 + 10 * (others + threads), 10 + 10 * threads)
    said = crowd.look()
    assert (said is None) == (fewer is None)
    if said:
        assert f"threads={fewer} " in said and f"{others:.1f} of 4 cores" in said
    machine(10, 1000 + 20 * (others + threads), 10 + 20 * threads)
    assert crowd.look() is None, "again"


def test_where_nobody_says_what_others_do_nothing_is_said(machine, tmp_path):
    machine(0, 0, 0)
    for stat in (tmp_path / "none", tmp_path / "odd"):
        (tmp_path / "odd").write_text("what is this")
        crowd = cores.Crowd(stat)
        machine(60, 600, 0)
        assert crowd.look() is None


def test_threads_are_as_asked_and_all_of_them_in_the_next_run(gantool: Gantool):
    small = ("device=cpu", "logger=[]", "steps=1", *(f"architecture.{net}.hidden=[8]" for net in ("generator",)))
    other = 2 if precision.ALL_THREADS == 1 else 1
    try:
        assert gantool("train", *small, f"threads={other}").code == 0
        assert torch.get_num_threads() == other
        assert gantool("train", *small).code == 0
        assert torch.get_num_threads() == precision.ALL_THREADS
    finally:
        torch.set_num_threads(precision.ALL_THREADS)
    assert "threads" in gantool("train", *small, "threads=0").err


def test_a_crowded_run_says_so(gantool: Gantool, monkeypatch):
    monkeypatch.setattr(cores.Crowd, "look", lambda self: "somebody else computes")
    done = gantool("train", "device=cpu", "logger=[]", "steps=1", "architecture.generator.hidden=[8]")
    assert done.code == 0 and "somebody else computes" in done.err
