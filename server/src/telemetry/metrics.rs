//! stub
use tollgate_api::v1;
/// Counts.
pub fn call_opened() {}
/// Counts.
pub fn call_closed() {}
/// Counts.
pub fn call_settled(_record: &v1::UsageRecord) {}
