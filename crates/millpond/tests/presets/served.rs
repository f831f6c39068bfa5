//! Clients and servers of these protocols, beside each other.
