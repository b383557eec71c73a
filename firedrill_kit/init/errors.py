"""What ends `firedrill init`."""


class InitError(Exception):
    """No file can be written; the text is one line, with what to do."""


def line_of(error: BaseException) -> str:
    """Return type and text of an exception on one line, without the values that pydantic repeats."""
    errors = getattr(error, "errors", None)
    if callable(errors) and hasattr(error, "error_count"):
        parts = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in errors(include_url=False, include_input=False)
        ]
        text = "; ".join(parts)
    else:
        text = str(error)
    text = " ".join(text.split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
