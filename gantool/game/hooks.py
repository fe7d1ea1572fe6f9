"""The two extension points of the game: a Trick bends it, an Objective says what is played for.

Both are modules: whatever they must remember (EMA weights, clocks, old images) is a buffer, so it moves to the device,
is saved and is restored with no further code. A hyperparameter must not be called like a hook (a test forbids it).
"""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.types import Source, Stats, Turn, Verdict


class Trick(nn.Module):
    """Any number may be active; each overrides some of these no-ops. Called in the order in which they are listed."""

    lipschitz: bool = False  # does it bound the slope of D, as a Wasserstein critic must be?
    needs_targets: bool = False  # is it without effect unless the objective uses target labels?
    needs_critic: bool = False  # is it without effect unless there is a D that learns?
    needs_head: bool = False  # does it add to what D's last layer sees?
    needs_real: bool = False  # does it look at `turn.real` in G's turn?
    needs_realness: bool = False  # does it look at D's one number for an example?
    needs_threshold: bool = False  # does it ask whether D says "real"?
    needs_average: bool = False  # is it without meaning unless G's loss is a mean over its fakes?
    needs_images: bool = False  # is it for images only, not for points?
    slopes: bool = False  # does its penalty differentiate D's verdicts by the example?
    of_weights: bool = False  # does it act on D's weights themselves? Then no update can look ahead of D's steps
    replays: bool = False  # does it show D fakes that are not those of the turn's latents?
    rewrites_last: bool = False  # does it change whatever layers there are in the end?

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        """Build time, before anybody copies: surgery on nets["generator"] and nets["discriminator"]."""

    def ready(self, nets: nn.ModuleDict) -> None:
        """Build time, nets are final: copy them, observe them."""

    def joined(self, rounds: int) -> None:
        """After `ready`, where it is added to a game that was played for so many rounds: schedules count those too."""

    def begin(self, step: int) -> Hashable:
        """On the host, before each round: which kind of round it is, for what is not done in all of them."""
        return None

    def replay(self, fake: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """D's turn only: other fakes to show (old ones, say), and their labels (N,)."""
        return fake, label

    def keep(self, fake: Tensor, label: Tensor) -> None:
        """D's turn, after `replay` and of what it was given: remember some. Not where an update looks ahead."""

    def view(self, image: Tensor) -> Tensor:
        """Both turns, real and fake, differentiable: how D sees an image."""
        return image

    def targets(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """D's turn: target labels (N,) of reals and fakes."""
        return real, fake

    def heed(self, on_fake: Verdict, realness: Tensor) -> Verdict:
        """G's turn: how G takes D's verdict; `realness` (N,) is D's one number for each."""
        return on_fake

    def watch(self, surplus: Tensor) -> None:
        """D's turn, without gradients: by how much D's one number for each real exceeds its `threshold` (N,)."""

    def d_penalty(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor | None:
        """Scalar added to D's loss."""
        return None

    def g_penalty(self, turn: Turn, on_fake: Verdict) -> Tensor | None:
        """Scalar added to G's loss."""
        return None

    def gradients(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        """Between backward and step, either player."""
        return grads

    def bound_d(self, nets: nn.ModuleDict) -> None:
        """After each step of D, one that is taken back too, without gradients: puts its weights where they may be."""

    def after_d(self, nets: nn.ModuleDict) -> None:
        """After each step of D, without gradients."""

    def after_g(self, nets: nn.ModuleDict) -> None:
        """After each step of G, without gradients."""

    def after_round(self, nets: nn.ModuleDict) -> None:
        """After all steps of one round, which is what the run counts as a step; without gradients."""

    def deploy(self, generator: nn.Module) -> nn.Module:
        """The generator that is sampled and evaluated."""
        return generator


class Objective(Trick):
    """Exactly one is played: tensors in, scalar out. Its own parameters, if any, learn with G."""

    logits: int = 1  # width K of D's verdict
    codes: tuple[int, ...] = ()  # widths of the codes that a latent begins with: K for one of K values, 1 for a number
    critic: bool = True  # is there a D that learns? If not, D's verdict is the data itself, and only G moves
    zero_sum: bool = False  # is G's loss minus D's, but for what D says of reals, which G cannot change?
    energy: bool = False  # is D's verdict the error of an autoencoder?
    has_targets: bool = False  # are real_target and fake_target used?
    needs_lipschitz: bool = False  # is it meaningless unless a trick bounds D's slope?
    needs_classes: bool = False  # must the data have classes?
    needs_labelled: bool = False  # does it look at `turn.labelled` in D's turn?
    averages: bool = True  # is G's loss a mean over its fakes? Not if it compares batches
    matches_features: bool = False  # does G learn from D's features alone, which must hold the class it is told?
    class_conditional: bool = False  # must G be told a class?
    tells_class: bool = True  # is D told the class too, where G is? Not if it is to find it out
    threshold: float | None = 0.0  # D says "real" where `realness` is above it; None = it has no such point

    def latent(self, noise: Tensor) -> Tensor:
        """(N, Z) noise -> (N, Z) on its device, with fresh codes in place of the first numbers."""
        return noise

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        raise UsageError(f"{type(self).__name__} has no d_loss: an objective must have one")

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        raise UsageError(f"{type(self).__name__} has no g_loss: an objective must have one")

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor | None:
        """How far apart the data and the fakes are, by the divergence that D measures: the column `divergence`.

        Scalar, without gradients, from D's verdicts before its step: mostly a lower bound, reached by the best D.
        None where no divergence is known.
        """
        return None

    def realness(self, logits: Tensor) -> Tensor | None:
        """(N, K) -> (N,) D's one number for an example, higher for reals; None where it has none."""
        return logits[:, 0]

    def score(self, turn: Turn, image: Tensor, label: Tensor) -> Tensor:
        """(N, *data shape), (N,) -> (N,) the function of an image whose slope a penalty bounds, in float32."""
        score = self.realness(turn.critic(image, label).logits)
        assert score is not None, "an objective without realness has a score of its own"
        return score

    def class_logits(self, logits: Tensor) -> Tensor | None:
        """(N, K) -> (N, classes), or (N, values of a code): what D makes of an example; None where it sorts nothing."""
        return None

    def report(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Stats:
        """Further columns of metrics.jsonl, without gradients, from D's turn."""
        return {}


class Clock(nn.Module):
    """A step counter on the device, for hyperparameters that change with time."""

    now: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("now", torch.zeros((), dtype=torch.int64))

    def tick(self) -> None:
        self.now += 1
