"""The uploaded form, read chunk by chunk: the image is kept in memory, all else is skipped."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from heliograph.errors import InvalidArgumentError

FIELD = "image"
"""Field of the form that carries the image."""

_MAX_PARTS = 16
_MAX_HEADER_BYTES = 8 * 1024
_USAGE = f"send the image as the file {FIELD!r} of a multipart/form-data form"


class ImageForm:
    """A multipart/form-data form with one image, as it arrives.

    Nothing is written to a disk. The caller limits the bytes that it writes, and so the memory.
    """

    def __init__(self, content_type: str) -> None:
        """Begin to read a form.

        Args:
            content_type: The request's header of that name.

        Raises:
            InvalidArgumentError: It announces no form.
        """
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise InvalidArgumentError(_USAGE)
        self._image: bytearray | None = None
        self._complete = False
        self._parts = 0
        self._in_image = False
        self._name = bytearray()
        self._value = bytearray()
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._extend_name,
                    "on_header_value": self._extend_value,
                    "on_header_end": self._end_header,
                    "on_part_data": self._extend_part,
                    "on_part_end": self._end_part,
                },
            )
        except FormParserError as error:
            raise InvalidArgumentError(f"the form cannot be read; {_USAGE}") from error

    def write(self, chunk: bytes) -> None:
        """Read the next bytes of the form.

        Raises:
            InvalidArgumentError: They are no form, or the form has more than one image.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidArgumentError(f"the form cannot be read; {_USAGE}") from error

    def image(self) -> bytes:
        """Return the image, once everything is written.

        Raises:
            InvalidArgumentError: There is none, or the form ended in the middle of it.
        """
        if self._image is None:
            raise InvalidArgumentError(f"the form has no file {FIELD!r}; {_USAGE}")
        if not self._complete:
            raise InvalidArgumentError(f"the form ends in the middle of {FIELD!r}; send all of it")
        return bytes(self._image)

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise InvalidArgumentError(f"the form has more than {_MAX_PARTS} fields; {_USAGE}")
        self._in_image = False

    def _extend_name(self, data: bytes, start: int, end: int) -> None:
        self._extend_header(self._name, data[start:end])

    def _extend_value(self, data: bytes, start: int, end: int) -> None:
        self._extend_header(self._value, data[start:end])

    def _extend_header(self, part: bytearray, data: bytes) -> None:
        part += data
        if len(part) > _MAX_HEADER_BYTES:
            raise InvalidArgumentError(f"a header in the form is too long; {_USAGE}")

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            # A field without a file name is text that somebody typed.
            if options.get(b"name") == FIELD.encode() and b"filename" in options:
                if self._image is not None:
                    raise InvalidArgumentError(f"the form has several {FIELD!r}; send one")
                self._image = bytearray()
                self._in_image = True
        self._name.clear()
        self._value.clear()

    def _extend_part(self, data: bytes, start: int, end: int) -> None:
        if self._in_image and self._image is not None:
            self._image += data[start:end]

    def _end_part(self) -> None:
        self._complete |= self._in_image
