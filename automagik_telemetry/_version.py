"""The version, in one place: the build and the resource attributes read it here."""

__version__ = "0.1.0"
