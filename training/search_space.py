"""A search space checked against the configuration it changes, and the configuration of one trial."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from optuna import Trial

from recsys.errors import ConfigError
from recsys.strict_yaml import validate
from training.config import Config
from training.tuning import Domain

SECTIONS: dict[str, tuple[str, ...]] = {
    "recommender": ("features", "model", "loss", "training"),
    "autoencoder": ("embedding.autoencoder",),
    "sequence": ("embedding.sequence",),
    "churn": ("churn.models.network",),
    "uplift": ("uplift",),
}
"""What a trial may change, by part. The rest decides the examples, the seed, or what is not trained."""
METRICS = {
    "autoencoder": "reconstruction",
    "sequence": "contrast",
    "churn": "log_likelihood",
    "uplift": "effect_spread",
}
"""What trials are compared by where it is not `training.metric`."""
_WHO = ("outcome", "treatment", "control", "campaigns", "randomised", "examples", "test_share", "folds", "seed")
FIXED = {
    "training.metric": "is what trials are compared by",
    "training.customers": "decides which customers are validated on, so trials could not be compared",
    "training.accelerator": "decides where to train, not what",
    "training.devices": "decides where to train, not what",
    "features.protected": "is for a reviewer to decide, not for a search",
    "features.trusted": "is for a person to decide, not for a search",
    "embedding.autoencoder.dim": "is not for this search: more dimensions always tell more",
    "embedding.autoencoder.swap": "is not for this search: validation has no noise, so the least would win",
    "embedding.autoencoder.swap_groups": "is not for this search: validation has no noise, so the least would win",
    "churn.models.network.bag": "is not for this search: each trial fits one network",
    "embedding.sequence.temperature": "scales what validation measures, so trials could not be compared",
    "embedding.sequence.least_events": "decides who is validated on, so trials could not be compared",
    **{f"uplift.{key}": "decides which contacts trials are judged on, so they could not be compared" for key in _WHO},
    "uplift.learners": "is not for this search: each trial is judged by the best of them",
    "uplift.bags": "is not for this search: trials fit no bags",
    "uplift.embedding": "is not for this search: trials read no embedding",
}


class OwnValueOutside(ConfigError):
    """A configuration can be trained but not searched from: one of its own values does not belong to the space."""


@dataclass(frozen=True)
class SearchSpace:
    """The values to try for each dotted key, and the configuration's own."""

    config: Config
    domains: dict[str, Domain]
    """With choices as the configuration holds them once it is read."""
    own: dict[str, Any]
    """Each key's value in the configuration as it stands, as Optuna sees it."""

    @property
    def metric(self) -> str:
        """What trials are compared by, higher being better."""
        assert self.config.tuning is not None
        part = self.config.tuning.part
        return METRICS.get(part, self.config.training.metric)

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The values of a trial, by dotted key, as Optuna sees them."""
        return {key: _suggest(trial, key, domain, self.own[key]) for key, domain in self.domains.items()}

    def configuration(self, values: Mapping[str, Any]) -> Config:
        """The configuration of a trial: this one with other values. Raises ConfigError if they do not go together."""
        meant = {key: self._read(key, value) for key, value in values.items()}
        return changed(self.config, meant)

    def _read(self, key: str, value: Any) -> Any:
        """What the configuration gets: the choice behind its label, a number in four digits."""
        domain = self.domains[key]
        if domain.choices is not None:
            return next(choice for choice in domain.choices if label(choice) == value)
        if isinstance(value, int) or value == self.own[key] or domain.low is None or domain.high is None:
            return value
        return min(max(float(f"{value:.4g}"), domain.low), domain.high)


def resolve(config: Config) -> SearchSpace:
    """The search space of a configuration.

    Raises ConfigError for a key that there is not (naming the nearest), a key that no trial may change, a value that
    the key does not take; OwnValueOutside where the configuration's own value lies outside: trial 0 is the
    configuration itself.
    """
    if config.tuning is None:
        raise ConfigError(
            f"the configuration {config.name} has no section tuning, which says what to search; add one, such as "
            "tuning: {space: {model.dim: {choices: [32, 64, 128]}}}, or give one with --space FILE"
        )
    sections = SECTIONS[config.tuning.part]
    keys = {key: value for key, value in keys_of(config).items() if key.startswith(tuple(f"{s}." for s in sections))}
    if not keys:
        raise ConfigError(f"tuning.part: {config.tuning.part} is not trained by this configuration; give {sections[0]}")
    domains = {}
    for key, domain in config.tuning.space.items():
        _check_key(key, keys, sections)
        for value in domain.choices or (domain.low, domain.high):
            changed(config, {key: value})
        if domain.choices is not None:
            read = [keys_of(changed(config, {key: value}))[key] for value in domain.choices]
            domain = domain.model_copy(update={"choices": tuple(read)})
        _check_own(key, domain, keys[key])
        domains[key] = domain
    return SearchSpace(config, domains, {key: label(keys[key]) for key in domains})


def told(config: Config) -> str:
    """What `recsys tune` would search, in a line; ConfigError for a space that does not fit the configuration."""
    try:
        space = resolve(config)
    except OwnValueOutside as error:
        return f"tune: would be refused, training would not: {error}"
    assert config.tuning is not None
    return f"tune: the {config.tuning.part} by {space.metric} on validation, over {', '.join(space.domains)}"


def changed(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with other values at dotted keys; ConfigError for one that it does not take."""
    raw = config.model_dump(mode="json")
    for key, value in values.items():
        *parents, last = key.split(".")
        section = raw
        for parent in parents:
            section = section[parent]
        section[last] = value
    return validate(Config, raw, "tuning.space")


def label(value: Any) -> Any:
    """A value as Optuna can keep it: lists as JSON, everything else as it is."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)


def keys_of(config: Config) -> dict[str, Any]:
    """Every key within the sections of a configuration, dotted, with its value in JSON's terms."""

    def within(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {name: value}
        return {key: one for inner, part in value.items() for key, one in within(f"{name}.{inner}", part).items()}

    return {
        key: one for name, part in config.model_dump(mode="json").items() for key, one in within(name, part).items()
    }


def _check_key(key: str, keys: Mapping[str, Any], sections: tuple[str, ...]) -> None:
    where = f"tuning.space: {key}"
    if key in FIXED:
        raise ConfigError(f"{where}: {FIXED[key]}")
    if key in keys:
        return
    section = key.partition(".")[0]
    if section in Config.model_fields and not any(section == one.partition(".")[0] for one in sections):
        why = {
            "evaluation": "decides how data are split, so trials could not be compared",
            "seed": "is the same for all trials, or the luckiest would win",
        }.get(section, "does not change what validation measures")
        raise ConfigError(f"{where}: {why}; a search may change {', '.join(sections)}")
    near = get_close_matches(key, [name for name in keys if name not in FIXED], n=1, cutoff=0.0)
    raise ConfigError(f"{where}: unknown key; did you mean {near[0]!r}?")


def _check_own(key: str, domain: Domain, own: Any) -> None:
    """The configuration's own value is a number where a range is given, and lies within."""
    where = f"tuning.space: {key}"
    if domain.choices is not None:
        within = own in domain.choices
    else:
        if isinstance(own, bool) or not isinstance(own, int | float):
            raise ConfigError(f"{where}: takes no numbers; list its values as choices")
        within = bool(domain.low is not None and domain.high is not None and domain.low <= own <= domain.high)
    if not within:
        raise OwnValueOutside(
            f"{where}: {own}, the configuration's own value, is not among {domain}; "
            "trial 0 is the configuration as it stands, so its values must belong to the space"
        )


def _suggest(trial: Trial, key: str, domain: Domain, own: Any) -> Any:
    if domain.choices is not None:
        return trial.suggest_categorical(key, [label(choice) for choice in domain.choices])
    assert domain.low is not None and domain.high is not None
    if isinstance(own, int):
        return trial.suggest_int(key, int(domain.low), int(domain.high), log=domain.log)
    return trial.suggest_float(key, domain.low, domain.high, log=domain.log)
