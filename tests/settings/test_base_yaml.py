"""YAML is read as PyYAML reads it, but for what nobody means: disguised numbers, twin keys, bombs."""

from __future__ import annotations

import pytest
import yaml

from matgl_infomax.settings.base import load_yaml


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "3", "-0.5", "1e-3", "1.0e+3", ".inf", "0", "0.5", "a: 1\nb: [1, two, null, true]", "'1_5'",
        "a_b", "mp-1_5", "01a", "a: &x [1, 2]\nb: *x", "a: &x {c: 1}\nb: {<<: *x, d: 2}", "2020-01-01", "k=v",
    ],
)  # fmt: skip
def test_what_is_plain_is_read_as_everywhere(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["1_5", "[1, 2_0]", "a: 010", "a: -07", "1:30", "a: 1_0.5", "0x_1F"])
def test_disguised_numbers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="would be read as another number"):
        load_yaml(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "'a' is there twice"),
        ("a: {b: 1, b: 2}", "'b' is there twice"),
        ("1: a", "the name '1' is no text"),
        ("on: a", "the name 'on' is no text"),
        ("[a]: b", "a list or section"),
        ("[" * 50 + "]" * 50, "nests deeper than 20 levels"),
        ("[" * 100_000, "nests too deeply"),
        ("&a [*a]", "contains itself"),
        ("[", "while parsing"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_what_nobody_means_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as found:
        load_yaml(text)
    assert "\n" not in str(found.value)


def test_aliases_that_stand_for_billions_are_refused() -> None:
    """Nine lines of nine aliases each stand for 9 ** 9 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 9)]
    with pytest.raises(ValueError, match="more than 100000 values"):
        load_yaml("\n".join(lines))
