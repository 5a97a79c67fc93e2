"""The errors of Heliograph: one tree for servers, client and command line.

Each class names the gRPC status it travels as, a stable reason (`google.rpc.ErrorInfo.reason`,
domain `heliograph`) and the exit code of a command that ends with it (values of sysexits.h). The
client turns a reason back into its class; a status without a reason becomes the class of the
status.

    HeliographError
    ├── InvalidArgumentError              INVALID_ARGUMENT
    │   ├── InvalidImageError
    │   │   ├── UnsupportedImageFormatError
    │   │   ├── ImageTooLargeError
    │   │   └── CorruptImageError
    │   ├── InvalidTensorError
    │   ├── InvalidModelNameError
    │   ├── InvalidRecipeError
    │   └── InvalidDatasetError
    ├── NotFoundError                     NOT_FOUND
    │   ├── ModelNotFoundError
    │   ├── VersionNotFoundError
    │   └── VersionLabelNotFoundError
    ├── FailedPreconditionError           FAILED_PRECONDITION
    │   ├── ContractError
    │   │   ├── ContractMissingError
    │   │   └── ContractMismatchError
    │   ├── CorruptVersionError
    │   ├── GoldenMismatchError
    │   ├── ModelNotServingError
    │   ├── ConfigurationError
    │   └── MissingExtraError
    ├── ResourceExhaustedError            RESOURCE_EXHAUSTED
    │   ├── OverloadedError
    │   └── StorageError
    ├── UnavailableError                  UNAVAILABLE
    │   ├── BackendUnavailableError
    │   └── AddressInUseError
    ├── DeadlineExceededError             DEADLINE_EXCEEDED
    ├── CancelledError                    CANCELLED
    ├── UnauthenticatedError              UNAUTHENTICATED
    ├── PermissionDeniedError             PERMISSION_DENIED
    ├── AlreadyExistsError                ALREADY_EXISTS
    │   └── RevisionConflictError
    ├── AbortedError                      ABORTED
    ├── OutOfRangeError                   OUT_OF_RANGE
    ├── UnimplementedError                UNIMPLEMENTED
    ├── DataLossError                     DATA_LOSS
    ├── InternalError                     INTERNAL
    │   └── ModelOutputError
    └── UnknownError                      UNKNOWN
"""

from __future__ import annotations

from typing import ClassVar

DOMAIN = "heliograph"
"""`google.rpc.ErrorInfo.domain` of every error."""


class HeliographError(Exception):
    """Base of every error that Heliograph raises on purpose.

    The message is one line that says what is wrong and, where someone can mend it, how.
    """

    status: ClassVar[str] = "UNKNOWN"
    reason: ClassVar[str] = "UNKNOWN"
    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        """Describe the error.

        Args:
            message: One line for the caller.
            retry_after: Seconds after which another attempt makes sense; None when it does not
                help.
            request_id: Id under which a server has logged the request.
        """
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.request_id = request_id


class InvalidArgumentError(HeliographError):
    """The request can never succeed as it is."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_ARGUMENT"
    exit_code = 65


class InvalidImageError(InvalidArgumentError):
    """The image cannot be classified."""

    reason = "INVALID_IMAGE"


class UnsupportedImageFormatError(InvalidImageError):
    """The bytes are not an image of a format that is allowed."""

    reason = "UNSUPPORTED_IMAGE_FORMAT"


class ImageTooLargeError(InvalidImageError):
    """The image has more bytes or pixels than the limit."""

    reason = "IMAGE_TOO_LARGE"


class CorruptImageError(InvalidImageError):
    """The image starts well and cannot be decoded: truncated or damaged."""

    reason = "CORRUPT_IMAGE"


class InvalidTensorError(InvalidArgumentError):
    """A tensor has the wrong dtype, shape, size or value."""

    reason = "INVALID_TENSOR"


class InvalidModelNameError(InvalidArgumentError):
    """A model name, version or version label is malformed."""

    reason = "INVALID_MODEL_NAME"


class InvalidRecipeError(InvalidArgumentError):
    """A preprocessing recipe does not parse, or its steps do not fit together."""

    reason = "INVALID_RECIPE"


class InvalidDatasetError(InvalidArgumentError):
    """A data set cannot be used for training or evaluation."""

    reason = "INVALID_DATASET"


class NotFoundError(HeliographError):
    """Something that the request names does not exist."""

    status = "NOT_FOUND"
    reason = "NOT_FOUND"
    exit_code = 66


class ModelNotFoundError(NotFoundError):
    """No model of that name."""

    reason = "MODEL_NOT_FOUND"


class VersionNotFoundError(NotFoundError):
    """The model has no such version, or it is not loaded."""

    reason = "VERSION_NOT_FOUND"


class VersionLabelNotFoundError(NotFoundError):
    """The model's routing table has no such version label."""

    reason = "VERSION_LABEL_NOT_FOUND"


class FailedPreconditionError(HeliographError):
    """The system is not in a state in which the request could succeed."""

    status = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"
    exit_code = 78


class ContractError(FailedPreconditionError):
    """A contract cannot be read, or promises the impossible."""

    reason = "CONTRACT_INVALID"


class ContractMissingError(ContractError):
    """A SavedModel carries no contract; `heliograph contract attach` writes one."""

    reason = "CONTRACT_MISSING"


class ContractMismatchError(ContractError):
    """A contract does not fit the SavedModel it came with."""

    reason = "CONTRACT_MISMATCH"


class CorruptVersionError(FailedPreconditionError):
    """The files of a version do not match its manifest, or cannot be loaded."""

    reason = "CORRUPT_VERSION"


class GoldenMismatchError(FailedPreconditionError):
    """A version did not reproduce its golden examples."""

    reason = "GOLDEN_MISMATCH"


class ModelNotServingError(FailedPreconditionError):
    """The model is configured and no version of it is fit to answer."""

    reason = "MODEL_NOT_SERVING"


class ConfigurationError(FailedPreconditionError):
    """Settings contradict each other, or are unsafe without an explicit flag."""

    reason = "INVALID_CONFIGURATION"


class MissingExtraError(FailedPreconditionError):
    """A command needs packages that are not installed."""

    reason = "MISSING_EXTRA"


class ResourceExhaustedError(HeliographError):
    """A limit is reached."""

    status = "RESOURCE_EXHAUSTED"
    reason = "RESOURCE_EXHAUSTED"
    exit_code = 75


class OverloadedError(ResourceExhaustedError):
    """The gateway has more work than it can finish in time; `retry_after` says when to return."""

    reason = "OVERLOADED"


class StorageError(ResourceExhaustedError):
    """A file cannot be written: the disk is full, or the place is read-only."""

    reason = "STORAGE"
    exit_code = 74


class UnavailableError(HeliographError):
    """A server cannot be reached, or is shutting down; another attempt may succeed."""

    status = "UNAVAILABLE"
    reason = "UNAVAILABLE"
    exit_code = 69


class BackendUnavailableError(UnavailableError):
    """The gateway cannot reach the model server."""

    reason = "BACKEND_UNAVAILABLE"


class AddressInUseError(UnavailableError):
    """A server cannot listen on its address."""

    reason = "ADDRESS_IN_USE"
    exit_code = 71


class DeadlineExceededError(HeliographError):
    """The deadline passed before there was an answer."""

    status = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"
    exit_code = 75


class CancelledError(HeliographError):
    """The call was cancelled."""

    status = "CANCELLED"
    reason = "CANCELLED"
    exit_code = 75


class UnauthenticatedError(HeliographError):
    """The call carries no valid token or certificate."""

    status = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"
    exit_code = 77


class PermissionDeniedError(HeliographError):
    """The caller is known and may not do this."""

    status = "PERMISSION_DENIED"
    reason = "PERMISSION_DENIED"
    exit_code = 77


class AlreadyExistsError(HeliographError):
    """What was to be created exists."""

    status = "ALREADY_EXISTS"
    reason = "ALREADY_EXISTS"
    exit_code = 73


class RevisionConflictError(AlreadyExistsError):
    """Somebody else created this routing revision first."""

    reason = "REVISION_CONFLICT"


class AbortedError(HeliographError):
    """The operation was given up because of a conflict; try again at a higher level."""

    status = "ABORTED"
    reason = "ABORTED"
    exit_code = 75


class OutOfRangeError(HeliographError):
    """The request goes past a valid range."""

    status = "OUT_OF_RANGE"
    reason = "OUT_OF_RANGE"
    exit_code = 65


class UnimplementedError(HeliographError):
    """The server does not know this call."""

    status = "UNIMPLEMENTED"
    reason = "UNIMPLEMENTED"
    exit_code = 69


class DataLossError(HeliographError):
    """Data is lost or damaged beyond repair."""

    status = "DATA_LOSS"
    reason = "DATA_LOSS"
    exit_code = 74


class InternalError(HeliographError):
    """A fault of the server; `request_id` finds it in the server's log."""

    status = "INTERNAL"
    reason = "INTERNAL"


class ModelOutputError(InternalError):
    """A model gave an output of the wrong shape, or numbers that are not finite."""

    reason = "MODEL_OUTPUT"


class UnknownError(HeliographError):
    """The server answered with a status that says nothing."""


def _classes(base: type[HeliographError]) -> list[type[HeliographError]]:
    return [base, *(found for child in base.__subclasses__() for found in _classes(child))]


BY_REASON: dict[str, type[HeliographError]] = {
    error.reason: error for error in reversed(_classes(HeliographError)[1:])
}
"""Every reason and its class."""

BY_STATUS: dict[str, type[HeliographError]] = {
    error.status: error for error in reversed(HeliographError.__subclasses__())
}
"""Every gRPC status except OK, and the class a bare status becomes."""
