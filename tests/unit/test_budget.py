"""Buckets and tallies: how many calls one connection and one user may make."""

from __future__ import annotations

import pytest

from petiole.web.budget import Bucket, Tally


def test_a_bucket_gives_its_burst_and_then_its_rate():
    now = [0.0]
    bucket = Bucket(burst=3, rate=2, clock=lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] = 0.5
    assert [bucket.take() for _ in range(2)] == [0, 0.5]


def test_a_bucket_holds_no_more_than_its_burst():
    now = [0.0]
    bucket = Bucket(burst=2, rate=10, clock=lambda: now[0])
    now[0] = 1000.0
    assert [bucket.take() for _ in range(3)] == [0, 0, pytest.approx(0.1)]


def test_a_tally_admits_its_limit_for_each_owner_and_forgets_who_has_nothing():
    tally = Tally(2)
    assert [tally.take("ann"), tally.take("ann"), tally.take("ann"), tally.take("bob")] == [True, True, False, True]
    tally.give_back("ann")
    assert tally.take("ann")
    for owner in ("ann", "ann", "bob"):
        tally.give_back(owner)
    assert len(tally) == 0
