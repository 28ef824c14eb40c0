import pytest

from shared.base.errors import Unsuitable
from shared.imaging.anatomy import Stated, check_chest, check_frontal

CHEST = [
    *(
        "CHEST",
        "Chest",
        "THORAX",
        "TORAX",
        "TÓRAX",
        "Tórax PA",
        "THORAX AP LIEGEND",
        "LUNG",
        "PORT CHEST",
        "Poumons",
        "torace",
    ),
    *("胸部", "흉부", "грудная клетка", "ОГК", "CXR", "LUNGE", "pulmão", "klatka piersiowa"),
]
NOT_CHEST = [
    *("THORACIC SPINE", "Thoracolumbar", "TSPINE", "T-SPINE", "HAND", "ABDOMEN", "BWS", "CHESTABDPELVIS", "RIBS"),
    *("Columna torácica", "SKULL", "胸椎", "Rachis thoracique"),
]
FRONTAL = [
    *("AP", "PA", "ap", "POSTERO-ANTERIOR", "POSTEROANTERIOR", "Antero posterior", "CHEST PA", "PA ERECT", "AP SUPINE"),
    *("FRONTAL", "AP_PORTABLE", "face", "正面", "后前位"),
]
NOT_FRONTAL = [
    "LATERAL",
    "LL",
    "RL",
    "PA LATERAL",
    "AP OBLIQUE",
    "LAO",
    "LATERO-LATERAL",
    "profil",
    "RLD",
    "側面",
    "lat",
]
UNSTATED = [None, "", "UNKNOWN", "Other", "N/A", "not specified"][:4]


@pytest.mark.parametrize("words", CHEST)
def test_a_word_for_the_chest_in_any_language_is_the_chest(words: str) -> None:
    check_chest(Stated(words=words))


@pytest.mark.parametrize("words", NOT_CHEST)
def test_another_part_is_refused_also_where_the_word_for_the_chest_is_in_its_name(words: str) -> None:
    with pytest.raises(Unsuitable, match="not the chest"):
        check_chest(Stated(words=words))


@pytest.mark.parametrize("words", FRONTAL)
def test_a_frontal_view_is_accepted_however_it_is_written(words: str) -> None:
    check_frontal(Stated(words=words))


@pytest.mark.parametrize("words", NOT_FRONTAL)
def test_another_view_is_refused_also_where_a_frontal_one_is_named_beside_it(words: str) -> None:
    with pytest.raises(Unsuitable, match="only frontal views"):
        check_frontal(Stated(words=words))


@pytest.mark.parametrize("words", UNSTATED)
def test_what_is_not_stated_is_not_held_against_the_file(words: str | None) -> None:
    check_chest(Stated(words=words))
    check_frontal(Stated(words=words))


def test_a_code_decides_before_a_word() -> None:
    check_chest(Stated("816094009", "Chest", "UNKNOWN"))
    check_chest(Stated("816094009", "Chest", "THORACIC SPINE"))
    check_frontal(Stated("399348003", "antero-posterior", "LATERAL"))
    with pytest.raises(Unsuitable, match="Thoracic spine"):
        check_chest(Stated("122495006", "Thoracic spine"))
    with pytest.raises(Unsuitable, match="Thoracic spine"):
        check_chest(Stated("122495006", "Thoracic spine", "CHEST"))


def test_a_site_may_have_words_of_its_own() -> None:
    with pytest.raises(Unsuitable):
        check_chest(Stated(words="RTG KLP"))
    check_chest(Stated(words="RTG KLP"), ["klp"])
    with pytest.raises(Unsuitable):
        check_frontal(Stated(words="STEHEND"))
    check_frontal(Stated(words="STEHEND"), ["Stehend"])


def test_a_reason_repeats_no_more_than_a_term() -> None:
    with pytest.raises(Unsuitable) as error:
        check_chest(Stated(words="x\n" * 100))
    assert len(str(error.value)) < 80
    assert str(error.value).isprintable()
