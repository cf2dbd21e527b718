"""The only reader and writer of bundles: what training passes on, and everything else reads."""

from recsys.bundle.adoption import Adoption, adoption_part
from recsys.bundle.bundle import Bundle, write_bundle
from recsys.bundle.churn import Churn
from recsys.bundle.embedding import CustomerEmbedding
from recsys.bundle.graph import Graph, Port
from recsys.bundle.item_table import write_item_table
from recsys.bundle.parity import Check, parity_record, recommender_answers, verify
from recsys.bundle.reasons import Reason, reasons
from recsys.bundle.recommender import Recommender
from recsys.bundle.segmentation import Segmentation
from recsys.bundle.survival import Survival
from recsys.bundle.towers import customer_ports, product_ports
from recsys.bundle.uplift import Uplift

__all__ = [
    "Adoption",
    "Bundle",
    "Check",
    "Churn",
    "CustomerEmbedding",
    "Graph",
    "Port",
    "Reason",
    "Recommender",
    "Segmentation",
    "Survival",
    "Uplift",
    "adoption_part",
    "customer_ports",
    "parity_record",
    "product_ports",
    "reasons",
    "recommender_answers",
    "verify",
    "write_bundle",
    "write_item_table",
]
