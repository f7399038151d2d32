"""The kinds of task, one a file, each with `execute(context) -> result`."""
