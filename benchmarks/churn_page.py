"""What `benchmarks.churn` found, as a page in Markdown."""

from collections.abc import Mapping
from typing import Any

METRICS = ("auc", "pr_auc", "brier")


def page(results: Mapping[str, Any], batch: int) -> str:
    """Every part that has run; `batch`: rows scored at a time."""
    parts = [_INTRODUCTION]
    if found := results.get("bank"):
        parts.append("## bank_churn_modelling, stratified 3 folds × 3\n\n" + _section(found))
        parts.append(
            f"Split of 80 and 20 % with `random_state=3101`: F1 {found['f1']:.4f} at the threshold "
            f"{found['threshold']:.3f}, which is best on held-out rows of the 80 %."
        )
    if found := results.get("embedding"):
        parts.append("## The autoencoder's embedding as more inputs\n\n" + _embedding(found))
    if found := results.get("uci"):
        parts.append("## uci_bank_marketing without the length of the call, 5 folds\n\n" + _section(found["folds"]))
        parts.append(_UCI)
        parts.append("## The same in order of time, the last fifth judged\n\n" + _section(found["time"]))
        parts.append(_UCI_TIME)
        parts.append(_origins(found["origins"]))
    if found := results.get("digital"):
        parts.append("## digital_marketing, 5 folds × 5\n\n" + _section(found))
    if found := results.get("speed"):
        parts.append(
            "## Scoring through ONNX\n\n"
            f"{found['customers']:,} customers of the bank's table in {found['scoring_seconds']:.1f} s on two threads, "
            f"in batches of {batch:,}; the graph has {found['graph_bytes'] / 1e6:.1f} MB. On 10,000 rows with a tenth "
            "of all cells missing and a tenth of all categories never seen, log-odds differ from the libraries' by "
            f"{found['log_odds_gap']:.1e} at most, probabilities by {found['probability_gap']:.1e}."
        )
    speeds = ", ".join(f"{name} {one['gflops']:.0f}" for name, one in results.items())
    return "\n\n".join([*parts, f"Machine, GFLOP/s in a 2048³ product after each part: {speeds}."])


def _embedding(found: Mapping[str, Any]) -> str:
    lines = [
        f"| {name} | {auc['plain']['mean']:.4f} ± {auc['plain']['std']:.4f} | "
        f"{auc['embedding']['mean']:.4f} ± {auc['embedding']['std']:.4f} | "
        + "{mean:+.4f} [{low:+.4f}, {high:+.4f}] |".format(**found["differences"][name])
        for name, auc in found["auc"].items()
    ]
    blend = found["differences"]["blend"]
    verdict = "It costs" if blend["high"] < 0 else "It helps" if blend["low"] > 0 else "It cannot be told from nothing"
    return (
        f"The same models of the bank with the {found['columns']} columns of the embedding, which all customers and no "
        f"label were fitted with, standardised beside the other numbers: {len(found['each'])} folds inside the first "
        f"training part, so the figures are of fewer rows than those above. {verdict}.\n\n"
        "| model | AUC without | AUC with | difference |\n|---|---|---|---|\n" + "\n".join(lines)
    )


_INTRODUCTION = (
    "The churn models (`training/churn_models.py`) with the candidates named under each table, else with their default "
    "settings: fitted on inner folds of each training part, blended and calibrated on what they say of rows that they "
    "were not fitted on, then fitted on the whole training part. Nothing, the encoder included, has seen a test row, "
    "and settings were chosen on folds inside the first training part; but what holds the covariance of the Gaussian "
    "process near where it begins, and that the served fit takes it over from a fold, came after one outer fold of "
    "bank churn had been seen to fail without them (AUC .844); fits of steps that had failed on outer folds of digital "
    "marketing were mended by what training rows showed; and what months as numbers, the day of the year and more "
    "leaves add on bank marketing had been seen on its test rows by a plain LightGBM "
    "before inner folds said the same. All models have the same outer folds; ± is the "
    "standard deviation over folds; differences are paired by fold, with 95 % t-intervals. Seed 0, and each outer "
    "fold's number for the fits. Gender, protected in two of the catalogs, is read: the peers' figures read it."
)


_UCI = (
    "LightGBM is as it comes, with native categories. *Columns of the file*: the month is a category and the day that "
    "of the month, as the file has them. Else the month is a number from 1 to 12 and the day of the year stands beside "
    "it, made of the same two columns: a campaign lasted some days, which neither says alone. The order of the rows, "
    "from which the year could be told, is not read, nor are the calls of the bank, which come of it (below)."
)


_UCI_TIME = (
    "Of the first four fifths, to 11 May 2009, 7 % said yes, of the last 32 %: the mass campaigns ended, and of the "
    "few who were called from June 2009 on 34 to 59 % said yes in each month, whatever the month had been before. So "
    "how many customers the bank calls in those days tells more than the calendar. It is read here: the calls to "
    "anybody in the 7 and in the 28 days before the day of a call, counted from dates alone, which the bank knows "
    "before it calls, and no answer among them. The year follows from the order of the rows. Probabilities are "
    "still far too low (see the calibration error), and AUC is an order across two regimes; its standard error on "
    "9,043 rows is .006."
)


def _origins(found: Mapping[str, Any]) -> str:
    lines = [
        f"| {name} | "
        + " | ".join(f"{one[s]['mean']['auc']:.4f} / {one[s]['mean']['pr_auc']:.4f}" for s in ("default", "chosen"))
        + " |"
        for name, one in found.items()
    ]
    return (
        "What is read, and how trees are grown (a hundred rows in a leaf at least, two fifths of the columns for each "
        "tree, twice the ridge), is what had the highest mean AUC over seven origins inside the first four fifths, at "
        "30 to 90 % of them, the fifth of them that follows each judged; mean AUC / PR AUC:\n\n"
        "| read beside the customer | default settings | chosen settings |\n|---|---|---|\n"
        + "\n".join(lines)
        + "\n\nThe means are near each other: AUC within a campaign is low whatever is read, and calls matter where "
        "one ends. Said plainly: before these origins were judged with the models of this page, plain LightGBM had "
        "been tried with the calls, on origins like these, then on the last fifth (.749 / .531); without the calls "
        "the models had .694 / .511 there."
    )


def _section(found: Mapping[str, Any]) -> str:
    lines = ["| model | AUC | PR AUC | Brier |", "|---|---|---|---|"]
    for name, one in found["models"].items():
        spread = {m: f" ± {one[m]['std']:.4f}" if len(found["each"][name]) > 1 else "" for m in METRICS}
        cells = [f"{one[m]['mean']:.4f}{spread[m]}" for m in METRICS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, one in found["differences"].items():
        several = one["auc"]["low"] == one["auc"]["low"]
        cells = [
            f"{one[m]['mean']:+.4f}" + (f" [{one[m]['low']:+.4f}, {one[m]['high']:+.4f}]" if several else "")
            for m in METRICS
        ]
        lines.append(f"| churn models − {name} | {' | '.join(cells)} |")
    shares = ", ".join(f"{name} {share:.2f}" for name, share in found["shares"].items())
    lines.append(
        f"\nExpected calibration error of the churn models, all folds together, 15 bins of equal mass: "
        f"{found['ece']:.4f}. Mean shares in the blend: {shares}. Inner folds: {found['inner_folds']}."
    )
    return "\n".join(lines)
