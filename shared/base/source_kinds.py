"""The kinds of sources that settings may name, chosen by `kind`; without it, a folder is meant."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from shared.base.dicom_settings import DicomSettings
from shared.base.source_settings import FolderSettings, SourceSettings

SETTINGS: dict[str, type[SourceSettings]] = {"folder": FolderSettings, "dicom": DicomSettings}
WRONG_KIND = "source_kind"
"""The type of the error for a kind that there is not."""


def _kind(value: Any) -> Any:
    return value.get("kind", "folder") if isinstance(value, dict) else getattr(value, "kind", "folder")


_CHOICE = Discriminator(_kind, custom_error_type=WRONG_KIND, custom_error_message="it must be folder or dicom")
AnySource = Annotated[Annotated[FolderSettings, Tag("folder")] | Annotated[DicomSettings, Tag("dicom")], _CHOICE]
