//! Exec and attach over in-memory and local connections.
