"""The truth beside the lake: latent types, adoption probabilities, hazards of leaving, true effects of contacts."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from recsys.synthetic.campaigns import CAMPAIGNS, Offer
from recsys.synthetic.customers import People, truth_frame
from recsys.synthetic.hazards import Outlook
from recsys.synthetic.ids import numbered
from recsys.synthetic.months import MONTHS, START, dates
from recsys.synthetic.products import PRODUCT_IDS
from recsys.synthetic.state import Journal, State

TRUTH_MONTHS = 6
"""Adoption probabilities are kept for the last so many months."""

FILES = ("customers", "adoption", "attrition", "uplift")


def record_truth(state: State, look: Outlook, offers: list[Offer], journal: Journal) -> None:
    """Enter the month's probabilities given the state at its start, averaged over campaigns' draws and arms.

    P(acquired in the month) = (1 - hazard of leaving) x probability of acquiring given staying. Each is its value
    averaged over being drawn into the month's campaign for it (at most one) and over the campaign's arms, which are
    drawn independently of all else; nothing else that happens within the month moves it.
    """
    leave, acquire = look.leave.copy(), look.acquire.copy()
    for offer in offers:
        if offer.campaign.product < 0:
            leave = offer.expected
        else:
            acquire[:, offer.campaign.product] = offer.expected
    here = np.flatnonzero(state.present)
    journal.add("hazard", customer=here, month=np.full(len(here), state.month), hazard=leave[here])
    if state.month >= MONTHS - TRUTH_MONTHS:
        acquire = acquire * ((1 - leave) * state.present)[:, None]
        customer, product = np.nonzero(acquire)
        month = np.full(len(customer), state.month)
        journal.add("adoption", customer=customer, month=month, product=product, probability=acquire[customer, product])
    contact = state.contacts
    for offer in offers:
        _record_effects(offer, leave, contact, journal)
        contact += len(offer.customer)


def _record_effects(offer: Offer, leave: np.ndarray, first_contact: int, journal: Journal) -> None:
    rows, size = offer.customer, len(offer.customer)
    stays = np.ones(size) if offer.campaign.product < 0 else 1 - leave[rows]
    for arm in range(1, len(offer.campaign.arms)):
        journal.add(
            "uplift",
            contact=first_contact + np.arange(size),
            customer=rows,
            campaign=np.full(size, offer.campaign.number),
            arm=np.full(size, arm),
            baseline=offer.chance[:, 0] * stays,
            effect=(offer.chance[:, arm] - offer.chance[:, 0]) * stays,
        )


def truth_frames(people: People, journal: Journal, left: np.ndarray, bucket: int) -> dict[str, pl.DataFrame]:
    """The truth of one bucket, one frame per file of FILES."""

    def customer(entry: dict[str, np.ndarray]) -> pl.Series:
        return people.ids.gather(pl.Series(entry["customer"]))

    def text(values: Sequence[str], codes: np.ndarray) -> pl.Series:
        return pl.Series(list(values)).gather(pl.Series(codes))

    adoption, hazard, uplift = journal["adoption"], journal["hazard"], journal["uplift"]
    month_ends = START[hazard["month"] + 1]
    arms = [arm for campaign in CAMPAIGNS for arm in campaign.arms]
    first_arm = np.cumsum([0] + [len(campaign.arms) for campaign in CAMPAIGNS[:-1]])
    outcomes = ["left" if campaign.product < 0 else "acquired" for campaign in CAMPAIGNS]
    return {
        "customers": truth_frame(people, left),
        "adoption": pl.DataFrame(
            {
                "customer_id": customer(adoption),
                "as_of": dates(START[adoption["month"]]),
                "product_id": text(PRODUCT_IDS, adoption["product"]),
                "probability": adoption["probability"].astype(np.float32),
            }
        ),
        "attrition": pl.DataFrame(
            {
                "customer_id": customer(hazard),
                "month": dates(START[hazard["month"]]),
                "hazard": hazard["hazard"],
                "left": left[hazard["customer"]] < month_ends,
            }
        ),
        "uplift": pl.DataFrame(
            {
                "contact_id": numbered("K", bucket, uplift["contact"]),
                "customer_id": customer(uplift),
                "campaign_id": text([campaign.campaign_id for campaign in CAMPAIGNS], uplift["campaign"]),
                "arm": text(arms, first_arm[uplift["campaign"]] + uplift["arm"]),
                "outcome": text(outcomes, uplift["campaign"]),
                "baseline": uplift["baseline"],
                "effect": uplift["effect"],
            }
        ),
    }


def adoption_matrix(truth: Path, as_of: date, customers: Sequence[str], products: Sequence[str]) -> np.ndarray:
    """float64 [N, P]: the true probability that each customer acquires each product in the month that starts at as_of.

    Zero where the customer holds the product, may not have it, or has left. Raises ValueError for a day without truth.
    """
    rows = pl.scan_parquet(truth / "adoption.parquet").filter(pl.col("as_of") == as_of)
    places = pl.LazyFrame({"customer_id": list(customers)}).with_row_index("row")
    columns = pl.LazyFrame({"product_id": list(products)}).with_row_index("column")
    known = rows.join(places, on="customer_id").join(columns, on="product_id").collect()
    if known.is_empty() and rows.head(1).collect().is_empty():
        days = pl.scan_parquet(truth / "adoption.parquet").select(pl.col("as_of").unique().sort()).collect()["as_of"]
        raise ValueError(f"as_of {as_of}: the truth knows the months that start on {', '.join(map(str, days))}")
    matrix = np.zeros((len(customers), len(products)))
    matrix[known["row"].to_numpy(), known["column"].to_numpy()] = known["probability"].to_numpy()
    return matrix
