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
    *("CHESTPA", "CHEST1V", "THORAX2", "Chest p.a.", "RTG KLATKI PIERSIOWEJ", "RTG hrudníku", "PŁUCA", "AKCIĞER"),
    *("胸部正面", "胸部X線", "흉부정면", "органи грудної клітки", "plămâni", "phổi", "ทรวงอก", "N/A", "NOT SPECIFIED"),
]
NOT_CHEST = [
    *("THORACIC SPINE", "Thoracolumbar", "TSPINE", "T-SPINE", "HAND", "ABDOMEN", "BWS", "CHESTABDPELVIS", "RIBS"),
    *("Columna torácica", "SKULL", "胸椎", "Rachis thoracique"),
    *("胸椎正面", "胸腹部", "L.SPINE", "THORAX ABDOMEN", "LONG BONES", "BWS ap"),
]
FRONTAL = [
    *("AP", "PA", "ap", "POSTERO-ANTERIOR", "POSTEROANTERIOR", "Antero posterior", "CHEST PA", "PA ERECT", "AP SUPINE"),
    *("FRONTAL", "AP_PORTABLE", "face", "正面", "后前位"),
    *("P.A.", "a-p", "p/a", "A P", "胸部正位", "정면", "прямая", "PRZEDNIO-TYLNA", "předozadní"),
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
    "胸部側面",
    "боковая",
    "L.L.",
    "lat",
]
UNSTATED = [None, "", "UNKNOWN", "Other", "N/A", "not specified", "NULL"]


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


@pytest.mark.parametrize("text", ["Chest LAT", "Thorax seitlich", "W033 lat.", "胸部侧位", "LL"])
def test_a_description_of_another_view_counts_where_no_view_is_stated(text: str) -> None:
    for stated in (Stated(), Stated(words="UNKNOWN")):
        with pytest.raises(Unsuitable, match="a description names a lateral"):
            check_frontal(stated, (), [text])
    check_frontal(Stated(words="PA"), (), [text])
    check_frontal(Stated(code="399348003", meaning="antero-posterior"), (), [text])


@pytest.mark.parametrize("text", ["Knee AP", "Abdomen stehend", "L.SPINE", "腰椎"])
def test_a_description_of_another_part_counts_where_no_part_is_stated(text: str) -> None:
    with pytest.raises(Unsuitable, match="a description names another one"):
        check_chest(Stated(), (), [text])
    check_chest(Stated(words="CHEST"), (), [text])


@pytest.mark.parametrize(
    "text", ["Chest PA and LAT", "Portable", "Chest, ribs and lungs ap", "Series 1", "Stehend", ""]
)
def test_a_description_that_does_not_plainly_say_otherwise_is_not_held_against_the_file(text: str) -> None:
    check_chest(Stated(), (), [text])
    check_frontal(Stated(), (), [text])


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
