"""Reading catalogs out of wheels."""

import gettext
import io
import json
import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optical_ray.data.catalogs import RawRow, list_locales, read_catalogs, read_mo
from optical_ray.errors import DataError

WORD = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@given(st.dictionaries(WORD, WORD, max_size=8), st.sampled_from("<>"))
def test_a_compiled_catalog_reads_as_the_standard_library_reads_it(mo_of, entries, order):
    data = mo_of(entries, order=order)
    reference = gettext.GNUTranslations(io.BytesIO(data))
    pairs = list(read_mo(data, "test.mo"))
    assert dict(pairs) == entries
    for english, text in pairs:
        assert reference.gettext(english) == text


def test_contexts_are_cut_off_and_plurals_and_header_left_out(mo):
    data = mo({"menu\x04Open": "Fungua", "%d file\x00%d files": "faili\x00faili", "Close": "Funga"})
    assert sorted(read_mo(data, "test.mo")) == [("Close", "Funga"), ("Open", "Fungua")]


def test_the_charset_of_the_header_counts(mo):
    data = mo({"Yes": "Да"}, charset="koi8-r")
    assert list(read_mo(data, "test.mo")) == [("Yes", "Да")]


def test_a_catalog_cut_short_at_any_byte_is_an_error_or_whole(mo):
    entries = {"Open the file": "Fungua faili", "Close": "Funga"}
    data = mo(entries)
    for length in range(len(data)):
        try:
            assert dict(read_mo(data[:length], "test.mo")) == entries
            assert length >= len(data) - 1  # only the last closing zero may be missing
        except DataError as error:
            assert str(error).startswith("test.mo: ")


@pytest.mark.parametrize("data", [b"", b"not a catalog", b"\xde\x12\x04\x95", b"\xde\x12\x04\x95" + b"\xff" * 24])
def test_what_is_no_catalog_is_refused_with_its_name(data):
    with pytest.raises(DataError, match=r"a\.whl, b\.mo: .*bytes"):
        list(read_mo(data, "a.whl, b.mo"))


def test_a_catalog_in_another_charset_than_it_says_is_refused(mo):
    data = mo({"Yes": "jaw\u00f3hl"}, charset="latin-1").replace(b"latin-1", b"utf-8\n ")
    with pytest.raises(DataError, match="entry 1 of 2 is not utf-8"):
        list(read_mo(data, "test.mo"))


def test_the_header_tables_are_what_the_format_says(mo):
    magic, revision, count = struct.unpack_from("<3I", mo({"a": "b"}))
    assert (magic, revision, count) == (0x950412DE, 0, 2)


def test_locales_are_listed_by_language_best_first_without_english_and_pseudo_locales(wheel, mo, tmp_path):
    locales = ["en", "en_GB", "ach_UG", "es_AR", "es", "es_419", "sw_TZ", "zh_CN", "zh_Hans", "sr@latin"]
    members = {f"shop/locale/{locale}/LC_MESSAGES/django.mo": mo({"a": "b"}) for locale in locales}
    members |= {"shop/locale/de/formats.py": b"", "kolibri/dist/django/conf/locale/fr/LC_MESSAGES/django.mo": mo({"a": "b"})}
    path = wheel(tmp_path / "shop-1.whl", members)
    assert list_locales(path) == {
        "es": ["es", "es_AR", "es_419"],
        "sw": ["sw_TZ"],
        "zh-Hans": ["zh_CN", "zh_Hans"],
        "sr-Latn": ["sr@latin"],
    }


def test_a_locale_that_is_known_to_hold_another_language_is_listed_under_it(wheel, mo, tmp_path):
    members = {"oscar/locale/sr/LC_MESSAGES/django.mo": mo({"a": "b"})}
    assert list_locales(wheel(tmp_path / "django_oscar-1-py3-none-any.whl", members)) == {"sr-Latn": ["sr"]}
    assert list_locales(wheel(tmp_path / "other-1-py3-none-any.whl", members)) == {"sr": ["sr"]}


def test_a_locale_that_is_no_language_is_refused(wheel, mo, tmp_path):
    path = wheel(tmp_path / "a.whl", {"a/locale/nonsense/LC_MESSAGES/django.mo": mo({"a": "b"})})
    with pytest.raises(DataError, match=r"a\.whl: 'nonsense' is no language code"):
        list_locales(path)


def test_a_wheel_gives_the_strings_of_all_its_catalogs_with_their_source(wheel, mo, tmp_path):
    english = {"k1": "Search the library", "k2": "Other", "k4": ["not a string"]}
    swahili = {"k1": "Tafuta maktaba", "k3": "hakuna", "k4": "si maandishi", "k2": 7}
    path = wheel(
        tmp_path / "a.whl",
        {
            "a/locale/en/LC_MESSAGES/app.json": json.dumps(english).encode(),
            "a/locale/sw/LC_MESSAGES/app.json": json.dumps(swahili).encode(),
            "a/locale/sw/LC_MESSAGES/orphan.json": json.dumps(swahili).encode(),
            "a/locale/sw/LC_MESSAGES/django.mo": mo({"Sign in": "Ingia"}),
            "a/locale/fr/LC_MESSAGES/django.mo": mo({"Sign in": "Connexion"}),
        },
    )
    assert list(read_catalogs(path, "sw", "app")) == [
        RawRow("Search the library", "Tafuta maktaba", "app"),
        RawRow("Sign in", "Ingia", "app"),
    ]
    assert list(read_catalogs(path, "fr", "app")) == [RawRow("Sign in", "Connexion", "app")]
    assert list(read_catalogs(path, "de", "app")) == []


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("app.json", b"{", "app.json: not JSON"),
        ("app.json", b"\xff\xfe\xff", "app.json: not JSON"),
        ("app.json", b"[1]", "app.json: expected a JSON object of strings, found list"),
        ("django.mo", b"junk", r"django.mo: not a gettext \.mo file"),
    ],
)
def test_a_damaged_catalog_is_named_with_its_wheel(wheel, tmp_path, name, data, message):
    path = wheel(tmp_path / "a.whl", {"a/locale/en/LC_MESSAGES/app.json": b"{}", f"a/locale/sw/LC_MESSAGES/{name}": data})
    with pytest.raises(DataError, match=rf"a\.whl, a/locale/sw/LC_MESSAGES/{message}") as refused:
        list(read_catalogs(path, "sw", "a"))
    assert "\n" not in str(refused.value)
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])  # a wrong checksum, a broken stream
def test_a_member_with_damaged_bytes_is_an_error(wheel, mo, tmp_path, byte):
    name = "a/locale/sw/LC_MESSAGES/django.mo"
    path = wheel(tmp_path / "a.whl", {name: mo({f"word {i}": f"neno {i}" for i in range(50)})})
    damaged = bytearray(path.read_bytes())
    at = 30 + len(name) + 40  # inside the member's compressed bytes
    damaged[at : at + 20] = byte * 20
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=rf"a\.whl, {name}: cannot be unpacked"):
        list(read_catalogs(path, "sw", "a"))


def test_a_file_that_is_no_wheel_is_refused(tmp_path):
    (tmp_path / "a.whl").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"a\.whl: not a readable wheel"):
        list_locales(tmp_path / "a.whl")
    with pytest.raises(DataError, match=r"b\.whl: not a readable wheel"):
        list_locales(tmp_path / "b.whl")
