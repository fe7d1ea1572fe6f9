"""Do objective, tricks and data fit each other? What does not is refused before a step is taken."""

import pytest

from gantool.objectives.minimax import Minimax
from gantool.objectives.non_saturating import NonSaturating
from toys import composed_game, refusal


def test_bare_critic_is_refused_with_the_ways_out(compose):
    said = refusal(composed_game, compose, "objective=wasserstein")
    for way in ("objective wasserstein", "gradient_penalty", "weight_clipping", "spectral_norm", "wgan_gp", "wgan"):
        assert way in said
    for trick in ("ema", "label_smoothing", "instance_noise"):
        assert "bounded slope" in refusal(composed_game, compose, "objective=wasserstein", f"trick=[{trick}]")
    assert "bounded slope" in refusal(
        composed_game, compose, "objective=wasserstein", "trick=[spectral_norm]", "trick.spectral_norm.player=generator"
    )


@pytest.mark.parametrize("trick", ["gradient_penalty", "weight_clipping", "spectral_norm"])
def test_bounded_critic_is_built(compose, trick):
    assert list(composed_game(compose, "objective=wasserstein", f"trick=[{trick}]").tricks) == [trick]


@pytest.mark.parametrize("objective, brought", [("wgan", "weight_clipping"), ("wgan_gp", "gradient_penalty")])
@pytest.mark.parametrize("tricks", ["[]", "[ema]", "[instance_noise,ema]"])
def test_objective_keeps_the_trick_that_it_brings(compose, objective, brought, tricks):
    chosen = [name for name in tricks.strip("[]").split(",") if name]
    game = composed_game(compose, f"objective={objective}", f"trick={tricks}")
    assert sorted(game.tricks) == sorted([brought, *chosen])


def test_critic_whose_penalty_weighs_nothing_is_not_bounded(compose):
    assert "bounded slope" in refusal(composed_game, compose, "objective=wgan_gp", "trick.gradient_penalty.weight=0")


@pytest.mark.parametrize("objective", ["wgan", "wgan_gp"])
def test_targets_where_there_are_none_are_refused(compose, objective):
    said = refusal(composed_game, compose, f"objective={objective}", "trick=[label_smoothing]")
    assert said.startswith("trick.label_smoothing changes D's target labels")
    assert "drop it" in said


@pytest.mark.parametrize("objective, kind", [("minimax", Minimax), ("non_saturating", NonSaturating)])
def test_objective_that_was_asked_for_is_played(compose, objective, kind):
    """Trap: "minimax" that is the non-saturating cost."""
    assert type(composed_game(compose, f"objective={objective}").objective) is kind
