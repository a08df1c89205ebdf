//! The extender with the real ledger and a scripted API server behind it.
