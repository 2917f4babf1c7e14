"""PNet, RNet and ONet on a CPU, compiled: see `runners` for which net is run by what, `tile` for the arithmetic."""
