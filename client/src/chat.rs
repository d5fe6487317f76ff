//! Chat and embeddings: the calls that reach a model.

use tollgate_api::v1::{
    CallOptions, ChatInput, CompleteRequest, CompleteResponse, EmbedRequest, EmbedResponse,
    ExplainRouteRequest, ExplainRouteResponse, Message, Part, Role, RouteHints, StreamCompleteRequest,
    StreamOptions, chat_service_client::ChatServiceClient, embed_service_client::EmbedServiceClient,
    part::Kind,
};

use crate::{
    builder::MAX_MESSAGE,
    client::Client,
    error::{Error, Result},
    retry::Repeat,
    stream::ChatStream,
};

/// What a model is asked, and what is asked of the gateway. A plain `ChatInput` will do where no options
/// are needed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatCall {
    /// What the model is asked.
    pub input: ChatInput,
    /// Tags, routing, caching, timeouts, cost cap, request id; `None`: all defaults.
    pub options: Option<CallOptions>,
    /// How a stream is sent; `None`: all defaults. Without meaning for an answer at once.
    pub stream: Option<StreamOptions>,
}

impl ChatCall {
    /// Asks a model one question.
    pub fn new(model: impl Into<String>, prompt: impl Into<String>) -> Self {
        let input = ChatInput {
            model: model.into(),
            messages: vec![text_message(Role::User, prompt.into())],
            ..ChatInput::default()
        };
        Self::from(input)
    }

    /// Puts instructions before the conversation.
    #[must_use]
    pub fn system(mut self, text: impl Into<String>) -> Self {
        self.input.messages.insert(0, text_message(Role::System, text.into()));
        self
    }

    /// Adds a tag, a dimension of usage reports.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.get_or_insert_default().tags.insert(name.into(), value.into());
        self
    }

    /// Narrows the choice of a target; `None` leaves it to the configuration.
    #[must_use]
    pub fn hints(mut self, hints: impl Into<Option<RouteHints>>) -> Self {
        if let Some(hints) = hints.into() {
            self.options.get_or_insert_default().route = Some(hints);
        }
        self
    }
}

impl From<ChatInput> for ChatCall {
    fn from(input: ChatInput) -> Self {
        Self { input, options: None, stream: None }
    }
}

fn text_message(role: Role, text: String) -> Message {
    let part = Part { kind: Some(Kind::Text(text)), ..Part::default() };
    Message { role: role.into(), parts: vec![part], name: String::new() }
}

impl Client {
    /// Asks a model and waits for the whole answer.
    pub async fn chat(&self, call: impl Into<ChatCall>) -> Result<CompleteResponse> {
        let ChatCall { input, options, .. } = call.into();
        let request = CompleteRequest { input: Some(input), options };
        let response = self
            .send(Repeat::Safe, request, |channel, request| async move {
                ChatServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE).complete(request).await
            })
            .await?;
        Ok(response.into_inner())
    }

    /// Asks a model and returns the answer's events as they come. Returns when the first content is there,
    /// or the gateway has begun to send; a failure before that is this function's error. Dropping the
    /// stream cancels the call.
    pub async fn stream(&self, call: impl Into<ChatCall>) -> Result<ChatStream> {
        let ChatCall { input, options, stream } = call.into();
        let request = StreamCompleteRequest { input: Some(input), options, stream };
        let deadline = self.deadline();
        let response = self
            .send_until(deadline, Repeat::Safe, request, |channel, request| async move {
                ChatServiceClient::new(channel)
                    .max_decoding_message_size(MAX_MESSAGE)
                    .stream_complete(request)
                    .await
            })
            .await?;
        Ok(ChatStream::new(response, deadline))
    }

    /// Tells where a call would go and why, without sending it: nothing is recorded or charged.
    pub async fn explain_route(&self, call: impl Into<ChatCall>) -> Result<ExplainRouteResponse> {
        let ChatCall { input, options, .. } = call.into();
        let request = ExplainRouteRequest { input: Some(input), options };
        let response = self
            .send(Repeat::Safe, request, |channel, request| async move {
                ChatServiceClient::new(channel)
                    .max_decoding_message_size(MAX_MESSAGE)
                    .explain_route(request)
                    .await
            })
            .await?;
        Ok(response.into_inner())
    }

    /// Computes one vector per input.
    pub async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        if request.inputs.is_empty() {
            return Err(Error::local("there is nothing to embed"));
        }
        let response = self
            .send(Repeat::Safe, request, |channel, request| async move {
                EmbedServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE).embed(request).await
            })
            .await?;
        Ok(response.into_inner())
    }
}
