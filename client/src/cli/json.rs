//! Messages of the contract as proto3 JSON with the names of the `.proto` files, the form of the JSON twins.

use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use tollgate_client::api;

use super::failure::Failure;

/// Returns a message of the contract, named in full, as JSON on one line.
pub(crate) fn encode(name: &str, message: &impl Message) -> Result<String, Failure> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(api::DESCRIPTORS).ok());
    let descriptor = pool.as_ref().and_then(|pool| pool.get_message_by_name(name));
    let descriptor = descriptor.ok_or_else(|| Failure::Words(format!("{name} is not in the contract")))?;
    let unreadable = |error: String| Failure::Words(format!("cannot write {name} as JSON: {error}"));

    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).map_err(|error| unreadable(error.to_string()))?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut bytes = Vec::new();
    dynamic
        .serialize_with_options(&mut serde_json::Serializer::new(&mut bytes), &options)
        .map_err(|error| unreadable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use tollgate_client::api::v1::{CacheStatus, Cost, Usage, UsageRecord};

    use super::*;

    #[test]
    fn names_are_those_of_the_proto_and_large_integers_are_text() {
        let cost = Cost { amount_nanos: 9_007_199_254_740_993, ..Cost::default() };
        let usage = Usage { input_tokens: Some(0), cost: Some(cost), ..Usage::default() };
        let record = UsageRecord {
            id: "a".into(),
            usage: Some(usage),
            cache_status: CacheStatus::SemanticHit.into(),
            ..Default::default()
        };
        let json = encode("tollgate.v1.UsageRecord", &record).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["usage"]["cost"]["amount_nanos"], "9007199254740993");
        assert_eq!(value["usage"]["input_tokens"], "0", "known to be zero is not absent");
        assert_eq!(value["usage"].get("output_tokens"), None);
        assert_eq!(value["cache_status"], "CACHE_STATUS_SEMANTIC_HIT");
        assert!(!json.contains('\n'));
    }

    #[test]
    fn a_name_outside_the_contract_is_an_error() {
        assert!(encode("tollgate.v1.Nothing", &Usage::default()).is_err());
    }
}
