"""What outlives an interruption: the training state on disk, and signals held back until it is written."""

from __future__ import annotations

import contextlib
import io
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from monai_inn.drafts import replacing, sweep

__all__ = ["STATE", "Checkpoint", "HeldSignals"]

STATE = "state.pt"

_CONTENT = {"identity": dict, "recipe": dict, "stage": int, "losses": dict, "minutes": float, "network": dict}


class Checkpoint:
    """Training state on disk, replaced atomically; tensors and numbers only, so loading cannot run code.

    Args:
        folder: where ``STATE`` lives; ``None`` keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.file = None if folder is None else folder / STATE

    @property
    def exists(self) -> bool:
        """Whether a state is stored."""
        return self.file is not None and self.file.exists()

    def write(self, state: dict[str, Any]) -> None:
        """Replace the stored state; the folder is made if it is not there."""
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.file) as draft:
                torch.save(state, draft)

    def remove(self) -> None:
        """Remove the stored state, and its folder unless something else lies there."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)
            sweep(self.file.parent, self.file.name)
            with contextlib.suppress(OSError):
                self.file.parent.rmdir()

    def read(self) -> dict[str, Any] | None:
        """Return the stored state, or ``None`` if there is none.

        Raises:
            ValueError: if the file is damaged or holds something else.
        """
        if self.file is None or not self.exists:
            return None
        content = io.BytesIO(self.file.read_bytes())
        with self.reading():
            state = torch.load(content, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError(f"holds a {type(state).__name__}")
            wrong = [key for key, kind in _CONTENT.items() if not isinstance(state.get(key), kind)]
            if wrong:
                raise TypeError(f"{', '.join(wrong)} are not what a training writes")
            return state

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Turn whatever damaged content causes inside into one line."""
        try:
            yield
        except Exception as error:  # pickle, the archive and the network raise types of their own
            reason = (str(error).splitlines() or [""])[0]
            raise ValueError(
                f"{self.file} is damaged, or is not the checkpoint of this training ({type(error).__name__}: "
                f"{reason}); delete it to start anew."
            ) from error


class HeldSignals:
    """Holds back Ctrl-C and SIGTERM inside, so that they find a training between two steps.

    Only signals that a function of Python handles are held back, only in the main thread, and only once: a
    second one acts at once. What is still held back at the end acts then.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._pending: int | None = None

    def __enter__(self) -> HeldSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._hold)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if kind is None:
            self.release()

    @property
    def is_pending(self) -> bool:
        """Whether a signal is held back."""
        return self._pending is not None

    def release(self) -> None:
        """Let a signal act that was held back; usually raises ``KeyboardInterrupt``."""
        number, self._pending = self._pending, None
        if number is not None:
            self._handlers[number](number, None)

    def _hold(self, number: int, frame: Any) -> None:
        if self._pending is not None:
            self._handlers[number](number, frame)
        self._pending = number
