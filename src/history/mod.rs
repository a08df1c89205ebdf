//! Traffic of the past from files and from Prometheus, and its one format on disk.
