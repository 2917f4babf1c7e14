"""Compiled code for nets on a CPU: see `runtimes` for which net is run by what, `tile` for the arithmetic."""
