"""Images for the loops, one at a time: as torchvision's datasets give them."""

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset


class Pictures(Dataset):
    """(M, C, H, W) uint8 in memory, each made a PIL image and transformed, as torchvision's MNIST and CIFAR10 do."""

    def __init__(self, pixels: Tensor, labels: Tensor, transform: Callable[[Any], Any]):
        last = pixels.permute(0, 2, 3, 1).contiguous().numpy()  # (M, H, W, C)
        self.arrays = last[..., 0] if last.shape[3] == 1 else last
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]
