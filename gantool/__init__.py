"""gantool: a command-line trainer for generative adversarial networks."""

__version__ = "0.1.0"
