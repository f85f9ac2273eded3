import pytest

from resolver.watch.generated import ADJECTIVES, is_generated


def test_the_list_is_whole() -> None:
    assert len(ADJECTIVES) == 108


@pytest.mark.parametrize("name", ["clever_hopper", "zen_wozniak7", "admiring_adoring"])
def test_made_up(name: str) -> None:
    assert is_generated(name)


@pytest.mark.parametrize(
    "name",
    ["web", "my_app", "clever-hopper", "clever_hopper12", "clever_hopper_1", "Clever_hopper", "clever_", ""],
)
def test_chosen(name: str) -> None:
    assert not is_generated(name)
