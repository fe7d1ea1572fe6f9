"""`against=loop`: which loop of gantool/baselines plays the same game, and with what settings."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from gantool.config.compose import composed
from gantool.errors import UsageError

LOOPS = ("mlp", "dcgan")  # gantool.baselines.NAME plays conf/experiment/bench_NAME.yaml
SAME = ("architecture", "objective", "prior", "update", "trick", "meta")  # what the loops have no choice of
RESOLUTION = {"dcgan": 64}  # the pixels a side that a loop's networks are made for
GREY = ("MNIST", "FashionMNIST")  # others of torchvision are in colour


def loop_of(config: Mapping[str, Any]) -> str:
    """The loop with the networks, losses and updates of this configuration; UsageError where there is none."""
    found = [name for name in LOOPS if config["architecture"] == _experiment(name)["architecture"]]
    if not found:
        raise _refused("architecture is another")
    name = found[0]
    experiment = _experiment(name)
    for key in SAME:
        if (config.get(key) or None) != (experiment.get(key) or None):
            raise _refused(f"{key} is another")
    players = [_without_speed(config["optimizer"][player]) for player in ("generator", "discriminator")]
    if players != [_without_speed(experiment["optimizer"]["generator"])] * 2 or not _alike(config["optimizer"]):
        raise _refused("optimizer is not plain Adam, the same for both players")
    dataset = config["dataset"]
    if dataset.get("flip") or config["labels"]:
        raise _refused("it mirrors no image and hides no label")
    resolution = dataset.get("resolution")
    if resolution is None or resolution != RESOLUTION.get(name, resolution):
        raise _refused(f"it is for images, of {RESOLUTION.get(name, 'any number of')} pixels a side")
    return name


def _experiment(name: str) -> dict[str, Any]:
    return composed(f"experiment=bench_{name}")


def _without_speed(player: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in player.items() if key not in ("lr", "betas")}


def _alike(optimizer: Mapping[str, Any]) -> bool:
    return optimizer["generator"] == optimizer["discriminator"]


def _refused(reason: str) -> UsageError:
    names = " or ".join(f"experiment=bench_{name}" for name in LOOPS)
    return UsageError(
        f"against=loop: no tutorial's loop plays this game ({reason}): take {names}, and change the dataset, "
        "batch_size, lr or betas only"
    )


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a loop's `train`."""
    from gantool.config.build import Builder
    from gantool.engine.precision import choose_device

    dataset = Builder(tuple(config["trust"])).make("dataset", config["dataset"])
    channels, size, _ = dataset.shape
    adam = config["optimizer"]["generator"]
    return {
        "pictures": pictures(config["dataset"], dataset),
        "channels": channels,
        "image_size": size,
        "latent_dim": config["architecture"]["latent_dim"],
        "batch_size": config["batch_size"],
        "lr": adam["lr"],
        "betas": tuple(adam["betas"]),
        "device": str(choose_device(config["device"])),
    }


def pictures(node: Mapping[str, Any], dataset: Any) -> Any:
    """The same images as one feeds them to a loop: from torchvision's classes, from files, or from memory."""
    from torchvision import datasets

    from gantool.baselines.pictures import Pictures
    from gantool.game.images import loaded

    kind, channels = str(node["_target_"]).rpartition(".")[2], dataset.shape[0]
    if kind == "TorchvisionSet" and channels == (1 if dataset.known.maker in GREY else 3):
        return partial(getattr(datasets, dataset.known.maker), dataset.root)
    if kind == "Folder" and channels == 3:
        top = dataset.listing.splits["train"][0].path.split("/")[0] if dataset.listing.level else ""
        return partial(datasets.ImageFolder, str(dataset.root / top))
    images = loaded(dataset)
    return partial(Pictures, images.pixels, images.labels)
