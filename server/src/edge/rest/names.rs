//! The names of our headers. They are made once: a name that is given as a text is parsed each time it is used.

use http::HeaderName;

pub(in crate::edge) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(in crate::edge) static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
pub(in crate::edge) static CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");
pub(in crate::edge) static CACHE: HeaderName = HeaderName::from_static("x-tollgate-cache");
pub(in crate::edge) static PROVIDER: HeaderName = HeaderName::from_static("x-tollgate-provider");
pub(in crate::edge) static MODEL: HeaderName = HeaderName::from_static("x-tollgate-model");
pub(in crate::edge) static TARGET: HeaderName = HeaderName::from_static("x-tollgate-target");
pub(in crate::edge) static ATTEMPTS: HeaderName = HeaderName::from_static("x-tollgate-attempts");
pub(in crate::edge) static TRIED: HeaderName = HeaderName::from_static("x-tollgate-tried");
pub(in crate::edge) static RULE: HeaderName = HeaderName::from_static("x-tollgate-rule");
pub(in crate::edge) static UPSTREAM_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-tollgate-upstream-request-id");
pub(in crate::edge) static ORIGINAL_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-tollgate-original-request-id");
pub(in crate::edge) static WARNINGS: HeaderName = HeaderName::from_static("x-tollgate-warnings");
pub(in crate::edge) static COST_USD: HeaderName = HeaderName::from_static("x-tollgate-cost-usd");
pub(in crate::edge) static REASON: HeaderName = HeaderName::from_static("x-tollgate-reason");
pub(in crate::edge) static PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
