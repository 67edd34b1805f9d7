"""The LMDB backend: the contract, and what only LMDB has."""

from tests.store.contract_suite import ContractSuite


class TestLmdbContract(ContractSuite):
    backend = "lmdb"
