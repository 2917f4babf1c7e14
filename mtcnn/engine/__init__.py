"""Compiled code for nets on a CPU. `runtimes` selects the engine of each net; `tile` has the innermost loops."""
