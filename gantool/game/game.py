"""A GAN: two networks, one objective and any tricks, folded into a loss for each player. No optimiser, no I/O."""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.hooks import Objective, Trick
from gantool.game.networks import judges_by_example
from gantool.game.promises import ROW, a_verdict, examples, hooks, learnable, new_names, one_each, one_number, pair
from gantool.game.seen import Seen
from gantool.game.types import Critic, Fakes, Source, Stats, Turn, Verdict

Penalties: TypeAlias = Iterable[tuple[str, Trick, Tensor | None]]


class Game(nn.Module):
    """Knows what is played, not how anybody moves. Everything that a step changes is a parameter or buffer below it."""

    source: Source

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        objective: Objective,
        tricks: Mapping[str, Trick],
        source: nn.Module,
    ):
        super().__init__()
        self.nets = nn.ModuleDict({"generator": generator, "discriminator": discriminator})
        self.objective = objective
        self.tricks = nn.ModuleDict(tricks)
        self.source = source  # type: ignore[assignment]
        self.autocast: Callable[[], AbstractContextManager] = nullcontext
        self.hooks: dict[str, Trick] = {**_objectives(objective), **tricks}
        for name, hook in self.hooks.items():
            hooks(hook, name if name.startswith("objective") else f"trick.{name}")
        self.needs_real = any(hook.needs_real for hook in self.hooks.values())
        seen = Seen(self.source, objective)  # all surgery first: a copy made too early would miss some of it
        for hook in sorted(self.hooks.values(), key=lambda hook: hook.rewrites_last):
            hook.rewrite(self.nets, seen)
        for hook in self.hooks.values():
            hook.ready(self.nets)
        self.by_example = judges_by_example(self.nets["discriminator"])

    @property
    def judges_once(self) -> bool:
        """Is D's verdict on the same fakes by the same weights the same in both players' turns, but for dropout?"""
        kinds = [type(hook) for hook in self.hooks.values()]
        shown = all(kind.view is Trick.view and kind.replay is Trick.replay for kind in kinds)
        return self.objective.critic and self.by_example and shown

    @property
    def deployed(self) -> nn.Module:
        """The generator that is sampled and evaluated."""
        generator = self.nets["generator"]
        for hook in self.hooks.values():
            generator = hook.deploy(generator)
        return generator

    def restore(self, state: dict[str, Tensor], rounds: int = 0) -> None:
        """State of an earlier game, after so many rounds. Tricks that it did not have begin with its networks.

        Raises UsageError where the networks or the state of any other trick differ.
        """
        before, now = _tricks_in(state), _tricks_in(self.state_dict())
        gone = tuple(f"tricks.{name}." for name in before - set(self.tricks))
        new = tuple(f"tricks.{name}." for name in now - before)
        try:
            kept = {name: value for name, value in state.items() if not name.startswith(gone)}
            missing, unexpected = self.load_state_dict(kept, strict=False)
            odd = [name for name in missing if not name.startswith(new)] + unexpected
            reason = f"{odd[0]} is in one of them only" if odd else ""
            late = [name.split(".", 2)[1:] for name in unexpected if name.startswith("tricks.")]
            if late and not [name for name in odd if not name.startswith("tricks.")]:
                raise UsageError(
                    "trick.{} has saved {}, which it lacks now: let it register buffers in __init__ or ready".format(
                        *late[0]
                    )
                )
        except RuntimeError as error:
            reason = _sizes(str(error).split("\n\t")[1].rstrip(".") if "\n\t" in str(error) else str(error))
        if reason:
            raise UsageError(
                f"the saved networks are not those of this configuration ({reason}): go on with the architecture and "
                "tricks that they were trained with, or begin a new run"
            )
        for name in now - before:
            self.hooks[name].ready(self.nets)
            self.hooks[name].joined(rounds)

    def fakes(self) -> Fakes:
        """A fresh batch, with the graph of G."""
        latent, label = self.source.latents()
        latent = self.objective.latent(latent)
        with self.autocast():
            fake = one_each(self.nets["generator"](latent, label), len(latent), self.nets["generator"])
        return Fakes(latent, fake.float(), label)

    def d_loss(
        self, critic: Critic | None = None, through_g: bool = False, fakes: Fakes | None = None
    ) -> tuple[Tensor, Stats]:
        """D's loss on fresh batches, or on these fakes.

        `through_g` keeps the graph of G, for update rules that look ahead.
        """
        if not self.objective.critic:
            return torch.zeros((), device=next(self.parameters()).device, requires_grad=True), {}
        loss, stats, _ = self._d_turn(critic, through_g, fakes)
        return loss, stats

    def losses(self) -> tuple[Tensor, Tensor, Stats]:
        """D's and G's on the same fresh fakes, for a game that `judges_once`."""
        fakes = self.fakes()
        d_loss, d_stats, on_fake = self._d_turn(fakes=fakes, both=True)
        g_loss, g_stats = self.g_loss(fakes=fakes, on_fake=on_fake)
        return d_loss, g_loss, d_stats | g_stats

    def _d_turn(
        self, critic: Critic | None = None, through_g: bool = False, fakes: Fakes | None = None, both: bool = False
    ) -> tuple[Tensor, Stats, Verdict]:
        """D's loss, its columns, and its verdict on the fakes, which has the graph of G if it is for `both`."""
        real, label = self.source.reals()
        with torch.set_grad_enabled(through_g):
            latent, made, fake_label = fakes or self.fakes()
        fake = examples(made if through_g else made.detach(), real, self.nets["generator"])
        for hook in self.hooks.values():
            shown = pair(hook.replay(fake, fake_label), hook, "replay()")
            if critic is None:
                hook.keep(fake, fake_label)
            fake, fake_label = shown
        turn = self._turn(self._view(real), label, self._view(fake), fake_label, latent, critic)
        if self.objective.needs_labelled:
            image, known = self.source.labelled()
            turn = replace(turn, labelled=self._view(image), labelled_class=known)
        on_real, on_fake = self._both(replace(turn, fake=made) if both else turn)
        if critic is None:
            self._watch(on_real)
        loss = self.objective.d_loss(turn, on_real, on_fake)
        penalties = ((name, hook, hook.d_penalty(turn, on_real, on_fake)) for name, hook in self.hooks.items())
        total, stats = _total("d", loss, penalties, self.objective)
        return total, stats | self._verdicts(turn, on_real, on_fake), on_fake

    def g_reals(self, ahead: bool = False) -> bool:
        """Does G's turn draw reals? `ahead`: against a D whose weights depend on G's."""
        return self.needs_real or (ahead and self.objective.zero_sum)

    def g_loss(
        self,
        critic: Critic | None = None,
        through_d: bool = False,
        fakes: Fakes | None = None,
        on_fake: Verdict | None = None,
    ) -> tuple[Tensor, Stats]:
        """G's loss on fresh latents, or on these fakes, judged already or not (and, where they matter, fresh reals).

        With a `critic`, whose weights depend on G's, G lowers the whole value of a zero-sum game, that of reals too.
        `through_d` keeps the graph of D on reals, for update rules that differentiate by its weights too.
        """
        latent, fake, fake_label = fakes or self.fakes()
        real, label = fake.new_empty(0), fake_label[:0]
        if self.g_reals(critic is not None):
            real, label = self.source.reals()
            fake, real = examples(fake, real, self.nets["generator"]), self._view(real)
        turn = self._turn(real, label, self._view(fake), fake_label, latent, critic)
        if critic is None and not through_d:
            turn = replace(turn, judge=partial(_unless_fixed, turn.judge))
        on_fake = self._heeded(on_fake or turn.judge(turn.fake, fake_label))
        if critic is not None and self.objective.zero_sum:
            loss = -self.objective.d_loss(turn, turn.judge(real, label), on_fake)
        else:
            loss = self.objective.g_loss(turn, on_fake)
        penalties = ((name, hook, hook.g_penalty(turn, on_fake)) for name, hook in self.hooks.items())
        total, stats = _total("g", loss, penalties, self.objective)
        if not self.objective.critic:  # what G lowers is the distance itself
            stats["divergence"] = loss.detach()
        return total, stats

    @torch.no_grad()
    def verdicts(self, real: Tensor, label: Tensor, latent: Tensor, fake: Tensor, fake_label: Tensor) -> Stats:
        """What D says of these batches as it is shown them, in float32: the columns of its turn that are no loss."""
        turn = self._turn(self._view(real), label, self._view(fake), fake_label, latent, None)
        return self._verdicts(turn, turn.critic(turn.real, label), turn.critic(turn.fake, fake_label))

    def begin(self, step: int) -> Hashable:
        """On the host, before each round: which kind of round it is. Rounds of one kind do the same work."""
        return tuple(hook.begin(step) for hook in self.hooks.values())

    @torch.no_grad()
    def _watch(self, on_real: Verdict) -> None:
        realness, threshold = self.objective.realness(on_real.logits), self.objective.threshold
        if realness is not None and threshold is not None:
            for hook in self.hooks.values():
                hook.watch(realness - threshold)

    def _heeded(self, on_fake: Verdict) -> Verdict:
        realness = self.objective.realness(on_fake.logits)
        if realness is not None:
            for hook in self.hooks.values():
                on_fake = hook.heed(on_fake, realness.detach())
        return on_fake

    def _judge(self, critic: Critic, image: Tensor, label: Tensor) -> Verdict:
        with self.autocast():
            verdict = a_verdict(critic(image, label), len(image), self.nets["discriminator"])
        return Verdict(verdict.logits.float(), verdict.features.float())

    def _both(self, turn: Turn) -> tuple[Verdict, Verdict]:
        """D's verdicts on reals and fakes; in one pass, if none could tell."""
        if not self.by_example:
            return turn.judge(turn.real, turn.label), turn.judge(turn.fake, turn.fake_label)
        sizes = [len(turn.real), len(turn.fake)]
        on_all = turn.judge(torch.cat([turn.real, turn.fake]), torch.cat([turn.label, turn.fake_label]))
        (real, fake), (real_seen, fake_seen) = on_all.logits.split(sizes), on_all.features.split(sizes)
        return Verdict(real, real_seen), Verdict(fake, fake_seen)

    def _view(self, image: Tensor) -> Tensor:
        for hook in self.hooks.values():
            image = hook.view(image)
        return image

    def _turn(
        self, real: Tensor, label: Tensor, fake: Tensor, fake_label: Tensor, latent: Tensor, critic: Critic | None
    ) -> Turn:
        ones = torch.ones(len(fake), device=fake.device)
        real_target, fake_target = ones, torch.zeros_like(ones)
        for hook in self.hooks.values():
            real_target, fake_target = pair(hook.targets(real_target, fake_target), hook, "targets()")
        none, nobody = fake.new_empty(0), fake_label[:0]
        critic = critic or self.nets["discriminator"]
        judge = partial(self._judge, critic)
        turn = Turn(
            real, fake, latent, label, fake_label, real_target, fake_target, none, nobody, judge, critic, _unscored
        )
        return replace(turn, score=partial(self.objective.score, turn))

    @torch.no_grad()
    def _verdicts(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Stats:
        stats: Stats = {}
        real, fake = self.objective.realness(on_real.logits), self.objective.realness(on_fake.logits)
        if real is not None and fake is not None:
            stats |= {"d_real": real.mean(), "d_fake": fake.mean()}
            threshold = self.objective.threshold
            if threshold is not None:
                stats["d_accuracy_real"] = (real > threshold).float().mean()
                stats["d_accuracy_fake"] = (fake < threshold).float().mean()
        divergence = self.objective.estimate(turn, on_real, on_fake)
        if divergence is not None:
            stats["divergence"] = divergence
        told = self.objective.report(turn, on_real, on_fake)
        new_names(told, (*ROW, *stats, "d_loss", "g_loss"), self.objective)
        return stats | {name: one_number(value, self.objective, f"report()[{name!r}]") for name, value in told.items()}


def _objectives(objective: Objective) -> dict[str, Trick]:
    """It, and those that it builds on, which have hooks of their own."""
    found = {name: module for name, module in objective.named_modules() if isinstance(module, Objective)}
    return {"_".join(["objective", *name.split(".")]) if name else "objective": each for name, each in found.items()}


def _unscored(image: Tensor, label: Tensor) -> Tensor:
    raise AssertionError("a turn is given its score when it is whole")


def _unless_fixed(judge: Critic, image: Tensor, label: Tensor) -> Verdict:
    """In G's turn: no graph of what D says of an example that G cannot change."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and image.requires_grad):
        return judge(image, label)


def _total(player: str, loss: Tensor, penalties: Penalties, objective: Objective) -> tuple[Tensor, Stats]:
    """Loss plus penalties, and each of them by name."""
    stats = {f"{player}_loss": one_number(loss, objective, f"{player}_loss").detach()}
    for name, hook, penalty in penalties:
        if penalty is not None:
            loss = loss + one_number(penalty, hook, f"{player}_penalty")
            stats[f"{player}_{name}"] = penalty.detach()
    return learnable(loss, objective, f"{player}_loss"), stats


def _sizes(reason: str) -> str:
    """What torch says of a tensor of another shape, in fewer words."""
    shapes = re.match(r"size mismatch for (\S+): .*?Size\((\[.*?\])\).*?Size\((\[.*?\])\)", reason)
    return "{} is {} there and {} here".format(*shapes.groups()) if shapes else reason


def _tricks_in(state: dict[str, Tensor]) -> set[str]:
    """Names of the tricks that keep any state."""
    return {name.split(".")[1] for name in state if name.startswith("tricks.")}
