//! A record store.
