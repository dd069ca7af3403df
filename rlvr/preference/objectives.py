"""Preference objectives by name; what each needs and reads is in rlvr/preference/presets.py. A new one is a file and a line in both."""

from rlvr.preference.contract import PreferenceObjective
from rlvr.preference.dpo import dpo
from rlvr.preference.hinge import hinge
from rlvr.preference.ipo import ipo
from rlvr.preference.kto import kto
from rlvr.preference.orpo import orpo
from rlvr.preference.simpo import simpo

OBJECTIVES: dict[str, PreferenceObjective] = {
    "dpo": dpo,
    "ipo": ipo,
    "hinge": hinge,
    "kto": kto,
    "simpo": simpo,
    "orpo": orpo,
}
