"""A round as one CUDA graph: its kernels are launched together, and the host has nothing left to do.

A graph holds kernels and addresses, so a round must read and write the same tensors each time, bring no numbers from
the host, and draw from the device's own generator, whose place in its sequence each replay moves on as the round itself
would. That is how rounds are written (gantool/README.md); tests/test_recorded.py replays all of them without a GPU.
"""

import gc
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch

from gantool.engine.repeated import repeated
from gantool.engine.rounds import Play, Unfit, told
from gantool.engine.state import Place, Saved, State

WAITS = "called a synchronizing CUDA operation"  # how torch begins its warning


class CudaGraphs:
    """Records rounds as CUDA graphs. Nothing in their common pool of memory outlives a round."""

    name = "CUDA graphs"
    rehearsals = 3  # the first allocates what it keeps, the second finds kernels, the third is watched and repeated

    def __init__(self, state: State, plain: Play):
        """`plain` is the round as it stands, where what is recorded is compiled already."""
        self.state, self.device, self.plain = state, state.device, plain
        self.stream = torch.cuda.Stream(self.device)  # a graph cannot be captured on the default one
        self.pool = torch.cuda.graph_pool_handle()

    def rehearse(self, play: Play, last: bool) -> str | None:
        """On the stream of the capture, so that its libraries have their workspaces there before it."""
        reason = self._host_counters()
        if reason is not None:
            play()
            return reason
        before, here = self.state.place(), torch.cuda.current_stream(self.device)
        start = self.state.copy() if last else None
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            with _watched(last) as waits:
                play()
            reason = self._unfit(before, waits, start) if start else None
        here.wait_stream(self.stream)
        return reason

    def _unfit(self, before: Place, waits: Sequence[str], start: Saved) -> str | None:
        """Why the round that was played from that start cannot be captured. Its data is what lies ready."""
        if waits:
            return f"a step waits for the device at {waits[0]}"
        moved = self.state.moved(before)
        if moved:
            return f"a step {moved}"
        end = self.state.copy()
        try:
            repeated(self.state, self.plain, start)
        except Exception as error:  # Unfit, or what a step of the user's own raises that is not to be played again
            return told(error)
        finally:
            self.state.put_back(end)
        return None

    def record(self, play: Play) -> Play:
        """A capture runs nothing on the device; what it leaves behind on the host where it fails is mended."""
        reason = self._host_counters()
        if reason is not None:
            raise Unfit(reason)
        gc.collect()  # graphs of an earlier game must not be freed within a capture
        saved, here, graph = self.state.copy(), torch.cuda.current_stream(self.device), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
                play()
        except Exception as error:  # whatever a step of the user's own raises where it waits for the device
            torch.cuda.set_stream(here)
            self._mend()
            self.state.put_back(saved)
            raise Unfit(f"a capture failed ({_root(error)})") from error
        return graph.replay

    def _host_counters(self) -> str | None:
        """Optimisers that count steps on the host would stand still in a graph."""
        for name, player in self.state.players.items():
            if not player.capturable:
                return f"{type(player.optimizer).__name__}, which moves the {name}, counts its steps on the host"
        return None

    def _mend(self) -> None:
        """After a failed capture torch takes the generator, and the pool's allocations, for still being captured."""
        torch.cuda.synchronize(self.device)
        with suppress(RuntimeError, AttributeError):  # where the capture was ended properly
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self.pool)
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(torch.Generator(self.device))


@contextmanager
def _watched(really: bool) -> Iterator[list[str]]:
    """Where in the code, within it, the host had to wait for the device; other warnings go on."""
    found: list[str] = []
    if not really:
        yield found
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for each in caught:
        if WAITS in str(each.message):
            found.append(f"{each.filename}:{each.lineno}")
        elif "Synchronization debug mode" not in str(each.message):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def _root(error: BaseException) -> str:
    """The first line of what went wrong first: leaving a broken capture raises once more."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
