"""One computation at a time beside the GUI, of which the latest that was asked for counts."""

from concurrent.futures import ThreadPoolExecutor

import qt

__all__ = ["Background"]

_POLL_MS = 50


class Background:
    """Computes steps in a thread. A step has a ``key``, and a ``compute`` that leaves the scene alone.

    Args:
        over: called with a step that was computed, in the thread of the GUI.
        failed: called with the error of one that was not.
    """

    def __init__(self, over, failed):
        self._over, self._failed = over, failed
        self._pool = ThreadPoolExecutor(1)
        self._step = self._next = self._future = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def is_busy(self):
        """Whether a step is being computed."""
        return self._future is not None

    def ask(self, step):
        """Compute a step, unless it is being computed; the result of an earlier one is no longer wanted."""
        if self._step is not None and self._step.key == step.key:
            self._next = None
            return
        self._step = None
        self._next = step
        if not self.is_busy:
            self._begin()

    def forget(self):
        """No result is wanted any more."""
        self._step = self._next = None

    def close(self):
        """End; what is being computed is thrown away."""
        self.forget()
        self._timer.stop()
        self._pool.shutdown(wait=False)

    def _begin(self):
        self._step, self._next = self._next, None
        self._future = self._pool.submit(self._step.compute)
        self._timer.start()

    def _poll(self):
        if not self._future.done():
            return
        step, future, self._step, self._future = self._step, self._future, None, None
        self._timer.stop()
        if self._next is not None:
            self._begin()
        if step is None:  # something else has been asked for since
            return
        error = future.exception()
        if error is not None:
            self._failed(error)
        else:
            self._over(step)
