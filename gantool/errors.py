"""What gantool tells a person instead of a traceback. The floor under all others; imports nothing."""

OWN: set[str] = set()  # classes of the user's own that this job has built something of


class UsageError(Exception):
    """Something the user can mend: one sentence that says what to do. Exit code 2."""


class Busy(UsageError):
    """Another process works in that folder, or another run has it, and its files are its own."""


class RunError(Exception):
    """A run that failed although it was asked for correctly (disk full, data broken midway). Exit code 1."""


class Diverged(RunError):
    """A loss became NaN or infinite. Exit code 1; status `diverged`."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after the step was finished and saved. Exit code 130 (143 for SIGTERM)."""

    def __init__(self, message: str, exit_code: int = 130):
        super().__init__(message)
        self.exit_code = exit_code
