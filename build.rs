//! Compiles `proto/` to Rust with protox (no protoc) and keeps the descriptor set for reflection and tests.

use std::{error::Error, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from("proto");
    println!("cargo::rerun-if-changed=proto/tollgate");
    let mut files = Vec::new();
    for package in ["tollgate/v1", "tollgate/admin/v1"] {
        for entry in std::fs::read_dir(root.join(package))? {
            files.push(entry?.path());
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let mut prost = tonic_prost_build::Config::new();
    // Zero-copy slices of the network buffer instead of a copy per field.
    prost.bytes(["."]);
    // These hold a key; `proto/lib.rs` prints them without it.
    prost.skip_debug([".tollgate.admin.v1.CreateKeyResponse", ".tollgate.admin.v1.RotateKeyResponse"]);
    tonic_prost_build::configure()
        .build_transport(false)
        // The rare, large events are boxed so that a text delta stays small on the hot path.
        .boxed(".tollgate.v1.StreamCompleteResponse.event.part_start")
        .boxed(".tollgate.v1.StreamCompleteResponse.event.usage")
        .boxed(".tollgate.v1.StreamCompleteResponse.event.start")
        .boxed(".tollgate.v1.StreamCompleteResponse.event.end")
        .boxed(".tollgate.v1.StreamCompleteResponse.event.media")
        .boxed(".tollgate.v1.StreamCompleteResponse.event.choice_end")
        .boxed(".tollgate.v1.StreamCompleteResponse.event.part_end")
        .boxed(".tollgate.v1.StreamCompleteResponse.event.notice")
        .boxed(".tollgate.v1.StreamCompleteResponse.event.extension")
        .boxed(".tollgate.v1.StreamCompleteResponse.event.logprobs")
        .boxed(".tollgate.v1.Part.kind.media")
        .boxed(".tollgate.v1.Part.kind.tool_result")
        .compile_fds_with_config(descriptors, prost)?;
    Ok(())
}
