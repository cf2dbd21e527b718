"""The synthetic bank's 26 products: attributes, eligibility and prerequisites (all values are choices)."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

# fee: pence a month; rate: percent a year; term: months; balance: least balance in pence; ages in years; income: least
# pounds a year; margin: pence earned in the first year; acct: has an account of its own; "-": has none.
_TABLE = """
id                    | category    | fee  | rate | term | balance | ages   | income | margin | acct | risk   | launched   | requires        | features
current_account       | accounts    | 0    | 0    | -    | -       | 18-120 | 0      | 4500   | yes  | -      | 2009-03-02 | -               | app debit_card direct_debit
student_account       | accounts    | 0    | 0    | -    | -       | 18-24  | 0      | 1200   | yes  | -      | 2011-08-15 | -               | app credit debit_card
premium_account       | accounts    | 1500 | 1.0  | -    | 100000  | 18-120 | 28000  | 14000  | yes  | -      | 2012-05-01 | current_account | breakdown_cover debit_card travel_cover
overdraft             | accounts    | 0    | 39.9 | -    | -       | 18-120 | 9000   | 5500   | no   | -      | 2009-03-02 | current_account | credit
easy_saver            | savings     | 0    | 2.1  | -    | 100     | 18-120 | 0      | 2200   | yes  | -      | 2009-03-02 | -               | app instant_access
regular_saver         | savings     | 0    | 5.5  | 12   | 2500    | 18-120 | 0      | 1500   | yes  | -      | 2014-01-06 | current_account | app monthly_deposit
fixed_saver           | savings     | 0    | 4.6  | 12   | 100000  | 18-120 | 0      | 4000   | yes  | -      | 2010-02-01 | -               | fixed_rate
cash_isa              | savings     | 0    | 4.1  | -    | 100     | 18-120 | 0      | 3000   | yes  | -      | 2009-04-06 | -               | instant_access tax_free
child_saver           | savings     | 0    | 3.5  | -    | 100     | 18-65  | 0      | 1600   | yes  | -      | 2013-09-02 | -               | family monthly_deposit
credit_card           | cards       | 0    | 24.9 | -    | -       | 18-120 | 10000  | 6500   | yes  | -      | 2009-03-02 | -               | contactless credit
rewards_card          | cards       | 300  | 26.9 | -    | -       | 21-120 | 26000  | 8500   | yes  | -      | 2016-10-03 | -               | cashback contactless credit
transfer_card         | cards       | 0    | 21.9 | 24   | -       | 21-120 | 12000  | 5000   | yes  | -      | 2013-01-07 | credit_card     | credit fixed_rate
personal_loan         | lending     | 0    | 7.9  | 36   | -       | 18-74  | 14000  | 22000  | yes  | -      | 2009-03-02 | -               | credit fixed_rate
car_finance           | lending     | 0    | 8.9  | 48   | -       | 18-74  | 15000  | 26000  | yes  | -      | 2012-03-01 | -               | credit fixed_rate
mortgage              | mortgages   | 0    | 4.8  | 300  | -       | 21-64  | 24000  | 60000  | yes  | -      | 2009-03-02 | -               | credit family fixed_rate
home_improvement_loan | mortgages   | 0    | 6.4  | 60   | -       | 21-74  | 18000  | 24000  | yes  | -      | 2014-04-01 | mortgage        | credit fixed_rate
home_insurance        | insurance   | 1900 | -    | 12   | -       | 18-120 | 0      | 5000   | no   | -      | 2010-06-01 | -               | cover family
car_insurance         | insurance   | 4200 | -    | 12   | -       | 18-84  | 0      | 5500   | no   | -      | 2010-06-01 | -               | cover
travel_insurance      | insurance   | 700  | -    | 12   | -       | 18-79  | 0      | 2500   | no   | -      | 2011-05-02 | -               | cover travel_cover
life_insurance        | insurance   | 2400 | -    | 240  | -       | 18-69  | 0      | 9000   | no   | -      | 2010-06-01 | -               | cover family
pet_insurance         | insurance   | 2100 | -    | 12   | -       | 18-120 | 0      | 3500   | no   | -      | 2017-02-01 | -               | cover
stocks_isa            | investments | 0    | -    | -    | 10000   | 18-120 | 16000  | 8000   | yes  | medium | 2012-04-06 | -               | funds tax_free
fund_account          | investments | 500  | -    | -    | 50000   | 18-120 | 24000  | 12000  | yes  | high   | 2013-10-01 | easy_saver      | funds shares
robo_invest           | investments | 200  | -    | -    | 5000    | 18-75  | 0      | 6000   | yes  | medium | 2023-07-01 | current_account | app funds
pension               | investments | 0    | -    | -    | 5000    | 21-70  | 18000  | 15000  | yes  | low    | 2011-11-01 | -               | funds tax_free
wallet_plus           | digital     | 299  | -    | -    | -       | 18-85  | 0      | 2400   | no   | -      | 2019-05-01 | current_account | app cashback
"""  # noqa: E501


@dataclass(frozen=True)
class Product:
    """One product as the bank's catalogue has it, and who may have it."""

    product_id: str
    category: str
    fee: int
    rate: float | None
    term_months: int | None
    min_balance: int | None
    min_age: int
    max_age: int
    min_income: int
    margin: int
    has_account: bool
    risk_class: str | None
    launched: date
    requires: tuple[str, ...]
    features: tuple[str, ...]


def _product(line: str) -> Product:
    cell = [None if text.strip() == "-" else text.strip() for text in line.split("|")]
    youngest, oldest = (cell[6] or "").split("-")
    return Product(
        product_id=str(cell[0]),
        category=str(cell[1]),
        fee=int(cell[2] or 0),
        rate=None if cell[3] is None else float(cell[3]),
        term_months=None if cell[4] is None else int(cell[4]),
        min_balance=None if cell[5] is None else int(cell[5]),
        min_age=int(youngest),
        max_age=int(oldest),
        min_income=int(cell[7] or 0),
        margin=int(cell[8] or 0),
        has_account=cell[9] == "yes",
        risk_class=cell[10],
        launched=date.fromisoformat(str(cell[11])),
        requires=tuple((cell[12] or "").split()),
        features=tuple((cell[13] or "").split()),
    )


PRODUCTS: tuple[Product, ...] = tuple(_product(line) for line in _TABLE.strip().splitlines()[1:])
PRODUCT_IDS = tuple(product.product_id for product in PRODUCTS)
INDEX = {product_id: i for i, product_id in enumerate(PRODUCT_IDS)}
PAYMENT_ACCOUNTS = tuple(INDEX[p] for p in ("current_account", "student_account", "easy_saver"))
"""Products whose account takes everyday payments, the preferred one first."""

HAS_ACCOUNT = np.array([product.has_account for product in PRODUCTS])
MIN_AGE = np.array([product.min_age for product in PRODUCTS], dtype=np.float64)
MAX_AGE = np.array([product.max_age for product in PRODUCTS], dtype=np.float64)
MIN_INCOME = np.array([product.min_income for product in PRODUCTS], dtype=np.float64)
TERM = np.array([product.term_months or 0 for product in PRODUCTS], dtype=np.int64)
MARGIN = np.array([product.margin for product in PRODUCTS], dtype=np.float64)
LAUNCHED = np.array([(product.launched - date(1970, 1, 1)).days for product in PRODUCTS], dtype=np.int64)
REQUIRES = np.array([[q in product.requires for q in PRODUCT_IDS] for product in PRODUCTS])
"""[P, P], row p true at the products that p needs."""


def product_frame() -> pl.DataFrame:
    """The table `products`: one row per product, attributes as the catalogue shows them."""

    def number(value: float | int | None) -> float | None:
        return None if value is None else float(value)

    rows = [
        {
            "product_id": product.product_id,
            "name": product.product_id.replace("_", " ").capitalize(),
            "category": product.category,
            "fee": number(product.fee),
            "rate": number(product.rate),
            "term_months": number(product.term_months),
            "min_balance": number(product.min_balance),
            "min_age": number(product.min_age),
            "max_age": number(product.max_age),
            "min_income": number(product.min_income * 100),
            "risk_class": product.risk_class,
            "launched": product.launched,
            "requires": sorted(product.requires),
            "features": sorted(product.features),
        }
        for product in PRODUCTS
    ]
    tags = pl.List(pl.String)
    return pl.DataFrame(rows, schema_overrides={"risk_class": pl.String, "requires": tags, "features": tags})
