"""Lightning without its advice, in this process and in those that it starts."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

LOGGERS = ("lightning.pytorch", "lightning.fabric")


class quiet(warnings.catch_warnings):  # noqa: N801 - used like a function
    """Lightning's advice on workers, loggers and devices is for other programs; its warnings are kept out."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        self._levels = {name: logging.getLogger(name).level for name in LOGGERS}
        for name in self._levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        # Processes started from here: torch's advice on DDP comes from C++, which reads this once, at its start.
        self._torch = os.environ.get("TORCH_CPP_LOG_LEVEL")
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

    def __exit__(self, *exc: Any) -> None:
        if self._torch is None:
            os.environ.pop("TORCH_CPP_LOG_LEVEL", None)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        super().__exit__(*exc)
