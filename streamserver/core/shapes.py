"""What a person drew on a picture: polygons as corner lists, and why one is impossible."""

from __future__ import annotations

from collections.abc import Sequence

PointXy = tuple[int, int]
"""Pixels from the left and from the top."""


def distinct_corners(points_xy: Sequence[PointXy]) -> list[PointXy]:
    """The corners without neighbours that repeat each other and without a last point that closes the ring."""
    corners = [point for index, point in enumerate(points_xy) if index == 0 or point != points_xy[index - 1]]
    while len(corners) > 1 and corners[0] == corners[-1]:
        corners.pop()
    return corners


def polygon_fault(corners_xy: Sequence[PointXy]) -> str:
    """Why these corners (distinct neighbours, not closed) are no polygon, in words; empty when they are one."""
    if len(corners_xy) < 3:
        return f"{len(corners_xy)} different point{'s' * (len(corners_xy) > 1)} make no area"
    if _doubled_area(corners_xy) == 0 and _all_on_one_line(corners_xy):
        return "all points are on one line"
    meeting = _meeting_edges(corners_xy)
    if meeting is None:
        return ""
    (a, b), (c, d) = meeting
    return f"the edge {a} to {b} meets the edge {c} to {d}"


Edge = tuple[PointXy, PointXy]


def _doubled_area(corners_xy: Sequence[PointXy]) -> int:
    following = [*corners_xy[1:], corners_xy[0]]
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners_xy, following, strict=True))


def _all_on_one_line(corners_xy: Sequence[PointXy]) -> bool:
    return all(_turn(corners_xy[0], corners_xy[1], point) == 0 for point in corners_xy)


def _meeting_edges(corners_xy: Sequence[PointXy]) -> tuple[Edge, Edge] | None:
    """Two edges that share more than the corner between neighbours, or ``None``; sorting by x skips most pairs."""
    count = len(corners_xy)
    edges = [(corners_xy[i], corners_xy[(i + 1) % count]) for i in range(count)]
    order = sorted(range(count), key=lambda i: min(edges[i][0][0], edges[i][1][0]))
    for position, i in enumerate(order):
        (ax, ay), (bx, by) = edges[i]
        right, top, bottom = max(ax, bx), min(ay, by), max(ay, by)
        dx, dy = bx - ax, by - ay
        for j in order[position + 1 :]:
            (cx, cy), (ex, ey) = edges[j]
            if cx > right and ex > right:
                break
            if (cy < top and ey < top) or (cy > bottom and ey > bottom):
                continue
            # Half a million pairs may come by: most lie clear of the line through the edge, which needs no call.
            if (dx * (cy - ay) - dy * (cx - ax)) * (dx * (ey - ay) - dy * (ex - ax)) > 0:
                continue
            if _meet(edges[i], edges[j], neighbours=(i - j) % count in (1, count - 1)):
                return edges[min(i, j)], edges[max(i, j)]
    return None


def _meet(first: Edge, second: Edge, *, neighbours: bool) -> bool:
    if not neighbours:
        return _touch(first, second)
    shared = first[0] if first[0] in second else first[1]
    outer_first = first[1] if shared == first[0] else first[0]
    outer_second = second[1] if shared == second[0] else second[0]
    return _turn(outer_first, shared, outer_second) == 0 and _along(shared, outer_first, outer_second) > 0


def _touch(first: Edge, second: Edge) -> bool:
    (a, b), (c, d) = first, second
    t1, t2, t3, t4 = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if (t1 > 0) != (t2 > 0) and (t3 > 0) != (t4 > 0) and 0 not in (t1, t2, t3, t4):
        return True
    on_edge = ((t1, a, b, c), (t2, a, b, d), (t3, c, d, a), (t4, c, d, b))
    return any(turn == 0 and _within(start, end, point) for turn, start, end, point in on_edge)


def _turn(a: PointXy, b: PointXy, c: PointXy) -> int:
    """Positive, negative or 0: which side of the line from a to b the point c is on."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _along(corner: PointXy, a: PointXy, b: PointXy) -> int:
    return (a[0] - corner[0]) * (b[0] - corner[0]) + (a[1] - corner[1]) * (b[1] - corner[1])


def _within(a: PointXy, b: PointXy, point: PointXy) -> bool:
    return min(a[0], b[0]) <= point[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= point[1] <= max(a[1], b[1])
