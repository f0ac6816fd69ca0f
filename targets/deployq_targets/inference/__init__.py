"""A profile drafted from files that a target is known to take.

A file shows what the target reads, never what it computes: each value of a draft is either shown
by a tensor or a node that is named, or it is a placeholder and a question for the user.
"""

from __future__ import annotations

from deployq_targets.inference.draft import draft_profile
from deployq_targets.inference.fact import Draft, Question
from deployq_targets.inference.toml import draft_text

__all__ = ["Draft", "Question", "draft_profile", "draft_text"]
