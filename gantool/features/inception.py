"""Inception-v3 as the field's FID, KID and inception score have it: TensorFlow's weights of 2015, by torch-fidelity."""

import os
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gantool.errors import UsageError
from gantool.features.cache import digest
from gantool.game.images import to_channels
from gantool.game.types import Device
from gantool.runs.downloads import patience

AT_ONCE = 64  # images


class Inception:
    """2048 features and 1008 unbiased logits of images, which it scales to 299 x 299 as TensorFlow 1.x did."""

    def __init__(self, weights: str | None, device: torch.device):
        from torch_fidelity.utils import create_feature_extractor

        layers = ["2048", "logits_unbiased"]
        with torch.random.fork_rng(devices=[]):  # it draws weights before it reads some
            net = create_feature_extractor(
                "inception-v3-compat", layers, cuda=False, verbose=False, feature_extractor_weights_path=weights
            )
        self.fingerprint = digest(net.state_dict())
        self.net, self.device = net.to(device), device

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (N, 1 or 3, H, W) -> (N, 2048), (N, 1008)"""
        parts = [self.net(to_channels(part, 3).to(self.device)) for part in pixels.split(AT_ONCE)]
        features, logits = zip(*parts, strict=True)
        return torch.cat(features).cpu(), torch.cat(logits).cpu()

    def facts(self) -> dict[str, Any]:
        resize = "uint8, bilinear to 299 as TensorFlow 1.x"
        return {"features": "inception", "fingerprint": self.fingerprint, "resize": resize}


def inception(key: str, weights: str | None, device: Device) -> Inception:
    """From a file, or torch-fidelity's download, which is kept; UsageError, naming `key`, where there is neither."""
    others = "or take features=classifier or features=pixels, which need no download"
    foreign = (
        f"{key}.weights: {weights!r} holds no weights of torch-fidelity's Inception-v3: give another file, {others}"
    )
    path = os.path.abspath(os.path.expanduser(weights)) if weights else None
    try:
        if path and not _harmless(path):
            raise UsageError(foreign)
        with patience():
            return _inception(path, device or torch.device("cpu"))
    except RuntimeError as error:  # names or shapes of another network
        if path is None or isinstance(error, torch.OutOfMemoryError):
            raise
        raise UsageError(foreign) from error
    except OSError as error:  # no file; URLError, a broken connection, a full disk
        reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
        what = f"the file {weights!r}" if weights else "the weights of Inception-v3"
        raise UsageError(f"{what} cannot be had ({reason}): give inception_weights=FILE, {others}") from error


def _harmless(path: str) -> bool:
    """Does it hold tensors and plain values only? torch-fidelity would run what else it holds."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # whatever a stranger's bytes make torch raise
        return False
    return True


@lru_cache(maxsize=1)  # the metrics of a run share one
def _inception(path: str | None, device: torch.device) -> Inception:
    return Inception(path, device)
