//! Tollgate's contract as Rust types, generated from the `.proto` files beside this one.
#![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub)]

/// `tollgate`: the packages callers and operators use.
pub mod tollgate {
    /// What applications call: chat, embeddings, models, usage; the shared messages and error reasons.
    pub mod v1 {
        tonic::include_proto!("tollgate.v1");
    }
    /// What operators call: keys, and the state of the gateway.
    pub mod admin {
        /// Version 1 of the operators' API.
        pub mod v1 {
            tonic::include_proto!("tollgate.admin.v1");
        }
    }
}

pub use tollgate::{admin::v1 as admin, v1};

/// The encoded `google.protobuf.FileDescriptorSet` of both packages and their imports, with comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Prints a response without the key in it.
macro_rules! redact {
    ($($response:ident)*) => {$(
        impl std::fmt::Debug for admin::$response {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($response)).field("key", &self.key).finish_non_exhaustive()
            }
        }
    )*};
}
redact!(CreateKeyResponse RotateKeyResponse);
