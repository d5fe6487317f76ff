//! The client library and `tollctl` against a gateway in this process that does what a test tells it.

mod gateway;
mod library;
mod tollctl;
