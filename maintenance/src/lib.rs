//! When and where connections live and move: windows, ledger, drain.
