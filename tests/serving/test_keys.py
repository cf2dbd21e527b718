"""API keys: what the file holds, who is known by a key, and changes that running workers see."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from serving import keys as module
from serving.access import Access
from serving.keys import Keys, add_key, read_keys, revoke_key, rotate_key
from tests.conftest import called


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)


def test_the_file_holds_no_key_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    text = add_key(file, "branch", ["score", "write"], 5, 10, None)
    content = file.read_text()
    assert text not in content and text.split("_", 2)[2] not in content
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (key,) = read_keys(file).keys
    assert (key.name, key.scopes, key.rate, key.burst) == ("branch", ("score", "write"), 5, 10)
    assert len(text.split("_", 2)[2]) == 43, "32 random bytes"
    assert Keys(file).known(f"Bearer {text}") == key
    assert Keys(file).known(f"bearer {text}") == key


def test_only_the_whole_right_key_is_known(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    text = add_key(file, "branch", ["score"], 5, 10, None)
    keys = Keys(file)
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    for said in (None, "", "Bearer", "Bearer ", f"Basic {text}", text, f"Bearer {wrong}", f"Bearer {text}x"):
        assert keys.known(said) is None, said
    assert keys.known(f"Bearer rk_{'0' * 12}_{text.split('_', 2)[2]}") is None


def test_a_revoked_and_a_rotated_key_end_without_a_restart(tmp_path: Path, at_once: None) -> None:
    file = tmp_path / "keys.json"
    first, second = (add_key(file, name, ["score"], 5, 10, None) for name in ("one", "two"))
    keys = Keys(file)
    assert keys.known(f"Bearer {first}") and keys.known(f"Bearer {second}")
    revoke_key(file, first.split("_")[1])
    assert keys.known(f"Bearer {first}") is None and keys.known(f"Bearer {second}")
    third = rotate_key(file, second.split("_")[1], timedelta(hours=1))
    rotated = keys.known(f"Bearer {third}")
    assert rotated is not None and rotated.name == "two" and keys.known(f"Bearer {second}")
    fourth = rotate_key(file, third.split("_")[1], timedelta(0))
    assert keys.known(f"Bearer {third}") is None and keys.known(f"Bearer {fourth}")


def test_a_file_that_breaks_leaves_the_keys_before_it_in_force(tmp_path: Path, at_once: None) -> None:
    file = tmp_path / "keys.json"
    text = add_key(file, "one", ["score"], 5, 10, None)
    keys = Keys(file)
    whole = file.read_text()
    file.write_text(whole[:50])
    assert keys.known(f"Bearer {text}")
    file.unlink()
    assert keys.known(f"Bearer {text}")


def test_a_file_that_cannot_be_trusted_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(ConfigError, match="No such file .*recsys keys add"):
        read_keys(file)
    add_key(file, "one", ["score"], 5, 10, None)
    with pytest.raises(ConfigError, match="no key 123; recsys keys list"):
        revoke_key(file, "123")
    with pytest.raises(ConfigError, match="^--scope: Input should be 'score', 'write' or 'admin'"):
        add_key(file, "two", ["scor"], 5, 10, None)
    content = json.loads(file.read_text())
    content["keys"][0]["scopes"] = ["everything"]
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="keys.0.scopes.0: Input should be 'score', 'write' or 'admin'"):
        read_keys(file)
    file.chmod(0o622)
    with pytest.raises(ConfigError, match="others than its owner may write it; chmod 600"):
        read_keys(file)


def test_commands_make_show_and_end_keys(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.json")
    (text,) = called("keys", "add", file, "branch", "--scope", "score", "--scope", "admin", "--days", "7")
    (line,) = called("keys", "list", file)
    key_id, name, scopes, rate, burst, ends = line.split("\t")
    assert (key_id, name, scopes, rate, burst) == (text.split("_")[1], "branch", "score,admin", "100/s", "200")
    assert ends != "never" and text.split("_", 2)[2] not in line
    (new,) = called("keys", "rotate", file, key_id, "--grace", "1")
    assert Keys(Path(file)).known(f"Bearer {new}")
    called("keys", "revoke", file, key_id)
    assert [line.split("\t")[0] for line in called("keys", "list", file)] == [new.split("_")[1]]


@pytest.mark.parametrize(
    ("access", "says"),
    [
        (Access(host="0.0.0.0"), "nobody has a key; add --keys FILE"),
        (Access(host="192.0.2.7"), "nobody has a key"),
        (Access(host="bank"), "not an IP address"),
        (Access(keys=Path("/nowhere/keys.json")), "recsys keys add"),
        (Access(tls_cert=Path("a.pem")), "go together"),
        (Access(tls_cert=Path("/nowhere/a.pem"), tls_key=Path("/nowhere/b.pem")), "No such file"),
    ],
)
def test_what_would_open_the_service_unsafely_is_refused(access: Access, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        access.check()


def test_the_loopback_needs_no_keys() -> None:
    Access(host="127.0.0.1").check()
    Access(host="::1").check()
    assert Access(host="::1").url == "http://[::1]:3000"
