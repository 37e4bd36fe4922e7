"""Family, lineage and place of languages, from the table that is shipped."""

import csv
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from optical_ray.languages.codes import canonical_tag
from optical_ray.languages.metadata import language_metadata, metadata_source

FLORES = """ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn als_Latn amh_Ethi apc_Arab arb_Arab ars_Arab ary_Arab
arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab
bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn
dzo_Tibt ell_Grek eng_Latn epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gaz_Latn
gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn
ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Deva kat_Geor kaz_Cyrl kbp_Latn kea_Latn khk_Cyrl
khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kmr_Latn knc_Latn kon_Latn kor_Hang lao_Laoo lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn
ltg_Latn ltz_Latn lua_Latn lug_Latn luo_Latn lus_Latn lvs_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl mlt_Latn mni_Beng
mos_Latn mri_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn nya_Latn oci_Latn ory_Orya pag_Latn pan_Guru pap_Latn
pbt_Arab pes_Arab plt_Latn pol_Latn por_Latn prs_Arab quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Olck scn_Latn shn_Mymr
sin_Sinh slk_Latn slv_Latn smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn
szl_Latn tam_Taml taq_Tfng tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi tpi_Latn tsn_Latn tso_Latn tuk_Latn tum_Latn tur_Latn
twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant
zho_Hans zho_Hant zsm_Latn zul_Latn"""
# Codes of Tatoeba, NTREX-128, TICO-19, a Bible corpus and gettext catalogs that FLORES-200 has not.
OTHERS = """ang arq ber bre bs cbk cha chr cop cor csb din dsb dtp fa-AF fuc fuv glv gsw-BE hmn hsb ht ido ile ina jiv kau ku kzj lat
lfn lvs mam max mey mhr mlg mon msa nde nds nov oji orm orv pam pms por-BR pot pus que quc rmn sh shi sqi sr_Latn swg syr tah tet ton
ttq tzl uzb ven wal wuu yid zho-CN zho-TW zh_Hant"""


CODES = FLORES.split() + OTHERS.split()


def test_every_language_of_the_usual_corpora_has_a_lineage_and_a_place_or_is_known_not_to():
    unknown = {code for code in CODES if not language_metadata(code).lineage}
    assert unknown == {"ber", "ido"}  # a group of languages; an artificial one that Glottolog 4.0 does not list
    nowhere = {code for code in CODES if language_metadata(code).latitude is None} - unknown
    assert nowhere == {"ile", "lfn", "nov", "orv", "tzl"}  # artificial languages and Old East Slavic


@pytest.mark.parametrize(
    ("code", "family", "branch", "iso", "place"),
    [
        ("sw", "Atlantic-Congo", "Narrow Bantu", "swh", (-8.3, 37.6)),
        ("hin", "Indo-European", "Indo-Aryan", "hin", (25.0, 77.0)),
        ("zh_TW", "Sino-Tibetan", "Sinitic", "cmn", (40.0, 116.2)),
        ("sr@latin", "Indo-European", "Slavic", "srp", (44.3, 21.9)),
        ("prs", "Indo-European", "Iranian", "prs", (31.0, 67.4)),
        ("eu", "Basque", "Basque", "eus", (43.3, -1.3)),
    ],
)
def test_metadata_are_those_of_glottolog(code, family, branch, iso, place):
    found = language_metadata(code)
    assert (found.tag, found.family, found.iso) == (canonical_tag(code), family, iso)
    assert any(branch == node or branch in node for node in found.lineage)
    assert (found.latitude, found.longitude) == place


def test_what_is_unknown_is_none_and_not_guessed():
    found = language_metadata("io")
    assert (found.family, found.lineage, found.iso, found.latitude, found.longitude) == (None, (), None, None, None)
    assert found.script == "Latn"


def test_the_table_names_its_source_licence_and_version_and_is_small():
    path = Path(importlib.util.find_spec("optical_ray.languages").origin).parent / "languages.tsv"
    header = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
    for expected in ("Glottolog v4.0-26-gb2138530b3", "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/", "Changed:"):
        assert expected in header
    assert "Glottolog v4.0-26" in metadata_source()
    assert path.stat().st_size < 300_000


def test_every_tag_of_the_table_is_canonical_and_has_one_lineage():
    path = Path(importlib.util.find_spec("optical_ray.languages").origin).parent / "languages.tsv"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    tags = [row["tag"] for row in csv.DictReader(lines, delimiter="\t") if row["tag"]]
    assert len(tags) == len(set(tags)) > 7000
    assert [tag for tag in tags[::50] if canonical_tag(tag) not in (tag, f"{tag}-Hans")] == []
    lineages = [language_metadata(tag).lineage for tag in tags]
    assert len(set(lineages)) == len(lineages)
    paths = {lineage[: end + 1] for lineage in lineages for end in range(len(lineage) - 1)}
    assert len({path[-1].casefold() for path in paths}) == len(paths)  # so that `family:Germanic` names one branch


def test_importing_the_package_reads_no_table():
    code = "import sys, optical_ray.languages.sets, optical_ray.languages.mixing as _; print('langcodes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


@pytest.fixture
def tool():
    path = Path(__file__).parents[2] / "tools" / "build_language_table.py"
    spec = importlib.util.spec_from_file_location("build_language_table", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_tool_makes_a_tree_of_the_export_in_a_wheel(tool, tmp_path):
    export = (
        "ID,Name,Latitude,Longitude,Glottocode,ISO639P3code,Classification,Family_Name,Language_Glottocode,Level\n"
        "a,Atlantic,,,atla1,,,,,family\n"
        "b,Bantu,,,bant1,,atla1,Atlantic,,family\n"
        "c,Swahili,-8.256,37.62,swah1,swh,atla1/bant1,Atlantic,swah1,language\n"
        "d,Congo Swahili,0,1,swah2,swc,atla1/bant1,Atlantic,swah2,language\n"
        "e,Norwegian,59.92,10.71,norw1,nor,germ1,Germanic,norw1,language\n"
        "f,Nynorsk,,,norw2,nno,germ1/norw1,Germanic,norw1,dialect\n"
        "g,Germanic,,,germ1,,,,,family\n"
        "h,Basque,43.28,-1.32,basq1,eus,,,basq1,language\n"
        "i,Retired,1,1,reti1,qqq,germ1,Germanic,reti1,language\n"
        "j,Some sign,1,1,sign1,ase,sign0,Sign Language,sign1,language\n"
    )
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("package/glottolog-languoids-v9.csv", export)
    table = tool.build_table(wheel)
    assert table.startswith("# Languages of the world, from Glottolog v9,")
    assert [line.split("\t") for line in table.splitlines() if not line.startswith("#")] == [
        ["depth", "node", "tag", "iso", "latitude", "longitude"],
        ["0", "Atlantic"],
        ["1", "Bantu"],
        ["2", "swah1", "sw", "swh", "-8.3", "37.6"],
        ["0", "Basque", "eu", "eus", "43.3", "-1.3"],
        ["0", "Germanic"],
        ["1", "Norwegian", "nb", "nor", "59.9", "10.7"],
        ["2", "norw2", "nn", "nno", "59.9", "10.7"],
    ]
