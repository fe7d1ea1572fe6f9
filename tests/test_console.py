"""What a person sees while a command runs: progress lines, the bar, and log lines above it."""

import io
import logging
import re

import pytest

from gantool.commands import console

STATS = {"step": 1, "d_loss": 0.5, "g_loss": 1.25, "d_accuracy_real": 0.9, "d_accuracy_fake": 0.8, "bad": None}


class Ticking:
    """Stands for time.monotonic: a step a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    ticking = Ticking()
    monkeypatch.setattr(console.time, "monotonic", ticking)
    return ticking


def test_progress_lines_are_rare_and_complete(clock: Ticking, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    with console.Progress(total_steps=1000, minutes=None, start_step=0, batch_images=64, lines=True) as progress:
        for step in range(1, 101):
            clock.now += 1.0
            progress.update(step, STATS)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 11  # after 2 s, then every 10 s, and at the end
    assert lines[0] == "step 2/1,000  D 0.500  G 1.250  D right on real 90%, fake 80%  64 images/s  2s, 16m38s left"
    assert lines[-1].startswith("step 100/1,000  ") and lines[-1].endswith("  1m40s, 15m00s left")


def test_steps_that_compile_do_not_count_for_the_pace(clock: Ticking, caplog: pytest.LogCaptureFixture):
    """The first and a later one take half a minute; the others a tenth of a second."""
    caplog.set_level(logging.INFO)
    with console.Progress(total_steps=1000, minutes=None, start_step=0, batch_images=64, lines=True) as progress:
        for step in range(1, 108):
            clock.now += 30.0 if step in (1, 6) else 0.1
            if step == 6:
                progress.begin_pace()
            progress.update(step)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[:2] == ["step 1/1,000  30s", "step 6/1,000  1m00s"]
    assert lines[-1] == "step 107/1,000  640 images/s  1m10s, 1m29s left"


def test_progress_by_minutes(clock: Ticking):
    progress = console.Progress(total_steps=None, minutes=10, start_step=50, batch_images=1, lines=True).__enter__()
    for step in (75, 100):
        clock.now += 75.0
        progress.update(step)
    assert progress._share(clock.now) == pytest.approx(0.25)
    assert progress._seconds_left(clock.now) == pytest.approx(450)
    assert progress._place() == "step 100"


def test_progress_bar_keeps_below_log_lines(clock: Ticking, monkeypatch: pytest.MonkeyPatch):
    screen = io.StringIO()
    terminal = console.Console(file=screen, force_terminal=True, width=100, highlight=False)
    monkeypatch.setattr(console, "console", terminal)
    with console.Progress(total_steps=100, minutes=None, start_step=0, batch_images=64) as progress:
        for step in range(1, 51):
            clock.now += 0.1
            progress.update(step, STATS)
        frames = screen.getvalue().count("step ")
        console.ConsoleHandler().emit(logging.makeLogRecord({"msg": "a line", "levelno": logging.INFO}))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert 20 <= frames <= 27  # every 0.2 s, not every step
    assert "step 50/100  640 images/s  5s, 5s left" in text and "D right on real 90%, fake 80%" in text
    assert re.search(r"a line\n.*step 50/100", text, re.DOTALL)


def test_update_is_cheap():
    import time

    with console.Progress(total_steps=None, minutes=None, start_step=0, batch_images=1, lines=True) as progress:
        began = time.process_time()
        for step in range(10_000):
            progress.update(step, {})
        assert (time.process_time() - began) / 10_000 < 20e-6


def test_workers_that_share_a_terminal_write_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console, "console", console.Console(file=io.StringIO(), force_terminal=True))
    assert console.Progress(10, None, 0, 1).bar is not None
    monkeypatch.setattr(console, "_shares_terminal", lambda: True)
    assert console.Progress(10, None, 0, 1).bar is None


def test_log_lines_are_never_wrapped(monkeypatch: pytest.MonkeyPatch):
    pipe = io.StringIO()
    monkeypatch.setattr(console, "console", console.Console(file=pipe, width=80, highlight=False))
    handler = console.ConsoleHandler()
    handler.emit(logging.makeLogRecord({"msg": "long " * 60 + "[bold]end", "levelno": logging.WARNING}))
    handler.emit(logging.makeLogRecord({"msg": "for the file", "levelno": logging.INFO, "file_only": True}))
    assert re.fullmatch(r"\d\d:\d\d:\d\d (long ){60}\[bold\]end\n", pipe.getvalue())
