//! Answers kube-scheduler: the extender protocol over mutual TLS, from the placement ledger.
