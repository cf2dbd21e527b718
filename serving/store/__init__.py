"""The online state: what is known of every customer between one load of the lake and the next."""

from serving.store.engine import StoreDown, StoreError
from serving.store.store import Store

__all__ = ["Store", "StoreDown", "StoreError"]
