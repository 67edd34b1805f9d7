"""Errors of keyclip: each says what, where, what was expected and the remedy, in one sentence or two.

Every class also subclasses the builtin that a caller would naturally catch. Commands print the message
of a :class:`KeyclipError` without a traceback and exit with status 1.
"""


class KeyclipError(Exception):
    """Base of all errors that a user can mend."""

    def __str__(self) -> str:  # KeyError would print the message in quotes
        return str(self.args[0]) if self.args else ""


class StoreNotFoundError(KeyclipError, FileNotFoundError):
    """There is no store at this place."""


class StoreExistsError(KeyclipError, FileExistsError):
    """A store is there already; creating never overwrites."""


class FormatVersionError(KeyclipError, ValueError):
    """The data was written in a format that this version does not read."""


class StoreFullError(KeyclipError, OSError):
    """The disk is full; what was committed before is intact."""


class StorageError(KeyclipError, OSError):
    """Object storage refuses or does not answer."""


class FieldNotFoundError(KeyclipError, KeyError):
    """The store has no field of this name."""


class SpecMismatchError(KeyclipError, ValueError):
    """A field exists with another spec than the writer's."""


class MissingKeysError(KeyclipError, KeyError):
    """Some of the keys asked for have no vector in the field."""


class DuplicateKeyError(KeyclipError, ValueError):
    """A key is given twice, or is in the field already."""


class InvalidVectorsError(KeyclipError, ValueError):
    """Vectors of the wrong shape, or NaN or infinite."""


class DamagedBlockError(KeyclipError, ValueError):
    """The bytes of a block do not match its checksum."""


class DamagedFieldError(DamagedBlockError):
    """A field's own records, index or files are damaged: nothing of it can be read until it is repaired."""


class ReadOnlyError(KeyclipError, PermissionError):
    """The store was opened for reading."""


class ShardNotFoundError(KeyclipError, FileNotFoundError):
    """A shard that was named does not exist."""


class DamagedShardError(KeyclipError, ValueError):
    """A shard cannot be read as a tar of samples."""


class CaptionFieldError(KeyclipError, KeyError):
    """A sample has no caption where the caption field points."""


class StaleCaptionError(KeyclipError, ValueError):
    """A caption differs from the caption that the stored vector was made from."""


class ConfigError(KeyclipError, ValueError):
    """A setting is wrong, or two settings do not fit."""


class CheckpointError(KeyclipError, ValueError):
    """A checkpoint is absent, incomplete, or of another stage or shape."""


class InvalidKeysError(KeyclipError, ValueError):
    """Sample keys, field names or block names that a store cannot hold."""


class BlockExistsError(KeyclipError, ValueError):
    """A block of this name is committed already, with other keys or captions."""


class BlockNotFoundError(KeyclipError, KeyError):
    """The field has no block of this name."""


class MisalignedError(KeyclipError, ValueError):
    """Two files that belong together row by row do not agree."""


class VectorFileError(KeyclipError, ValueError):
    """A file of vectors is damaged, or holds something else than is expected of it."""


class OutputExistsError(KeyclipError, FileExistsError):
    """An export would replace a file that it did not write."""
