"""Audiences: algebra, membership, samples, bytes, copies and pickles."""

from __future__ import annotations

import copy
import pickle

import aipl
import builders
import pyarrow as pa
import pytest


@pytest.fixture(scope="module")
def snap() -> aipl.Snapshot:
    return aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of=builders.AS_OF)


@pytest.fixture(scope="module")
def numbers() -> aipl.Snapshot:
    rows = [(user, "b", "purchase" if user % 3 else "view", "2024-06-30") for user in range(1, 2001)]
    return aipl.snapshot(builders.from_rows(rows), builders.DATABANK, as_of=builders.AS_OF)


def test_algebra_is_that_of_sets(numbers: aipl.Snapshot) -> None:
    a = aipl.Audience.from_ids(range(1, 1200), numbers)
    b = aipl.Audience.from_ids(range(800, 5000, 3), numbers)
    left, right = set(range(1, 1200)), {value for value in range(800, 5000, 3) if value <= 2000}
    for made, expected in [(a | b, left | right), (a & b, left & right), (a - b, left - right), (a ^ b, left ^ right)]:
        assert made.ids() == sorted(expected) == list(made)
        assert len(made) == len(expected)
    assert a.overlap(b) == len(left & right)
    assert (a & b) <= a and (a & b) < a and a >= (a & b) and not a < a and (a & b).is_subset(b)
    assert bool(a) and not (a - a)
    assert a & b == b & a and hash(a & b) == hash(b & a) and a != b
    assert a != {1, 2} and a.__or__({1}) is NotImplemented
    with pytest.raises(TypeError):
        a | {1}
    with pytest.raises(TypeError, match="other: an Audience is needed, not int"):
        a.overlap(1)


def test_membership_converts_without_loss(snap: aipl.Snapshot, numbers: aipl.Snapshot) -> None:
    buyers = numbers.audience("b", "P")
    assert 1 in buyers and "1" in buyers and "01" not in buyers and 3 not in buyers
    assert 2**70 not in buyers and "\ud800" not in buyers and "" not in buyers
    assert "u3" in snap.audience("acme", "purchase")
    for wrong in (None, 1.0, True, b"u3"):
        with pytest.raises(TypeError, match="consumer: a str or an int is needed"):
            wrong in buyers  # noqa: B015
    import numpy

    assert numpy.int32(1) in buyers and numpy.str_("1") in buyers


def test_samples_repeat_and_grow(numbers: aipl.Snapshot) -> None:
    everyone = numbers.audience("b", "P")
    assert everyone.sample(100) == everyone.sample(100, seed=0) != everyone.sample(100, seed=1)
    assert everyone.sample(10, seed=5) <= everyone.sample(50, seed=5) <= everyone
    assert len(everyone.sample(10)) == 10 and everyone.sample(10**9) == everyone and not everyone.sample(0)
    for wrong in (-1, 2**63):
        with pytest.raises(aipl.ParameterError, match="^n: "):
            everyone.sample(wrong)
    with pytest.raises(TypeError):
        everyone.sample(0.5)


def test_bytes_round_trip_and_refuse(snap: aipl.Snapshot, numbers: aipl.Snapshot) -> None:
    audience = snap.audience("acme", "L")
    data = audience.to_bytes()
    for universe in (snap, snap.universe, snap.audience("zeta", "P")):
        assert aipl.Audience.from_bytes(data, universe) == audience
    assert aipl.Audience.from_bytes(memoryview(data), universe=snap).ids() == ["u4"]
    blind = aipl.Audience.from_bytes(data)
    assert len(blind) == 1 and blind == audience and blind.universe is None and (blind | audience).ids() == ["u4"]
    with pytest.raises(aipl.AudienceError, match="without its universe"):
        blind.ids()
    with pytest.raises(aipl.AudienceError, match="without its universe"):
        "u4" in blind  # noqa: B015
    with pytest.raises(aipl.ParameterError, match="without its universe"):
        aipl.Audience.from_bytes(data, blind)
    with pytest.raises(aipl.UniverseMismatchError):
        aipl.Audience.from_bytes(data, numbers)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        with pytest.raises(aipl.AudienceError):
            aipl.Audience.from_bytes(bytes(damaged), snap)
        with pytest.raises(aipl.AudienceError):
            aipl.Audience.from_bytes(data[:at], snap)
    for wrong in ("text", 3, None):
        with pytest.raises(TypeError, match="data: bytes is needed"):
            aipl.Audience.from_bytes(wrong)
    with pytest.raises(TypeError, match="universe: a Universe, or a Snapshot, Flow, EventLog, DataBank or Audience"):
        aipl.Audience.from_bytes(data, 5)


def test_universes_do_not_mix(snap: aipl.Snapshot, numbers: aipl.Snapshot) -> None:
    for operation in ("__or__", "__and__", "__sub__", "__xor__", "overlap", "is_subset", "__le__"):
        with pytest.raises(aipl.UniverseMismatchError, match="different universes"):
            getattr(snap.audience("acme", "P"), operation)(numbers.audience("b", "P"))
    assert snap.audience("acme", "P") != numbers.audience("b", "P")
    again = aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of=builders.AS_OF)
    assert again.universe == snap.universe
    assert len(again.audience("acme", "A") | snap.audience("acme", "I")) == 2


def test_pickles_carry_their_universe_once(snap: aipl.Snapshot, numbers: aipl.Snapshot) -> None:
    audiences = [numbers.audience("b", stage) for stage in "AIPL"]
    single, several = len(pickle.dumps(audiences[2])), len(pickle.dumps(audiences))
    assert several < 2 * single
    restored = pickle.loads(pickle.dumps(audiences))
    assert restored == audiences
    assert restored[0].universe is restored[2].universe
    assert (restored[0] | restored[2]).ids() == (audiences[0] | audiences[2]).ids()
    assert restored[2] | audiences[0] == audiences[2] | audiences[0]
    assert repr(restored[2]) == repr(audiences[2])
    one, other = (pickle.loads(pickle.dumps(snap.audience("acme", stage))) for stage in "PL")
    assert (one | other).ids() == ["u3", "u4"]
    combined = pickle.loads(pickle.dumps(snap.audience("acme", "P") | snap.audience("acme", "L")))
    assert combined.ids() == ["u3", "u4"]
    blind = aipl.Audience.from_bytes(one.to_bytes())
    assert pickle.loads(pickle.dumps(blind)) == blind
    for universe in (snap.universe, numbers.universe):
        assert pickle.loads(pickle.dumps(universe)).fingerprint == universe.fingerprint


def test_copies_are_the_same(snap: aipl.Snapshot) -> None:
    audience = snap.audience("acme", "P")
    assert copy.copy(audience) == audience == copy.deepcopy(audience)
    assert copy.deepcopy([audience])[0].ids() == ["u3"]


def test_made_in_words_and_arrow(snap: aipl.Snapshot, numbers: aipl.Snapshot) -> None:
    assert repr(snap.audience("acme", "P")) == "Audience(1 consumer: acme P on 2024-06-30 (databank))"
    assert repr(numbers.audience("b", "P")) == "Audience(1,334 consumers: b P on 2024-06-30 (databank))"
    assert pa.table(snap.audience("acme", "P")).to_pydict() == {"consumer": ["u3"]}
    exported = pa.table(numbers.audience("b", "A"))
    assert exported.schema == pa.schema([pa.field("consumer", pa.int64(), nullable=False)])
    assert exported.num_rows == 666
    empty = pa.table(numbers.audience("b", "L"))
    assert empty.num_rows == 0 and empty.column_names == ["consumer"]
    assert numbers.audience("b", "P").nbytes > 0


def test_from_ids(snap: aipl.Snapshot) -> None:
    assert aipl.Audience.from_ids(["u4", "u1", "nobody", "u4"], snap).ids() == ["u1", "u4"]
    assert not aipl.Audience.from_ids([], snap)
    for wrong in ("u1", 5, [None], [1.5], [True]):
        with pytest.raises(TypeError, match="ids"):
            aipl.Audience.from_ids(wrong, snap)
    for kind in (aipl.Audience, aipl.Universe, aipl.StageModel):
        with pytest.raises(TypeError):
            kind(None) if kind is not aipl.Audience else kind(None, None)
