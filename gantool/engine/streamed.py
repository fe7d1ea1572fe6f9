"""A dataset that does not fit: a ring of batches on the device, which threads fill a little ahead.

The ring has two halves. While the steps of one half run, the other is filled: threads gather its examples from the
memory map, and on CUDA a stream of its own copies them. The ring never moves, so that a captured step may read it.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from gantool.engine.source import BatchSource, DeviceSource
from gantool.game import memory
from gantool.game.types import Images, Prior

log = logging.getLogger(__name__)

HALF = 2**24  # bytes of half a ring, about: more than one step's batches only while they are small
STEPS = 64  # the most steps of half a ring
THREADS = 32  # that gather: a disk answers many questions at once
SHARE = 0.5  # of a GPU's free memory, or of all that the CPU has, that pixels may take up


def choose_source(data: str, images: Images, device: torch.device) -> type[BatchSource]:
    """device: all examples lie there; stream: they come there a little ahead of their step; auto: as they fit."""
    if data == "device" or (data == "auto" and fits(images, device)):
        return DeviceSource
    if data == "auto":
        log.info("the data (%.1f GiB) is too large for %s: it is streamed", images.pixels.nbytes / 2**30, device)
    return StreamedSource


def fits(images: Images, device: torch.device) -> bool:
    """May all pixels lie on the device? On the CPU they lie where the dataset has them: in memory or on a map."""
    return images.pixels.nbytes <= SHARE * memory.free(device)


class Lane(nn.Module):
    """Rows of one tensor on their way: gathered on the host, copied to the device."""

    ring: Tensor

    def __init__(self, values: Tensor, rows: int, device: torch.device):
        """`rows` of half a ring."""
        super().__init__()
        self.values, self.rows = values.numpy(), rows
        ring = torch.zeros(2 * rows, *values.shape[1:], dtype=values.dtype, device=device)
        self.register_buffer("ring", ring, persistent=False)  # which recorded steps read
        self.halves = self.ring.split(rows)
        spare = torch.zeros(self.ring.shape, dtype=values.dtype, pin_memory=device.type == "cuda")
        self.hosts = self.halves if device.type == "cpu" else spare.split(rows)

    def gather(self, index: Tensor, half: int, pool: ThreadPoolExecutor) -> list[Future]:
        """`index` (rows,). By several threads, which leave Python to itself while they copy."""
        target, each = self.hosts[half].numpy(), -(-self.rows // THREADS)
        cuts = [slice(start, start + each) for start in range(0, self.rows, each)]
        return [pool.submit(np.take, self.values, index.numpy()[cut], 0, target[cut], "clip") for cut in cuts]

    def copy(self, half: int) -> None:
        if self.hosts is not self.halves:
            self.halves[half].copy_(self.hosts[half], non_blocking=self.ring.is_cuda)


class Transfer:
    """On CUDA, copies on a stream of their own; events keep them and the steps that read off each other's half."""

    def __init__(self, device: torch.device):
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.read = [torch.cuda.Event() for _ in range(2)] if self.stream else []  # the steps of a half are done
        self.written = [torch.cuda.Event() for _ in range(2)] if self.stream else []  # its rows have arrived

    def copy(self, lanes: list[Lane], half: int) -> None:
        with torch.cuda.stream(self.stream):
            if self.stream:
                self.stream.wait_event(self.read[half])
            for lane in lanes:
                lane.copy(half)
            if self.stream:
                self.written[half].record(self.stream)

    def expect(self, half: int) -> None:
        """The steps to come read this half; those so far have read the other."""
        if self.stream:
            here = torch.cuda.current_stream(self.stream.device)
            here.wait_event(self.written[half])
            self.read[1 - half].record(here)

    def settle(self, half: int) -> None:
        """Waits until the host's side of a half may be written again."""
        if self.stream:
            self.written[half].synchronize()


class StreamedSource(BatchSource):
    """The same batches as DeviceSource, bit for bit; the pixels stay where the dataset has them."""

    draws_all = True  # the rows of each step have their place in the ring
    reference_pixels: Tensor

    def __init__(
        self, images: Images, prior: Prior, latent_dim: int, batch_size: int, seed: int = 0, flip: bool = False
    ):
        super().__init__(images, prior, latent_dim, batch_size, seed, flip)
        self.images = images
        self.register_buffer("reference_pixels", images.pixels[self._evenly()], persistent=False)
        self.pool = ThreadPoolExecutor(THREADS, "gather")
        self.jobs: list[Future] = []  # that gather the half to come
        self.start = -1  # position of the first row of all that were fed; -1 = there are none
        self.steps = 0  # fed since then

    def reserve(self, batches: int, per_step: int = 1, labelled: bool = True) -> None:
        self._rest()
        device, self.step_rows = self.drawn.device, per_step * self.batch_size
        fitting = HALF // (self.images.pixels[:1].nbytes * self.step_rows)
        self.half_steps = min(max(fitting, 1), STEPS)
        self.rows = self.half_steps * self.step_rows
        tensors = (self.images.pixels, self.images.labels)
        kinds = 2 if labelled and len(self.known) else 1
        # of the reals, and of the labelled: pixels and labels
        self.lanes = [[Lane(values, self.rows, device) for values in tensors] for _ in range(kinds)]
        self.rings = nn.ModuleList(lane for lanes in self.lanes for lane in lanes)  # as parts of the source
        self.transfer = Transfer(device)

    def _rest(self) -> None:
        """Nothing is on its way any more; the stream begins anew."""
        for job in self.jobs:
            job.result()
        self.jobs, self.start, self.steps = [], -1, 0

    def weigh(self, weights: Tensor | None) -> None:
        super().weigh(weights)
        self._rest()

    def prepare(self, batches: int) -> None:
        position = int(self.drawn.item())
        if self.start < 0 or position != self.start + self.steps * self.step_rows:
            self._rest()
            self.start = position
            self.base.fill_(position)
            self._gather(0)

    def feed(self) -> None:
        """Sees to it that the ring holds what the coming step draws, and fills the other half meanwhile."""
        chunk, step = divmod(self.steps, self.half_steps)
        if step == 0:
            self._send(chunk % 2)
            self.transfer.expect(chunk % 2)
            self._gather(chunk + 1)
        elif all(job.done() for job in self.jobs):
            self._send((chunk + 1) % 2)
        self.steps += 1

    def _gather(self, chunk: int) -> None:
        """Begins with the rows of the half-ring that is number `chunk` since the stream began."""
        self.transfer.settle(chunk % 2)
        first = self.start + chunk * self.rows
        for order, lanes in zip((self.reals_order, self.labelled_order), self.lanes, strict=False):
            index = order.between(first, first + self.rows)
            self.jobs += [job for lane in lanes for job in lane.gather(index, chunk % 2, self.pool)]

    def _send(self, half: int) -> None:
        """Copies what was gathered, once."""
        if self.jobs:
            for job in self.jobs:
                job.result()
            self.transfer.copy([lane for lanes in self.lanes for lane in lanes], half)
            self.jobs = []

    def _real(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self._from(0, rows)

    def _labelled(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self._from(1, rows)

    def _from(self, kind: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        pixels, labels = (lane.ring.index_select(0, rows % (2 * self.rows)) for lane in self.lanes[kind])
        return self.seen(pixels), labels

    def reference(self) -> tuple[Tensor, Tensor]:
        """N evenly spaced examples of the set."""
        return self.seen(self.reference_pixels), self.labels.index_select(0, self._evenly())

    def shown(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """These examples, at once: not for use within a step."""
        pixels = self.images.pixels.index_select(0, index.cpu()).to(self.drawn.device)
        return self.seen(pixels), self.labels.index_select(0, index)
