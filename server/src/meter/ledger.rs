//! stub
use std::path::Path;
use tollgate_api::v1;
/// The ledger.
pub struct Ledger {}
impl Ledger {
    /// Opens.
    pub fn open(_store: &Path) -> Result<Self, String> {
        Ok(Self {})
    }
    /// Appends.
    pub fn append(&self, _record: v1::UsageRecord) {}
    /// Flushes.
    pub async fn flush(&self) {}
}
