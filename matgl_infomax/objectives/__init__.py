"""What can be learnt from structures alone; one file each, chosen by name from one dict."""

from __future__ import annotations

from matgl_infomax.objectives.base import Objective
from matgl_infomax.objectives.infomax import InfoMax

OBJECTIVES: dict[str, type[Objective]] = {"infomax": InfoMax}

__all__ = ["OBJECTIVES", "InfoMax", "Objective"]
