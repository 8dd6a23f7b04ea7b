import os
import signal

import pytest

from allocator.tuning.interrupts import Interrupts


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_let_through_while_its_process_waits(kind: signal.Signals) -> None:
    interrupts = Interrupts()
    with interrupts.handled(), pytest.raises(KeyboardInterrupt), interrupts.waiting():
        os.kill(os.getpid(), kind)
        signal.sigtimedwait([], 5)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_elsewhere_is_kept_until_the_next_wait(kind: signal.Signals) -> None:
    interrupts = Interrupts()
    written = []
    with interrupts.handled():
        os.kill(os.getpid(), kind)
        written.append("all of it")
        with pytest.raises(KeyboardInterrupt), interrupts.waiting():
            written.append("never")
    assert written == ["all of it"]


def test_what_handled_the_signals_before_does_so_again() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts().handled():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
