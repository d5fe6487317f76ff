//! `tollctl embed`: vectors for texts.

use std::io::{IsTerminal, Read};

use clap::Args;
use tollgate_client::api::v1::{
    CallOptions, EmbedInput, EmbedRequest, EmbedResponse, Embedding, embed_input, embedding::Vector,
};

use super::{
    Context, amount,
    failure::Failure,
    hints::HintArgs,
    json,
    table::{Column, Table},
};

/// How many numbers of a vector are shown to people.
const SHOWN: usize = 4;
/// Most bytes that are read from standard input; no gateway takes more by default.
pub(crate) const MAX_STDIN: u64 = 32 << 20;

/// Arguments of the command.
#[derive(Args)]
pub(crate) struct EmbedArgs {
    /// Model to ask for
    #[arg(short, long, default_value = "echo")]
    model: String,
    /// Length of the vectors, for models that can shorten them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    dimensions: Option<i32>,
    /// Texts to embed, one vector each; without any, the lines of standard input
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    #[command(flatten)]
    hints: HintArgs,
}

/// Runs the command.
pub(crate) async fn run(context: &mut Context, args: EmbedArgs) -> Result<(), Failure> {
    let texts = if args.texts.is_empty() { stdin_lines()? } else { args.texts };
    if texts.is_empty() {
        return Err(Failure::Usage("nothing to embed: give texts as arguments or on standard input".into()));
    }
    let inputs =
        texts.into_iter().map(|text| EmbedInput { kind: Some(embed_input::Kind::Text(text)) }).collect();
    let options =
        args.hints.into_hints().map(|hints| CallOptions { route: Some(hints), ..Default::default() });
    let request = EmbedRequest {
        model: args.model,
        inputs,
        dimensions: args.dimensions,
        options,
        ..EmbedRequest::default()
    };
    let response = context.client.embed(request).await?;
    if context.json {
        return Ok(context.out.line(&json::encode("tollgate.v1.EmbedResponse", &response)?)?);
    }
    for line in table(&response).lines() {
        context.out.line(&line)?;
    }
    Ok(context.out.dim_note(&summary(&response))?)
}

fn stdin_lines() -> Result<Vec<String>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(Vec::new());
    }
    let mut text = String::new();
    stdin.lock().take(MAX_STDIN).read_to_string(&mut text)?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn table(response: &EmbedResponse) -> Table {
    let columns = [Column::right("input"), Column::right("dimensions"), Column::left("vector")];
    let mut table = Table::new(columns);
    for embedding in &response.embeddings {
        let (dimensions, first) = describe(embedding);
        table.row([embedding.index.to_string(), dimensions.to_string(), first]);
    }
    table
}

/// Returns the length of a vector, and its first numbers.
fn describe(embedding: &Embedding) -> (usize, String) {
    match &embedding.vector {
        Some(Vector::Dense(vector)) => {
            let first: Vec<_> = vector.values.iter().take(SHOWN).map(|value| format!("{value:.5}")).collect();
            let more = if vector.values.len() > SHOWN { ", …" } else { "" };
            (vector.values.len(), format!("[{}{more}]", first.join(", ")))
        }
        Some(Vector::Int8(bytes)) => (bytes.len(), "(int8)".to_owned()),
        Some(Vector::PackedBits(bytes)) => (bytes.len() * 8, "(bits)".to_owned()),
        Some(Vector::Multi(multi)) => (multi.vectors.len(), "(vectors)".to_owned()),
        Some(Vector::Sparse(sparse)) => (sparse.indices.len(), "(sparse)".to_owned()),
        None => (0, String::new()),
    }
}

fn summary(response: &EmbedResponse) -> String {
    let usage = response.usage.as_ref();
    let tokens = usage.and_then(|usage| usage.input_tokens);
    let tokens =
        tokens.map_or_else(|| "? tokens".to_owned(), |tokens| format!("{} tokens", amount::count(tokens)));
    let cost = amount::cost(usage.and_then(|usage| usage.cost.as_ref()));
    format!("{} · {tokens} · {cost} · id {}", response.model, response.id)
}

#[cfg(test)]
mod tests {
    use tollgate_client::api::v1::FloatVector;

    use super::*;

    #[test]
    fn a_vector_shows_its_length_and_its_first_numbers() {
        let vector = |values: Vec<f32>| Embedding {
            vector: Some(Vector::Dense(FloatVector { values })),
            ..Embedding::default()
        };
        assert_eq!(describe(&vector(vec![0.5, -0.25])), (2, "[0.50000, -0.25000]".into()));
        assert!(describe(&vector(vec![0.0; 9])).1.ends_with(", …]"));
    }
}
