"""Key lists: read the same way by every command, and never written so that they would be read as something else."""

import os

import pytest

from store.common.errors import ConfigError, InvalidKeysError
from store.sources.keylist import is_listable, iter_key_list, line_of, read_key_list, read_keys


def test_lists_are_read_in_order_as_a_set_and_as_a_sorted_array(tmp_path):
    file = tmp_path / "keys.txt"
    file.write_bytes("b\r\n\n a/2 \né\nb".encode())
    assert list(iter_key_list(file)) == ["b", "a/2", "é", "b"]
    assert read_keys(file) == {"a/2", "b", "é"}
    assert read_key_list(file).tolist() == [b"a/2", b"b", "é".encode()]


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "keys.txt").write_bytes(b"\xef\xbb\xbfa\nb\n")
    assert list(iter_key_list(tmp_path / "keys.txt")) == ["a", "b"]


def test_a_list_that_is_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="it is a pipe or a device; write its content to a file first"):
        read_keys(tmp_path / "pipe")


@pytest.mark.parametrize("read", [read_keys, read_key_list])
@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file"), (b"caf\xe9\n", "is not UTF-8 text"), (b" \n\n", "is empty")],
)
def test_a_list_that_cannot_be_read_or_is_empty_is_refused(tmp_path, read, content, message):
    if content is not None:
        (tmp_path / "keys.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / "keys.txt")


@pytest.mark.parametrize("key", ["000000003", "a/b c.d", "é", "-_-"])
def test_usual_keys_can_be_listed_and_come_back(tmp_path, key):
    assert is_listable(key)
    (tmp_path / "keys.txt").write_text(f"{line_of(key)}\n", encoding="utf-8", newline="\n")
    assert list(iter_key_list(tmp_path / "keys.txt")) == [key]


@pytest.mark.parametrize("key", ["", " a", "a\n", "a\nb", "a\rb", "a\u2028b", "a\0b", "a\udce9"])
def test_keys_that_would_be_read_as_others_cannot(key):
    assert not is_listable(key)
    with pytest.raises(InvalidKeysError, match="cannot stand in a list"):
        line_of(key)
