//! Embeddings by `InvokeModel`, in each vendor's own JSON.

use ::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tollgate_api::v1::{
    EmbedInput, EmbedRequest, EmbedResponse, Embedding, Media, Usage, Warning, embed_input::Kind as Input,
    media, part, usage::Source,
};

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
        json::write::{self, Object},
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
    let mut lost = Lost::new(outgoing.strict);
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
            Maker::Titan { first } => titan(&mut body, request, &inputs[0], at, first, lost)?,
            Maker::TitanImage => titan_image(&mut body, request, &inputs[0], at, lost)?,
            Maker::Cohere => cohere(&mut body, request, inputs, at)?,
            Maker::Nova => nova(&mut body, request, &inputs[0], at)?,
        }
        body.end();
        let options = &request.provider_options;
        let (body, headers) =
            translate::apply(text, options, outgoing.provider, "provider_options", &PROTECTED)?;
        calls.push(Call { body, headers, inputs: inputs.len() });
    }
    Ok((calls, lost.warnings))
}

/// Returns the text of an input, and its picture if it has one.
fn contents(input: &EmbedInput, index: usize) -> Result<(String, Option<&Media>), Error> {
    let field = format!("inputs[{index}]");
    let parts = match &input.kind {
        Some(Input::Text(text)) => return Ok((text.clone(), None)),
        Some(Input::Parts(parts)) => &parts.parts,
        Some(Input::TokenIds(_)) => {
            return Err(unsupported(&field, "Bedrock embeds no token ids; send the text"));
        }
        None => return Err(CallerError::invalid(field, "must hold something").into()),
    };
    let (mut text, mut picture) = (String::new(), None);
    for part in parts {
        match &part.kind {
            Some(part::Kind::Text(more)) => text.push_str(more),
            Some(part::Kind::Media(media)) if picture.is_none() => picture = Some(&**media),
            _ => return Err(unsupported(&format!("{field}.parts"), "it embeds texts and one picture each")),
        }
    }
    Ok((text, picture))
}

fn text_only(input: &EmbedInput, index: usize) -> Result<String, Error> {
    match contents(input, index)? {
        (text, None) => Ok(text),
        _ => Err(unsupported(&format!("inputs[{index}].parts"), "this model embeds text only")),
    }
}

fn picture_bytes(picture: &Media, index: usize) -> Result<String, Error> {
    match &picture.source {
        Some(media::Source::Data(data)) => Ok(STANDARD.encode(data)),
        _ => Err(unsupported(&format!("inputs[{index}].parts"), "a picture must be sent as bytes")),
    }
}

fn drop_unless(asked: &str, field: &str, lost: &mut Lost) -> Result<(), Error> {
    if asked.is_empty() { Ok(()) } else { lost.parameter(field, "this model has no such parameter") }
}

fn titan(
    body: &mut Object<'_>,
    request: &EmbedRequest,
    input: &EmbedInput,
    index: usize,
    first: bool,
    lost: &mut Lost,
) -> Result<(), Error> {
    body.string("inputText", &text_only(input, index)?);
    if first {
        if request.dimensions.is_some() {
            lost.parameter("dimensions", "this model's vectors have one length")?;
        }
        if !matches!(request.encoding.as_str(), "" | "float") {
            return Err(unsupported("encoding", "this model gives vectors of floats only"));
        }
    } else {
        body.int("dimensions", request.dimensions.map(i64::from));
        match request.encoding.as_str() {
            "" | "float" => {}
            "binary" => body.raw("embeddingTypes", r#"["binary"]"#),
            _ => return Err(unsupported("encoding", "this model gives `float` and `binary` only")),
        }
    }
    drop_unless(&request.task, "task", lost)?;
    drop_unless(&request.truncation, "truncation", lost)
}

fn titan_image(
    body: &mut Object<'_>,
    request: &EmbedRequest,
    input: &EmbedInput,
    index: usize,
    lost: &mut Lost,
) -> Result<(), Error> {
    floats_only(request)?;
    let (text, picture) = contents(input, index)?;
    body.text("inputText", &text);
    if let Some(picture) = picture {
        body.string("inputImage", &picture_bytes(picture, index)?);
    }
    if let Some(length) = request.dimensions {
        let mut config = body.object("embeddingConfig");
        config.int("outputEmbeddingLength", Some(i64::from(length)));
        config.end();
    }
    drop_unless(&request.task, "task", lost)?;
    drop_unless(&request.truncation, "truncation", lost)
}

fn floats_only(request: &EmbedRequest) -> Result<(), Error> {
    match request.encoding.as_str() {
        "" | "float" => Ok(()),
        _ => Err(unsupported("encoding", "this model gives vectors of floats only")),
    }
}

fn cohere(
    body: &mut Object<'_>,
    request: &EmbedRequest,
    inputs: &[EmbedInput],
    at: usize,
) -> Result<(), Error> {
    let mut list = body.list("texts");
    for (index, input) in inputs.iter().enumerate() {
        write::string(list.item(), &text_only(input, at + index)?);
    }
    list.end();
    body.string(
        "input_type",
        match request.task.as_str() {
            "query" => "search_query",
            "" | "document" | "similarity" => "search_document",
            word => word,
        },
    );
    let truncation = match request.truncation.as_str() {
        "none" => "NONE",
        "start" => "LEFT",
        "end" => "RIGHT",
        word => word,
    };
    body.text("truncate", truncation);
    body.int("output_dimension", request.dimensions.map(i64::from));
    match request.encoding.as_str() {
        "" | "float" => {}
        "int8" => body.raw("embedding_types", r#"["int8"]"#),
        "binary" => body.raw("embedding_types", r#"["ubinary"]"#),
        _ => return Err(unsupported("encoding", "this model gives `float`, `int8` and `binary` only")),
    }
    Ok(())
}

fn nova(
    body: &mut Object<'_>,
    request: &EmbedRequest,
    input: &EmbedInput,
    index: usize,
) -> Result<(), Error> {
    floats_only(request)?;
    let (text, picture) = contents(input, index)?;
    body.string("taskType", "SINGLE_EMBEDDING");
    let mut params = body.object("singleEmbeddingParams");
    params.string(
        "embeddingPurpose",
        match request.task.as_str() {
            "" | "document" | "similarity" => "GENERIC_INDEX",
            "query" => "GENERIC_RETRIEVAL",
            "classification" => "CLASSIFICATION",
            "clustering" => "CLUSTERING",
            word => word,
        },
    );
    match picture {
        None => {
            let mut member = params.object("text");
            let cut = request.truncation.to_ascii_uppercase();
            member.string("truncationMode", if cut.is_empty() { "NONE" } else { &cut });
            member.string("value", &text);
            member.end();
        }
        Some(_) if !text.is_empty() => {
            return Err(unsupported(&format!("inputs[{index}].parts"), "it embeds a text or a picture"));
        }
        Some(picture) => {
            let mut member = params.object("image");
            member.string("format", picture.mime_type.trim_start_matches("image/"));
            let mut source = member.object("source");
            source.string("bytes", &picture_bytes(picture, index)?);
            source.end();
            member.end();
        }
    }
    params.int("embeddingDimension", request.dimensions.map(i64::from));
    params.end();
    Ok(())
}

#[cfg(test)]
mod tests;
