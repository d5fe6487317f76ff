//! The client library and `tollctl` against a gateway in this process that does what a test tells it.
// Helpers of tests may panic as tests do; clippy only sees the tests themselves.
#![allow(clippy::unwrap_used)]

mod gateway;
mod library;
mod tollctl;
