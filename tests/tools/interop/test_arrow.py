"""Fields as Arrow tables in memory: what DuckDB, Hugging Face datasets, Ray and Lance take and give."""

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import store
from store.common.errors import ConfigError, MissingKeysError, VectorFileError
from tests.tools.interop.examples import DIM, fill, keys_of, make_vectors
from tools.interop.arrow import from_arrow, to_arrow
from tools.interop.config import ImportConfig

KEYS = keys_of(0, 1100)  # more than one batch


@pytest.fixture
def filled(tmp_path):
    """The fields of a store by column name, and their vectors."""
    columns = fill(tmp_path / "s.store", KEYS, ["short", "long"])
    opened = store.open(tmp_path / "s.store")
    return {name: opened.field(f"llm/{name}") for name in columns}, columns


def test_fields_go_out_as_record_batches_and_come_in_again(filled, tmp_path):
    fields, columns = filled
    reader = to_arrow(fields)
    assert reader.schema.names == ["key", "short", "short_caption_hash", "long", "long_caption_hash"]
    assert reader.schema.field("short").type == pa.list_(pa.float32(), DIM)
    report = from_arrow(ImportConfig(store=str(tmp_path / "2.store")), reader.read_all())
    assert [counts.imported for counts in report.fields.values()] == [1100, 1100]
    for name, field in fields.items():
        again = store.open(tmp_path / "2.store").field(f"llm/{name}")
        assert again.spec == field.spec
        assert again.keys() == KEYS
        np.testing.assert_array_equal(again.get(KEYS), columns[name])
        np.testing.assert_array_equal(again.caption_hashes(KEYS), field.caption_hashes(KEYS))


def test_keys_and_dtype_are_chosen_and_a_missing_key_is_named(filled):
    fields, columns = filled
    table = to_arrow({"v": fields["long"]}, [KEYS[3], KEYS[1]], "float16").read_all()
    assert table["key"].to_pylist() == [KEYS[3], KEYS[1]]
    np.testing.assert_array_equal(np.array(table["v"].to_pylist()), columns["long"][[3, 1]])
    with pytest.raises(MissingKeysError, match="nowhere"):
        to_arrow(fields, ["nowhere"]).read_all()


def test_duckdb_reads_a_field_and_its_relations_come_in(filled, tmp_path):
    relation = duckdb.connect().from_arrow(to_arrow({"v": filled[0]["short"]}))
    relation = relation.filter("key < '000000030'").order("key").project("key, v")
    config = ImportConfig(store=str(tmp_path / "2.store"), model="org/llm")
    assert from_arrow(config, relation, names={"caption": "v"}).num_blocks == 1
    field = store.open(tmp_path / "2.store").field("llm/caption")
    expected = sorted(key for key in KEYS if key < "000000030")
    assert field.keys() == expected
    np.testing.assert_array_equal(field.get(expected), filled[0]["short"].get(expected))


def test_a_dataset_is_read_piece_by_piece(tmp_path):
    rows, keys = make_vectors("d", 3000), [f"{i}" for i in range(3000)]
    starts = range(0, 3000, 1000)
    for start in starts:
        column = pa.FixedSizeListArray.from_arrays(pa.array(rows[start : start + 1000].reshape(-1)), DIM)
        pq.write_table(pa.table({"id": keys[start : start + 1000], "v": column}), tmp_path / f"{start}.parquet")
    dataset = pa.dataset.dataset([str(tmp_path / f"{start}.parquet") for start in starts])
    from_arrow(ImportConfig(store=str(tmp_path / "s.store"), model="m"), dataset, key_column="id")
    np.testing.assert_array_equal(store.open(tmp_path / "s.store").field("m/v").get(keys), rows)


def test_a_hugging_face_dataset_takes_a_field_and_gives_it_back(filled, tmp_path):
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset(to_arrow({"v": filled[0]["short"]}).read_all())
    from_arrow(ImportConfig(store=str(tmp_path / "2.store"), model="m"), dataset.data.table, names={"c": "v"})
    np.testing.assert_array_equal(store.open(tmp_path / "2.store").field("m/c").get(KEYS), filled[1]["short"])


def test_a_table_that_does_not_fit_is_one_sentence(tmp_path):
    config = ImportConfig(store=str(tmp_path / "s.store"), model="m")
    with pytest.raises(VectorFileError, match="'table' has no column 'key'; there are v"):
        from_arrow(config, pa.table({"v": [[1.0]]}))
    with pytest.raises(ConfigError, match="does not say which model"):
        from_arrow(ImportConfig(store=config.store), pa.table({"key": ["a"], "v": [[1.0]]}))
    assert not (tmp_path / "s.store").exists()
