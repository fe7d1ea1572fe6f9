"""A contender in a process of its own: it stays warm, and rests while it is asked nothing.

Questions and answers are lines of JSON, `{"do": NAME, ...}` and the answer or `{"error": SENTENCE, ...}`, through the
child's standard input and output. What libraries print in the child goes to standard error.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from gantool.errors import RunError, UsageError
from gantool.measure.windows import Window


class Process:
    """The asking end."""

    def __init__(self, module: str, task: Any, environment: Mapping[str, str] | None = None):
        """Starts `python -m module`, which is told its task first."""
        self.module = module
        self.child = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._send(task)

    def ask(self, do: str, **arguments: Any) -> Any:
        self._send({"do": do} | arguments)
        return self.answer()

    def answer(self) -> Any:
        """The next one; errors of the child are raised here."""
        assert self.child.stdout
        line = self.child.stdout.readline()
        if not line:
            raise RunError(f"the process of {self.module} has died (exit code {self.child.wait()})")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise (UsageError if answer["usage"] else RunError)(answer["error"])
        return answer

    def window(self, seconds: float) -> Window:
        return Window(*self.ask("window", seconds=seconds))

    def _send(self, line: Any) -> None:
        assert self.child.stdin
        try:
            self.child.stdin.write(json.dumps(line) + "\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer says so

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *failure: object) -> None:
        """Ends when its input does; at once where something failed."""
        if kind is not None:
            self.child.terminate()
        try:
            self.child.communicate(timeout=30)
        except (subprocess.TimeoutExpired, OSError, ValueError):
            self.child.kill()
            self.child.wait()


def serve(make: Callable[[Any], Any]) -> int:
    """The answering end: `make(task)` gives an object whose methods are asked for by name, until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    subject: Any = None
    answer: Any
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if subject is None:
                subject, answer = make(question), "ready"
            else:
                answer = getattr(subject, question.pop("do"))(**question)
        except Exception as error:
            answer = {"error": _sentence(error), "usage": isinstance(error, UsageError)}
        try:
            out.write(json.dumps(answer) + "\n")
            out.flush()
        except BrokenPipeError:  # who asked has ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
            return 1
    return 0


def _sentence(error: Exception) -> str:
    if not isinstance(error, UsageError | RunError):
        import traceback

        traceback.print_exception(error)
    return str(error) or type(error).__name__


def timed(command: Sequence[str]) -> float:
    """Seconds that a command takes from its start to its end."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return time.perf_counter() - began
