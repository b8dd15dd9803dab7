"""`nemo-bridge keys`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli.main import app, main
from bridge.core.curve_keys import read_access_list, read_pair

run = CliRunner().invoke


def test_new_show_authorize(tmp_path: Path) -> None:
    """A pair is made, looked at and listed; each step says what comes next, and none shows the secret."""
    keys = tmp_path / "keys"
    said = run(app, ["keys", "new", "till", "--into", str(keys)]).output
    pair = read_pair(keys / "till.key_secret")
    assert "nemo-bridge keys authorize" in said
    said += run(app, ["keys", "show", str(keys), str(keys / "till.key_secret")]).output
    assert said.count(pair.public) == 2
    rights = ["--publish", "order.**", "--publish", "cart.*", "--subscribe", "health.**"]
    listed = run(app, ["keys", "authorize", str(keys / "till.key"), "--into", str(keys / "authorized"), *rights])
    assert listed.exit_code == 0, listed.output
    assert "bridge.reload" in listed.output
    grant = read_access_list(keys / "authorized")[pair.public]
    assert (grant.name, grant.publish, grant.subscribe) == ("till", ("order.**", "cart.*"), ("health.**",))
    shown = run(app, ["keys", "show", str(keys / "authorized")]).output
    assert "publish:   order.**, cart.*" in shown
    assert pair.secret not in said + listed.output + shown
    for path in (keys, keys / "authorized"):
        assert path.stat().st_mode & 0o777 == 0o700
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in path.glob("*.key*"))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("new a/b", "letters, digits"),
        ("new there", "is there already"),
        ("authorize {keys}/none.key", "No such file"),
        ("authorize {keys}/there.key --subscribe order.*", "subscribes by prefix"),
        ("authorize {keys}/there.key --publish a..b", "empty segment"),
        ("authorize {keys}/there.key --name second", "lists this key already"),
        ("show {keys}/empty", "there is no"),
    ],
)
def test_what_goes_wrong(
    tmp_path: Path, command: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on standard error, and nothing that was there is changed."""
    monkeypatch.chdir(tmp_path)
    run(app, ["keys", "new", "there"])
    run(app, ["keys", "authorize", "keys/there.key"])
    (tmp_path / "keys" / "empty").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr("sys.argv", ["nemo-bridge", "keys", *command.format(keys="keys").split()])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
