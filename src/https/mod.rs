//! Listens with TLS and turns connections into requests: everything that the metrics API and the
//! scheduler extender have in common.
