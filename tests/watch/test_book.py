from hypothesis import given
from hypothesis import strategies as st

from resolver.names.changes import Change, Engine, Gone, Pending, Sync
from resolver.names.model import Endpoint, Network, Sandbox
from resolver.names.policy import Policy
from resolver.names.table import Table
from resolver.watch.book import Book

IDS = st.sampled_from("abc")
SANDBOXES = st.builds(
    Sandbox,
    id=IDS,
    name=st.sampled_from(("x", "y")),
    endpoints=st.lists(
        st.builds(
            Endpoint,
            network=st.sampled_from(("n", "m")),
            names=st.just(("x",)),
            ipv4=st.sampled_from((b"", b"\1\1\1\1")),
        ),
        max_size=2,
        unique_by=lambda endpoint: endpoint.network,
    ).map(tuple),
)
CHANGES: st.SearchStrategy[Change] = st.one_of(
    SANDBOXES,
    st.builds(Network, id=st.sampled_from(("n", "m")), name=st.sampled_from(("p", "q"))),
    st.builds(Gone, st.just("container"), IDS),
    st.builds(Gone, st.just("network"), st.sampled_from(("n", "m"))),
    st.builds(Pending, IDS, st.lists(st.sampled_from(("n", "m")), max_size=2, unique=True).map(tuple)),
    st.builds(Policy, ttl=st.integers(0, 3)),
    st.builds(Engine, st.just("reached"), st.just("unix:///x")),
)


def state(table: Table) -> object:
    pending = {k: (not v.networks, set(v.networks)) for k, v in table.pending.items()}
    return table.networks, table.sandboxes, pending, table.policy, table.engine


@given(st.lists(CHANGES, max_size=30))
def test_the_picture_tells_a_new_child_what_the_old_one_knew(changes: list[Change]) -> None:
    book, old, new = Book(), Table(), Table()
    for change in changes:
        if book.note(change):
            old.apply(change)
    book.pictured = True
    for change in book.picture():
        new.apply(change)
    assert state(old) == state(new)


@given(st.lists(CHANGES, max_size=30))
def test_the_picture_told_again_changes_nothing(changes: list[Change]) -> None:
    book, table = Book(), Table()
    for change in changes:
        if book.note(change):
            table.apply(change)
    before = state(table)
    book.pictured = True
    for change in book.picture():
        table.apply(change)
    assert state(table) == before


def test_the_same_line_is_no_news_unless_something_was_pending() -> None:
    book, sandbox = Book(), Sandbox("c", "web")
    assert book.note(sandbox)
    assert not book.note(sandbox)
    assert book.note(Pending("c", ("n",)))
    assert not book.note(Pending("c", ("n",)))
    assert book.note(Pending("c", ("m",)))
    assert book.pending["c"].networks == ("n", "m")
    assert book.note(sandbox)
    assert not book.pending
    assert book.note(Gone("container", "c"))
    assert not book.note(Gone("container", "c"))


def test_before_the_first_picture_a_child_is_not_told_of_an_empty_one() -> None:
    book = Book()
    book.note(Policy())
    book.note(Pending("c"))
    assert list(book.picture()) == [Policy(), Pending("c")]


def test_a_recorded_sync_sweeps() -> None:
    book = Book()
    for change in (Sandbox("a", "a"), Sync("begin"), Network("n", "n"), Sandbox("b", "b"), Sync("end")):
        book.note(change)
    assert (list(book.sandboxes), list(book.networks), book.pictured) == (["b"], ["n"], True)
