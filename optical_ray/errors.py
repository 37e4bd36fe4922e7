"""The tree of failures a user can act on. Each message is one line: where, what was found, what was expected, what to do.

The command line prints the line and exits 2. Everything else that is raised is a defect of ours and keeps its traceback.
Every class takes the finished message only, so that an error survives pickling between Ray's processes.
"""


class OpticalError(Exception):
    """A failure that the user can mend."""


class ConfigError(OpticalError):
    """A recipe, a sweep or an option is wrong: an unknown field, a value out of range."""


class LanguageError(OpticalError):
    """A language code is unknown, or a set asks for more languages than its pool holds."""


class DataError(OpticalError):
    """A bitext source, a shard or a manifest cannot be used."""


class DownloadError(OpticalError):
    """A pinned wheel could not be fetched, or its bytes are not the pinned ones."""


class ModelError(OpticalError):
    """A model folder is missing, incomplete, or does not fit its neighbour."""


class ArtifactError(OpticalError):
    """The store holds something that its manifest does not describe, or cannot be written."""


class RunFolderError(OpticalError):
    """A run folder is missing, of another format version, or not a run."""


class ResourceError(OpticalError):
    """The machine or the cluster cannot give what the run asks for."""


class NumericsError(OpticalError):
    """NaN or infinity where a number was needed."""


class TrialFailed(OpticalError):
    """A trial ended without its result; its status file says why."""


class WorkerDied(OpticalError):
    """A worker process of a training died; nothing is known to be wrong with the training itself."""
