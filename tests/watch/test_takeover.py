import pytest

from resolver.watch import nftables
from resolver.watch.nftables import NftablesError
from resolver.watch.takeover import TakeOver, TakeOverFailed


class Recorded:
    """Rules that are only written down; ``failing`` says how many of the next runs fail."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.failing = 0

    def run(self, commands: str) -> str:
        self.runs.append(commands)
        if self.failing:
            self.failing -= 1
            raise NftablesError("no")
        return ""


def test_nothing_is_taken_over_before_the_first_renewal() -> None:
    rules = Recorded()
    TakeOver(rules, 1001, 1002).prepare()
    (commands,) = rules.runs
    assert "add element" not in commands
    assert "udp dport set 1001" in commands
    assert "dnat to 127.0.0.11:1002" in commands
    assert commands.index("delete table ip resolver") < commands.index("set live")


def test_a_renewal_is_one_transaction() -> None:
    rules = Recorded()
    TakeOver(rules, 1, 2).renew()
    (commands,) = rules.runs
    assert [line.split()[0] for line in commands.strip().splitlines()] == ["add", "delete", "add"]
    assert commands.count("timeout 6s") == 2


def test_a_table_that_was_removed_is_put_back() -> None:
    rules = Recorded()
    rules.failing = 1
    TakeOver(rules, 1, 2).renew()
    assert len(rules.runs) == 3
    rules.failing = 3
    with pytest.raises(TakeOverFailed):
        TakeOver(rules, 1, 2).renew()


def test_the_end_never_fails() -> None:
    rules = Recorded()
    rules.failing = 2
    take_over = TakeOver(rules, 1, 2)
    take_over.release()
    take_over.remove()
    assert len(rules.runs) == 2


def test_every_command_names_our_own_table() -> None:
    rules = Recorded()
    take_over = TakeOver(rules, 1, 2)
    take_over.prepare()
    take_over.renew()
    take_over.release()
    take_over.remove()
    for commands in rules.runs:
        for line in commands.splitlines():
            if line.startswith(("add", "delete", "table", "flush")):
                assert "ip resolver" in line
                assert "flush" not in line


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(nftables, "_loaded", [])
    monkeypatch.setattr(nftables, "has_net_admin", lambda: True)
    monkeypatch.setattr("ctypes.CDLL", nowhere)
    with pytest.raises(TakeOverFailed, match="libnftables1"):
        TakeOver.begun(1, 2)


def test_without_the_capability_it_says_how_to_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nftables, "has_net_admin", lambda: False)
    with pytest.raises(TakeOverFailed, match="--cap-add NET_ADMIN"):
        TakeOver.begun(1, 2)
