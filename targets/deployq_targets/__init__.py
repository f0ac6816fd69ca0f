"""Target profiles: a chip's whole integer contract as data, and what code may ask of it."""

from deployq_targets.json_schema import profile_json_schema
from deployq_targets.loader import builtin_names, load_profile
from deployq_targets.profile import TargetProfile

__all__ = ["TargetProfile", "builtin_names", "load_profile", "profile_json_schema"]
