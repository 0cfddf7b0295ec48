"""Downloads: made whole before the first byte is sent.

A chunked answer that breaks off looks to many clients like one that ended. So a download is
written to a file first, and is sent with its length: what fails while it is made is an
ordinary refusal, and what breaks while it is sent is seen to be broken.
"""

import tempfile
from typing import IO

from mercato.web.envelope import Download
from mercato.web.http import Chunks, Header, Response

_PIECE = 64 * 1024
_IN_MEMORY = 1024 * 1024


async def spooled(status: int, download: Download) -> Response:
    """Make the download, in a file that has no name if it is large, and return it as a response."""
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  it is closed when it has been sent
    try:
        async for piece in download.chunks:
            file.write(piece)
        length = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    headers: list[Header] = [("content-length", str(length)), *download.headers]
    return Response(
        status, content_type=download.content_type, headers=headers, stream=_pieces(file), close=file.close
    )


async def _pieces(file: IO[bytes]) -> Chunks:
    while piece := file.read(_PIECE):
        yield piece
