"""What the scripts of this folder share: comparing, waiting, and the form of a deployment."""

import os
import time

URL = os.environ["BERTH_URL"]
CHAT_MODEL = os.environ["BERTH_CHAT_MODEL"]  # Abacus under plan mu: adds, counts, thinks when asked
MESSAGES = [{"role": "user", "content": "37+85"}]

INTEGERS = ("base_capacity", "capacity", "ready_capacity")
STRINGS = ("deployed_model", "gmt_create", "gmt_modified", "status", "model_name", "base_model",
           "workspace_id", "charge_type", "creator", "modifier")


def same(got, want):
    assert got == want, f"{got!r}, want {want!r}"


def deployment(output, **want):
    """A deployment object as it comes over the wire, with the values given."""
    for name in INTEGERS:
        assert type(output[name]) is int, f"{name} is {output[name]!r}"
    for name in STRINGS:
        assert type(output[name]) is str and output[name], f"{name} is {output[name]!r}"
    for name, value in want.items():
        same(output[name], value)


def until(what, condition, seconds=60):
    """Returns the first true value of condition()."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"after {seconds} s still not: {what}")
