"""What turns samples into numbers that can be compared."""

from typing import Any, Literal, Protocol

from torch import Tensor

from gantool.errors import UsageError
from gantool.features.classifier import Classifier, trusted
from gantool.features.inception import inception
from gantool.game.images import to_float
from gantool.game.types import Dataset, Device

Choice = Literal["inception", "classifier", "pixels"]


class Extractor(Protocol):
    """Examples as a dataset holds them, (N, *data shape), all on the CPU -> features (N, F), logits (N, classes)."""

    fingerprint: str  # tells its weights from others

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]: ...

    def facts(self) -> dict[str, Any]: ...


class Pixels:
    """The numbers of an example as they are: of images from -1 to 1."""

    fingerprint = "pixels"

    def __call__(self, pixels: Tensor) -> tuple[Tensor, None]:
        return to_float(pixels).flatten(1), None

    def facts(self) -> dict[str, Any]:
        return {"features": "pixels", "range": "-1 to 1"}


class Stacked:
    """Three digits in the colours of one image (dataset=stacked_mnist), each as the classifier of digits sees it."""

    def __init__(self, digits: Classifier):
        self.digits = digits
        self.fingerprint = f"{digits.fingerprint}x3"

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (N, 3, H, W) -> (N, 3 F), and of each number of three digits its log-probability (N, 1000)."""
        features, logits = self.digits(pixels.flatten(0, 1).unsqueeze(1))
        hundreds, tens, ones = logits.log_softmax(dim=1).view(len(pixels), 3, -1).unbind(dim=1)
        numbers = hundreds[:, :, None, None] + tens[:, None, :, None] + ones[:, None, None, :]
        return features.view(len(pixels), -1), numbers.flatten(1)

    def facts(self) -> dict[str, Any]:
        return self.digits.facts() | {"fingerprint": self.fingerprint}


def choose(
    choice: Choice, metric: str, dataset: Dataset, weights: str | None, floor: float, device: Device
) -> Extractor:
    """For metric.METRIC.features; UsageError where the dataset or the machine does not have it."""
    option = f"metric.{metric}.features={choice}"
    if choice == "pixels":
        return Pixels()
    if choice == "classifier":
        digits = getattr(dataset, "digits", None)
        seen = trusted(digits or dataset, option, f"metric.{metric}.floor", floor, device)
        return Stacked(seen) if digits else seen
    if len(dataset.shape) != 3 or dataset.shape[0] not in (1, 3):
        raise UsageError(f"{option} sees grey and colour images only: take features=pixels")
    return inception(f"metric.{metric}", weights, device)
