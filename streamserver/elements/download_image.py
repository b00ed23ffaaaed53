"""``download_image``: keeps each result as a JPEG; what ``download_image`` in a demo file puts behind every sink."""

from __future__ import annotations

from streamserver.core.arrays import ImageBgr
from streamserver.elements._drawing import draw_over, findings_of, read_drawing, read_optional_names, read_writer
from streamserver.elements._outputs import write_picture
from streamserver.elements._results import RESULTS, Disk, make_results
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.vision.codec import encode_jpeg
from streamserver.vision.draw.shapes import Style

_WITHOUT_GRAPH = "draw_license_plate_recognition_results"
"""The drawing whose files sophon-stream names by channel and frame alone."""


class DownloadImage(Element):
    """Writes ``./results/{graph}_{channel}_{frame}.jpg`` of each analysed frame, then passes it on."""

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._folder = context.base_dir / RESULTS
        self._disk = Disk(self._folder)
        self._drawing = read_drawing(context)
        self._with_graph = context.configure.get("draw_func_name") != _WITHOUT_GRAPH
        heatmap_loss = context.configure.get("heatmap_loss", "")
        if not isinstance(heatmap_loss, str):
            raise context.error("heatmap_loss", f"expected a text, got {heatmap_loss!r}")
        self._style = Style(
            class_names=read_optional_names(context, "class_names"),
            car_attributes=read_optional_names(context, "car_attributes"),
            person_attributes=read_optional_names(context, "person_attributes"),
            heatmap_loss=heatmap_loss or "MSELoss",
            writer=read_writer(context),
        )

    def open(self) -> None:
        """Makes the folder."""
        make_results(self.context, "download_image")

    def process(self, frame: Frame, emit: Emit) -> None:
        """Draws the frame and writes it."""
        if frame.picture is not None:
            findings = findings_of(frame)

            def draw(image_bgr: ImageBgr) -> None:
                self._drawing(image_bgr, findings, self._style)

            graph = f"{frame.graph_id}_" if self._with_graph else ""
            path = self._folder / f"{graph}{frame.channel_id}_{frame.frame_id}.jpg"
            self._disk.attempt(lambda: write_picture(path, encode_jpeg(draw_over(frame, draw).bgr)))
        emit(frame)


ELEMENT = DownloadImage
