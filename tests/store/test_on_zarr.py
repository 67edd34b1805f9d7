"""The Zarr backend: the contract, and what only Zarr has."""

from tests.store.contract.integrity import Integrity
from tests.store.contract.processes import Processes
from tests.store.contract.reading import Reading
from tests.store.contract.stores import StoresAndFields
from tests.store.contract.writing import Writing


class TestZarrContract(StoresAndFields, Reading, Writing, Processes, Integrity):
    backend = "zarr"
