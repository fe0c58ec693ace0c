"""Every arm against the one from scratch, as one table to read: who gained, who lost, at which number of labels."""

from __future__ import annotations

from matgl_infomax.leaderboard.verdict import Paired, Verdict

FEWEST_ARMS = 2
"""One arm against scratch has its column beside the errors already."""


def against_scratch(verdict: Verdict) -> dict[tuple[str, int], Paired]:
    """The verdict's comparisons with its baseline, by arm and number of labels."""
    pairs = (*verdict.points, *verdict.others)
    return {(pair.arm, pair.labels): pair for pair in pairs if pair.against == verdict.baseline}


def has_several(verdict: Verdict) -> bool:
    """Whether more than one arm was compared with scratch."""
    return len({arm for arm, _ in against_scratch(verdict)}) >= FEWEST_ARMS


def ratio_table(verdict: Verdict) -> str:
    """Error ratios of all arms against scratch with 95 % intervals; clear ones in bold; nothing for a single arm.

    Args:
        verdict: that of a study; only its comparisons with its baseline are shown.
    """
    if not has_several(verdict):
        return ""
    found = against_scratch(verdict)
    counts = sorted({labels for _, labels in found})
    lines = [[f"error / {verdict.baseline} (95 %)", *(f"{n} labels" for n in counts)], ["---", *["---:"] * len(counts)]]
    lines += [[arm, *(_cell(found.get((arm, n))) for n in counts)] for arm in dict.fromkeys(arm for arm, _ in found)]
    caption = "Below 1 the arm makes the smaller error; bold where the interval says which is better."
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", caption])


def _cell(pair: Paired | None) -> str:
    """'**0.805** (0.757–0.859)'; empty where that arm has no runs."""
    if pair is None:
        return ""
    ratio = f"{pair.ratio:.3f}" if pair.finding == "open" else f"**{pair.ratio:.3f}**"
    return f"{ratio} ({pair.ratio_low:.3f}–{pair.ratio_high:.3f})"
