from shared.sources.folder.facts import Facts
from shared.sources.folder.settling import Settling

A, B = "a.png", "b.png"
SMALL, LARGE = Facts(10, 1, 1), Facts(20, 2, 1)


def settling(settle: float = 2.0, most: int = 10) -> Settling:
    return Settling(settle, most)


def test_an_image_still_being_copied_is_left_alone() -> None:
    files = settling()
    assert not any(files.look(A, Facts(size, size, 1), now=float(size)) for size in range(1, 20))


def test_a_file_that_stayed_the_same_for_long_enough_is_finished() -> None:
    files = settling(settle=2.0)
    assert not files.look(A, SMALL, now=0.0)
    assert not files.look(A, SMALL, now=1.9)
    assert files.look(A, SMALL, now=2.0)
    assert len(files) == 0


def test_a_change_starts_the_wait_anew() -> None:
    files = settling(settle=2.0)
    files.look(A, SMALL, now=0.0)
    assert not files.look(A, LARGE, now=1.9)
    assert not files.look(A, LARGE, now=3.8)
    assert files.look(A, LARGE, now=3.9)


def test_a_change_of_time_alone_is_a_change() -> None:
    files = settling(settle=2.0)
    files.look(A, Facts(10, 1, 1), now=0.0)
    assert not files.look(A, Facts(10, 2, 1), now=5.0)


def test_a_file_that_the_system_reports_as_closed_is_finished_at_once() -> None:
    files = settling()
    assert files.look(A, SMALL, now=0.0, closed=True)
    files.look(B, SMALL, now=0.0)
    assert files.look(B, LARGE, now=0.1, closed=True)
    assert len(files) == 0


def test_one_look_is_never_enough_without_such_a_report() -> None:
    assert not settling().look(A, SMALL, now=1_000_000.0)


def test_a_settle_time_of_zero_waits_for_nothing() -> None:
    assert settling(settle=0.0).look(A, SMALL, now=0.0)


def test_a_file_that_disappeared_is_forgotten() -> None:
    files = settling(settle=2.0)
    files.look(A, SMALL, now=0.0)
    assert not files.look(A, None, now=1.0)
    assert len(files) == 0
    assert not files.look(A, SMALL, now=5.0)  # it came back: the wait starts anew


def test_a_file_that_is_gone_is_not_finished_even_if_it_was_closed() -> None:
    assert not settling().look(A, None, now=0.0, closed=True)


def test_files_that_were_quiet_for_long_enough_are_due_for_a_second_look() -> None:
    files = settling(settle=2.0)
    files.look(A, SMALL, now=0.0)
    files.look(B, SMALL, now=1.0)
    assert files.due(now=1.9) == []
    assert files.due(now=2.0) == [A]
    assert files.due(now=3.0) == [A, B]


def test_a_changed_file_goes_to_the_end_of_the_queue() -> None:
    files = settling(settle=2.0)
    files.look(A, SMALL, now=0.0)
    files.look(B, SMALL, now=1.0)
    files.look(A, LARGE, now=1.5)
    assert files.due(now=3.0) == [B]
    assert files.due(now=3.5) == [B, A]


def test_the_same_name_in_two_subfolders_is_two_files() -> None:
    files = settling(settle=2.0)
    files.look(A, SMALL, now=0.0)
    assert not files.look("clinic/a.png", SMALL, now=5.0)


def test_its_memory_is_bounded_by_what_it_tells_its_user() -> None:
    files = settling(most=2)
    assert not files.is_full
    files.look(A, SMALL, now=0.0)
    files.look(B, SMALL, now=0.0)
    assert files.is_full
    files.look(B, SMALL, now=1.0, closed=True)
    assert not files.is_full
