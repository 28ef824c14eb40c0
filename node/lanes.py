"""Which lane a received image goes into: by who sent it, or by the priority that its header states."""

from node.header import Head
from shared.base.dicom_settings import DicomSettings
from shared.base.lanes import Lane


def choose(chosen: DicomSettings, calling_title: str, head: Head) -> Lane:
    if calling_title in chosen.stat_titles or set(head.priorities) & set(chosen.stat_priorities):
        return Lane.STAT
    return chosen.lane
