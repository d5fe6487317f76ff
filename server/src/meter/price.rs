//! stub
use crate::call::Target;
use tollgate_api::v1;
/// Facts.
pub struct ModelFacts {}
/// Catalog.
#[derive(Default)]
pub struct Catalog {}
impl Catalog {
    /// Prices a usage.
    pub fn cost(&self, _target: &Target, _model: &str, _usage: &v1::Usage) -> Option<v1::Cost> {
        None
    }
}
