//! Whether a vendor is well: a question that costs nothing.

use ::http::{HeaderMap, Method};
use uuid::Uuid;

use super::{
    Error, Kind, Place,
    http::{self, Pieces},
    upstream::{Ask, endpoint},
};

/// Asks for something below the provider's address. What answers is there, even if it refuses the question.
///
/// # Errors
/// No answer, one of a server that is not well, or one that refuses our credential or asks for a pause.
pub(super) async fn ask(place: &Place<'_>, path: &str) -> Result<(), Error> {
    let uri = endpoint(place.base, path).map_err(|message| Error::new(Kind::Invalid, message))?;
    let ask = Ask {
        method: Method::GET,
        body: Pieces::default(),
        headers: HeaderMap::new(),
        streamed: false,
        call_id: Uuid::now_v7(),
        traceparent: None,
    };
    match place.upstream.send(&uri, ask).await {
        Ok(response) => {
            http::drain(response.into_body());
            Ok(())
        }
        Err(error) if matches!(error.kind, Kind::Invalid | Kind::Unsupported) => Ok(()),
        Err(error) => Err(error),
    }
}
