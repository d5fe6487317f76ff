//! What a chat needs of a model, by its typed message.

use tollgate_api::v1::{ChatInput, Part, output_format, part::Kind};

use crate::call::{Need, Needs};

/// Returns what the message needs.
pub(super) fn of(input: &ChatInput) -> Needs {
    let mut needs = Needs::default();
    let parts = input.messages.iter().flat_map(|message| &message.parts);
    parts.for_each(|part| add_part(part, &mut needs));
    let format = input.output_format.as_ref().and_then(|format| format.kind.as_ref());
    let reasons = input.reasoning.as_ref().is_some_and(|reasoning| {
        let effort = !reasoning.effort.is_empty() && reasoning.effort != "none";
        effort || reasoning.budget_tokens.is_some_and(|budget| budget > 0)
    });
    let speaks = input.audio.is_some() || input.output_modalities.iter().any(|word| word == "audio");
    let asked = [
        (!input.tools.is_empty(), Need::Tools),
        (matches!(format, Some(output_format::Kind::JsonSchema(_))), Need::JsonSchema),
        (reasons, Need::Reasoning),
        (speaks, Need::Audio),
    ];
    asked.iter().filter(|(asked, _)| *asked).for_each(|(_, need)| needs.add(*need));
    needs
}

fn add_part(part: &Part, needs: &mut Needs) {
    match &part.kind {
        Some(Kind::Media(media)) => needs.add(match media.mime_type.split('/').next() {
            Some("audio") => Need::Audio,
            Some("application" | "text") => Need::Documents,
            // Pictures may come without a type, by their address alone.
            _ => Need::Vision,
        }),
        // One level deep: deeper results are refused before anything reads them.
        Some(Kind::ToolResult(result)) => {
            let media = result.parts.iter().filter(|part| matches!(part.kind, Some(Kind::Media(_))));
            media.for_each(|part| add_part(part, needs));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use tollgate_api::v1::{
        JsonSchemaFormat, Media, Message, OutputFormat, ReasoningOptions, Tool, ToolResult,
    };

    use super::*;

    fn names(input: &ChatInput) -> Vec<&'static str> {
        of(input).beyond(Needs::default()).map(Need::as_str).collect()
    }

    fn media(mime_type: &str) -> Part {
        let media = Media { mime_type: mime_type.to_owned(), ..Default::default() };
        Part { kind: Some(Kind::Media(Box::new(media))), ..Default::default() }
    }

    #[test]
    fn each_field_that_not_every_model_takes_is_a_need() {
        let with = |part: Part| ChatInput {
            messages: vec![Message { parts: vec![part], ..Default::default() }],
            ..Default::default()
        };
        let result = ToolResult { parts: vec![media("image/png")], ..Default::default() };
        let result = Part { kind: Some(Kind::ToolResult(Box::new(result))), ..Default::default() };
        let schema = output_format::Kind::JsonSchema(JsonSchemaFormat::default());
        let effort = |effort: &str| ChatInput {
            reasoning: Some(ReasoningOptions { effort: effort.to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let table = [
            (ChatInput::default(), vec![]),
            (with(media("image/png")), vec!["vision"]),
            (with(media("")), vec!["vision"]),
            (with(media("audio/wav")), vec!["audio"]),
            (with(media("application/pdf")), vec!["documents"]),
            (with(result), vec!["vision"]),
            (ChatInput { tools: vec![Tool::default()], ..Default::default() }, vec!["tools"]),
            (
                ChatInput { output_format: Some(OutputFormat { kind: Some(schema) }), ..Default::default() },
                vec!["json_schema"],
            ),
            (effort("low"), vec!["reasoning"]),
            (effort("none"), vec![]),
            (ChatInput { output_modalities: vec!["audio".to_owned()], ..Default::default() }, vec!["audio"]),
        ];
        for (input, expected) in table {
            assert_eq!(names(&input), expected, "{input:?}");
        }
    }
}
