//! The number of tokens of a prompt where the vendor does not tell: an upper bound.

use ::http::HeaderMap;
use futures_util::stream;
use prost::Message as _;
use tollgate_api::v1::{ChatInput, CountTokensResponse, Media, Part, media::Source, part::Kind};

use super::{Answer, Error};
use crate::call::Item;

/// No tokenizer in use packs ordinary text tighter than this.
const BYTES_PER_TOKEN: usize = 2;
/// What framing adds to each message.
const TOKENS_PER_MESSAGE: usize = 8;

/// The most that vendors charge for one picture, however large it is.
const TOKENS_PER_IMAGE: usize = 5_000;

/// Answers with an upper bound. The encoded length counts every text, tool and schema once; pictures count by the piece,
/// other media as their bytes, which is far more than any vendor charges.
pub(super) fn count_tokens(input: &ChatInput, model: &str) -> Result<Answer, Error> {
    let (images, image_bytes) = images(input.messages.iter().flat_map(|message| &message.parts));
    let most = (input.encoded_len() - image_bytes) / BYTES_PER_TOKEN
        + input.messages.len() * TOKENS_PER_MESSAGE
        + images * TOKENS_PER_IMAGE;
    let counted = CountTokensResponse {
        input_tokens: i64::try_from(most).unwrap_or(i64::MAX),
        estimated: true,
        model: model.to_owned(),
    };
    Ok(Answer {
        http_status: 200,
        upstream_request_id: String::new(),
        headers: HeaderMap::new(),
        warnings: Vec::new(),
        items: Box::pin(stream::iter([Ok(Item::Counted(Box::new(counted)))])),
    })
}

/// Counts the pictures, those in results of tools too, and the bytes they are sent as.
fn images<'a>(parts: impl Iterator<Item = &'a Part>) -> (usize, usize) {
    parts.fold((0, 0), |(count, bytes), part| match &part.kind {
        Some(Kind::Media(media)) if media.mime_type.starts_with("image/") => {
            (count + 1, bytes + data_bytes(media))
        }
        Some(Kind::ToolResult(result)) => {
            let (more, more_bytes) = images(&mut result.parts.iter() as &mut dyn Iterator<Item = &Part>);
            (count + more, bytes + more_bytes)
        }
        _ => (count, bytes),
    })
}

fn data_bytes(media: &Media) -> usize {
    if let Some(Source::Data(data)) = &media.source { data.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tollgate_api::v1::{Message, ToolResult};

    use super::*;

    #[tokio::test]
    async fn a_large_picture_counts_as_a_picture_and_not_as_its_bytes() {
        let media = Media {
            mime_type: "image/png".to_owned(),
            source: Some(Source::Data(vec![7; 3_000_000].into())),
            ..Media::default()
        };
        let picture = Part { kind: Some(Kind::Media(Box::new(media))), ..Part::default() };
        let result = ToolResult { parts: vec![picture.clone()], ..ToolResult::default() };
        let result = Part { kind: Some(Kind::ToolResult(Box::new(result))), ..Part::default() };
        let message = Message { parts: vec![picture, result], ..Message::default() };
        let input = ChatInput { messages: vec![message], ..ChatInput::default() };
        let answer = count_tokens(&input, "m").unwrap();
        let items: Vec<_> = answer.items.collect().await;
        let Ok(Item::Counted(counted)) = &items[0] else { panic!() };
        assert!((10_000..10_200).contains(&counted.input_tokens), "{}", counted.input_tokens);
    }
}
