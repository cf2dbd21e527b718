"""Who may be recommended what, and contacted how: rules in YAML, compiled once, the same for batch and online."""

from recsys.rules.compiled import CompiledRules
from recsys.rules.config import Rules
from recsys.rules.eligibility import Eligibility

__all__ = ["CompiledRules", "Eligibility", "Rules"]
