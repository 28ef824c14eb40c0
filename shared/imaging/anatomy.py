"""Is it a frontal chest radiograph? Codes decide before words, and words count only as whole words.

Words are compared without case and accents, in the languages of sites that were met in public reports. A missing body
part or view is accepted; one that is stated must be the chest, seen from the front or the back. Where nothing is
stated, descriptions are read: they refuse an image that they say is another one, and nothing else.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from shared.base.errors import Unsuitable

SCRIPTS_WITHOUT_SPACES = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
"""Thai, Japanese, Chinese; and Korean, which often writes terms as one."""


def split_words(text: str | None) -> frozenset[str]:
    """Whole words without case and accents; letters with points or dashes between them (P.A., a-p) are one word."""
    if not text:
        return frozenset()
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", plain.replace("\u0142", "l").replace("\u0131", "i")))
    joined, letters = [], ""
    for word in [*words, ""]:
        if len(word) == 1 and word.isalpha():
            letters += word
            continue
        joined += [letters, word]
        letters = ""
    return frozenset(word for word in joined if word)


CHEST_CODES = frozenset({"816094009", "51185008", "T-D3000", "39607008", "T-28000", "43799004", "302551006"})
"""SNOMED CT and SRT: thorax, chest, lung, intrathoracic structures (PS3.16 CID 4031)."""
FRONTAL_CODES = frozenset({"399348003", "272479007", "399033003", "R-10206", "R-10214", "R-10202"})
"""Antero-posterior, postero-anterior, frontal (PS3.16 CID 4010)."""

CHEST_WORDS = split_words(
    """
    chest thorax torax toraks thoracic thoracal thorakal thoraks thoraxaufnahme brust brustkorb brustraum lung
    lungs lunge lungen pulmon pulmones pulmonar pulmao pulmoes poumon poumons thoracique torace toracico toracica
    polmone polmoni polmonare klatka klatki piersiowa piersiowej pluca pluc hrudnik hrudniku plice plic borst borstkas
    longen brost brostkorg lunga lungor bryst brystkasse lunger lungerontgen rintakeha keuhko keuhkot mellkas
    mellkasi tudo grudni kos gogus akciger plaman plamani pulmonara krutines rindkere nguc phoi dada paru cxr pcxr
    胸部 胸 胸廓 胸片 肺 肺部 흉부 가슴 폐 ทรวงอก ปอด
    грудь грудная грудной груди легкие легких лёгкие огк грудна грудної клітки легені гръден θωρακας θωρακα
    صدر الصدر رئة ریه חזה छाती
    """
)
CHEST_PARTS = ("胸部", "胸廓", "胸片", "肺部", "흉부", "가슴", "ทรวงอก", "ปอด")
"""Terms that are looked for within the words of scripts without spaces. Not 胸 alone: 胸椎 is the spine."""
NOT_CHEST_WORDS = split_words(
    """
    spine spinal vertebra vertebrae vertebral wirbelsaule bws hws lws columna coluna colonna colonne rachis rachide
    kregoslup tspine cspine lspine thoracolumbar dorsolumbar rib ribs rippen costillas cotes sternum clavicle clavicula
    schulter shoulder epaule hombro abdomen abdominal pelvis becken head skull schadel hand foot fuss knee knie elbow
    wrist ankle hip hufte leg arm femur tibia humerus finger toe neck orbit mandible sinus
    椎 肋骨 腹部 骨盆 头颅 頭部 척추 복부
    """
)
NOT_CHEST_PARTS = ("椎", "肋", "腹", "骨盆", "척추", "복부", "กระดูกสันหลัง")
UNSTATED_WORDS = split_words(
    """
    unknown unspecified undefined none other any na nil null not specified applicable available stated default body part
    """
)

FRONTAL_WORDS = split_words(
    """
    ap pa frontal frontale frontaal frontalna face faz antero posterior postero anterior anteroposterior
    posteroanterior przednio tylno przednia predozadni predozadna zadopredni zadopredna прямая передняя пряма 正面 正位
    后前位 前后位 後前 前後 정면
    """
)
FRONTAL_PARTS = ("正面", "正位", "后前", "前后", "後前", "前後", "정면", "후전", "전후")
NOT_FRONTAL_WORDS = split_words(
    """
    lat lateral laterale laterales lateralis latero ll rl rlat llat profil profilo perfil seitlich seite sidebilde
    bok boczna boczne bocny bocni bocna боковая бічна oldaliranyu yan zijdelings dwars oblique oblik obl oblicua schrag
    sidobild rao lao rpo lpo 側面 侧位 斜位 측면
    """
)
NOT_FRONTAL_PARTS = ("側面", "侧位", "側位", "斜位", "侧", "측면")


MAX_SHOWN = 32


@dataclass(frozen=True)
class Stated:
    """What a header states: a code and its meaning, and free words; each None where nothing is stated."""

    code: str | None = None
    meaning: str | None = None
    words: str | None = None

    def __str__(self) -> str:
        return self.words or self.meaning or self.code or "not stated"


def check_chest(stated: Stated, own_words: Collection[str] = (), descriptions: Iterable[str] = ()) -> None:
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
    for text in descriptions:
        words = split_words(text)
        if _has(words, NOT_CHEST_WORDS, NOT_CHEST_PARTS) and not _is_named(words, CHEST_WORDS, CHEST_PARTS, own_words):
            raise Unsuitable("the body part is not stated, and a description names another one than the chest")


def check_frontal(stated: Stated, own_words: Collection[str] = (), descriptions: Iterable[str] = ()) -> None:
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
    for text in descriptions:
        words = split_words(text)
        is_other = _has(words, NOT_FRONTAL_WORDS, NOT_FRONTAL_PARTS)
        if is_other and not _is_named(words, FRONTAL_WORDS, FRONTAL_PARTS, own_words):
            raise Unsuitable("the view is not stated, and a description names a lateral or oblique one")


def shown(text: str) -> str:
    """A term as reasons repeat it: no longer than DICOM allows, and without characters that are no part of a word."""
    return re.sub(r"[^\w .-]", "?", text)[:MAX_SHOWN].strip()


def _is_chest(words: frozenset[str], own_words: Collection[str]) -> bool:
    if _matches(words, own_words):
        return True
    return _has(words, CHEST_WORDS, CHEST_PARTS) and not _has(words, NOT_CHEST_WORDS, NOT_CHEST_PARTS)


def _is_frontal(words: frozenset[str], own_words: Collection[str]) -> bool:
    if _matches(words, own_words):
        return True
    return _has(words, FRONTAL_WORDS, FRONTAL_PARTS) and not _has(words, NOT_FRONTAL_WORDS, NOT_FRONTAL_PARTS)


def _is_named(words: frozenset[str], known: frozenset[str], parts: tuple[str, ...], own: Collection[str]) -> bool:
    return _has(words, known, parts) or _matches(words, own)


def _has(words: frozenset[str], known: frozenset[str], parts: tuple[str, ...]) -> bool:
    """Whether one of the words is known: as it stands, with a view or a number at its end, or by a part of it."""
    if words & known or {_without_view(word) for word in words} & known:
        return True
    return any(part in word for word in words if SCRIPTS_WITHOUT_SPACES.search(word) for part in parts)


def _without_view(word: str) -> str:
    """CHESTPA, THORAX2, CHEST1VIEW."""
    return re.sub(r"(?<=[a-z]{5})(ap|pa|\d+(v|vw|view|views)?)$", "", word)


def _matches(words: frozenset[str], own_words: Collection[str]) -> bool:
    """Whether all words of one of the site's own terms are there."""
    return any(split_words(term) <= words for term in own_words if split_words(term))
