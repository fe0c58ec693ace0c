"""Slow, literal transcriptions of the published formulas, against which the package is tested."""
