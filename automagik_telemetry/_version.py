"""The version, which the build and the resource attributes read."""

__version__ = "0.1.0"
