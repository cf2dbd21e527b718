"""The command line: a literal table from verb to function; a function's module is imported when its verb is called."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsys.errors import ConfigError, RecsysError

if TYPE_CHECKING:
    import typer

Verbs = Mapping[str, tuple[str, str]]
"""Verb → ("module:function", one line of help)."""

VERBS: Verbs = {
    "check": ("training.commands:check", "Would this configuration train on this lake? Answers in seconds."),
    "train": ("training.commands:train", "Train on a lake and write a bundle; the last line printed is its path."),
    "tune": ("training.commands:tune", "Search for a better configuration on validation; resumes where it stopped."),
    "evaluate": ("training.commands:evaluate", "Metrics of a bundle with intervals, beside the baselines."),
    "compare": (
        "training.commands:compare",
        "Which of two bundles is better, or that it cannot be told.",
    ),
    "backtest": ("training.commands:backtest", "Train and judge at several cuts in time; shows the spread."),
    "drivers": ("training.driver_commands:drivers", "What drives an outcome, and how far that is known."),
    "verify": ("serving.commands:verify", "Check a bundle: hashes, names and types, ONNX against the stored answers."),
    "score": ("serving.commands:score", "Recommend for every customer, bucket by bucket; resumes where it stopped."),
    "features": ("serving.row_commands:features", "The rows that models read of every customer, as files; resumes."),
    "embed": ("serving.row_commands:embed", "The vector of every customer, as files; resumes where it stopped."),
    "value": ("training.value_commands:value", "What customers are worth: a page, JSON, and a row a customer."),
    "retention": ("serving.retention_commands:retention", "Whom to keep, by what, within a budget: a ranked list."),
    "retained": ("serving.retention_commands:retained", "Whom retention lists have kept, by their hold-outs."),
    "similar": ("serving.commands:similar", "Products like a product, or customers like a customer."),
    "serve": ("serving.commands:serve", "Answer over HTTP."),
    "deploy": ("serving.registry_commands:deploy", "Put a bundle into force if every running worker finds it good."),
    "report": ("serving.commands:report", "What was trained, how good it is, and what it recommends, in one page."),
}

DATA_VERBS: Verbs = {
    "synth": ("recsys.lake.commands:data_synth", "Write a synthetic bank as a lake."),
    "import": ("recsys.lake.commands:data_import", "Bring a real source in as a lake, through its catalog file."),
    "append": ("recsys.lake.commands:data_append", "Add a day's rows to a lake, as a new version."),
    "compact": ("recsys.lake.commands:data_compact", "Join small files, delete what no listed version names."),
    "split": ("recsys.lake.commands:data_split", "Double the buckets of a lake that has grown."),
    "erase": ("recsys.lake.commands:data_erase", "Write a lake anew without some customers."),
    "versions": ("recsys.lake.commands:data_versions", "List the versions of a lake that can be read."),
    "check": ("recsys.lake.commands:data_check", "List every violation of the contract, with counts and an example."),
}

SEGMENT_VERBS: Verbs = {
    "assign": ("serving.segment_commands:assign", "Put every customer into a segment; resumes where it stopped."),
    "refit": ("training.segment_commands:refit", "Find the segments anew; ids and names stay with what they name."),
    "moves": ("training.segment_commands:moves", "Who moved from one segment to another, and why."),
    "drift": ("serving.segment_commands:drift", "Are the customers still those that the segments were found in?"),
    "report": ("training.segment_commands:report", "What each segment is, does and may want: a page, and JSON."),
}

CAMPAIGN_VERBS: Verbs = {
    "design": ("training.campaign_commands:design", "How many customers, and days, a test of a campaign needs."),
    "measure": ("training.campaign_commands:measure", "Did a campaign work, and was it worth it? A page, and JSON."),
    "evaluate-policy": (
        "training.policy_commands:evaluate_policy",
        "What would a policy have earned? From logged decisions: a page, and JSON.",
    ),
    "plan": ("serving.campaign_commands:plan", "Who gets which product through which channel; resumes."),
    "frontier": ("serving.campaign_commands:frontier", "What more budget would bring, and where it stops paying."),
}

CHURN_VERBS: Verbs = {
    "score": ("serving.churn_commands:score", "How likely every customer is to leave; resumes where it stopped."),
    "report": ("training.churn_commands:report", "How good the churn model is, and for whom: a page, and JSON."),
}

UPLIFT_VERBS: Verbs = {
    "score": (
        "serving.uplift_commands:score",
        "What a contact would add, for every customer; resumes where it stopped.",
    ),
    "report": ("training.uplift_commands:report", "Whom a contact moves, and whom it harms: a page, and JSON."),
}

KEY_VERBS: Verbs = {
    "add": ("serving.key_commands:add", "Make a key for the service and print it, once."),
    "list": ("serving.key_commands:list_keys", "The keys of a file and what they allow, without the keys."),
    "revoke": ("serving.key_commands:revoke", "End a key, within a second."),
    "rotate": ("serving.key_commands:rotate", "A new key with the rights of an old one, which ends later."),
}
"""Verbs of `recsys keys`."""

REGISTRY_VERBS: Verbs = {
    "create": ("serving.registry_commands:create", "Make an empty registry."),
    "add": ("serving.registry_commands:add", "Verify a bundle and copy it in."),
    "list": ("serving.registry_commands:show", "The bundles, the one in force, the history, the workers."),
    "promote": ("serving.registry_commands:promote", "Put a bundle into force; running servers follow."),
    "rollback": ("serving.registry_commands:rollback", "Put back into force what was before."),
}

STATE_VERBS: Verbs = {
    "load": ("serving.state_commands:load", "Fill the online state from a lake; resumes where it stopped."),
    "migrate": ("serving.state_commands:migrate", "Bring a store to the form that this release reads."),
    "prune": ("serving.state_commands:prune", "Remove events and decisions that no answer needs any more."),
    "erased": ("serving.state_commands:erased", "Who of a lake has been erased, to erase them there."),
    "lift": ("serving.state_commands:lift", "Let an erased customer come back."),
}

RULES_VERBS: Verbs = {
    "check": ("serving.rules_commands:check", "Would these rules work on this lake, and what would they remove?"),
}
"""Verbs of `recsys rules`."""

GROUPS: Mapping[str, tuple[str, Verbs]] = {
    "data": ("Make, change or check a lake.", DATA_VERBS),
    "campaign": ("Measure campaigns, plan them, decide whom to contact.", CAMPAIGN_VERBS),
    "churn": ("Say who will leave, and how sure that is.", CHURN_VERBS),
    "keys": ("Say who may ask the service, and what.", KEY_VERBS),
    "registry": ("Keep bundles, and say which is served.", REGISTRY_VERBS),
    "rules": ("Say who may be recommended what, and contacted how.", RULES_VERBS),
    "state": ("Keep what is known of every customer, event by event.", STATE_VERBS),
    "uplift": ("Say what a contact adds, and for whom.", UPLIFT_VERBS),
    "segments": ("Put customers into segments, and follow both over time.", SEGMENT_VERBS),
}
"""Verbs of two words, by the first."""

EXTRA_OF = {
    "adbc_driver_manager": "train",
    "alembic": "serve",
    "adbc_driver_postgresql": "train",
    "bentoml": "serve",
    "duckdb": "train",
    "implicit": "train",
    "lightgbm": "train",
    "matplotlib": "campaigns",
    "obstore": "objects",
    "onnx": "train",
    "onnxscript": "train",
    "opentelemetry": "traces",
    "optuna": "train",
    "prometheus_client": "serve",
    "psutil": "serve",
    "psycopg": "train",
    "ray": "cluster",
    "pytorch_lightning": "train",
    "scipy": "campaigns",
    "sklearn": "train",
    "sqlalchemy": "serve",
    "torch": "train",
}
"""Which optional extra brings a package that may be absent."""
_OPENMP = "apt-get install libgomp1 (Debian, Ubuntu) or brew install libomp (macOS) brings it"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code: 2 for usage or configuration, 1 for bad data."""
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            application(words)(args=words, prog_name="recsys")
        finally:
            sys.stdout.flush()
    except RecsysError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        extra = EXTRA_OF.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        _fail(ConfigError(f"the package {error.name} is not installed; pip install 'recsys[{extra}]' brings it"))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone; nothing is left to be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if not any(library in str(error) for library in ("libgomp", "libomp")):
            raise
        _fail(ConfigError(f"LightGBM needs OpenMP, which this machine lacks ({error}); {_OPENMP}"))


def application(words: Sequence[str]) -> "typer.Typer":
    """The command line as `words` need it: the verb they call is loaded, the others have only their line of help."""
    import typer

    settings: dict[str, Any] = {"no_args_is_help": True, "add_completion": False, "rich_markup_mode": None}
    app = typer.Typer(help="Product recommendations for a bank.", pretty_exceptions_enable=False, **settings)
    first, rest = words[:1], words[1:2]
    for name, (line, verbs) in GROUPS.items():
        group = typer.Typer(help=line, **settings)
        _add(group, verbs, rest if first == [name] else [])
        app.add_typer(group, name=name)
    _add(app, VERBS, first)
    return app


def _add(app: "typer.Typer", verbs: Verbs, called: Sequence[str]) -> None:
    for verb, (target, line) in verbs.items():
        app.command(verb, short_help=line)(_load(target) if verb in called else _not_called)


def _load(target: str) -> Callable[..., object]:
    module, _, function = target.partition(":")
    loaded: Callable[..., object] = getattr(importlib.import_module(module), function)
    return loaded


def _not_called() -> None:
    raise AssertionError("a verb that was not on the command line cannot be called")


def _fail(error: RecsysError) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


def _leave_current_directory() -> None:
    """Drop the current directory, which `python -m` puts first on the import path: `training.py` there is not ours."""
    ours = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(os.getcwd()) != ours:
        del sys.path[0]


if __name__ == "__main__":
    _leave_current_directory()
    main()
