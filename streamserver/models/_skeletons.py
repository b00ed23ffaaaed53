"""The joints and limbs that OpenPose networks know, with the places of their maps in the output.

The numbers are those of the published models of CMU (https://github.com/CMU-Perceptual-Computing-Lab/openpose).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skeleton:
    """One kind of output.

    Attributes:
        name: as OpenPose calls it.
        joints: how many key points a person has; as many heat maps, and one of the background, come first.
        limbs: pairs of joints (from, to), in the order in which people are put together.
        fields: for each limb, its map of x components among the part affinity fields; that of y components follows it.
        spare_limbs: positions in ``limbs`` of those that only fill what another way to the same joint has left empty.
        coco: where the 17 points of COCO stand among the joints.
    """

    name: str
    joints: int
    limbs: tuple[tuple[int, int], ...]
    fields: tuple[int, ...]
    spare_limbs: tuple[int, ...]
    coco: tuple[int, ...]

    @property
    def heat_maps(self) -> int:
        """Heat maps in the output: one a joint, and the background."""
        return self.joints + 1

    @property
    def field_maps(self) -> int:
        """Maps of part affinity fields: two a limb."""
        return 2 * len(self.limbs)


COCO_18 = Skeleton(
    name="COCO_18",
    joints=18,
    limbs=(
        *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
        *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17)),
    ),
    fields=(12, 20, 14, 16, 22, 24, 0, 2, 4, 6, 8, 10, 28, 30, 34, 32, 36, 18, 26),
    spare_limbs=(17, 18),
    coco=(0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10),
)
BODY_25 = Skeleton(
    name="BODY_25",
    joints=25,
    limbs=(
        *((1, 8), (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11), (8, 12), (12, 13)),
        *((13, 14), (1, 0), (0, 15), (15, 17), (0, 16), (16, 18), (2, 17), (5, 18)),
        *((14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24)),
    ),
    fields=(0, 14, 22, 16, 18, 24, 26, 6, 2, 4, 8, 10, 12, 30, 32, 36, 34, 38, 20, 28, 40, 42, 44, 46, 48, 50),
    spare_limbs=(18, 19),
    coco=(0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11),
)
SKELETONS = (COCO_18, BODY_25)
