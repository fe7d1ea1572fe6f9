"""Do objective, tricks, networks and data fit? What does not is refused by name, before anything is trained."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from gantool.game.hooks import Objective, Trick
from gantool.game.networks import Discriminator
from gantool.game.types import Shape


@dataclass(frozen=True)
class Choice:
    """What was chosen, as far as it can misfit."""

    name: str  # of the objective in a sentence: "objective hinge"
    objective: Objective
    tricks: Mapping[str, Trick]
    discriminator: type  # its class
    latent_dim: int
    shape: Shape  # of an example
    num_classes: int  # of the data; 0 = none
    unlabelled: int  # examples of the data whose class is not known, if it has classes
    class_conditional: bool
    projection: bool
    classifies: bool = False  # is a further discriminator to tell data from samples, for a meta-algorithm?


def misfits(choice: Choice) -> Iterator[str]:
    """A sentence for each reason why these cannot be trained together: what is wrong, and what to do."""
    yield from _networks(choice)
    yield from _classes(choice)
    yield from _tricks(choice)


def _networks(choice: Choice) -> Iterator[str]:
    objective, name = choice.objective, choice.name
    energy = issubclass(choice.discriminator, Discriminator) and choice.discriminator.energy
    if objective.energy and not energy:
        yield f"{name} needs a discriminator that is an autoencoder: take architecture=autoencoder"
    if energy and not objective.energy and objective.critic:
        yield (
            f"the discriminator of architecture=autoencoder says how badly it reconstructs, which {name} has "
            "no use for: take objective=began, or another architecture"
        )
    if energy and choice.classifies:
        yield (
            "meta=... weighs the examples by a discriminator of the run's architecture, and that of "
            "architecture=autoencoder does not tell real from fake: leave out meta, or take another architecture"
        )
    codes = sum(objective.codes)
    if codes > choice.latent_dim:
        yield (
            f"the codes of {name} are {codes} numbers, and a latent has {choice.latent_dim}: "
            f"give architecture.latent_dim={codes} or more, or fewer codes"
        )


def _classes(choice: Choice) -> Iterator[str]:
    objective, name = choice.objective, choice.name
    if choice.class_conditional and not choice.num_classes:
        yield "architecture.class_conditional=true needs a dataset with classes, and this one has none: leave it out"
    if objective.needs_classes and not choice.num_classes:
        yield f"{name} needs a dataset with classes, and this one has none: take another dataset or objective"
    if objective.class_conditional and not choice.class_conditional:
        yield f"{name} trains a generator that is told the class: set architecture.class_conditional=true"
    if choice.class_conditional and objective.tells_class and choice.num_classes and choice.unlabelled:
        yield (
            f"{choice.unlabelled} examples have no class, and fakes all have one, by which a discriminator that is "
            "told it would know them: leave out labels=, or take objective=auxiliary_classifier"
        )
    if choice.class_conditional and objective.matches_features and not objective.tells_class:
        yield (
            f"{name} has G match features of a D that is not told the class, so that no class could be asked of G: set "
            "architecture.class_conditional=false, or take objective=semi_supervised"
        )
    if choice.projection:
        yield from _projection(choice)


def _projection(choice: Choice) -> Iterator[str]:
    objective, name = choice.objective, choice.name
    if not choice.class_conditional:
        yield "architecture.projection=true is about the class: set architecture.class_conditional=true too"
    if not objective.tells_class:
        yield f"{name} hides the class from the discriminator: drop architecture.projection=true"
    if objective.matches_features and objective.tells_class:
        yield (
            f"{name} has G match features of D, in which there is no class where it is projected onto them, so that no "
            "class could be asked of G: drop architecture.projection=true"
        )
    if objective.energy or not objective.critic or objective.realness(torch.zeros(1, objective.logits)) is None:
        yield f"{name} has no verdict that a projection could be added to: drop architecture.projection=true"


def _tricks(choice: Choice) -> Iterator[str]:
    objective, name = choice.objective, choice.name
    if objective.needs_lipschitz and not any(trick.lipschitz for trick in choice.tricks.values()):
        yield (
            f"{name} needs a critic of bounded slope: add trick=[gradient_penalty], [weight_clipping] or "
            "[spectral_norm], or take objective=wgan_gp or wgan, which bring theirs along"
        )
    for key, trick in choice.tricks.items():
        if trick.needs_targets and not objective.has_targets:
            yield f"trick.{key} changes D's target labels, and {name} has none: drop it from trick=[...]"
        if trick.needs_critic and not objective.critic:
            yield f"trick.{key} acts on a discriminator that learns, and {name} has none: drop it"
        elif trick.needs_realness and objective.realness(torch.zeros(1, objective.logits)) is None:
            yield f"trick.{key} asks how real D takes an example for, and D of {name} does not say: drop it"
        elif trick.needs_threshold and objective.threshold is None:
            yield f"trick.{key} asks whether D takes a real for one, and D of {name} draws no such line: drop it"
        elif trick.needs_average and not objective.averages:
            yield f"trick.{key} weighs G's fakes one by one, and {name} compares whole batches of them: drop it"
        if trick.needs_head and objective.energy:
            yield f"trick.{key} adds to what D's last layer sees, and an autoencoder has no such layer: drop it"
        if trick.needs_images and len(choice.shape) != 3:
            yield f"trick.{key} is for images, and this dataset holds points: drop it"
        if trick.replays and objective.codes:
            yield f"trick.{key} shows D fakes of other codes than {name} asks D for: drop it"
