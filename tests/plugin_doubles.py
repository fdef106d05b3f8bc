"""The source of a plugin that tests load."""

TINY = '''"""A plugin for tests: two convolutions, and ways to go wrong on request."""

import os
from typing import Literal

import torch
from torch import nn

from bench.contracts import MethodSpec, Settings


class TinySettings(Settings):
    width: int = 4
    fault: Literal["none", "raise", "nan", "exit", "kill"] = "none"


class Tiny(nn.Module):
    def __init__(self, settings):
        super().__init__()
        self.fault = settings.fault
        self.layers = nn.Sequential(
            nn.Conv2d(3, settings.width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(settings.width, 1, 3, padding=1),
        )

    def forward(self, images):
        if self.training and self.fault == "raise":
            raise RuntimeError("a fault on request")
        if self.training and self.fault == "exit":
            os._exit(7)
        if self.training and self.fault == "kill":
            os.kill(os.getpid(), 9)
        factor = float("nan") if self.fault == "nan" else 1.0
        return self.layers(images) * factor


def build(settings, context):
    return Tiny(settings)


SPEC = MethodSpec(
    name="tiny", title="Tiny", family="CNN", build=build, settings=TinySettings,
    summary="two convolutions", citation="none",
)
'''
