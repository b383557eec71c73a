"""The error that every command of the laboratory reports in one line; it imports nothing."""


class CannotRunError(Exception):
    """Why a command cannot do what it was asked for; the text is what is printed."""
