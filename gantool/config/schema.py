"""What stands at the root of train.yaml, bench.yaml, evaluate.yaml, sample.yaml and export.yaml: a field a key.

Read as source text, like the signatures of components (gantool/config/signature.py); a test keeps it equal to the YAML.
Components bring their own schema: their constructor.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from gantool.game.ranges import Count, Natural, Positive

LISTS = ("trick", "metric", "logger")  # groups of which any number of options may be chosen

Component: TypeAlias = Mapping[str, Any]  # a `_target_` and its arguments
Components: TypeAlias = Mapping[str, Component]  # any number of them, by name
Settings: TypeAlias = Mapping[str, Any]  # of something that is not known here
Device: TypeAlias = str  # auto, cpu, cuda, cuda:N or mps
Threads: TypeAlias = int  # in [1, 1024]
Seed: TypeAlias = int  # in [0, 2**32), which every random generator takes

# Arguments that are known at run time only, of networks, schedules, loggers and metrics: never in a configuration.
FACTS = frozenset(
    {"shape", "latent_dim", "num_classes", "logits", "budget_steps", "folder", "step", "conditional", "device"}
)


@dataclass
class Architecture:
    latent_dim: Count
    class_conditional: bool
    projection: bool
    generator: Component
    discriminator: Component


@dataclass
class Optimizer:
    generator: Component
    discriminator: Component


@dataclass
class Best:
    metric: str | None
    mode: Literal["min", "max"]


@dataclass
class Train:
    dataset: Component
    architecture: Architecture
    objective: Component
    prior: Component
    update: Component
    optimizer: Optimizer

    steps: Count | None
    images: Count | None
    minutes: Positive | None
    batch_size: Count
    labels: Count | None
    seed: Seed
    device: Device
    precision: Literal["auto", "fp32", "bf16"]
    data: Literal["auto", "device", "stream"]
    deterministic: bool
    threads: Threads | None
    compile: Literal["auto", "off", "step"]
    graph: Literal["auto", "off"]

    tick_every: Count | None
    sample_every: Count | None
    checkpoint_every: Count | None
    evaluate_every: Count | None
    checkpoint: Literal["last", "best"] | Natural
    keep_last: Count
    features: Literal["inception", "classifier", "pixels"]
    inception_weights: str | None
    truncation: Positive | None
    best: Best
    trust: list[str]

    trick: Components = field(default_factory=dict)
    meta: Component | None = None
    metric: Components = field(default_factory=dict)
    logger: Components = field(default_factory=dict)


@dataclass(kw_only=True)
class Bench(Train):
    against: Literal["loop"] | None
    rounds: Count
    seconds: Positive
    startup: bool


@dataclass
class Evaluate:
    run: str
    checkpoint: Literal["last", "best"] | Natural
    samples: Count | None
    features: Literal["inception", "classifier", "pixels"] | None
    inception_weights: str | None
    seed: Seed | None
    ema: bool | None
    truncation: Positive | Literal["none"] | None
    batch_size: Count
    device: Device
    dataset: Settings
    trust: list[str]

    metric: Components = field(default_factory=dict)


@dataclass
class Sample:
    sampler: Component

    run: str
    checkpoint: Literal["last", "best"] | Natural
    n: Count | None
    columns: Count | None
    format: Literal["png", "npz"]
    seed: Seed | None
    ema: bool | None
    truncation: Positive | None
    classes: str | Natural | list[str | Natural] | None
    batch_size: Count
    device: Device
    dataset: Settings
    out: str | None
    trust: list[str]


@dataclass
class Export:
    run: str
    checkpoint: Literal["last", "best"] | Natural
    ema: bool | None
    out: str | None
    trust: list[str]


def conf_dir() -> Path:
    """The configuration: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
