from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs import certificate, document, dsse, issue
from certs.certificate import CertificateError
from certs.identity import MemberId
from certs.members import PAYLOAD_TYPE, MembersError, Pair, Purpose, load_members, read_members, sign_members
from vedette.v1.content_pb2 import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from certs.issue import Authority
    from certs.members import Members

KOR, USA, JPN, HUB = (MemberId(code) for code in ("KOR", "USA", "JPN", "HUB"))
DAY_NS = 24 * 3600 * 1_000_000_000


def put(world: Authority, members: Members, *signers: str) -> Path:
    """Write a document signed by these members' roots; what was there stays beside it."""
    path = world.directory / "members.json"
    before = read_members(path).members.version
    path.rename(path.with_name(f"members-{before}.json"))
    path.write_bytes(sign_members(members, {MemberId(code): world.root(code).key_pem for code in signers}))
    return path


def following(current: Members, **changes: Any) -> Members:
    return replace(current, version=current.version + 1, previous=current.digest, **changes)


def test_a_process_starts_from_a_pinned_digest(world: Authority, now_ns: int) -> None:
    path = world.directory / "members.json"
    assert load_members(path, pinned_digest=world.digest(), now_ns=now_ns).version == 1
    with pytest.raises(MembersError, match="pinned"):
        load_members(path, now_ns=now_ns)
    with pytest.raises(MembersError, match="pinned"):
        load_members(path, pinned_digest="sha256:" + 64 * "0", now_ns=now_ns)


def test_even_a_pinned_document_needs_its_own_roots(own_world: Authority, now_ns: int) -> None:
    first = own_world.members()
    path = put(own_world, first, "KOR")
    with pytest.raises(MembersError, match="signed by 1"):
        load_members(path, pinned_digest=first.digest, now_ns=now_ns)


@pytest.mark.parametrize("signers", [("KOR", "USA"), ("USA", "JPN"), ("KOR", "USA", "JPN"), ("KOR", "JPN", "HUB")])
def test_a_threshold_of_nations_makes_the_next_version(
    own_world: Authority, now_ns: int, signers: Sequence[str]
) -> None:
    first = own_world.members()
    path = put(own_world, following(first), *signers)
    assert load_members(path, previous=first, now_ns=now_ns).version == 2
    assert load_members(path, pinned_digest=first.digest, now_ns=now_ns).version == 2


@pytest.mark.parametrize("signers", [("KOR",), ("HUB",), ("KOR", "HUB")])
def test_below_the_threshold_nothing_changes_and_a_hub_does_not_count(
    own_world: Authority, now_ns: int, signers: Sequence[str]
) -> None:
    first = own_world.members()
    path = put(own_world, following(first), *signers)
    for begin in ({"previous": first}, {"pinned_digest": first.digest}):
        with pytest.raises(MembersError, match="2 must"):
            load_members(path, now_ns=now_ns, **begin)


def test_a_newcomer_does_not_vote_itself_in(own_world: Authority, tmp_path: Path, now_ns: int) -> None:
    first = own_world.members()
    stranger = issue.authority(tmp_path / "stranger", nations=["AUS"], systems=(), watches=())
    aus = stranger.members().members[MemberId("AUS")]
    second = following(first, members={**first.members, MemberId("AUS"): aus}, threshold=3)
    keys = {KOR: own_world.root("KOR").key_pem, MemberId("AUS"): stranger.root("AUS").key_pem}
    path = own_world.directory / "members.json"
    path.write_bytes(sign_members(second, keys))
    with pytest.raises(MembersError, match="signed by 1"):
        load_members(path, previous=first, now_ns=now_ns)
    path.write_bytes(sign_members(second, {**keys, USA: own_world.root("USA").key_pem}))
    assert "AUS" in load_members(path, previous=first, now_ns=now_ns).members


def test_a_root_that_was_replaced_no_longer_votes(own_world: Authority, now_ns: int) -> None:
    first = own_world.members()
    fresh = certificate.make_root(KOR, now_ns=now_ns, hours=24)
    kor = replace(first.members[KOR], root_pem=fresh.certificate_pem)
    put(own_world, following(first, members={**first.members, KOR: kor}), "USA", "JPN")
    second = own_world.members()
    path = put(own_world, following(second), "KOR", "USA")  # KOR by its old root
    with pytest.raises(MembersError, match="signed by 1"):
        load_members(path, previous=second, now_ns=now_ns)


def test_an_older_version_is_refused(own_world: Authority, now_ns: int) -> None:
    first = own_world.members()
    second = own_world.revise(lambda members: members)
    with pytest.raises(MembersError, match="older"):
        load_members(own_world.directory / "members-1.json", previous=second, now_ns=now_ns)
    with pytest.raises(MembersError, match="older"):
        load_members(own_world.directory / "members-1.json", previous=second, pinned_digest=first.digest, now_ns=now_ns)


def test_there_is_one_document_of_each_number(own_world: Authority, now_ns: int) -> None:
    first = own_world.members()
    path = put(own_world, replace(first, pairs={}), "KOR", "USA", "JPN")
    with pytest.raises(MembersError, match="two different"):
        load_members(path, previous=first, now_ns=now_ns)


def test_the_same_document_again_is_fine(own_world: Authority, now_ns: int) -> None:
    first = own_world.members()
    path = own_world.directory / "members.json"
    assert load_members(path, previous=first, now_ns=now_ns) is first
    with pytest.raises(MembersError, match="expired"):
        load_members(path, previous=first, now_ns=first.expires_ns)


def test_who_was_away_for_several_versions_takes_each_step(own_world: Authority, now_ns: int) -> None:
    first = own_world.members()
    for _ in range(3):
        own_world.revise(lambda members: members)
    path = own_world.directory / "members.json"
    assert load_members(path, previous=first, now_ns=now_ns).version == 4
    assert load_members(path, pinned_digest=first.digest, now_ns=now_ns).version == 4
    newest = read_members(path).members.digest
    (own_world.directory / "members-2.json").unlink()
    with pytest.raises(MembersError, match="members-2"):
        load_members(path, previous=first, now_ns=now_ns)
    assert load_members(path, pinned_digest=newest, now_ns=now_ns).version == 4  # a person may begin anew


def test_what_is_in_force_is_not_undone_by_way_of_an_older_pin(own_world: Authority, now_ns: int) -> None:
    first = own_world.members()
    keys = {code: own_world.root(code).key_pem for code in first.nations()}
    ours = own_world.revise(lambda members: replace(members, revoked=frozenset({64 * "a"})))
    other = following(first)  # a second version 2, by the same roots, that withdraws nothing
    (own_world.directory / "members-2.json").write_bytes(sign_members(other, keys))
    other = read_members(own_world.directory / "members-2.json").members
    path = own_world.directory / "members.json"
    path.write_bytes(sign_members(following(other), keys))
    with pytest.raises(MembersError, match="follow"):
        load_members(path, pinned_digest=first.digest, previous=ours, now_ns=now_ns)
    newest = read_members(path).members
    assert load_members(path, pinned_digest=newest.digest, previous=ours, now_ns=now_ns) == newest  # a person's word


def test_a_step_must_name_the_one_before(own_world: Authority, now_ns: int) -> None:
    first = own_world.members()
    wrong = replace(following(first), previous="sha256:" + 64 * "0")
    path = put(own_world, wrong, "KOR", "USA", "JPN")
    for begin in ({"previous": first}, {"pinned_digest": first.digest}):
        with pytest.raises(MembersError, match="follow"):
            load_members(path, now_ns=now_ns, **begin)
    skipping = replace(following(first), version=3)
    path.write_bytes(sign_members(skipping, {code: own_world.root(code).key_pem for code in first.nations()}))
    with pytest.raises(MembersError, match="version 3 does not follow 1"):
        load_members(path, previous=first, now_ns=now_ns)
    with pytest.raises(MembersError, match="members-2"):
        load_members(path, pinned_digest=first.digest, now_ns=now_ns)


def test_a_next_version_needs_nothing_beside_it_where_the_one_before_is_in_force(
    own_world: Authority, now_ns: int
) -> None:
    first = own_world.members()
    second = own_world.revise(lambda members: members)
    (own_world.directory / "members-1.json").unlink()
    assert load_members(own_world.directory / "members.json", previous=first, now_ns=now_ns) == second


def test_an_expired_document_is_not_taken_up(world: Authority, members: Members) -> None:
    path = world.directory / "members.json"
    with pytest.raises(MembersError, match="expired"):
        load_members(path, pinned_digest=world.digest(), now_ns=members.expires_ns)
    assert load_members(path, pinned_digest=world.digest(), now_ns=members.expires_ns - 1) == members


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_any_flipped_bit_of_the_document_is_refused(
    tmp_path_factory: pytest.TempPathFactory, world: Authority, members: Members, now_ns: int, bit: int
) -> None:
    signed = dsse.decode((world.directory / "members.json").read_bytes())
    assert signed.payload is not None
    changed = bytearray(signed.payload)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    path = tmp_path_factory.getbasetemp() / "flipped.json"
    path.write_bytes(dsse.encode(PAYLOAD_TYPE, bytes(changed), list(signed.signatures.items())))
    with pytest.raises(MembersError):
        load_members(path, pinned_digest=members.digest, now_ns=now_ns)


def test_one_signature_that_does_not_hold_refuses_the_document(own_world: Authority, now_ns: int) -> None:
    first = own_world.members()
    path = put(own_world, following(first), "KOR", "USA", "JPN")
    signed = dsse.decode(path.read_bytes())
    (first_id, _), (_, other), third = signed.signatures.items()
    path.write_bytes(dsse.encode(PAYLOAD_TYPE, signed.payload, [(first_id, other), third]))
    with pytest.raises(MembersError, match="does not hold"):
        load_members(path, previous=first, now_ns=now_ns)


def test_what_is_no_members_document_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "members.json"
    with pytest.raises(MembersError, match="cannot be read"):
        read_members(path)
    for data in (b"", b"{}", dsse.encode("other", b"{}", [("a", b"")]), dsse.encode(PAYLOAD_TYPE, None, [("a", b"")])):
        path.write_bytes(data)
        with pytest.raises(MembersError):
            read_members(path)


def test_writing_and_reading_change_nothing(members: Members) -> None:
    again = document.decode(document.encode(members))
    assert again == members
    pair = Pair(frozenset({"launch", "track.state"}), third_party=False)
    fewer = replace(members, pairs={(KOR, USA): pair}, revoked=frozenset({64 * "a"}))
    assert replace(document.decode(document.encode(fewer)), digest=members.digest) == fewer


def table_of(members: Members) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(document.encode(members))
    return table


def spoil_unknown(table: dict[str, Any]) -> None:
    table["more"] = 1


def spoil_member_unknown(table: dict[str, Any]) -> None:
    table["members"][1]["more"] = 1


def spoil_key_unknown(table: dict[str, Any]) -> None:
    table["members"][1]["keys"][0]["more"] = 1


def spoil_pair_unknown(table: dict[str, Any]) -> None:
    table["pairs"][0]["more"] = 1


def spoil_missing(table: dict[str, Any]) -> None:
    del table["revoked"]


def spoil_format(table: dict[str, Any]) -> None:
    table["format"] = "vedette-members/v2"


def spoil_version(table: dict[str, Any]) -> None:
    table["version"] = True


def spoil_previous(table: dict[str, Any]) -> None:
    table["previous"] = "sha256:" + 64 * "0"


def spoil_previous_of_two(table: dict[str, Any]) -> None:
    table["version"] = 2


def spoil_threshold_low(table: dict[str, Any]) -> None:
    table["threshold"] = 1


def spoil_threshold_high(table: dict[str, Any]) -> None:
    table["threshold"] = 4


def spoil_expiry(table: dict[str, Any]) -> None:
    table["expires"] = "2026-02-30T00:00:00Z"


def spoil_expiry_zone(table: dict[str, Any]) -> None:
    table["expires"] = "2026-02-20T00:00:00+09:00"


def spoil_member_twice(table: dict[str, Any]) -> None:
    table["members"].append(table["members"][1])


def spoil_root_shared(table: dict[str, Any]) -> None:
    table["members"][1]["root"] = table["members"][2]["root"]


def spoil_code(table: dict[str, Any]) -> None:
    table["members"][1]["code"] = "../x"


def spoil_no_hub(table: dict[str, Any]) -> None:
    del table["members"][0]


def spoil_hub_type(table: dict[str, Any]) -> None:
    table["members"][0]["hub"] = "yes"


def spoil_purpose(table: dict[str, Any]) -> None:
    table["members"][1]["keys"][0]["purpose"] = "picture"


def spoil_mode(table: dict[str, Any]) -> None:
    table["members"][1]["keys"][0]["mode"] = "unspecified"


def spoil_key_shared(table: dict[str, Any]) -> None:
    table["members"][1]["keys"][0]["public"] = table["members"][1]["keys"][1]["public"]


def spoil_key_of_another(table: dict[str, Any]) -> None:
    table["members"][1]["keys"][0]["public"] = table["members"][2]["officers"][0]["public"]


def spoil_key_length(table: dict[str, Any]) -> None:
    table["members"][1]["keys"][0]["public"] = base64.b64encode(bytes(31)).decode()


def spoil_key_text(table: dict[str, Any]) -> None:
    table["members"][1]["keys"][0]["public"] = "?"


def spoil_algorithm(table: dict[str, Any]) -> None:
    table["members"][1]["keys"][0]["algorithm"] = "ML_DSA_65"


def spoil_sign_until(table: dict[str, Any]) -> None:
    table["members"][1]["keys"][0]["sign_until"] = table["members"][1]["keys"][0]["verify_until"]


def spoil_officer_at_hub(table: dict[str, Any]) -> None:
    table["members"][0]["officers"] = [table["members"][1]["officers"].pop()]


def spoil_officer_name(table: dict[str, Any]) -> None:
    table["members"][1]["officers"][0]["name"] = "Kim Min-jun"


def spoil_schema(table: dict[str, Any]) -> None:
    table["members"][1]["schema_versions"] = {"least": 2, "most": 1}


def spoil_pair_twice(table: dict[str, Any]) -> None:
    table["pairs"].append(table["pairs"][0])


def spoil_pair_hub(table: dict[str, Any]) -> None:
    table["pairs"][0]["recipient"] = "HUB"


def spoil_pair_self(table: dict[str, Any]) -> None:
    table["pairs"][0]["recipient"] = table["pairs"][0]["origin"]


def spoil_pair_stranger(table: dict[str, Any]) -> None:
    table["pairs"][0]["recipient"] = "PRK"


def spoil_leaves(table: dict[str, Any]) -> None:
    table["pairs"][0]["leaves"] = ["launch.*"]


def spoil_third_party(table: dict[str, Any]) -> None:
    table["pairs"][0]["third_party"] = None


def spoil_revoked(table: dict[str, Any]) -> None:
    table["revoked"] = ["AA:BB"]


SPOILERS = [spoil for name, spoil in sorted(globals().items()) if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_document_that_is_wrong_in_itself_is_refused_whoever_signed_it(
    members: Members, spoil: Callable[[dict[str, Any]], None]
) -> None:
    table = table_of(members)
    document.decode(json.dumps(table).encode())
    spoil(table)
    with pytest.raises(dsse.DocumentError):
        document.decode(json.dumps(table).encode())


def test_a_root_that_could_vouch_for_others_is_refused(world: Authority, members: Members, now_ns: int) -> None:
    loose = [
        world.unconstrained_root("KOR"),
        world.root("USA").certificate_pem,
        world.leaf("spiffe://kor.vedette/gateway").certificate_pem,
        b"junk",
    ]
    for pem in loose:
        with pytest.raises(CertificateError):
            certificate.check_root(pem, KOR)
        table = table_of(members)
        table["members"][2]["root"] = pem.decode()
        assert table["members"][2]["code"] == "KOR"
        with pytest.raises(dsse.DocumentError):
            document.decode(json.dumps(table).encode())
    certificate.check_root(certificate.make_root(KOR, now_ns=now_ns, hours=1).certificate_pem, KOR)


def test_two_members_do_not_share_a_root_key(world: Authority, members: Members, now_ns: int) -> None:
    """Otherwise one private key would vote twice."""
    shared = certificate.make_root(USA, now_ns=now_ns, hours=1, key_pem=world.root("KOR").key_pem)
    usa = replace(members.members[USA], root_pem=shared.certificate_pem)
    with pytest.raises(dsse.DocumentError, match="same root"):
        document.decode(document.encode(replace(members, members={**members.members, USA: usa})))


def test_a_key_that_stands_twice_in_json_is_refused(members: Members) -> None:
    payload = document.encode(members)
    twice = payload.replace(b'"version": 1,', b'"version": 1, "version": 1,', 1)
    assert twice != payload
    with pytest.raises(dsse.DocumentError, match="stands twice"):
        document.decode(twice)


def test_nobody_signs_what_no_loader_would_take(world: Authority, members: Members) -> None:
    with pytest.raises(ValueError, match="threshold"):
        sign_members(replace(members, threshold=1), {KOR: world.root("KOR").key_pem})


def test_everybody_exchanges_with_everybody_else(members: Members) -> None:
    for origin in members.nations():
        for recipient in members.nations():
            pair = members.may_exchange(origin, recipient)
            assert pair is not None
            assert pair.permits("launch.launch_time.best")


def test_before_2023_only_two_pairs_exchanged(tmp_path: Path) -> None:
    members = issue.authority(tmp_path / "w", exchange="bilateral", systems=(), watches=()).members()
    allowed = {(origin, recipient) for origin, recipient in members.pairs}
    assert allowed == {(KOR, USA), (USA, KOR), (USA, JPN), (JPN, USA)}
    assert members.may_exchange("KOR", "JPN") is None
    assert members.may_exchange("JPN", "JPN") is not None


def test_the_hub_sends_to_every_nation_and_receives_from_none(members: Members) -> None:
    assert members.may_exchange("HUB", "KOR") is not None
    assert members.may_exchange("KOR", "HUB") is None
    assert members.may_exchange("HUB", "HUB") is None


def test_strangers_exchange_with_nobody(members: Members) -> None:
    for ends in (("PRK", "PRK"), ("PRK", "KOR"), ("KOR", "PRK"), ("HUB", "PRK")):
        assert members.may_exchange(*ends) is None


@pytest.mark.parametrize(
    ("leaf", "permitted"),
    [
        ("launch", True),
        ("launch.launch_time.best", True),
        ("track.state", True),
        ("track.state.position", True),
        ("track", False),
        ("track.states", False),
        ("launches.x", False),
        ("", False),
    ],
)
def test_a_pair_permits_whole_leaves_and_subtrees(leaf: str, *, permitted: bool) -> None:
    assert Pair(frozenset({"launch", "track.state"}), third_party=False).permits(leaf) is permitted


def test_keys_are_asked_for_by_origin_and_mode(members: Members, now_ns: int) -> None:
    found = [members.seal_keys(code, mode, now_ns) for code in members.members for mode in (1, 2, 3)]
    assert len(found) == len({next(iter(keys)) for keys in found}) == 12
    assert members.seal_keys("PRK", Mode.MODE_EXERCISE, now_ns) == {}
    assert members.seal_keys("KOR", 0, now_ns) == members.seal_keys("KOR", 9, now_ns) == {}
    (picture,) = members.seal_keys("HUB", Mode.MODE_EXERCISE, now_ns).values()
    assert picture.purpose is Purpose.PICTURE


def test_a_retired_key_verifies_what_it_signed_in_its_time_and_later_nothing(members: Members) -> None:
    (key,) = members.seal_keys("KOR", Mode.MODE_EXERCISE, 0).values()
    late = key.sign_until_ns + DAY_NS
    assert key.verify_until_ns > late
    assert members.seal_keys("KOR", Mode.MODE_EXERCISE, late)
    assert members.seal_keys("KOR", Mode.MODE_EXERCISE, late, released_ns=key.sign_until_ns - 1)
    assert not members.seal_keys("KOR", Mode.MODE_EXERCISE, late, released_ns=key.sign_until_ns)
    assert not members.seal_keys("KOR", Mode.MODE_EXERCISE, key.verify_until_ns)


def test_a_bundle_holds_the_roots_asked_for(members: Members) -> None:
    assert members.roots().count(b"BEGIN CERTIFICATE") == 4
    assert members.roots("KOR", "HUB") == members.members[KOR].root_pem + members.members[HUB].root_pem
