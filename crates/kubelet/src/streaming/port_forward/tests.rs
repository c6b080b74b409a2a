//! Port-forwarding over local connections.
