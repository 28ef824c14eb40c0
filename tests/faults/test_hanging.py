"""A share that hangs, neither answering nor failing, beside a folder that is well."""

import json
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Protocol

import pytest

from shared.base.filesystem import MARKER
from tests import pace
from tests.faults.trial import BOUND, IS_LONG, Trial, struck
from tests.hanging_share import HangingShare, PretendedShare
from tests.servers import Servers

IMAGES = 1_000 if IS_LONG else 120
"""In each of the two sources."""
ROUNDS = 10 if IS_LONG else 1
TIMEOUT = pace.span(1.0)
"""The setting `source_timeout`."""
GRACE_PERIOD = 60.0
"""Seconds after which `up` kills a worker that has not ended."""


class Share(Protocol):
    behind: Path
    mount: Path

    def hang(self) -> None: ...

    def answer(self) -> None: ...


def pretended(folder: Path) -> AbstractContextManager[Share]:
    return closing(PretendedShare(folder / "share", folder / "hang"))


def mounted(folder: Path) -> AbstractContextManager[HangingShare]:
    return closing(HangingShare(folder / "behind", folder / "share"))


class TwoSources(Trial):
    """A trial whose images lie in the inbox and in a share."""

    def drop_into(self, share: Share, images: int) -> str:
        here, self.system.inbox = self.system.inbox, share.behind
        try:
            return self.drop(images)
        finally:
            self.system.inbox = here


@pytest.mark.soak  # of a share that hangs, test_helpers.py, test_helped_polling.py and test_hanging_sources.py tell
@pytest.mark.parametrize("way", [mounted, pretended])
def test_a_share_that_hangs_holds_nothing_but_its_own_images(
    tmp_path: Path,
    servers: Servers | None,
    way: Callable[[Path], AbstractContextManager[Share]],
    record_property: Callable[[str, object], None],
) -> None:
    """It hangs while images of both sources are in hand, while `up` ends, and while `up` starts; then it answers."""
    with way(tmp_path) as share:
        (share.behind / MARKER).touch()
        settings = {
            "PNEUMOSCREEN_SOURCES": json.dumps({"share": {"path": str(share.mount)}}),
            "PNEUMOSCREEN_SOURCE_TIMEOUT": f"{TIMEOUT:g}",
            "HANG": str(tmp_path / "hang"),
        }
        fault: TwoSources | None = None
        for _ in range(ROUNDS):
            with struck(tmp_path, servers, pace=0.01, **settings) as system:
                fault = fault or TwoSources(system, f"share hangs ({way.__name__})", record_property)
                fault.system = system
                strike(fault, share)
            with struck(tmp_path, servers, pace=0.01, **settings) as system:
                fault.system = system
                recover(fault, share)
                account = fault.end() if fault.strikes == ROUNDS else None
    assert account is not None


def strike(fault: TwoSources, share: Share) -> None:
    """Ends the system while the share hangs."""
    theirs, ours = fault.drop_into(share, IMAGES), fault.drop(IMAGES // 2)
    # a share is polled for a tenth of the time: on a busy machine there may be minutes between two sweeps
    fault.wait(lambda: fault.finished(theirs) > 0, "some images of the share", 3 * BOUND)
    share.hang()
    fault.strikes += 1
    more = fault.drop(IMAGES - IMAGES // 2)
    fault.wait(lambda: fault.finished(ours) + fault.finished(more) == IMAGES, "the images of the other source")
    assert fault.finished(theirs) < IMAGES, "it hung too late to be felt"
    status = fault.system.command("status")  # by itself it ends: how soon, `test_hanging_sources.py` tells
    assert f"the source share ({share.mount}) does not answer" in status.stdout, status.stdout + status.stderr
    fault.system.process.send_signal(signal.SIGTERM)
    assert fault.system.process.wait(pace.seconds(GRACE_PERIOD)) == 0


def recover(fault: TwoSources, share: Share) -> None:
    """A system that came up while the share hangs works, and goes on with the share as soon as that answers."""
    meanwhile = fault.drop(IMAGES // 10)
    fault.wait(lambda: fault.finished(meanwhile) == IMAGES // 10, "images of the other source")
    share.answer()
    fault.wait(lambda: fault.finished() >= fault.count, "all images, those of the share too")


@pytest.mark.soak  # the short form: test_hanging_sources.py
def test_up_comes_up_beside_a_dead_mount_and_status_names_it(tmp_path: Path, servers: Servers | None) -> None:
    """Each call fails with ENOTCONN, as after the crash of a FUSE file system."""
    with mounted(tmp_path) as share:
        share.die()
        folder = {"PNEUMOSCREEN_SOURCES": json.dumps({"share": {"path": str(share.mount)}})}
        with struck(tmp_path, servers, **folder) as system:
            status = system.command("status")
            assert f"the source share ({share.mount}) is out of reach" in status.stdout
