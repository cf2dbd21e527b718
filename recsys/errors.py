"""The errors a person is meant to read; each knows the exit code of the command line."""


class RecsysError(Exception):
    """What was wrong, where, and what would be right."""

    exit_code = 1


class ConfigError(RecsysError):
    """A configuration or a command line that cannot be carried out."""

    exit_code = 2


class DataError(RecsysError):
    """Data that does not keep its contract."""


class LakeError(DataError):
    """A lake that is absent, half written or of an unknown form."""


class BundleError(DataError):
    """A bundle that is absent, altered or of an unknown form."""
