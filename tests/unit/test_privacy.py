"""What keeps class L4 unreadable: sealed columns, join tokens, sealed files, redacted text, masks, small numbers."""

from __future__ import annotations

import io
import json
import re
import stat
import time
from pathlib import Path

import pyarrow as pa
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from gridlake.privacy import REDACTED, Keys, looks_sensitive, mask, redact

CONTEXT = "city_platform__event.reporter_phone"
VALUES = ["13812345678", "", None, "13812345678", "王小明", "浙江省杭州市西湖区文一路1号"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.load(tmp_path_factory.mktemp("keys") / "lake.keys.json")


# --- key file


def test_keys_are_made_once_readable_by_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lake.keys.json"
    first = Keys.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keys.load(path).seal(pa.array(VALUES), CONTEXT).equals(first.seal(pa.array(VALUES), CONTEXT))


def test_two_lakes_have_different_keys(tmp_path: Path) -> None:
    one, other = Keys.load(tmp_path / "one.json"), Keys.load(tmp_path / "other.json")
    assert one.token(pa.array(["王小明"])) != other.token(pa.array(["王小明"]))
    with pytest.raises(InvalidTag):
        other.open(one.seal(pa.array(["王小明"]), CONTEXT), CONTEXT)


def test_a_new_key_version_seals_and_the_old_one_still_opens(tmp_path: Path) -> None:
    path = tmp_path / "lake.keys.json"
    old = Keys.load(path)
    sealed, token = old.seal(pa.array(["王小明"]), CONTEXT), old.token(pa.array(["王小明"]))
    document = json.loads(path.read_text(encoding="utf-8"))
    document["versions"]["2"] = "ab" * 32
    path.write_text(json.dumps(document), encoding="utf-8")

    new = Keys.load(path)
    assert new.open(sealed, CONTEXT).to_pylist() == ["王小明"]
    resealed = new.seal(pa.array(["王小明"]), CONTEXT)
    assert resealed[0].as_py().startswith("k2.")
    assert new.open(resealed, CONTEXT).to_pylist() == ["王小明"]
    assert new.token(pa.array(["王小明"])).equals(token), "rows landed before and after a rotation still join"


# --- columns


def test_what_was_sealed_opens_to_the_same_values_with_null_and_empty_kept_apart(keys: Keys) -> None:
    sealed = keys.seal(pa.array(VALUES), CONTEXT)
    assert keys.open(sealed, CONTEXT).to_pylist() == VALUES


def test_sealed_values_look_as_the_landed_tables_promise(keys: Keys) -> None:
    for sealed in keys.seal(pa.array(VALUES), CONTEXT).to_pylist():
        assert sealed is None or re.fullmatch(r"k1\.[A-Za-z0-9_\-]+=*", sealed)
    for token in keys.token(pa.array(VALUES)).to_pylist():
        assert token is None or re.fullmatch(r"[0-9a-f]{32}", token)


def test_no_plain_value_is_left_in_ciphertext_or_token(keys: Keys) -> None:
    written = json.dumps([keys.seal(pa.array(VALUES), CONTEXT).to_pylist(), keys.token(pa.array(VALUES)).to_pylist()], ensure_ascii=False)
    assert not [v for v in VALUES if v and v in written]


def test_sealing_again_writes_the_same_bytes(keys: Keys) -> None:
    assert keys.seal(pa.array(VALUES), CONTEXT).equals(keys.seal(pa.array(VALUES), CONTEXT))


def test_a_sealed_value_moved_to_another_column_does_not_open(keys: Keys) -> None:
    sealed = keys.seal(pa.array(["13812345678"]), CONTEXT)
    with pytest.raises(InvalidTag):
        keys.open(sealed, "city_platform__event.reporter_name")


def test_a_changed_ciphertext_does_not_open(keys: Keys) -> None:
    sealed = keys.seal(pa.array(["13812345678"]), CONTEXT)[0].as_py()
    changed = sealed[:-3] + ("A" if sealed[-3] != "A" else "B") + sealed[-2:]
    with pytest.raises(InvalidTag):
        keys.open(pa.array([changed]), CONTEXT)


def test_the_same_person_has_one_token_in_every_feed_and_one_ciphertext_in_each_column(keys: Keys) -> None:
    person = pa.array(["330106199001011234"])
    assert keys.seal(person, "police__visit.id_number") != keys.seal(person, "health__case.id_number")
    assert keys.token(person).equals(keys.token(pa.chunked_array([person, person])).slice(0, 1))


def test_chunked_sliced_and_empty_arrays_keep_their_rows(keys: Keys) -> None:
    chunked = pa.chunked_array([pa.array(["a", None]), pa.array(["b", "a"])])
    assert keys.open(keys.seal(chunked, CONTEXT), CONTEXT).to_pylist() == ["a", None, "b", "a"]
    assert keys.open(keys.seal(pa.array(VALUES).slice(2, 3), CONTEXT), CONTEXT).to_pylist() == VALUES[2:5]
    assert keys.seal(pa.nulls(2, pa.string()), CONTEXT).to_pylist() == [None, None]
    assert keys.token(pa.array([], pa.string())).to_pylist() == []


def test_a_column_of_few_values_is_sealed_by_value_and_not_by_row(keys: Keys) -> None:
    many = pa.array(["13812345678", "13912345678"]).take(pa.array([0, 1] * 500_000))
    started = time.monotonic()
    assert len(keys.seal(many, CONTEXT)) == len(many)
    assert time.monotonic() - started < 2.0, "a million rows of two values take tens of milliseconds, one by one they take ten seconds"


@given(st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"))), max_size=8))
def test_any_text_survives_sealing(values: list[str | None]) -> None:
    keys = Keys({1: b"k" * 32}, b"t" * 32)
    assert keys.open(keys.seal(pa.array(values, pa.string()), CONTEXT), CONTEXT).to_pylist() == values


# --- rows and files


@pytest.mark.parametrize("content", [b"", b"\xff\x00\xfe", '{"姓名": "王小明"}'.encode()])
def test_refused_bytes_are_kept_exactly(keys: Keys, content: bytes) -> None:
    sealed = keys.seal_bytes(content)
    assert keys.open_bytes(sealed) == content
    assert sealed == keys.seal_bytes(content)


CHUNK = 4 * 1024 * 1024


def sealed_stream(keys: Keys, content: bytes) -> bytes:
    target = io.BytesIO()
    assert keys.seal_stream(io.BytesIO(content), target) == len(content)
    return target.getvalue()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_a_stream_of_any_length_opens_to_its_bytes(keys: Keys, size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    opened = io.BytesIO()
    assert keys.open_stream(io.BytesIO(sealed_stream(keys, content[:size])), opened) == size
    assert opened.getvalue() == content[:size]


def test_a_sealed_stream_is_read_and_written_in_chunks(keys: Keys) -> None:
    class Source(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 < size <= CHUNK, "a whole file must never be asked for"
            return super().read(size)

    assert keys.seal_stream(Source(b"x" * (2 * CHUNK)), io.BytesIO()) == 2 * CHUNK


def test_a_stream_that_was_changed_cut_off_or_reordered_does_not_open(keys: Keys) -> None:
    content = b"a" * CHUNK + b"b" * CHUNK + b"c"
    sealed = sealed_stream(keys, content)
    piece = 4 + 12 + CHUNK + 16
    header, first, second, last = sealed[:8], sealed[8 : 8 + piece], sealed[8 + piece : 8 + 2 * piece], sealed[8 + 2 * piece :]
    for tampered in (
        sealed[:-1] + bytes([sealed[-1] ^ 1]),
        header + second + first + last,
        header + first + second,
        header + first,
        header + first + second + last[:-2],
    ):
        with pytest.raises(InvalidTag):
            keys.open_stream(io.BytesIO(tampered), io.BytesIO())
    with pytest.raises(ValueError, match="cut off"):
        keys.open_stream(io.BytesIO(header), io.BytesIO())
    with pytest.raises(ValueError, match="not a sealed stream"):
        keys.open_stream(io.BytesIO(content), io.BytesIO())


def test_the_same_stream_is_never_sealed_to_the_same_bytes(keys: Keys) -> None:
    assert sealed_stream(keys, b"same") != sealed_stream(keys, b"same")


# --- free text

ID, PHONE, OWN = REDACTED["id_number"], REDACTED["phone"], REDACTED["own"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("居民身份证330106199001011234已核", f"居民身份证{ID}已核"),
        ("证件33010619900101123X。", f"证件{ID}。"),
        ("证件33010619900101123x", f"证件{ID}"),
        ("330106-19900101-1234", ID),
        ("330106 19900101 1234", ID),
        ("电话13812345678联系", f"电话{PHONE}联系"),
        ("+8613812345678", PHONE),
        ("+86 138 1234 5678", PHONE),
        ("86-138-1234-5678", PHONE),
        ("138-1234-5678，139 1234 5678", f"{PHONE}，{PHONE}"),
        ("座机0571-88886666", f"座机{PHONE}"),
        ("call 617-635-4500, (617) 635-4896 or 1-617-592-2000", f"call {PHONE}, {PHONE} or {PHONE}"),
        ("客服400-820-8820", f"客服{PHONE}"),
        ("第12号楼3单元，2026-03-01 09:00:00 处置，费用1200.50元", "第12号楼3单元，2026-03-01 09:00:00 处置，费用1200.50元"),
        ("区划330106001001，事件编号E20260301-000123", "区划330106001001，事件编号E20260301-000123"),
        ("", ""),
    ],
)
def test_numbers_that_lead_to_a_person_are_blanked_and_others_stay(text: str, expected: str) -> None:
    assert redact(pa.array([text])).to_pylist() == [expected]


def test_a_row_loses_its_own_names_and_addresses_and_no_others() -> None:
    text = pa.array(["王小明反映文一路1号漏水", "王小明反映漏水", None, "李与王小明"])
    names = pa.array(["王小明", None, "王小明", "李"])
    addresses = pa.array(["文一路1号", "文一路1号", None, None])
    assert redact(text, [names, addresses]).to_pylist() == [f"{OWN}反映{OWN}漏水", "王小明反映漏水", None, "李与王小明"]


def test_text_without_anything_personal_is_returned_unchanged() -> None:
    text = pa.array(["巡查发现楼道堆放杂物", None, ""])
    assert redact(text, [pa.array(["王小明"] * 3)]).equals(text)


def test_own_values_are_found_in_sliced_and_chunked_columns() -> None:
    table = pa.table({"text": ["x", "王小明来访"], "name": ["张三", "王小明"]}).slice(1)
    text, name = (table.column(c).combine_chunks() for c in ("text", "name"))
    assert redact(text, [name]).to_pylist() == [f"{OWN}来访"]


@pytest.mark.parametrize(
    ("text", "sensitive"), [("请拨13812345678", True), ("33010619900101123X", True), ("3人在场", False), ("330106001001", False)]
)
def test_text_with_a_number_of_a_person_is_recognised(text: str, sensitive: bool) -> None:
    assert looks_sensitive(text) is sensitive


# --- what is shown


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("person_name", "王小明", "王**"),
        ("phone", "13812345678", "138****5678"),
        ("phone", "1234567", "*******"),
        ("id_number", "330106199001011234", "3301**********1234"),
        ("id_number", "12345678", "********"),
        ("address", "文一路1号", "*****"),
        ("phone", None, None),
        ("phone", "", ""),
    ],
)
def test_masks_show_that_a_value_is_there_and_not_which(kind: str, value: str | None, shown: str | None) -> None:
    assert mask(kind, value) == shown


def test_full_width_and_fifteen_digit_numbers_are_redacted_and_years_stay() -> None:
    texts = pa.array(["电话１３８１２３４５６７８号", "老证330106900101123，单号1234567890123456", "２０２６年第１２期", None])
    assert redact(texts).to_pylist() == ["电话[电话]号", "老证[证件号]，单号1234567890123456", "２０２６年第１２期", None]
