"""Devices: target profiles and the ways to reach them."""

from __future__ import annotations

import importlib

from edgevqa.devices.base import Completed, Transport
from edgevqa.devices.targets import (
    TRANSPORTS,
    Limits,
    Target,
    find_profiles,
    load_target,
    parse_target,
    profile_folder,
)

__all__ = [
    "Completed",
    "Limits",
    "Target",
    "Transport",
    "find_profiles",
    "load_target",
    "open_transport",
    "parse_target",
    "profile_folder",
]


def open_transport(target: Target) -> Transport:
    """The way to a target; raises DeviceError when the target is not there."""
    module, name = TRANSPORTS[target.kind].split(":")
    transport: Transport = getattr(importlib.import_module(module), name)(target)
    return transport
