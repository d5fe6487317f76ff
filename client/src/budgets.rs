//! Running budgets and limits, for operators: raise them, start them anew, list who did so.

use tollgate_api::admin::{
    Adjustment, ListAdjustmentsRequest, ListAdjustmentsResponse, ResetUsageRequest, TopUpRequest,
    budget_service_client::BudgetServiceClient,
};
use tonic::transport::Channel;

use crate::{
    builder::MAX_MESSAGE,
    client::Client,
    error::{Error, Result},
    retry::Repeat,
};

/// The calls of `BudgetService`, which need the scope `admin`; made by [`Client::budgets`]. A top-up is sent again
/// on the server's request only if it carries a `request_id`.
#[derive(Clone, Debug)]
pub struct Budgets(Client);

impl Client {
    /// Returns the calls about running budgets and limits.
    pub fn budgets(&self) -> Budgets {
        Budgets(self.clone())
    }
}

fn stub(channel: Channel) -> BudgetServiceClient<Channel> {
    BudgetServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

impl Budgets {
    /// Raises a limit for the window that runs now.
    pub async fn top_up(&self, request: TopUpRequest) -> Result<Adjustment> {
        let repeat = Repeat::with_request_id(&request.request_id);
        let response = self
            .0
            .send(repeat, request, |channel, request| async move { stub(channel).top_up(request).await })
            .await?;
        response.into_inner().adjustment.ok_or_else(|| Error::incomplete("adjustment"))
    }

    /// Sets what was used in the window that runs now to zero.
    pub async fn reset_usage(&self, request: ResetUsageRequest) -> Result<Adjustment> {
        let response = self
            .0
            .send(Repeat::Safe, request, |channel, request| async move {
                stub(channel).reset_usage(request).await
            })
            .await?;
        response.into_inner().adjustment.ok_or_else(|| Error::incomplete("adjustment"))
    }

    /// Returns one page of changes, newest first.
    pub async fn list(&self, request: ListAdjustmentsRequest) -> Result<ListAdjustmentsResponse> {
        let response = self
            .0
            .send(Repeat::Safe, request, |channel, request| async move {
                stub(channel).list_adjustments(request).await
            })
            .await?;
        Ok(response.into_inner())
    }

    /// Returns the changes of every page, those of one subject if it is not empty.
    pub async fn list_all(&self, subject: impl Into<String>) -> Result<Vec<Adjustment>> {
        let subject = subject.into();
        let mut request = ListAdjustmentsRequest { page_size: 1000, subject, ..Default::default() };
        let mut adjustments = Vec::new();
        loop {
            let page = self.list(request.clone()).await?;
            adjustments.extend(page.adjustments);
            if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
                return Ok(adjustments);
            }
            request.page_token = page.next_page_token;
        }
    }
}
