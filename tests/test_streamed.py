"""Data that does not fit: batches that come to the device a little ahead are those of data that lies there."""

import copy
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor

from gantool.config.build import Builder
from gantool.engine import source, streamed
from gantool.engine.source import BatchSource, DeviceSource, Order
from gantool.engine.streamed import Lane, StreamedSource, choose_source, fits
from gantool.game import memory
from gantool.game.types import Images
from gantool.priors.normal import Normal
from test_no_sync import NoPython, NoSync
from toys import pictures, plain, points, same

CPU = torch.device("cpu")


def partly(images: Images) -> Images:
    """Every third example has a label."""
    return images._replace(labels=torch.where(torch.arange(len(images.labels)) % 3 == 1, images.labels, -1))


DATA = {"points": points(23, classes=2), "pictures": pictures(23), "partly": partly(pictures(23)), "bare": points(23)}


def made(kind: type[BatchSource], images: Images, per_step: int = 2, half: int = 3) -> BatchSource:
    """Half a ring holds the batches of `half` steps."""
    source = kind(images, Normal(), 3, batch_size=4, seed=5, flip=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed, "STEPS", half)
        source.reserve(50, per_step)
    return source


def played(source: BatchSource, ticks: list[int], per_step: int = 2) -> list[Tensor]:
    """All that steps draw, in turn."""
    seen: list[Tensor] = []
    for steps in ticks:
        source.prepare(steps * per_step)
        for _ in range(steps):
            source.feed()
            with NoSync(), NoPython():
                for _ in range(per_step):
                    seen += [*source.reals(), *(source.labelled() if len(source.known) else ()), *source.latents()]
    return seen


@pytest.mark.parametrize("half", [1, 3, 64])
@pytest.mark.parametrize("per_step", [1, 5])
@pytest.mark.parametrize("name", DATA)
def test_streamed_equals_resident_step_by_step(name, per_step, half):
    """Over epochs and halves of the ring, whatever the ticks: images, mirroring, labels and latents, bit for bit."""
    seen = []
    for kind in (DeviceSource, StreamedSource):
        torch.manual_seed(0)
        seen.append(played(made(kind, DATA[name], per_step, half), [1, 7, 2, 10], per_step))
    assert same(*seen)
    assert len(seen[0]) == 20 * per_step * (4 if name == "bare" else 6)


@pytest.mark.parametrize("stop", [1, 3, 8])
def test_resumes_anywhere(stop):
    """Within an epoch, a tick and half a ring; the number of examples drawn is all that is saved."""
    straight = played(made(StreamedSource, points(23)), [12])
    first, second = made(StreamedSource, points(23)), made(StreamedSource, points(23))
    reals = [played(first, [stop])[0::4]]
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert list(first.state_dict()) == ["drawn"]
    reals.append(played(second, [12 - stop])[0::4])
    assert same(straight[0::4], reals[0] + reals[1])


def test_weights_hold_from_the_next_tick_on():
    """AdaGAN weighs between two ticks: what was fetched ahead is dropped."""
    weights = torch.zeros(23, dtype=torch.float64)
    weights[[3, 8, 20]] = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    seen = []
    for kind in (DeviceSource, StreamedSource):
        torch.manual_seed(0)
        source = made(kind, DATA["points"])
        seen.append(played(source, [4]))
        source.weigh(weights)
        seen[-1] += played(source, [4])
        assert {int(number) for batch in seen[-1][-8 * 6 :: 6] for number in batch[:, 0]} == {3, 8, 20}
        source.weigh(None)
        seen[-1] += played(source, [2])
    assert same(*seen)


def test_reference_and_chosen_examples():
    alike = [made(kind, DATA["points"]) for kind in (DeviceSource, StreamedSource)]
    assert same(alike[0].reference(), alike[1].reference())
    assert alike[1].reference()[0][:, 0].tolist() == [0, 5, 10, 15]
    assert alike[1].shown(torch.tensor([7, 2]))[0][:, 0].tolist() == [7, 2]
    assert same(*(each.shown(torch.tensor([7, 2])) for each in alike))


@pytest.mark.parametrize("kind", [DeviceSource, StreamedSource])
def test_mean_of_the_data(monkeypatch, kind):
    """That of all examples, or of evenly spaced ones where there are too many; of pictures, in [-1, 1]."""
    images = pictures(2500)
    exact = images.pixels.double().mean(dim=0) / 127.5 - 1
    exact = (exact + exact.flip(2)) / 2  # as they are mirrored at random
    assert torch.allclose(made(kind, images).mean().double(), exact, atol=1e-5)
    assert torch.equal(made(kind, DATA["points"]).mean(), DATA["points"].pixels.mean(dim=0))
    monkeypatch.setattr(source, "MEAN_OF", 2)
    assert torch.equal(made(kind, DATA["points"]).mean(), DATA["points"].pixels[[0, 11]].mean(dim=0))


def test_pixels_stay_where_they_are():
    """A buffer holds two halves of the ring; those of a resident source on the CPU are the dataset's own."""
    images = pictures(500)
    source = made(StreamedSource, images)
    most = 2 * 3 * 2 * 4 * images.pixels[0].numel()  # two halves of three steps of two batches of four
    assert max(buffer.numel() for name, buffer in source.named_buffers() if "labels" not in name) == most
    assert list(source.state_dict()) == ["drawn"]
    assert source.images.pixels.data_ptr() == images.pixels.data_ptr()
    assert made(DeviceSource, images).to("cpu").pixels.data_ptr() == images.pixels.data_ptr()


def test_the_ring_never_moves():
    """A captured step reads it at the same place for ever."""
    source = made(StreamedSource, points(23))
    places = [lane.ring.data_ptr() for lanes in source.lanes for lane in lanes]
    played(source, [7, 9])
    source.weigh(torch.full((23,), 1 / 23, dtype=torch.float64))
    played(source, [3])
    assert places == [lane.ring.data_ptr() for lanes in source.lanes for lane in lanes]


def test_half_a_ring_is_bounded():
    """Up to 16 MiB, of 64 steps at most, of one at least."""
    small, large = (
        pictures(8, (1, 8, 8)),
        Images(torch.zeros(8, 3, 2048, 2048, dtype=torch.uint8), torch.full((8,), -1)),
    )
    for images, steps in ((small, 64), (large, 1)):
        source = StreamedSource(images, Normal(), 3, batch_size=4)
        source.reserve(10)
        assert source.half_steps == steps


@pytest.mark.parametrize(("data", "kind"), [("device", DeviceSource), ("stream", StreamedSource)])
def test_what_is_wished_is_done(data, kind):
    assert choose_source(data, points(5), CPU) is kind


def test_what_fits_lies_on_the_device(monkeypatch):
    """Half of the memory may be pixels: 3,000 bytes of 6,000, not of 5,999."""
    images = Images(torch.zeros(3000, 1, 1, 1, dtype=torch.uint8), torch.full((3000,), -1))
    for free, fitting in ((6000, True), (5999, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**9))
        assert fits(images, torch.device("cuda")) is fitting
        monkeypatch.setattr(memory.os, "sysconf", {"SC_PAGE_SIZE": free, "SC_PHYS_PAGES": 1}.get)
        assert fits(images, CPU) is fitting
        assert choose_source("auto", images, CPU) is (DeviceSource if fitting else StreamedSource)


def test_a_container_s_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.get)
    monkeypatch.setattr(memory, "LIMITS", [str(tmp_path / name) for name in ("missing", "max", "limit")])
    (tmp_path / "max").write_text("max\n", "utf-8")
    assert memory.of_machine() == 4_096_000
    (tmp_path / "limit").write_text("1000\n", "utf-8")
    assert memory.of_machine() == memory.free(CPU) == 1000


# ---------------------------------------------------------------- the order


def test_each_epoch_of_an_order_is_made_once():
    calls = []

    def make(epoch: int) -> Tensor:
        calls.append(epoch)
        return torch.arange(7) + 100 * epoch

    expected = torch.cat([torch.arange(7) + 100 * epoch for epoch in range(5)])
    order = Order(7, make)
    assert torch.equal(torch.cat([order.between(at, at + 5) for at in range(0, 35, 5)]), expected)
    assert calls == [0, 1, 2, 3, 4]
    assert torch.equal(Order(7, make).between(17, 30), expected[17:30])


# ---------------------------------------------------------------- copies to a device with a clock of its own


class Stream:
    """A CUDA stream: what it is given to do happens later, in this order."""

    def __init__(self):
        self.todo, self.device = deque(), None

    def wait_event(self, event: "Event") -> None:
        seen = event.records  # of records that come later it knows nothing
        self.todo.append(lambda: event.reached >= seen)


class Event:
    def __init__(self, gpu: "GPU"):
        self.gpu, self.records, self.reached = gpu, 0, 0

    def record(self, stream: Stream) -> None:
        self.records += 1
        stream.todo.append(partial(self._reach, self.records))

    def _reach(self, number: int) -> bool:
        self.reached = number
        return True

    def synchronize(self) -> None:
        seen = self.records
        while self.reached < seen:
            self.gpu.work()


class GPU:
    """Two streams, either of which may be as slow as it likes."""

    def __init__(self, chance: random.Random):
        self.chance, self.steps, self.copies = chance, Stream(), Stream()
        self.busy = self.steps  # the stream that the host gives its work to

    def work(self) -> None:
        stream = self.chance.choice([self.steps, self.copies])
        if stream.todo and stream.todo[0]():
            stream.todo.popleft()

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        self.busy = stream
        yield
        self.busy = self.steps


def played_on_a_gpu(source: StreamedSource, steps: int, chance: random.Random, monkeypatch) -> list[Tensor]:
    """Reals of as many steps, the host running ahead, where its side of the ring is another than the device's."""
    gpu, seen = GPU(chance), []
    monkeypatch.setattr(torch.cuda, "stream", gpu.on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: gpu.steps)
    copy = Lane.copy
    monkeypatch.setattr(Lane, "copy", lambda *given: gpu.busy.todo.append(lambda: copy(*given) is None))
    source.transfer.stream = gpu.copies
    source.transfer.read, source.transfer.written = ([Event(gpu), Event(gpu)] for _ in range(2))
    for lane in (lane for lanes in source.lanes for lane in lanes):
        lane.hosts = lane.ring.clone().split(lane.rows)
    source.prepare(steps)
    for _ in range(steps):
        source.feed()
        gpu.steps.todo.append(lambda: seen.extend(source.reals()) is None)
        for _ in range(chance.randrange(4)):
            gpu.work()
    while len(seen) < 2 * steps:
        gpu.work()
    return seen


@pytest.mark.parametrize("seed", range(20))
def test_copies_and_steps_never_touch_the_same_half(monkeypatch, seed):
    """Neither overtakes the other, whichever stream lags, though the host waits for neither after each step."""
    expected = made(DeviceSource, points(23, classes=2), per_step=1)
    expected.prepare(40)
    source, chance = made(StreamedSource, points(23, classes=2), 1, 1 + seed % 4), random.Random(seed)
    played = played_on_a_gpu(source, 40, chance, monkeypatch)
    assert same(played, [tensor for _ in range(40) for tensor in expected.reals()])


def test_a_game_draws_from_a_streamed_source(compose):
    """Through the builder, with discriminator steps, reals in G's turn and labelled ones: the same losses."""
    config = plain(compose("batch_size=4", "architecture=mlp", "objective=feature_matching",
                           "objective@objective.base=semi_supervised", "update.discriminator_steps=3"))  # fmt: skip
    losses = []
    for kind in (DeviceSource, StreamedSource):
        torch.manual_seed(0)
        builder, images = Builder((), 100), partly(pictures(23))
        source = builder.source(config, images, flip=True, kind=kind)
        game = builder.game(config, images.shape, images.num_classes, source)
        d, g = builder.players(game, config["optimizer"])
        update = builder.make("update", config["update"])
        batches = update.real_batches(game)
        source.reserve(5 * batches, batches)
        source.prepare(5 * batches)
        for step in range(5):
            source.feed()
            game.begin(step)
            losses.append(update(game, d, g)["d_loss"].item())
    assert losses[:5] == losses[5:]
