"""How far apart examples lie from each other, for a generator that makes one thing of every latent."""

import torch
from torch import Tensor

from gantool.game.images import to_float
from gantool.game.types import Images

MOST = 1000  # examples; the mean of their distances is known to a percent or so


class Diversity:
    """Mean distance between samples, as a share of that between as many examples of the data, each within its class."""

    def __init__(self, images: Images, label: Tensor, seed: int):
        """`label` (N,) are those of the samples to come; -1 = of any class. Of many the first are measured."""
        label = label[:MOST]
        self.label = label
        chosen = alike(images.labels, label, seed)
        known = images.labels[chosen] if bool((label >= 0).any()) else torch.full_like(chosen, -1)
        self.ofdata = spread(to_float(images.pixels[chosen]), known)

    def __call__(self, samples: Tensor) -> float | None:
        """(N, *data shape) on the CPU; None where no class has two of them, or the data does not vary."""
        mine = spread(samples[:MOST], self.label)
        return mine / self.ofdata if mine is not None and self.ofdata else None


def alike(labels: Tensor, wanted: Tensor, seed: int) -> Tensor:
    """(M,) labels, (N,) wanted ones -> at most N indices: random examples, as many of each class as are wanted."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    if bool((wanted < 0).all()):
        return order[: len(wanted)]
    shuffled = labels[order]
    return torch.cat([order[shuffled == each][: int((wanted == each).sum())] for each in wanted.unique()])


def spread(examples: Tensor, label: Tensor) -> float | None:
    """(N, *data shape), (N,) -> mean Euclidean distance between two of one label; None where there are no two."""
    flat = examples.flatten(1).double()
    flat = flat - flat.mean(dim=0)  # distances come from products, which are exact near 0
    classes = [flat[label == each] for each in label.unique()]
    pairs = sum(len(each) * (len(each) - 1) for each in classes)
    return sum(float(torch.cdist(each, each).sum()) for each in classes) / pairs if pairs else None
