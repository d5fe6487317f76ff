//! `tollctl chat`: asks a model, prints tokens as they come, and what it cost.

mod answer;
mod summary;

use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use tollgate_client::{
    ChatCall,
    api::v1::{JsonSchemaFormat, OutputFormat, Sampling, StreamCompleteResponse, output_format},
};

use self::{answer::Answer, summary::Summary};
use super::{
    Context,
    embed::MAX_STDIN,
    failure::Failure,
    hints::HintArgs,
    json,
    pairs::{self, Pair},
};

/// How long the connection gets to tell the server that the call is cancelled.
const FAREWELL: Duration = Duration::from_millis(50);

/// Arguments of the command.
#[derive(Args)]
pub(crate) struct ChatArgs {
    /// Model to ask for
    #[arg(short, long, default_value = "echo")]
    model: String,
    /// Instructions before the prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens of the answer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    max_tokens: Option<i64>,
    /// Randomness; 0 is nearly deterministic
    #[arg(long, value_name = "X", value_parser = parse_temperature)]
    temperature: Option<f64>,
    /// Tag of the call, a dimension of usage reports; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pairs::parse_pair)]
    tag: Vec<Pair>,
    /// Wait for the whole answer
    #[arg(long)]
    no_stream: bool,
    /// JSON Schema that the answer must match
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// What to ask; standard input, if it is no terminal, is appended
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    #[command(flatten)]
    hints: HintArgs,
}

fn parse_temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("must be a number that is not negative".to_owned()),
    }
}

/// Runs the command.
pub(crate) async fn run(context: &mut Context, args: ChatArgs) -> Result<(), Failure> {
    let no_stream = args.no_stream;
    let call = call(args)?;
    let interrupt = tokio::signal::ctrl_c();
    let ended = tokio::select! {
        ended = ask(context, call, no_stream) => Some(ended),
        _ = interrupt => None,
    };
    if let Some(ended) = ended {
        return ended;
    }
    // The call was dropped, which cancels it; the connection still has to send that.
    tokio::time::sleep(FAREWELL).await;
    Err(Failure::Interrupted)
}

async fn ask(context: &mut Context, call: ChatCall, no_stream: bool) -> Result<(), Failure> {
    if no_stream { at_once(context, call).await } else { streamed(context, call).await }
}

async fn at_once(context: &mut Context, call: ChatCall) -> Result<(), Failure> {
    let begun = Instant::now();
    let response = context.unhurried().chat(call).await?;
    if context.json {
        return Ok(context.out.line(&json::encode("tollgate.v1.CompleteResponse", &response)?)?);
    }
    let summary = Summary::of_response(&response, begun.elapsed());
    answer::print_whole(&mut context.out, response)?;
    Ok(summary.print(&mut context.out)?)
}

async fn streamed(context: &mut Context, call: ChatCall) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut stream = context.unhurried().stream(call).await?;
    let mut answer = Answer::default();
    let mut summary = Summary::default();
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                // What was produced is billed all the same: say what it was before saying why it broke.
                if !context.json && summary.has_usage() {
                    summary.total = begun.elapsed();
                    summary.print(&mut context.out)?;
                }
                return Err(error.into());
            }
        };
        summary.note(&event, begun.elapsed());
        if context.json {
            let message = StreamCompleteResponse { event: Some(event), ..Default::default() };
            context.out.line(&json::encode("tollgate.v1.StreamCompleteResponse", &message)?)?;
        } else {
            answer.print(&mut context.out, event)?;
        }
    }
    if context.json {
        return Ok(());
    }
    summary.total = begun.elapsed();
    Ok(summary.print(&mut context.out)?)
}

fn call(args: ChatArgs) -> Result<ChatCall, Failure> {
    let prompt = join(&args.prompt.join(" "), &stdin()?);
    if prompt.is_empty() {
        return Err(Failure::Usage("no prompt: give it as arguments or on standard input".to_owned()));
    }
    let mut call = ChatCall::new(args.model, prompt).hints(args.hints.into_hints());
    if let Some(system) = args.system {
        call = call.system(system);
    }
    for (name, value) in args.tag {
        call = call.tag(name, value);
    }
    call.input.max_output_tokens = args.max_tokens;
    call.input.sampling = args
        .temperature
        .map(|temperature| Sampling { temperature: Some(temperature), ..Sampling::default() });
    call.input.output_format = args.schema.as_deref().map(schema).transpose()?;
    Ok(call)
}

/// Joins the prompt of the arguments and that of standard input.
fn join(args: &str, stdin: &str) -> String {
    match (args.is_empty(), stdin.trim_end()) {
        (_, "") => args.to_owned(),
        (true, stdin) => stdin.to_owned(),
        (false, stdin) => format!("{args}\n\n{stdin}"),
    }
}

fn stdin() -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let mut text = String::new();
    if !stdin.is_terminal() {
        stdin.lock().take(MAX_STDIN).read_to_string(&mut text)?;
    }
    Ok(text)
}

fn schema(path: &Path) -> Result<OutputFormat, Failure> {
    let shown = path.display();
    let schema_json = std::fs::read_to_string(path)
        .map_err(|error| Failure::Words(format!("cannot read {shown}: {error}")))?;
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&schema_json)
        .map_err(|error| Failure::Words(format!("{shown} holds no JSON object: {error}")))?;
    let format = JsonSchemaFormat { schema_json, ..JsonSchemaFormat::default() };
    Ok(OutputFormat { kind: Some(output_format::Kind::JsonSchema(format)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_follows_the_arguments() {
        assert_eq!(join("say this:", "text\n"), "say this:\n\ntext");
        assert_eq!(join("", "text\n"), "text");
        assert_eq!(join("prompt", ""), "prompt");
        assert_eq!(join("", "\n"), "");
    }

    #[test]
    fn a_temperature_is_a_finite_number() {
        assert_eq!(parse_temperature("0.7"), Ok(0.7));
        for wrong in ["warm", "NaN", "inf", "-1"] {
            assert!(parse_temperature(wrong).is_err(), "{wrong}");
        }
    }
}
