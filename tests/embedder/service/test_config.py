"""Who may reach the service is settled before the model is loaded."""

import pytest

from embedder.service.config import ServeConfig
from store.common.errors import ConfigError
from tools.__main__ import main


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_needs_no_token(host, monkeypatch):
    monkeypatch.delenv("KEYCLIP_TOKEN", raising=False)
    assert ServeConfig(model="m", host=host).token() is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_other_addresses_need_one(host, monkeypatch):
    monkeypatch.delenv("KEYCLIP_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="needs a bearer token: set \\$KEYCLIP_TOKEN or --token-file"):
        ServeConfig(model="m", host=host).token()
    monkeypatch.setenv("KEYCLIP_TOKEN", "from the environment")
    assert ServeConfig(model="m", host=host).token() == "from the environment"


def test_the_token_file_wins_and_must_hold_one(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYCLIP_TOKEN", "from the environment")
    file = tmp_path / "token"
    with pytest.raises(ConfigError, match="cannot be read"):
        ServeConfig(model="m", token_file=file).token()
    file.write_text("\nsecond line\n")
    with pytest.raises(ConfigError, match="is empty"):
        ServeConfig(model="m", token_file=file).token()
    file.write_text(" from the file \n")
    assert ServeConfig(model="m", token_file=file).token() == "from the file"


def test_an_open_address_without_a_token_is_one_sentence_and_status_1(monkeypatch, capsys):
    monkeypatch.delenv("KEYCLIP_TOKEN", raising=False)
    assert main(["serve", "--model", "/no/such/model", "--host", "0.0.0.0"]) == 1
    assert capsys.readouterr().err.startswith("keyclip: error: --host 0.0.0.0 lets other machines in")
