//! Embeddings by `InvokeModel`, in each vendor's own JSON.

mod bodies;

use ::http::HeaderMap;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tollgate_api::v1::{EmbedRequest, EmbedResponse, Embedding, Usage, Warning, usage::Source};

use super::{
    Bedrock,
    vectors::{self, Told},
};
use crate::{
    call::Item,
    error::Error as CallerError,
    provider::{
        Answer, Error, Outgoing,
        http::{self, MAX_ANSWER_BYTES},
        json::write::Object,
        translate::{self, Lost, unsupported},
        upstream::{Ask, once},
    },
};

/// Upstream calls of one request that run at a time.
const AT_A_TIME: usize = 8;
/// Cohere takes no more inputs in one call.
const COHERE_BATCH: usize = 96;
/// The members that hold what is embedded, how long the vectors are and in what form.
const PROTECTED: [&str; 8] = [
    "inputText",
    "inputImage",
    "texts",
    "images",
    "inputs",
    "dimensions",
    "output_dimension",
    "embedding_types",
];

/// Whose JSON it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// Amazon Titan, whose first version takes nothing but the text.
    Titan {
        first: bool,
    },
    TitanImage,
    Cohere,
    Nova,
}

impl Maker {
    fn of(model: &str) -> Option<Self> {
        let has = |word: &str| model.contains(word);
        Some(match () {
            () if has("titan-embed-image") => Self::TitanImage,
            () if has("titan-embed-text-v2") => Self::Titan { first: false },
            () if has("titan-embed") => Self::Titan { first: true },
            () if has("cohere.embed") => Self::Cohere,
            () if has("nova") && has("embed") => Self::Nova,
            () => return None,
        })
    }
}

/// One upstream call.
#[derive(Debug)]
struct Call {
    body: String,
    headers: HeaderMap,
    inputs: usize,
}

impl Bedrock {
    /// Asks for embeddings: in one call where the model takes several inputs, else in one for each.
    pub(super) async fn embeddings(&self, request: &Outgoing<'_, EmbedRequest>) -> Result<Answer, Error> {
        let (calls, warnings) = build(request.payload.view()?, request)?;
        let uri = self.uri(request.model, "invoke")?;
        let mut answers = stream::iter(calls)
            .map(|call| {
                let inputs = call.inputs;
                let ask = Ask::new(request, call.body, call.headers);
                let uri = &uri;
                async move {
                    let response = self.upstream.send(uri, ask).await?;
                    let header_tokens = header_tokens(response.headers());
                    let (answer, _, body) = self.upstream.open(response, Vec::new());
                    let body = http::read_all(body, MAX_ANSWER_BYTES).await?;
                    let told = vectors::decode(&body, inputs, header_tokens)?;
                    Ok::<_, Error>((answer, told))
                }
            })
            .buffered(AT_A_TIME);
        let mut first = None;
        let mut all = Told { vectors: Vec::new(), tokens: Some(0) };
        while let Some((answer, told)) = answers.try_next().await? {
            first.get_or_insert(answer);
            all.vectors.extend(told.vectors);
            all.tokens = all.tokens.zip(told.tokens).map(|(sum, tokens)| sum.saturating_add(tokens));
        }
        let Some(answer) = first else {
            return Err(CallerError::invalid("inputs", "must have at least one").into());
        };
        let embedded = Item::Embeddings(Box::new(response(all)));
        Ok(Answer { warnings, items: once(async { Ok(vec![embedded]) }), ..answer })
    }
}

fn header_tokens(headers: &HeaderMap) -> Option<i64> {
    headers.get("x-amzn-bedrock-input-token-count")?.to_str().ok()?.parse().ok().filter(|count| *count >= 0)
}

fn response(told: Told) -> EmbedResponse {
    let usage = told.tokens.map(|tokens| {
        let mut usage = Usage { input_tokens: Some(tokens), r#final: true, ..Usage::default() };
        usage.set_source(Source::Provider);
        usage
    });
    let embeddings =
        (0..).zip(told.vectors).map(|(index, vector)| Embedding { index, vector: Some(vector) }).collect();
    EmbedResponse { embeddings, usage, ..EmbedResponse::default() }
}

/// Translates a request into its upstream calls.
fn build(
    request: &EmbedRequest,
    outgoing: &Outgoing<'_, EmbedRequest>,
) -> Result<(Vec<Call>, Vec<Warning>), Error> {
    let Some(maker) = Maker::of(outgoing.model) else {
        let why = "embeddings of this model are not known; Titan's, Cohere's and Nova's are";
        return Err(unsupported("model", why));
    };
    let mut lost = Lost::of(outgoing, "")?;
    if !request.end_user_id.is_empty() {
        lost.parameter("end_user_id", "Bedrock has no such parameter")?;
    }
    let size = if maker == Maker::Cohere { COHERE_BATCH } else { 1 };
    let mut calls = Vec::new();
    for (batch, inputs) in request.inputs.chunks(size).enumerate() {
        let mut text = String::with_capacity(256);
        let mut body = Object::begin(&mut text);
        let at = batch * size;
        // What is lost is the same for every call.
        let mut same = Lost::new(outgoing.strict);
        let lost = if batch == 0 { &mut lost } else { &mut same };
        match maker {
            Maker::Titan { first } => bodies::titan(&mut body, request, &inputs[0], at, first, lost)?,
            Maker::TitanImage => bodies::titan_image(&mut body, request, &inputs[0], at, lost)?,
            Maker::Cohere => bodies::cohere(&mut body, request, inputs, at)?,
            Maker::Nova => bodies::nova(&mut body, request, &inputs[0], at)?,
        }
        body.end();
        let options = &request.provider_options;
        let (body, headers) =
            translate::apply(text, options, outgoing.provider, "provider_options", &PROTECTED)?;
        calls.push(Call { body, headers, inputs: inputs.len() });
    }
    Ok((calls, lost.warnings))
}

#[cfg(test)]
mod tests;
