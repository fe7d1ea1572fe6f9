"""A step as one CUDA graph; the plain step elsewhere."""

import logging
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)
Step = Callable[[], None]


class Captured:
    """Runs a step eagerly a few times, on a side stream as capture asks, then records it once and replays it.

    Every call is one real step: the warm-up is training too. The step must be a pure function of device state.
    """

    def __init__(self, step: Step, device: torch.device, warmup: int = 3):
        self.step, self.device, self.warmup = step, device, warmup
        self.graph: torch.cuda.CUDAGraph | None = None
        self.eager = device.type != "cuda"

    def __call__(self) -> None:
        if self.eager:
            self.step()
        elif self.warmup > 0:
            self.warmup -= 1
            self._aside()
        else:
            if self.graph is None:
                self._record()
            if self.graph is not None:
                self.graph.replay()
            else:
                self.step()

    def _aside(self) -> None:
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            self.step()
        torch.cuda.current_stream(self.device).wait_stream(stream)

    def _record(self) -> None:
        """Recording runs nothing: the replay that follows is the step."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.step()
        except RuntimeError as error:
            torch.cuda.synchronize(self.device)
            self.eager = True
            log.info("the step runs eagerly, it cannot be captured: %s", str(error).splitlines()[0])
        else:
            self.graph = graph
