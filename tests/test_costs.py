"""What the table of costs says, and where it is put."""

from pathlib import Path

import pytest

from gantool.commands import costs

TINY = (
    "batch_size=2", "dataset.size=8", "dataset.resolution=8",
    "architecture.generator.features=2", "architecture.discriminator.features=2",
)  # fmt: skip


def test_a_cost_is_the_median_of_the_ratios_of_a_round():
    """A machine ten times slower for one round changes nothing: 2, 20 / 10, 3 -> 2; the ratio of medians would be 3."""
    assert costs.relative([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0


def test_a_section_is_put_in_its_own_place():
    section = f"{costs.HEADING}\n\nnew\n"
    assert costs.placed("# Performance\n", section) == f"# Performance\n\n{section}"
    page = f"# Performance\n\n{costs.HEADING}\n\nold\nolder\n\n## Else\n\nstays\n"
    assert costs.placed(page, section) == f"# Performance\n\n{section}\n## Else\n\nstays\n"
    assert costs.placed(costs.placed(page, section), section) == costs.placed(page, section)


def test_every_trick_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Of two tricks here, for speed; the clock is set by hand, so that a step with `ema` takes three times as long."""
    tricks = tmp_path / "conf"
    (tricks / "trick").mkdir(parents=True)
    for name in ("ema", "weight_clipping"):
        (tricks / "trick" / f"{name}.yaml").touch()
    real = costs.conf_dir()
    with monkeypatch.context() as patched:
        patched.setattr(costs, "conf_dir", lambda: tricks)
        patched.setattr(costs, "composed", lambda *given: composed_from(real, *given))
        step = costs.Runner.step

        def timed(runner: costs.Runner) -> float:
            step(runner)
            runner.times[-1] = 3.0 if runner.name == "ema" else 1.0
            return runner.times[-1]

        patched.setattr(costs.Runner, "step", timed)
        page = tmp_path / "PERFORMANCE.md"
        assert costs.run(["--rounds", "2", "--device", "cpu", "--page", str(page), *TINY]) == 0
    text = page.read_text()
    assert "| `ema` | 3.00 |\n| `weight_clipping` | 1.00 |\n" in text
    assert "`batch_size=2`" in text
    assert capsys.readouterr().out.strip() == str(page)


def composed_from(folder: Path, *overrides: str):
    import hydra
    from omegaconf import OmegaConf

    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose("train", [*costs.SETTINGS, *overrides]), resolve=True)
