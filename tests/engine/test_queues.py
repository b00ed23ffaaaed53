from __future__ import annotations

import threading

from streamserver.engine.frame import Frame
from streamserver.engine.queues import FrameQueue


def frame(
    frame_id: int, *, channel_id: int = 0, end: bool = False, discontinuity: bool = False, skipped: bool = False
) -> Frame:
    return Frame(channel_id, 0, frame_id, end_of_stream=end, discontinuity=discontinuity, skipped=skipped)


def drain(queue: FrameQueue) -> list[Frame]:
    taken = [queue.get() for _ in range(len(queue))]
    return [item for item in taken if item is not None]


def test_frames_leave_in_the_order_they_came() -> None:
    queue = FrameQueue(3)
    assert [queue.put(frame(number)) for number in range(3)] == [[], [], []]
    assert [item.frame_id for item in drain(queue)] == [0, 1, 2]


def test_a_full_queue_holds_back_until_there_is_room() -> None:
    queue = FrameQueue(2)
    done: list[int] = []

    def fill() -> None:
        for number in range(5):
            queue.put(frame(number))
            done.append(number)

    thread = threading.Thread(target=fill)
    thread.start()
    first = queue.get()
    rest = [queue.get() for _ in range(4)]
    thread.join()
    assert [item.frame_id for item in [first, *rest] if item] == [0, 1, 2, 3, 4]
    assert done == [0, 1, 2, 3, 4]


def test_the_newest_frames_win_and_the_others_are_handed_back() -> None:
    queue = FrameQueue(2)
    left_out = [item.frame_id for number in range(6) for item in queue.put(frame(number), newest_wins=True)]
    assert left_out == [0, 1, 2, 3]
    assert [item.frame_id for item in drain(queue)] == [4, 5]


def test_each_channel_loses_only_its_own_frames() -> None:
    queue = FrameQueue(1)
    queue.put(frame(0, channel_id=1), newest_wins=True)
    queue.put(frame(0, channel_id=2), newest_wins=True)
    left_out = queue.put(frame(1, channel_id=2), newest_wins=True)
    assert [(item.channel_id, item.frame_id) for item in left_out] == [(2, 0)]
    assert [(item.channel_id, item.frame_id) for item in drain(queue)] == [(1, 0), (2, 1)]


def test_an_end_of_stream_is_never_left_out() -> None:
    queue = FrameQueue(1)
    queue.put(frame(0, end=True), newest_wins=True)
    assert queue.put(frame(1), newest_wins=True) == []
    assert queue.put(frame(2), newest_wins=True)[0].frame_id == 1
    assert [item.end_of_stream for item in drain(queue)] == [True, False]


def test_a_break_of_continuity_passes_to_the_next_frame_that_is_processed() -> None:
    queue = FrameQueue(2)
    queue.put(frame(0, discontinuity=True), newest_wins=True)
    queue.put(frame(0, channel_id=1), newest_wins=True)
    queue.put(frame(1, skipped=True), newest_wins=True)
    queue.put(frame(2), newest_wins=True)
    queue.put(frame(3), newest_wins=True)
    seen = [(item.channel_id, item.frame_id, item.discontinuity) for item in drain(queue)]
    assert seen == [(1, 0, False), (0, 2, True), (0, 3, False)]


def test_closing_wakes_both_sides_and_refuses_what_comes_later() -> None:
    empty, full = FrameQueue(1), FrameQueue(1)
    full.put(frame(0))
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(empty.get())),
        threading.Thread(target=lambda: results.append([item.frame_id for item in full.put(frame(1))])),
    ]
    for thread in threads:
        thread.start()
    empty.close()
    full.close()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["None", "[1]"]
    assert len(full) == 0
    assert [item.frame_id for item in full.put(frame(2), newest_wins=True)] == [2]


def everything(one: Frame) -> bool:
    return not one.end_of_stream


def numbers(frames: list[Frame]) -> list[tuple[int, int]]:
    return [(one.channel_id, one.frame_id) for one in frames]


def waiting(batch_size: int, *frames: Frame) -> tuple[FrameQueue, Frame]:
    """A queue in which all of these wait, without the first, which was taken."""
    queue = FrameQueue(len(frames))
    queue.batch_size = batch_size
    for one in frames:
        queue.put(one)
    first = queue.get()
    assert first is not None
    return queue, first


def test_more_takes_what_waits_already_up_to_the_size_of_a_batch() -> None:
    queue, first = waiting(3, *(frame(1, channel_id=i) for i in range(5)))
    assert numbers(queue.more(first, everything)) == [(1, 1), (2, 1)]
    assert numbers(drain(queue)) == [(3, 1), (4, 1)]
    assert queue.more(first, everything) == []


def test_what_does_not_fit_holds_back_only_its_own_channel() -> None:
    queue, first = waiting(
        9, frame(1), frame(1, channel_id=1, skipped=True), frame(2), frame(2, channel_id=1), frame(0, end=True)
    )
    assert numbers(queue.more(first, lambda one: not one.skipped and not one.end_of_stream)) == [(0, 2)]
    assert numbers(drain(queue)) == [(1, 1), (1, 2), (0, 0)]


def test_a_break_of_continuity_begins_a_new_batch_of_its_channel() -> None:
    queue, first = waiting(
        9, frame(1), frame(0, discontinuity=True), frame(1), frame(0, channel_id=1, discontinuity=True)
    )
    assert numbers(queue.more(first, everything)) == [(1, 0)]
    assert numbers(drain(queue)) == [(0, 0), (0, 1)]


def test_more_gives_nothing_of_a_closed_queue() -> None:
    queue, first = waiting(9, frame(1), frame(2))
    queue.close()
    assert queue.more(first, everything) == []


def put_without_waiting(queue: FrameQueue, *frames: Frame) -> int:
    """How many of these find room, one after another."""
    for count, one in enumerate(frames):
        if queue._is_full_for(one):
            return count
        queue.put(one)
    return len(frames)


def test_there_is_room_for_a_batch_but_not_of_one_channel() -> None:
    queue = FrameQueue(1)
    queue.batch_size = 3
    assert put_without_waiting(queue, frame(1), frame(2)) == 1
    assert put_without_waiting(queue, *(frame(1, channel_id=i) for i in range(1, 5))) == 2


def test_the_parts_of_one_frame_may_wait_together_for_a_batch() -> None:
    queue = FrameQueue(1)
    queue.batch_size = 3
    assert put_without_waiting(queue, *(Frame(0, 0, 7, branch_of=1, sub_id=i) for i in range(5))) == 3
