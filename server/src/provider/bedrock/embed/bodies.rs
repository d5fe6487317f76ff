//! What each maker of embedding models is asked, in its own JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_api::v1::{EmbedInput, EmbedRequest, Media, embed_input::Kind as Input, media, part};

use crate::{
    error::Error as CallerError,
    provider::{
        Error,
        json::write::{self, Object},
        translate::{Lost, unsupported},
    },
};

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

/// Writes the body for Titan.
pub(super) fn titan(
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

/// Writes the body for Titan with pictures.
pub(super) fn titan_image(
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

/// Writes the body for Cohere.
pub(super) fn cohere(
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

/// Writes the body for Nova.
pub(super) fn nova(
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
