//! The contract does not break by accident: everything that was published stays as it was, and everything has a comment.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use prost_reflect::{Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use tollgate_api::DESCRIPTORS;

const OURS: &str = "tollgate.";

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTORS).expect("the built-in descriptors are valid")
}

fn messages(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    let ours =
        |message: &MessageDescriptor| message.package_name().starts_with(OURS) && !message.is_map_entry();
    pool.all_messages().filter(ours).collect()
}

fn enums(pool: &DescriptorPool) -> Vec<EnumDescriptor> {
    pool.all_enums().filter(|one| one.package_name().starts_with(OURS)).collect()
}

fn type_name(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(one) => one.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn field_line(field: &FieldDescriptor) -> String {
    let label = match field.cardinality() {
        _ if field.is_map() => "map",
        Cardinality::Repeated => "repeated",
        _ if field.containing_oneof().is_some_and(|oneof| !is_synthetic(&oneof)) => "oneof",
        _ if field.supports_presence() => "optional",
        _ => "implicit",
    };
    let oneof = field.containing_oneof().filter(|oneof| !is_synthetic(oneof));
    let oneof = oneof.map_or_else(String::new, |oneof| format!(" in {}", oneof.name()));
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let part =
                |number| entry.get_field(number).map_or_else(String::new, |part| type_name(&part.kind()));
            format!("<{},{}>", part(1), part(2))
        }
        kind => type_name(&kind),
    };
    format!(
        "field {} = {} {label} {kind}{oneof} json {}",
        field.full_name(),
        field.number(),
        field.json_name()
    )
}

/// `optional` is a oneof of one field in the descriptors; its name starts with an underscore.
fn is_synthetic(oneof: &prost_reflect::OneofDescriptor) -> bool {
    oneof.name().starts_with('_')
}

/// One line for everything that a client may rely on.
fn lines() -> BTreeSet<String> {
    let pool = pool();
    let mut lines = BTreeSet::new();
    for message in messages(&pool) {
        lines.insert(format!("message {}", message.full_name()));
        lines.extend(message.fields().map(|field| field_line(&field)));
    }
    for one in enums(&pool) {
        lines.insert(format!("enum {}", one.full_name()));
        let value_line = |value: prost_reflect::EnumValueDescriptor| {
            format!("value {}.{} = {}", one.full_name(), value.name(), value.number())
        };
        lines.extend(one.values().map(value_line));
    }
    for service in pool.services().filter(|service| service.package_name().starts_with(OURS)) {
        lines.insert(format!("service {}", service.full_name()));
        for rpc in service.methods() {
            let stream = |streams: bool| if streams { "stream " } else { "" };
            lines.insert(format!(
                "rpc {} ({}{}) returns ({}{})",
                rpc.full_name(),
                stream(rpc.is_client_streaming()),
                rpc.input().full_name(),
                stream(rpc.is_server_streaming()),
                rpc.output().full_name(),
            ));
        }
    }
    lines
}

fn snapshot_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/contract/descriptor.snapshot")
}

#[test]
fn what_was_published_is_still_there_unchanged() {
    let now = lines();
    assert!(now.len() > 400, "only {} lines: the descriptors are not what they were", now.len());
    if env::var_os("BLESS").is_some() {
        let text: String = now.iter().map(|line| format!("{line}\n")).collect();
        fs::write(snapshot_path(), text).expect("the snapshot can be written");
        return;
    }
    let text =
        fs::read_to_string(snapshot_path()).expect("tests/contract/descriptor.snapshot is in the tree");
    let then: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let broken: Vec<_> = then.difference(&now).collect();
    assert!(
        broken.is_empty(),
        "removed, renumbered or retyped: callers that are already built break. Reserve the number and the name and \
         add a new field instead.\n{broken:#?}"
    );
    let added: Vec<_> = now.difference(&then).collect();
    assert!(
        added.is_empty(),
        "new in the contract: if that is meant, run `BLESS=1 cargo test --test contract` and commit the snapshot.\n\
         {added:#?}"
    );
}

#[test]
fn everything_has_a_comment() {
    let pool = pool();
    let mut missing = Vec::new();
    for file in pool.files().filter(|file| file.package_name().starts_with(OURS)) {
        let proto = file.file_descriptor_proto();
        let source = proto.source_code_info.as_ref().expect("the descriptors carry their comments");
        let is_told = |path: &[i32]| {
            source
                .location
                .iter()
                .any(|place| place.path == path && !place.leading_comments().trim().is_empty())
        };
        let mut check = |path: &[i32], name: &str| {
            if !is_told(path) {
                missing.push(format!("{}: {name}", file.name()));
            }
        };
        for message in messages(&pool).iter().filter(|message| message.parent_file() == file) {
            check(message.path(), message.full_name());
            message.fields().for_each(|field| check(field.path(), field.full_name()));
            let oneofs = message.oneofs().filter(|oneof| !is_synthetic(oneof));
            oneofs.for_each(|oneof| check(oneof.path(), oneof.full_name()));
        }
        for one in enums(&pool).iter().filter(|one| one.parent_file() == file) {
            check(one.path(), one.full_name());
            one.values().for_each(|value| check(value.path(), value.full_name()));
        }
        for service in file.services() {
            check(service.path(), service.full_name());
            service.methods().for_each(|rpc| check(rpc.path(), rpc.full_name()));
        }
    }
    assert!(missing.is_empty(), "without a comment:\n{missing:#?}");
}

#[test]
fn no_rpc_streams_from_the_client_and_each_has_its_own_messages() {
    let mut used = BTreeSet::new();
    for service in pool().services().filter(|service| service.package_name().starts_with(OURS)) {
        for rpc in service.methods() {
            // Browsers (gRPC-Web) cannot stream to us.
            assert!(!rpc.is_client_streaming(), "{}", rpc.full_name());
            assert_eq!(rpc.input().name(), format!("{}Request", rpc.name()));
            assert_eq!(rpc.output().name(), format!("{}Response", rpc.name()));
            assert!(used.insert(rpc.input().full_name().to_owned()), "{} is shared", rpc.input().full_name());
        }
    }
}
