"""The contracts with users catch what they are there for: each faulty encoder breaks exactly those it should."""

from __future__ import annotations

import pytest
import torch

from matgl_infomax.contracts.training import fingerprint, hashes, moved_weights
from tests.helpers.bite import (
    IN_OTHER_PROCESSES,
    assert_exactly_the_right_ones_fail,
    contracts_of,
    each_fault,
    failing,
    run,
)
from tests.helpers.broken import BREAKS, Sound
from tests.helpers.toy import Toy


@each_fault()
def test_exactly_the_right_contract_fails(kind, tmp_path):
    assert_exactly_the_right_ones_fail(kind, "training", tmp_path)


@pytest.mark.slow
@each_fault()
def test_other_processes_find_nothing_more(kind, tmp_path):
    broken = failing(kind, sorted(IN_OTHER_PROCESSES), tmp_path)
    assert set(broken) == BREAKS[kind] & IN_OTHER_PROCESSES, broken


def test_every_contract_is_broken_by_somebody():
    wanted = contracts_of("training")
    assert set(wanted) <= set().union(*BREAKS.values()) and set(wanted) >= IN_OTHER_PROCESSES
    assert len(wanted) == 8


def test_a_class_that_no_other_process_can_find_gets_a_sentence(tmp_path):
    class Hidden(Sound):
        pass

    assert "Keep Hidden at the top of its file" in run(Hidden, "test_saved_and_loaded", tmp_path / "a")


def test_hashes_follow_every_bit_and_every_name():
    value = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    plain = hashes({"a": value})
    assert plain == hashes({"a": value.clone().requires_grad_()}) and set(plain) == {"a"}
    assert plain["a"] != hashes({"a": torch.nextafter(value, value + 1)})["a"]
    assert plain["a"] == hashes({"a": value.T.contiguous().T})["a"], "how memory is laid out is no matter"
    assert plain["a"] != hashes({"a": value.T})["a"]


def test_weights_are_moved_by_the_same_amount_each_time_and_the_normaliser_with_them():
    def made():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = Toy()
        model.register_buffer("target_std", torch.ones(1))
        model.register_buffer("other", torch.ones(1))
        return model

    one, other, still = moved_weights(made()), moved_weights(made()), made()
    assert fingerprint(one) == fingerprint(other)
    assert not set(fingerprint(one).items()) & set(fingerprint(still).items()), "every weight moved"
    assert float(one.target_std) > 1 and float(one.other) == 1
