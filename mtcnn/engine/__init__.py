"""Compiled code for nets on a CPU: `runtimes` chooses what runs each net, `tile` has the arithmetic."""
