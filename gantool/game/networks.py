"""What every generator and discriminator has in common: shapes, and the class label as an input."""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gantool.game.noise import drawn_like
from gantool.game.types import Shape, Verdict

BY_EXAMPLE = frozenset(  # layers of torch that look at each example by itself
    {
        nn.Sequential, nn.Identity, nn.Flatten, nn.Unflatten, nn.Upsample, nn.Linear, nn.Conv2d, nn.ConvTranspose2d,
        nn.GroupNorm, nn.Dropout, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.Tanh, nn.Sigmoid,
    }
)  # fmt: skip


def judges_by_example(net: nn.Module) -> bool:
    """Is what it says of an example certain to be the same in any batch? Then reals and fakes may pass it at once.

    Layers of torch that are known so, and classes whose own `by_example` says so, which is not inherited; no hooks.
    """
    return all(
        (type(layer) in BY_EXAMPLE or vars(type(layer)).get("by_example", False))
        and not (layer._forward_pre_hooks or layer._forward_hooks)
        for layer in net.modules()
    )


def examples_meet(net: nn.Module) -> bool:
    """Does a layer that is known to compare the examples of a batch, in training at least, see them? A batch of another
    size is another net then. Classes of one's own say so by `by_example = False`.
    """
    return any(isinstance(layer, _BatchNorm) or not getattr(layer, "by_example", True) for layer in net.modules())


class OneHot(nn.Module):
    """Labels (N,) -> (N, classes); -1 (no label) gives zeros. A table, since F.one_hot waits for the device."""

    by_example = True
    table: Tensor

    def __init__(self, num_classes: int):
        super().__init__()
        self.register_buffer("table", torch.eye(num_classes + 1, num_classes), persistent=False)

    def forward(self, label: Tensor) -> Tensor:
        return self.table[label]


class Generator(nn.Module):
    """(N, Z) latents and (N,) labels -> (N, *shape). Subclasses define `body` from `self.inputs` numbers to the shape.

    With classes, the label joins the latent as a one-hot vector (Mirza and Osindero 2014, section 3.2).
    """

    body: nn.Module

    def __init__(self, shape: Shape, latent_dim: int, num_classes: int = 0):
        super().__init__()
        self.shape, self.latent_dim, self.num_classes = tuple(shape), latent_dim, num_classes
        self.one_hot = OneHot(num_classes)
        self.inputs = latent_dim + num_classes

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        if self.num_classes:
            latent = torch.cat([latent, self.one_hot(label)], dim=1)
        return self.body(latent).view(-1, *self.shape)


class Discriminator(nn.Module):
    """(N, *shape) and (N,) labels -> Verdict. Subclasses define `trunk`, ending in (N, num_features), and `head`.

    With classes, the label joins the input: a one-hot vector beside points, one-hot planes beside image channels.
    """

    energy: bool = False  # is its logit the error of an autoencoder, low for reals?
    trunk: nn.Module
    head: nn.Module
    num_features: int

    def __init__(self, shape: Shape, num_classes: int = 0, logits: int = 1):
        super().__init__()
        self.shape, self.num_classes, self.logits = tuple(shape), num_classes, logits
        self.one_hot = OneHot(num_classes)
        self.projection: nn.Linear | None = None
        self.input_shape = (shape[0] + num_classes, *shape[1:])
        self.inputs = math.prod(self.input_shape)

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        features = self.trunk(self.labelled(image, label))
        logits = self.head(features)
        if self.projection is not None:
            likeness = (self.projection(self.one_hot(label)) * features).sum(dim=1, keepdim=True)  # (N, 1)
            logits = torch.cat([logits[:, :1] + likeness, logits[:, 1:]], dim=1)
        return Verdict(logits, features)

    def project(self, num_classes: int) -> None:
        """Judge the class by <a learnt vector of the class, features>, added to the first logit, not as an input.

        f(x, y) = y^T V phi(x) + psi(phi(x)), with phi the trunk and psi the head; psi alone if the class is unknown
        (Miyato and Koyama 2018, equation 5). V begins as in their released code. D is to be built without classes.
        """
        self.one_hot = OneHot(num_classes)
        self.projection = nn.Linear(num_classes, self.num_features, bias=False)
        nn.init.xavier_uniform_(self.projection.weight)

    def labelled(self, image: Tensor, label: Tensor) -> Tensor:
        """(N, *shape), (N,) -> (N, *input_shape)."""
        if not self.num_classes:
            return image
        planes = self.one_hot(label).to(image.dtype)
        planes = planes.view(*planes.shape, *(1 for _ in self.shape[1:])).expand(-1, -1, *self.shape[1:])
        return torch.cat([image, planes], dim=1)


class Identity(Discriminator):
    """No discriminator: it says of an example what it is, all its numbers and (as features) its class.

    The class is one-hot, (N, classes); where there are none all are of one, (N, 1).
    """

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        one_hot = self.one_hot(label) if self.num_classes else image.new_ones(len(image), 1)
        return Verdict(image.flatten(1), one_hot)


def hidden(
    features: int,
    dims: int,  # of a map: 2, or 0 where the layer is (N, features)
    normalization: str,  # batch, layer (each example by itself, all its features together) or none
    leak: float,  # slope of the activation below 0; 0 = ReLU
    dropout: float = 0.0,  # share left out in training
    always: tuple[float, float] = (0.0, 0.0),  # dropout, and standard deviation of noise, when sampling too
) -> list[nn.Module]:
    """What follows a layer's linear map, in this order."""
    norms = {"batch": nn.BatchNorm2d if dims else nn.BatchNorm1d, "layer": partial(nn.GroupNorm, 1)}
    layers: list[nn.Module] = [norms[normalization](features)] if normalization != "none" else []
    layers.append(nn.LeakyReLU(leak) if leak else nn.ReLU())
    layers += [nn.Dropout(dropout)] if dropout else []
    return layers + ([Noise(*always)] if any(always) else [])


class Noise(nn.Module):
    """Dropout and Gaussian noise of a generator's units, in training and when sampling (ganhacks, 13 and 17)."""

    def __init__(self, dropout: float, std: float):
        super().__init__()
        self.dropout, self.std = dropout, std

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.dropout(x, self.dropout, training=True)
        return x + self.std * drawn_like(torch.randn, x) if self.std else x


class ToImage(nn.Module):
    """Numbers -> what the data looks like: images squashed into [-1, 1] by tanh or sigmoid, points left as they are."""

    by_example = True

    def __init__(self, shape: Shape, squash: str = "tanh"):
        super().__init__()
        self.squash = squash if len(shape) == 3 else "none"

    def forward(self, x: Tensor) -> Tensor:
        if self.squash == "tanh":
            return torch.tanh(x)
        return 2 * torch.sigmoid(x) - 1 if self.squash == "sigmoid" else x


class ToShare(nn.Module):
    """(N, C + more, H, W): pixels in [-1, 1] -> [0, 1], in which some nets were tuned.

    What comes after the C channels of the image, such as its class, stays as it is, and so do points.
    """

    by_example = True

    def __init__(self, shape: Shape):
        super().__init__()
        self.channels = shape[0] if len(shape) == 3 else 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.channels:
            return x
        image, more = x.tensor_split([self.channels], dim=1)
        image = (image + 1) / 2
        return torch.cat([image, more], dim=1) if more.shape[1] else image


def initialise(layer: nn.Module) -> None:
    """Weights N(0, 0.02^2), BatchNorm's gains N(1, 0.02^2) (Radford et al. 2015, section 4)."""
    if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(layer.weight, 0.0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.zeros_(layer.bias)
