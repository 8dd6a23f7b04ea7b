import os
import signal
import time

import pytest

from allocator.coordination.interrupts import Interrupts


def send(kind: signal.Signals) -> None:
    os.kill(os.getpid(), kind)
    time.sleep(0.1)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_let_through_while_its_process_waits(kind: signal.Signals) -> None:
    interrupts = Interrupts()
    with interrupts.handled(), pytest.raises(KeyboardInterrupt), interrupts.waiting():
        send(kind)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_elsewhere_is_kept_until_the_next_wait(kind: signal.Signals) -> None:
    interrupts = Interrupts()
    written = []
    with interrupts.handled():
        send(kind)
        written.append("all of it")
        with pytest.raises(KeyboardInterrupt), interrupts.waiting():
            written.append("never")
    assert written == ["all of it"]


def test_what_handled_the_signals_before_does_so_again() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts().handled():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
