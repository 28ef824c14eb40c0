"""Is it a frontal chest radiograph? Codes decide before words, and words count only as whole words.

Words are compared without case and accents, in the languages of sites that were met in public reports. A missing body
part or view is accepted; one that is stated must be the chest, seen from the front or the back.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from shared.base.errors import Unsuitable


def split_words(text: str | None) -> frozenset[str]:
    """Whole words without case and accents; scripts that do not separate words are matched as they stand."""
    if not text:
        return frozenset()
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return frozenset(re.findall(r"[^\W_]+", unicodedata.normalize("NFC", plain)))


CHEST_CODES = frozenset({"816094009", "51185008", "T-D3000", "39607008", "T-28000", "43799004", "302551006"})
"""SNOMED CT and SRT: thorax, chest, lung, intrathoracic structures (PS3.16 CID 4031)."""
FRONTAL_CODES = frozenset({"399348003", "272479007", "399033003", "R-10206", "R-10214", "R-10202"})
"""Antero-posterior, postero-anterior, frontal (PS3.16 CID 4010)."""

CHEST_WORDS = split_words(
    """
    chest thorax torax toraks thoracic thoracal thorakal thoraks thoraxaufnahme brust brustkorb brustraum lung
    lungs lunge lungen pulmon pulmones pulmonar pulmao pulmoes poumon poumons thoracique torace toracico toracica
    polmone polmoni polmonare klatka piersiowa pluca hrudnik plice borst borstkas long longen brost brostkorg
    lunga lungor bryst brystkasse lungerontgen rintakeha keuhko keuhkot mellkas tudo grudni kos gogus akciger cxr
    胸部 胸 胸廓 胸片 肺 肺部 흉부 가슴 폐
    грудь грудная грудной груди легкие легких лёгкие огк θωρακας θωρακα صدر الصدر رئة
    חזה ทรวงอก ปอด छाती
    """
)
NOT_CHEST_WORDS = split_words(
    """
    spine spinal vertebra vertebrae vertebral wirbelsaule bws columna coluna colonna colonne rachis rachide
    kregoslup tspine tspine thoracolumbar dorsolumbar rib ribs rippen costillas cotes sternum clavicle clavicula
    schulter shoulder abdomen abdominal pelvis head skull hand foot knee
    """
)
UNSTATED_WORDS = split_words(
    """
    unknown unspecified undefined none other any na nil not applicable stated body part
    """
)

FRONTAL_WORDS = split_words(
    """
    ap pa frontal frontale frontaal frontalna face faz antero posterior postero anterior anteroposterior
    posteroanterior 正面 正位 后前位 前后位 後前 前後
    """
)
NOT_FRONTAL_WORDS = split_words(
    """
    lat lateral laterale laterales lateralis latero ll rl rlat llat profil profilo perfil seitlich seite sidebilde
    bok boczna oblique oblik obl oblicua schrag rao lao rpo lpo 側面 侧位 斜位
    """
)


MAX_SHOWN = 32


@dataclass(frozen=True)
class Stated:
    """What a header states: a code and its meaning, and free words; each None where nothing is stated."""

    code: str | None = None
    meaning: str | None = None
    words: str | None = None

    def __str__(self) -> str:
        return self.words or self.meaning or self.code or "not stated"


def check_chest(stated: Stated, own_words: Collection[str] = ()) -> None:
    """Raises Unsuitable if the body part is stated and is not the chest; `own_words` are a site's own terms for it."""
    if stated.code in CHEST_CODES:
        return
    for text in (stated.meaning if stated.code else None, stated.words):
        words = split_words(text)
        if words and not words <= UNSTATED_WORDS:
            if not _is_chest(words, own_words):
                raise Unsuitable(f"the body part is {shown(text or '')}, not the chest")
            return
    if stated.code:
        raise Unsuitable(f"the body part is {shown(str(stated))}, not the chest")


def check_frontal(stated: Stated, own_words: Collection[str] = ()) -> None:
    """Raises Unsuitable if the view is stated and is not frontal; `own_words` are a site's, meaning a frontal view."""
    if stated.code in FRONTAL_CODES:
        return
    for text in (stated.words, stated.meaning if stated.code else None):
        words = split_words(text)
        if words and not words <= UNSTATED_WORDS:
            if not _is_frontal(words, own_words):
                raise Unsuitable(f"the view is {shown(text or '')}: only frontal views (AP, PA) are screened")
            return
    if stated.code:
        raise Unsuitable(f"the view is {shown(str(stated))}: only frontal views (AP, PA) are screened")


def shown(text: str) -> str:
    """A term as reasons repeat it: no longer than DICOM allows, and without characters that are no part of a word."""
    return re.sub(r"[^\w .-]", "?", text)[:MAX_SHOWN].strip()


def _is_chest(words: frozenset[str], own_words: Collection[str]) -> bool:
    if _matches(words, own_words):
        return True
    return bool(words & CHEST_WORDS) and not words & NOT_CHEST_WORDS


def _is_frontal(words: frozenset[str], own_words: Collection[str]) -> bool:
    if _matches(words, own_words):
        return True
    return bool(words & FRONTAL_WORDS) and not words & NOT_FRONTAL_WORDS


def _matches(words: frozenset[str], own_words: Collection[str]) -> bool:
    """Whether all words of one of the site's own terms are there."""
    return any(split_words(term) <= words for term in own_words if split_words(term))
