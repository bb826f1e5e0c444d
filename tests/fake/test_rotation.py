"""The three readings of what becomes of a spent refresh token."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amocrm_userauth.testing._fake.settings import Settings
from amocrm_userauth.testing._fake.world import World
from tests.fake.kit import caller


def test_strict_a_token_works_once_and_its_heir_goes_on():
    """A repeat is refused and hurts nobody else."""
    with caller() as amo:
        first = amo.connect()["refresh_token"]
        second = amo.refresh(first).json()["refresh_token"]
        assert amo.refresh(first).status_code == 401
        assert amo.fake.accepts(second)
        assert amo.refresh(second).status_code == 200


def test_family_a_repeat_ends_every_pair_of_the_grant():
    """After a repeat neither the heir nor its access token works; another grant does."""
    with caller(rotation="family") as amo:
        first = amo.connect()["refresh_token"]
        boris = amo.connect("boris")["refresh_token"]
        second = amo.refresh(first).json()
        assert amo.refresh(first).json()["hint"] == "Token has been revoked"
        assert amo.refresh(second["refresh_token"]).json()["hint"] == "Token has been revoked"
        assert amo.account(second["access_token"]).status_code == 401
        assert amo.refresh(boris).status_code == 200


def test_lenient_a_repeat_gives_another_pair_and_kills_the_one_before():
    """The old token works until the new pair is used; of two pairs bought with it only the later lives."""
    with caller(rotation="lenient") as amo:
        first = amo.connect()["refresh_token"]
        lost, found = amo.refresh(first).json(), amo.refresh(first).json()
        assert amo.refresh(lost["refresh_token"]).status_code == 401
        assert amo.account(lost["access_token"]).status_code == 401
        assert amo.account(found["access_token"]).status_code == 200
        assert amo.fake.accepts(first)
        assert amo.refresh(found["refresh_token"]).status_code == 200
        assert amo.refresh(first).json()["hint"] == "Token has been revoked"


@pytest.mark.parametrize(("until", "status"), [("refresh", 200), ("access", 401)])
def test_lenient_until_the_new_pair_is_used(until: str, status: int):
    """Whether an API call counts as use of the new pair is not documented: both readings are there."""
    with caller(rotation="lenient", lenient_until=until) as amo:
        first = amo.connect()["refresh_token"]
        assert amo.account(amo.refresh(first).json()["access_token"]).status_code == 200
        assert amo.refresh(first).status_code == status


@pytest.mark.parametrize(("kills", "status"), [(False, 200), (True, 401)])
def test_a_refresh_may_end_the_old_access_token(kills: bool, status: int):
    """It is not documented either."""
    with caller(refresh_kills_access=kills) as amo:
        first = amo.connect()
        amo.refresh(first["refresh_token"]).raise_for_status()
        assert amo.account(first["access_token"]).status_code == status


@pytest.mark.parametrize(("kills", "status"), [(False, 200), (True, 401)])
def test_authorizing_again_may_end_the_earlier_grant(kills: bool, status: int):
    """By default two grants of one user live side by side; other users' are never touched."""
    with caller(new_grant_kills_old=kills) as amo:
        first, boris, elsewhere = amo.connect(), amo.connect("boris"), amo.connect("anna", "other")
        amo.connect()
        assert amo.refresh(first["refresh_token"]).status_code == status
        assert amo.refresh(boris["refresh_token"]).status_code == 200
        assert amo.refresh(elsewhere["refresh_token"], host="other.amocrm.ru").status_code == 200


def test_an_unknown_reading_is_refused():
    """A typing error in a test shows at once."""
    with pytest.raises(ValueError, match="rotation"):
        Settings(rotation="loose")


@settings(max_examples=60)
@given(st.sampled_from(["strict", "lenient", "family"]), st.lists(st.integers(0, 6), max_size=25))
def test_at_most_a_parent_and_its_heir_are_alive(rotation: str, picks: list[int]):
    """Whatever is presented in whatever order, one line of pairs at most survives in a grant."""
    world = World(Settings(rotation=rotation))
    account = world.account("example")
    pairs = [world.issue(_grant(world, account), None)]
    for pick in picks:
        pair = pairs[pick % len(pairs)]
        if pair.refusal(world.now()) is None:
            pairs.append(world.rotate(pair))
        else:
            world.punish_reuse(pair)
    alive = [pair for pair in pairs if pair.state == "alive"]
    assert len(alive) <= (2 if rotation == "lenient" else 1)
    if len(alive) == 2:
        assert alive[1].parent is alive[0]


def _grant(world: World, account: object):
    from amocrm_userauth.testing._fake.model import Grant

    grant = Grant("client", account, world.person("anna", account))
    world.grants.append(grant)
    return grant
